"""Verification by a pull: the Pod that is made, what each answer of a kubelet means, and that nothing stays behind."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.cli import verify as command
from pullsecrets.delivery import verify
from pullsecrets.delivery.verify import Node, Pull, Trial, failures, list_nodes, registry_of_image, run
from pullsecrets.errors import BadInputError
from pullsecrets.kube.marks import VERIFIED_PREFIX, VERIFY_POD_NAME
from pullsecrets.kube.objects import secret_path
from pullsecrets.manifests.rbac import verifier_roles
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.credential.test_history import CONFIG
from tests.unit.kube.test_eso import REGISTRY

Object = dict[str, Any]
IMAGE = "app.example.com/team/auth:1"
MADE, UID = "2026-01-01T10:00:00Z", "of-the-pod-that-was-made"
DIGEST = f"sha256:{'ab' * 32}"
PULLED = f'Successfully pulled image "{IMAGE}" in 142ms (142ms including waiting). Image size: 1234 bytes.'
NO_LOGIN = f'Failed to pull image "{IMAGE}": failed to authorize: no basic auth credentials'


def status(image_id: str = "", **state: Any) -> Object:
    return {"phase": "Pending", "containerStatuses": [{"name": "pull", "imageID": image_id, "state": state}]}


STARTED = status(f"app.example.com/team/auth@{DIGEST}", terminated={"reason": "StartError", "exitCode": 128})
REFUSED = status(waiting={"reason": "ErrImagePull", "message": NO_LOGIN})
UNREADY = status(waiting={"reason": "ContainerCreating"})
BUSY = status(waiting={"reason": "ErrImagePull", "message": "503 Service Unavailable"})
SIMULATED = status(running={"startedAt": "now"})
UNSCHEDULED = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}


class Kubelet(FakeCluster):
    """Makes of each Pod what its namespace's script says, look by look; the last word stays."""

    def __init__(self, **scripts: list[Object]) -> None:
        super().__init__(lists={"/api/v1/nodes": NODES})
        self.objects |= delivered.cluster(dict.fromkeys(scripts, "one")).objects
        self.scripts = scripts
        self.made: list[Object] = []
        self.lock = threading.Lock()
        self.looked = threading.Event()

    @property
    def pods(self) -> list[str]:
        """The namespaces with a Pod."""
        return [path.split("/")[4] for path in self.objects if path.endswith(f"/pods/{VERIFY_POD_NAME}")]

    def say(self, *events: tuple[str, str], namespace: str = "a") -> None:
        """Have the kubelet say something of the Pod in a namespace: reason and message."""
        for reason, message in events:
            event = {"metadata": {}, "involvedObject": {"uid": UID}, "reason": reason, "message": message}
            self.add(f"/api/v1/namespaces/{namespace}/events", event)

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Any = None, **more: Any
    ) -> Object:
        with self.lock:
            if method == "POST" and path.endswith("/pods"):
                body = {**body, "metadata": {**body["metadata"], "uid": UID, "creationTimestamp": MADE}}
                self.made.append(body)
            found = super().request(method, path, query, body=body, **more)
        script = self.scripts.get(path.split("/")[4]) if path.endswith(VERIFY_POD_NAME) else None
        if method == "GET" and script:
            self.looked.set()
            found["spec"]["nodeName"] = "node-1"
            found["status"] = script.pop(0) if len(script) > 1 else script[0]
        return found


def node(name: str, *, ready: str = "True", **spec: Any) -> Object:
    info = {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"architecture": "arm64"}}
    return {"metadata": {"name": name}, "spec": spec, "status": info}


NODES = [
    node("good"),
    node("down", ready="False"),
    node("cordoned", unschedulable=True),
    node("control-plane", taints=[{"effect": "NoSchedule"}]),
    node("preferred-elsewhere", taints=[{"effect": "PreferNoSchedule"}]),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "POLL_SECONDS", 0.005)


def trial(timeout: float = 0.05) -> Trial:
    return Trial(CONFIG, REGISTRY, IMAGE, timeout)


def the_pull(script: list[Object], *events: tuple[str, str], timeout: float = 0.05) -> Pull:
    cluster = Kubelet(a=script)
    cluster.say(*events)
    (found,) = run(cluster, trial(timeout), ["a"])
    assert cluster.pods == [], "the Pod is removed, however it went"
    return found


def test_a_pull_is_told_with_its_time_digest_and_node() -> None:
    found = the_pull([UNREADY, STARTED], ("Pulled", PULLED), timeout=5)
    assert found == Pull("a", True, PULLED, "node-1", None, DIGEST, 0.142, MADE, recorded=True)


