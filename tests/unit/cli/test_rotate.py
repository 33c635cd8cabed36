"""`rotate` after its options: what it asks, prints and returns, with what takes time in a cluster passed in."""

import base64
import copy
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pytest
import typer

from pullsecrets.cli import rotate
from pullsecrets.cli.rotate import Dialog
from pullsecrets.credential import document
from pullsecrets.credential.vault import MountSettings
from pullsecrets.delivery.deliver import Delivered
from pullsecrets.delivery.plan import Choices
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.rotation import Effects
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.objects import secret_path
from pullsecrets.workloads.restart import RestartResult, Workload
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.credential.test_history import CONFIG, Versions, credential
from tests.unit.kube.test_eso import FANOUT, IN_A, REGISTRY, deployment
from tests.unit.workloads.test_evict import pod

IMAGE = "app.example.com/team/auth:1"
SECRET_IN_B = secret_path("b", "app")


def cluster_of_two() -> FakeCluster:
    """Namespaces a and b with what ESO delivered to them, one ESO, and a caller who may do everything."""
    cluster = delivered.cluster(dict.fromkeys("ab", "0" * 16))
    cluster.objects[FANOUT] = {"metadata": {"name": "app"}, "spec": {"externalSecretSpec": {}}}
    cluster.add("/apis/apps/v1/deployments", deployment())
    cluster.add("/api/v1/pods", pod_in("a", "bare", owner=None))
    for namespace in "ab":
        account = {"namespace": namespace, "name": "default"}
        cluster.add("/api/v1/serviceaccounts", {"metadata": account, "imagePullSecrets": [{"name": "app"}]})
    forbid(cluster)
    return cluster


def forbid(cluster: FakeCluster, *verbs: str) -> None:
    """Have the API server say that the caller may not do these things."""
    cluster.answers["selfsubjectaccessreviews"] = lambda _, body: {
        "status": {"allowed": body["spec"]["resourceAttributes"]["verb"] not in verbs}
    }


def eviction_of(pod: str) -> str:
    return f"/api/v1/namespaces/a/pods/{pod}/eviction"


def pod_in(namespace: str, name: str, **how: Any) -> dict[str, Any]:
    found = pod(name, **how)
    return {**found, "metadata": {**found["metadata"], "namespace": namespace}}


