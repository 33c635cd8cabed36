"""A whole rotation on one API server and one Vault: delivered, pulled, restarted, retired, or taken back."""

from typing import Any

import pytest

from pullsecrets.credential import document
from pullsecrets.credential.document import content_digest
from pullsecrets.delivery import deliver, verify
from pullsecrets.delivery.plan import Choices, Plan, plan
from pullsecrets.delivery.prechecks import Target
from pullsecrets.delivery.rotation import Listener, Outcome, Rotation
from pullsecrets.kube import waiting
from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.marks import FORCE_SYNC_ANNOTATION
from pullsecrets.kube.objects import annotations_of, secret_path
from pullsecrets.workloads import restart
from pullsecrets.workloads.restart import RESTARTED_FOR_ANNOTATION
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.credential.test_history import CONFIG, Versions, credential
from tests.unit.delivery.test_deliver import TOLD, refreshed
from tests.unit.delivery.test_proof import NEW, OLD, holding
from tests.unit.delivery.test_verify import IMAGE, NO_LOGIN, REFUSED, STARTED, Kubelet
from tests.unit.kube.test_eso import FANOUT, REGISTRY, deployment, installation
from tests.unit.workloads.test_restart import workload

OURS, OTHERS = (f"/apis/apps/v1/namespaces/{name}/deployments/web" for name in ("a", "elsewhere"))
RELAY = external_secret_path(CONFIG.eso.namespace, "app")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((waiting, "RETRY_SECONDS"), (restart, "POLL_SECONDS"), (verify, "POLL_SECONDS")):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(deliver, "LOOK_AT_VAULT_SECONDS", 0.01)
    monkeypatch.setattr(deliver, "_POLL_SECONDS", 0.001)


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


class Cluster:
    """An ESO that writes what Vault holds into these namespaces, and a Deployment here and elsewhere."""

    def __init__(self, vault: Versions, *reached: list[str], **scripts: list[dict[str, Any]]) -> None:
        """Take what each sync reaches, the last one for good, and what becomes of the Pods that pull."""
        self.vault, self.reached = vault, list(reached)
        self.api = Kubelet(**(scripts or {"a": [STARTED], "b": [STARTED]}))
        self.api.objects[FANOUT] = {"metadata": {"name": "app"}, "spec": {"externalSecretSpec": {}}}
        self.api.add("/apis/apps/v1/deployments", deployment())
        for path in (OURS, OTHERS):
            item = workload("web")
            item["metadata"]["namespace"] = path.split("/")[5]
            self.api.objects[path] = item
        self.api.answers["selfsubjectaccessreviews"] = lambda *_: {"status": {"allowed": True}}
        self.api.before_write = self.sync

    def sync(self, method: str, path: str) -> None:
        if (method, path) == TOLD:
            digest = content_digest(self.vault.data[len(self.vault.states)]["dockerconfigjson"])
            reached = self.reached.pop(0) if len(self.reached) > 1 else self.reached[0]
            self.api.coming += [holding(name, digest) for name in reached]

    def rotate(self, listener: Listener | None = None, **chosen: Any) -> Outcome:
        choices = Choices(timeout=0.2, wave_timeout=0, **chosen)
        planned = plan(Target(CONFIG, REGISTRY, self.api, self.vault), choices, document.parse(credential("new")))
        return Rotation(planned, planned.write(), listener or Listener()).run()


def test_a_rotation_goes_all_the_way() -> None:
    vault = Versions("older", "old")
    cluster = Cluster(vault, ["a", "b"])
    found = cluster.rotate(image=IMAGE, restart=True, grace="24h")
    assert (found.result, found.unpulled, found.error) == ("done", {}, None)
    assert annotations_of(cluster.api.objects[OURS])[RESTARTED_FOR_ANNOTATION] == "app@3"
    assert annotations_of(cluster.api.objects[OTHERS]) == {}, "nothing there pulls from the registry"
    assert {pod["metadata"]["namespace"] for pod in cluster.api.made} == {"a", "b"}
    assert cluster.api.made[0]["spec"]["containers"][0]["image"] == IMAGE
    assert found.destroyed == (1, 2)
    assert [state.state for state in vault.states.values()] == ["destroyed", "destroyed", "live"]


def test_a_pull_that_fails_takes_it_back_before_anything_is_restarted() -> None:
    vault = Versions("old")
    cluster = Cluster(vault, ["a", "b"], a=[STARTED], b=[REFUSED])
    cluster.api.say(("Failed", NO_LOGIN), namespace="b")
    found = cluster.rotate(image=IMAGE, restart=True, take_back=True)
    assert (found.result, found.unpulled) == ("rolled back", {"b": NO_LOGIN})
    assert vault.data[3] == vault.data[1]
    assert found.restart is None


def test_a_way_back_that_does_not_arrive_is_no_way_back() -> None:
    vault = Versions("old")
    found = Cluster(vault, [], []).rotate(take_back=True)
    assert (found.result, set(found.rolled_back.missing if found.rolled_back else ())) == ("failed", {"a", "b"})
    assert vault.data[3] == vault.data[1]


def test_a_sealed_credential_that_does_not_arrive_stays() -> None:
    cluster, told = Cluster(Versions("old"), []), Told()
    sealed = Target(CONFIG, REGISTRY, cluster.api, None)
    found = Rotation(Plan(sealed, Choices(timeout=0.01), installation(), NEW), 0, told).run()
    assert found.result == "failed"
    assert told.texts == ["the sealed credential stays; run the same command again, or restore the old file with git"]


@pytest.mark.parametrize(("source", "patched"), [("vault", True), ("sealedSecret", False)])
def test_a_relayed_credential_is_in_esos_namespace_before_the_others_are_told(source: str, patched: bool) -> None:
    registry = REGISTRY.model_copy(update={"delivery": "fanout", "source": source})
    cluster = FakeCluster((RELAY, delivered.external_secret(CONFIG.eso.namespace)))
    cluster.objects |= delivered.cluster({"a": OLD, CONFIG.eso.namespace: OLD}).objects
    del cluster.objects[f"/api/v1/namespaces/{CONFIG.eso.namespace}"]
    cluster.objects[FANOUT] = {"metadata": {"name": "app"}, "spec": {}}
    looks: list[str] = []

    def relayed(path: str) -> None:
        looks.append(path)
        if looks.count(f"/api/v1/namespaces/{CONFIG.eso.namespace}/secrets") == 3:
            cluster.objects.update([holding(CONFIG.eso.namespace)])

    cluster.before_read = relayed
    cluster.before_write = lambda method, path: refreshed(cluster, method, path, ["a"])
    target = Target(CONFIG, registry, cluster, Versions("x") if patched else None)
    assert deliver.deliver(target, installation(), int(patched), NEW, 5).missing == {}
    assert cluster.sent == ([("PATCH", RELAY)] if patched else []) + [TOLD]
    assert (FORCE_SYNC_ANNOTATION in annotations_of(cluster.objects[RELAY])) == patched
    assert not [path for path in cluster.whole if path.endswith("/secrets")], "metadata is enough"
    assert secret_path(CONFIG.eso.namespace, "app") in cluster.objects