def marks(cluster: FakeCluster) -> dict[str, str]:
    return cluster.objects["/api/v1/namespaces/a"]["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    ("script", "changes", "forbidden", "marked"),
    [
        ([STARTED], False, None, True),
        ([REFUSED], False, None, False),
        # Nobody knows which of the two it pulled with.
        ([STARTED], True, None, False),
        ([STARTED], False, ("GET", "secrets"), False),
        ([STARTED], False, ("PATCH", "a"), False),
    ],
)
def test_a_pull_is_recorded_with_the_content_that_was_there_before_and_after(
    script: list[Object], changes: bool, forbidden: tuple[str, str] | None, marked: bool
) -> None:
    cluster = Kubelet(a=script)
    cluster.say(("Failed", NO_LOGIN))
    cluster.refuse |= {forbidden: (403, "not for you")} if forbidden else {}

    def meanwhile(method: str, _: str) -> None:
        if method == "POST" and changes:
            cluster.objects |= delivered.cluster({"a": "two"}).objects

    cluster.before_write = meanwhile
    (found,) = run(cluster, trial(5), ["a"])
    assert found.recorded is marked
    assert marks(cluster) == ({f"{VERIFIED_PREFIX}{REGISTRY.name}": f"one {MADE}"} if marked else {})


def test_a_pull_that_failed_on_one_node_is_not_recorded() -> None:
    cluster = Kubelet(a=[STARTED, REFUSED])
    cluster.say(("Failed", NO_LOGIN))
    run(cluster, trial(5), ["a"], [Node("n1", "amd64"), Node("n2", "amd64")])
    assert marks(cluster) == {}


@pytest.mark.parametrize(
    ("script", "events", "message"),
    [
        ([UNREADY, REFUSED], [("Failed", "Error: ErrImagePull"), ("Failed", NO_LOGIN)], NO_LOGIN),
        ([BUSY], [], "503 Service Unavailable"),
        ([SIMULATED], [], "the node reports no pull: is it simulated, without a kubelet?"),
        ([UNSCHEDULED], [], "0/3 nodes"),
        ([UNREADY], [], "ContainerCreating"),
        ([{}], [], "no kubelet has taken the Pod in time"),
    ],
)
def test_what_did_not_pull_is_told_in_the_kubelets_words(
    script: list[Object], events: list[tuple[str, str]], message: str
) -> None:
    found = the_pull(script, *events)
    assert (found.pulled, found.message) == (False, message)


def test_a_registry_that_is_busy_for_a_moment_is_waited_for_and_a_wrong_login_is_not() -> None:
    assert the_pull([BUSY, BUSY, STARTED], timeout=60).pulled
    assert not the_pull([REFUSED], ("Failed", NO_LOGIN), timeout=60).pulled


NOT_READ = "Unable to retrieve some image pull secrets (app); attempting to pull the image may not succeed."


@pytest.mark.parametrize(
    ("events", "waits"),
    [
        pytest.param(
            [("FailedToRetrieveImagePullSecret", NOT_READ), ("Failed", NO_LOGIN)], True, id="not read in time"
        ),
        pytest.param([], True, id="not said yet"),
        pytest.param([("Failed", NO_LOGIN)], False, id="read, and no login in it"),
    ],
)
def test_a_kubelet_that_could_not_read_the_secret_in_time_is_waited_for(
    events: list[tuple[str, str]], waits: bool
) -> None:
    assert the_pull([REFUSED, REFUSED, STARTED], *events, timeout=60).pulled is waits


def test_a_kubelet_that_finds_no_secret_is_not_waited_for() -> None:
    cluster = Kubelet(a=[REFUSED, STARTED])
    del cluster.objects[secret_path("a", "app")]
    cluster.say(("FailedToRetrieveImagePullSecret", NOT_READ), ("Failed", NO_LOGIN))
    assert [item.pulled for item in run(cluster, trial(60), ["a"])] == [False]


def test_a_pod_that_the_server_refuses_is_told_with_its_reason() -> None:
    cluster = Kubelet()
    cluster.refuse["POST", "pods"] = 403, "violates PodSecurity"
    (found,) = run(cluster, trial(), ["a"])
    assert (found.pulled, found.message) == (False, "the Pod was refused: violates PodSecurity")


def test_the_pod_of_a_run_that_was_killed_is_removed_and_one_that_runs_is_left() -> None:
    path = f"/api/v1/namespaces/a/pods/{VERIFY_POD_NAME}"
    before = {**trial().pod("a"), "metadata": {"namespace": "a", "uid": "of-the-one-before"}}
    cluster = Kubelet(a=[{"phase": "Failed"}, STARTED])
    cluster.objects[path] = before
    assert run(cluster, trial(5), ["a"])[0].pulled
    cluster = Kubelet(a=[{"phase": "Running"}])
    cluster.objects[path] = before
    assert "already exists" in run(cluster, trial(), ["a"])[0].message
    assert cluster.objects[path]["metadata"]["uid"] == "of-the-one-before"