@dataclass
class Done:
    """How a command ended."""

    stdout: str
    stderr: str
    exit_code: int = 0
    exception: BaseException | None = None

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class Surroundings:
    """A Vault with some versions, and a delivery that reaches all namespaces but the missing ones."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.vault = Versions("old")
        self.cluster = cluster_of_two()
        self.missing: dict[str, str] = {}
        self.synced = True
        self.error: Exception | None = None
        self.way_back: Exception | None = None
        self.restarted: RestartResult | PullSecretsError = RestartResult()
        self.workloads: list[Workload] = []
        self.unpulled: dict[str, str] = {}

    def deliver(
        self, _target: object, _which: object, version: int, digest: str, *_: object, **__: object
    ) -> Delivered:
        back = version == len(self.vault.states) > 2
        error = self.way_back if back else self.error
        if error:
            raise error
        missing = {} if back else self.missing
        namespaces = tuple(sorted({"a", "b"} - missing.keys()))
        return Delivered(version, digest, namespaces, missing, 1.5, self.synced)

    def restart(self, *_: object) -> RestartResult:
        if isinstance(self.restarted, PullSecretsError):
            raise self.restarted
        return self.restarted

    def pull(self, _target: object, image: str, namespaces: Collection[str]) -> Mapping[str, str]:
        assert (image, sorted(namespaces)) == (IMAGE, ["a", "b"])
        return self.unpulled

    def hold(self, namespaces: Iterable[str], content: str) -> None:
        """Have the Secrets of these namespaces hold a content, whatever their metadata says."""
        encoded = base64.b64encode(content.encode()).decode()
        for name in namespaces:
            self.cluster.objects[secret_path(name, "app")]["data"] = {".dockerconfigjson": encoded}

    def failing_restart(self, restarted_for: str | None = None) -> None:
        self.workloads = [Workload("Deployment", "a", "auth", restarted_for, None)]
        self.restarted = RestartResult(failed={"deployment/auth in a": "exceeded its progress deadline"})

    def run(self, *, user: str = "new", **chosen: Any) -> Done:
        named = {item.name for item in fields(Dialog)}
        dialog = Dialog(**{name: chosen.pop(name) for name in named & chosen.keys()})
        effects = Effects(self.deliver, self.pull, lambda *_: self.workloads, self.restart)
        code, raised, before = 0, None, copy.deepcopy(self.cluster.objects)
        try:
            choices = Choices(wave_timeout=0, **chosen)
            target = Target(CONFIG, REGISTRY, self.cluster, self.vault)
            rotate.carry_out(target, choices, dialog, document.parse(credential(user)), effects=effects)
        except typer.Exit as end:
            code = end.exit_code
        except PullSecretsError as error:
            code, raised = int(error.exit_code), error
        assert self.cluster.objects == before, "what is tried is not written"
        shown = self.capsys.readouterr()
        return Done(shown.out, shown.err, code, raised)

    def json(self, *, user: str = "new", **chosen: Any) -> tuple[int, dict[str, Any]]:
        done = self.run(user=user, yes=True, json=True, **chosen)
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Surroundings:
    return Surroundings(capsys)


def test_it_says_what_it_did_and_never_the_credential(here: Surroundings) -> None:
    done = here.run(yes=True)
    assert done.exit_code == 0
    assert "2 of 2 namespaces hold version 2 of app in 1.5 s" in done.stdout
    assert "a/bare: nothing would recreate it: delete it and apply it again" in done.stdout
    assert "password-of" not in done.output
    assert here.vault.custom["rotated-in-dev"] == "2"


def test_json_is_one_document(here: Surroundings) -> None:
    code, found = here.json()
    assert code == 0
    assert (found["outcome"], found["wrote"], found["version"], found["namespaces"]) == ("done", True, 2, ["a", "b"])
    assert here.json()[1]["wrote"] is False
    assert len(here.vault.states) == 2


def test_nothing_is_written_without_a_yes_or_in_a_dry_run(here: Surroundings) -> None:
    refused = here.run()
    assert isinstance(refused.exception, BadInputError)
    assert "add --yes" in str(refused.exception)
    planned = here.run(dry_run=True)
    assert "2 namespaces would receive it: a, b" in planned.stdout
    assert here.json(dry_run=True)[1]["outcome"] == "planned"
    assert len(here.vault.states) == 1


def test_what_is_missing_is_named_with_its_cause_and_the_version_stays(here: Surroundings) -> None:
    here.missing = {"b": "could not get secret data"}
    done = here.run(yes=True)
    assert done.exit_code == 1
    assert "b: could not get secret data" in done.stdout
    assert "version 2 stays; run the same command again, or `pull-secrets rollback app`" in done.stdout
    assert "rotated-in-dev" not in here.vault.custom


def test_a_failure_is_taken_back_when_that_is_asked_for(here: Surroundings) -> None:
    here.missing = {"b": "could not get secret data"}
    code, found = here.json(take_back=True, all_or_nothing=True)
    assert (code, found["outcome"], found["rolledBack"]["version"]) == (1, "rolled back", 3)
    assert here.vault.data[3] == here.vault.data[1]


def test_a_rerun_after_a_kill_takes_back_too_but_not_a_version_that_had_arrived(here: Surroundings) -> None:
    assert here.json()[0] == 0
    here.missing = {"b": "could not get secret data"}
    assert here.json(take_back=True, all_or_nothing=True)[1]["outcome"] == "failed"
    assert len(here.vault.states) == 2
    del here.vault.custom["rotated-in-dev"]
    assert here.json(take_back=True, all_or_nothing=True)[1]["outcome"] == "rolled back"


def test_the_first_version_cannot_be_taken_back(here: Surroundings) -> None:
    here.vault = Versions()
    here.missing = {"b": "could not get secret data"}
    code, found = here.json(take_back=True, all_or_nothing=True)
    assert (code, found["outcome"]) == (1, "failed")
    assert "no earlier version is live" in found["notRolledBack"]


@pytest.mark.parametrize("options", [{"yes": True}, {"dry_run": True}])
def test_a_namespace_without_the_label_is_refused_before_anything_is_written(
    here: Surroundings, options: dict[str, Any]
) -> None:
    refused = here.run(**options, only=frozenset({"a", "app-paymnts"})).exception
    assert isinstance(refused, BadInputError)
    assert "--only: found app-paymnts; allowed: namespaces that carry apps.platform/tenant=true" in str(refused)
    del here.cluster.objects["/api/v1/namespaces/a"], here.cluster.objects["/api/v1/namespaces/b"]
    refused = here.run(**options).exception
    assert isinstance(refused, BadInputError)
    assert "use `pull-secrets seed` to write the credential alone" in str(refused)
    assert len(here.vault.states) == 1


def test_what_arrived_elsewhere_is_not_taken_back_for_one_namespace(here: Surroundings) -> None:
    here.missing = {"b": "exceeded quota"}
    done = here.run(yes=True, take_back=True)
    assert done.exit_code == 1
    assert "it arrived everywhere but in b, and --all-or-nothing was not given" in done.stdout
    assert len(here.vault.states) == 2
    here.vault, here.missing = Versions("old"), dict.fromkeys("ab", "exceeded quota")
    assert here.json(take_back=True)[1]["outcome"] == "rolled back"
    assert "found without --rollback-on-failure" in str(here.run(yes=True, all_or_nothing=True).exception)


def test_what_will_not_take_it_is_told_before_the_write(here: Surroundings) -> None:
    here.cluster.objects[IN_A] = delivered.external_secret("a", status="False")
    del here.cluster.objects[secret_path("a", "app")]
    of = {"kind": "ExternalSecret", "name": "app", "namespace": "a"}
    told = 'secrets "app" is forbidden: exceeded quota: few'
    here.cluster.add("/api/v1/events", {"metadata": {}, "type": "Warning", "involvedObject": of, "message": told})
    here.cluster.refuse["PATCH", SECRET_IN_B] = 403, "admission webhook freeze denied the request"
    here.cluster.objects["/api/v1/namespaces/c"] = delivered.namespace("c", deletionTimestamp="2026-01-01T00:00:00Z")
    code, found = here.json(dry_run=True)
    assert (code, len(here.vault.states)) == (0, 1)
    assert found["foreseen"] == {
        "a": 'secrets "app" is forbidden: exceeded quota: few',
        "b": "admission webhook freeze denied the request",
        "c": "it is being deleted, so it is left out",
    }
    assert "3 namespaces will not receive it, for a reason that already exists" in here.run(yes=True).output


def test_whoever_may_not_try_a_policy_is_told_so(here: Surroundings) -> None:
    forbid(here.cluster, "patch")
    here.cluster.refuse["PATCH", SECRET_IN_B] = 403, "would be refused"
    found = here.json(dry_run=True)[1]
    assert (found["foreseen"], "you may not patch Secrets" in found["unchecked"][0]) == ({}, True)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda metadata: metadata.update(ownerReferences=[]), "pull-secrets adopt b --registry app"),
        (lambda metadata: metadata["labels"].clear(), "label --overwrite secret app"),
        (
            lambda metadata: metadata["managedFields"].append(delivered.written("kubectl", immutable={})),
            "kubectl -n b delete secret app",
        ),
    ],
    ids=["foreign", "unmanaged", "immutable"],
)
def test_a_secret_that_would_keep_what_it_holds_is_refused_before_the_write(
    here: Surroundings, spoil: Any, cause: str
) -> None:
    spoil(here.cluster.objects[SECRET_IN_B]["metadata"])
    refused = here.run(yes=True).exception
    assert isinstance(refused, BadInputError)
    assert cause in str(refused)
    assert len(here.vault.states) == 1
    assert here.run(yes=True, only=frozenset({"a"})).exit_code == 0


def test_a_secret_of_another_type_is_refused_before_the_write(here: Surroundings) -> None:
    here.cluster.objects[SECRET_IN_B]["type"] = "Opaque"
    assert "type cannot be changed" in str(here.run(yes=True).exception)
    assert len(here.vault.states) == 1


def test_bytes_are_compared_where_that_is_asked_for_and_permitted(here: Surroundings) -> None:
    here.json()
    here.hold("ab", here.vault.data[2]["dockerconfigjson"])
    assert here.json(by_content=True)[0] == 0
    here.hold("b", credential("kept-from-before"))
    code, found = here.json(by_content=True)
    assert (code, found["namespaces"], "its bytes are not those" in found["missing"]["b"]) == (1, ["a"], True)
    forbid(here.cluster, "get")
    assert "--by-content: you may not get Secrets" in str(here.run(yes=True, by_content=True, user="third").exception)
    assert len(here.vault.states) == 2


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("deleted_after", "720h0m0s", "delete_version_after 720h0m0s (path)"),
        ("on_mount", MountSettings(0, "1h0m0s"), "delete_version_after 1h0m0s (mount)"),
        ("versions_kept", 1, "max_versions 1: the write drops the credential before it"),
        ("seconds_left", 60, "the Vault token ends in 60 s, before --timeout (300 s)"),
    ],
)
def test_what_vault_will_do_later_is_told_before_the_write(
    here: Surroundings, setting: str, value: object, told: str
) -> None:
    assert here.json(dry_run=True)[1]["warnings"] == []
    setattr(here.vault, setting, value)
    (warning,) = here.json(dry_run=True)[1]["warnings"]
    assert told in warning


def test_a_rotation_is_done_when_a_test_pod_has_pulled_and_taken_back_when_it_cannot(here: Surroundings) -> None:
    code, found = here.json(image=IMAGE, take_back=True)
    assert (code, found["outcome"], found["unpulled"]) == (0, "done", {})
    here.vault, here.unpulled = Versions("old"), {"b": "401 Unauthorized"}
    code, found = here.json(image=IMAGE, take_back=True)
    assert (code, found["outcome"], found["unpulled"]) == (1, "rolled back", {"b": "401 Unauthorized"})
    assert "in 1 namespace the test Pod could not pull" in here.run(yes=True, image=IMAGE, user="third").stdout


def test_a_pull_that_may_not_be_made_is_refused_before_the_write(here: Surroundings) -> None:
    assert "none of the stack's" in str(here.run(yes=True, image="busybox:1").exception)
    forbid(here.cluster, "create")
    assert "one of the verifiers" in str(here.run(yes=True, image="app.example.com/a:1").exception)
    assert len(here.vault.states) == 1


def test_a_way_back_that_vault_would_drop_is_not_promised(here: Surroundings) -> None:
    here.vault.versions_kept = 1
    refused = here.run(yes=True, take_back=True).exception
    assert isinstance(refused, BadInputError)
    assert len(here.vault.states) == 1


ERRORS = [
    PullSecretsError("the annotation is removed before ESO acts on it"),
    KubernetesApiError("PATCH", "/", 403, "Forbidden", "no"),
    UnreachableError("away"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_after_the_write_is_taken_back_too_and_keeps_its_exit_code(
    here: Surroundings, error: PullSecretsError
) -> None:
    here.error = error
    done = here.run(yes=True, json=True, take_back=True)
    found = json.loads(done.stdout)
    assert (found["outcome"], found["error"], found["rolledBack"]["version"]) == ("rolled back", str(error), 3)
    assert done.exception is error
    assert here.vault.data[3] == here.vault.data[1]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_the_restart_is_taken_back_too(here: Surroundings, error: PullSecretsError) -> None:
    here.restarted = error
    done = here.run(yes=True, json=True, restart=True, take_back=True)
    assert (json.loads(done.stdout)["outcome"], done.exception) == ("rolled back", error)


def test_without_the_way_back_an_error_says_that_the_version_stays(here: Surroundings) -> None:
    here.error = ERRORS[0]
    done = here.run(yes=True)
    assert "version 2 stays; run the same command again" in done.stdout
    assert done.exception is here.error
    assert len(here.vault.states) == 2


def test_what_somebody_else_wrote_meanwhile_is_not_taken_back(here: Surroundings) -> None:
    here.error = ConflictError("version 3 was written meanwhile")
    done = here.run(yes=True, take_back=True)
    assert done.exception is here.error
    assert len(here.vault.states) == 2


def test_an_error_on_the_way_back_is_in_the_document_beside_the_first_one(here: Surroundings) -> None:
    here.error, here.way_back = ERRORS[0], ERRORS[2]
    done = here.run(yes=True, json=True, take_back=True, all_or_nothing=True)
    found = json.loads(done.stdout)
    assert (found["outcome"], found["error"], found["notRolledBack"]) == ("failed", str(ERRORS[0]), "away")
    assert done.exception is here.error
    here.vault, here.error, here.missing = Versions("old"), None, {"b": "could not get secret data"}
    done = here.run(yes=True, take_back=True, all_or_nothing=True)
    assert "not rolled back to the end: away; see `pull-secrets rollback app --dry-run`" in done.stdout
    assert done.exception is here.way_back


def test_what_arrived_in_some_namespaces_is_taken_back_when_it_fails_in_the_others(here: Surroundings) -> None:
    assert here.json(only=frozenset({"a"}))[0] == 0
    assert "rotated-in-dev" not in here.vault.custom
    here.missing = {"b": "could not get secret data"}
    assert here.json(take_back=True, all_or_nothing=True)[1]["outcome"] == "rolled back"


def test_what_had_arrived_by_another_way_is_not_taken_back_for_a_restart_that_fails(here: Surroundings) -> None:
    here.json()
    # As `seed` leaves it.
    del here.vault.custom["rotated-in-dev"]
    here.synced = False
    here.failing_restart()
    assert here.json(restart=True, take_back=True)[1]["outcome"] == "failed"
    # An earlier run of this rotation restarted it.
    here.failing_restart("app@2")
    assert here.json(restart=True, take_back=True)[1]["outcome"] == "rolled back"


def test_what_arrived_in_a_cluster_that_shares_the_path_is_not_taken_back(here: Surroundings) -> None:
    here.json()
    here.vault.custom["rotated-in-other"] = here.vault.custom.pop("rotated-in-dev")
    here.missing = {"b": "its egress is closed"}
    assert here.json(take_back=True)[1]["outcome"] == "failed"
    assert len(here.vault.states) == 2


def test_a_pod_that_is_not_evicted_is_a_problem_after_a_rotation_that_ended_well(here: Surroundings) -> None:
    here.cluster.lists["/api/v1/pods"] = [pod_in("a", name, owner="DaemonSet") for name in "xyz"]
    here.cluster.refuse |= {
        ("POST", eviction_of("x")): (429, "would violate the budget"),
        ("POST", eviction_of("y")): (500, "more than one PodDisruptionBudget"),
    }
    code, found = here.json(recreate=True, take_back=True)
    assert (code, found["outcome"], found["pods"]["recreated"]) == (1, "failed", ["a/z"])
    assert found["pods"]["held"] == {"a/x": "would violate the budget"}
    assert found["pods"]["refused"] == {"a/y": "more than one PodDisruptionBudget"}
    assert here.vault.custom["rotated-in-dev"] == "2"
    done = here.run(yes=True, recreate=True)
    assert "2 Pods not evicted" in done.stdout
    assert "a/y: more than one PodDisruptionBudget" in done.stdout
    assert here.run(yes=True, recreate=False).exit_code == 0


def test_an_outage_while_pods_are_evicted_is_told_with_what_was_delivered(here: Surroundings) -> None:
    here.cluster.lists["/api/v1/pods"] = [pod_in("a", "x", owner="DaemonSet")]
    here.cluster.failures = {("POST", eviction_of("x")): [ERRORS[2]]}
    done = here.run(yes=True, json=True, recreate=True, take_back=True)
    assert (json.loads(done.stdout)["outcome"], done.exception) == ("failed", ERRORS[2])
    assert len(here.vault.states) == 2