def test_interrupted_it_removes_its_pods_too() -> None:
    cluster = Kubelet(a=[STARTED], b=[UNREADY])

    def interrupt(_pull: Pull) -> None:
        assert cluster.looked.wait(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(cluster, trial(60), ["a", "b"], (), interrupt)
    assert cluster.pods == []


def test_each_node_is_tried_in_each_namespace() -> None:
    cluster = Kubelet(a=[STARTED], b=[STARTED])
    nodes = list_nodes(cluster)
    assert nodes == [Node("good", "arm64"), Node("preferred-elsewhere", "arm64")]
    pulls = run(cluster, trial(5), ["b", "a"], nodes)
    assert [(item.namespace, item.node, item.architecture) for item in pulls] == [
        (namespace, name, "arm64") for namespace in "ab" for name in ("good", "preferred-elsewhere")
    ]
    asked = {
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][
            0
        ]["matchFields"][0]["values"][0]
        for pod in cluster.made
    }
    assert asked == {"good", "preferred-elsewhere"}


def test_the_pod_names_the_delivered_secret_alone_and_is_restricted() -> None:
    spec = trial().pod("a")["spec"]
    (container,) = spec["containers"]
    assert (spec["imagePullSecrets"], container["imagePullPolicy"]) == ([{"name": "app"}], "Always")
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False
    # A quota on CPU or memory refuses Pods that name none.
    assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_openshift_chooses_the_user() -> None:
    cluster = CONFIG.cluster.model_copy(update={"platform": "openshift"})
    there = Trial(CONFIG.model_copy(update={"cluster": cluster}), REGISTRY, IMAGE)
    assert "runAsUser" not in there.pod("a")["spec"]["securityContext"]


def test_an_image_of_another_host_is_refused() -> None:
    assert registry_of_image(CONFIG, IMAGE) is CONFIG.registries[0]
    with pytest.raises(BadInputError, match=r"host docker.io is none of the stack's"):
        registry_of_image(CONFIG, "busybox:1")
    with pytest.raises(BadInputError, match="none of the stack's"):
        registry_of_image(CONFIG, IMAGE, "another")


@given(st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_the_time_of_a_pull_is_read_as_go_writes_it(minutes: int, seconds: int, milliseconds: int) -> None:
    text = f"{minutes}m{seconds}.{milliseconds:03}s"
    found = the_pull([STARTED], ("Pulled", f"Successfully pulled image in {text} (1s including waiting)"))
    assert found.seconds == pytest.approx(minutes * 60 + seconds + milliseconds / 1000)


def test_failures_are_named_by_namespace_and_node() -> None:
    both = [Pull("c", False, "not here", "node-1"), Pull("c", True, "fine", "node-2")]
    pulls = [Pull("a", True, "fine", "node-1"), Pull("b", False, "no", "node-2"), *both]
    assert failures(pulls) == {"b": "no", "c on node-1": "not here"}


def test_a_verifier_deletes_pods_of_that_name_alone_and_reads_no_secret() -> None:
    rules = verifier_roles("verifiers")[0]["rules"]
    assert all("secrets" not in rule["resources"] for rule in rules)
    assert [rule["resourceNames"] for rule in rules if "delete" in rule["verbs"]] == [[VERIFY_POD_NAME]]


class TestCommand:
    """What the command prints, and its exit codes."""

    @pytest.fixture
    def cluster(self) -> Kubelet:
        return Kubelet(a=[STARTED], b=[REFUSED])

    def test_exit_code_1_and_the_kubelets_words_where_a_pull_fails(
        self, cluster: Kubelet, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(typer.Exit) as ended:
            command.carry_out(cluster, trial())
        assert (ended.value.exit_code, cluster.pods) == (1, [])
        shown = capsys.readouterr().out
        assert "1 of 2 pulls in 2 namespaces went well" in shown
        assert "no basic auth credentials" in shown
        command.carry_out(cluster, trial(), ["a"])

    def test_a_dry_run_shows_the_pod_and_makes_none(self, cluster: Kubelet, capsys: pytest.CaptureFixture[str]) -> None:
        command.carry_out(cluster, trial(), each_node=True, dry_run=True)
        shown = capsys.readouterr().out
        assert cluster.made == []
        assert "imagePullPolicy: Always" in shown
        assert "metadata.name" in shown

    def test_a_namespace_without_the_label_is_refused(self, cluster: Kubelet) -> None:
        with pytest.raises(BadInputError, match="'elsewhere': found no label"):
            command.carry_out(cluster, trial(), ["elsewhere"])
        assert cluster.made == []
