"""One version delivered: synced once, proved, superseded by others, taken back."""

from collections.abc import Iterable

import pytest

from pullsecrets.credential.document import content_digest
from pullsecrets.credential.vault import EntryMetadata
from pullsecrets.delivery import deliver, prechecks
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError
from pullsecrets.kube import eso, waiting
from pullsecrets.kube.client import KubernetesApiError
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.credential.test_history import CONFIG, Versions, credential
from tests.unit.delivery.test_proof import AWAY, NEW, OLD, SECRETS, holding
from tests.unit.kube.test_eso import FANOUT, IN_A, IN_B, REGISTRY, installation

OLD_ESO = installation((0, 19, 0))
EXTERNAL_SECRETS = f"{eso.GROUP}/externalsecrets"
TOLD, EACH_TOLD = ("PATCH", FANOUT), {("PATCH", IN_A), ("PATCH", IN_B)}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0)
    monkeypatch.setattr(deliver, "LOOK_AT_VAULT_SECONDS", 0.01)


def fanned_out(**digests: str | None) -> FakeCluster:
    """A cluster whose namespaces hold these contents, and the ClusterExternalSecret that ESO is told by."""
    cluster = delivered.cluster(digests)
    cluster.objects[FANOUT] = {"metadata": {"name": "app"}, "spec": {"externalSecretSpec": {}}}
    return cluster


def refreshed(cluster: FakeCluster, method: str, path: str, namespaces: Iterable[str]) -> None:
    """Have ESO write the new content into these namespaces once it is told."""
    if method == "PATCH" and path in {FANOUT, IN_B}:
        cluster.coming += [holding(name) for name in namespaces]


def refreshing(*rounds: str, **digests: str | None) -> FakeCluster:
    """The same, with an ESO that writes the new content into the next of these namespaces each time it is told."""
    cluster, left = fanned_out(**digests), iter([*rounds, *[""] * 99])
    cluster.before_write = lambda method, path: refreshed(
        cluster, method, path, next(left) if path in {FANOUT, IN_B} else ""
    )
    return cluster


def target(cluster: FakeCluster, vault: Versions | None = None) -> prechecks.Target:
    return prechecks.Target(CONFIG, REGISTRY, cluster, vault or Versions("x"))


def test_where_all_hold_it_already_eso_is_left_alone() -> None:
    cluster = fanned_out(a=NEW, b=NEW)
    arrived = deliver.deliver(target(cluster), installation(), 1, NEW, 5)
    assert (arrived.synced, arrived.namespaces, arrived.missing, cluster.sent) == (False, ("a", "b"), {}, [])


def test_a_version_that_hands_on_is_told_once() -> None:
    cluster = refreshing("ab", a=OLD, b=OLD)
    arrived = deliver.deliver(target(cluster), installation(), 1, NEW, 5)
    assert (arrived.missing, arrived.synced, cluster.sent) == ({}, True, [TOLD])


def test_an_older_version_is_told_of_each_namespace_until_it_is_through() -> None:
    cluster = refreshing("a", "b", a=OLD, b=OLD)
    assert deliver.deliver(target(cluster), OLD_ESO, 1, NEW, 5).missing == {}
    assert (set(cluster.sent[:2]), cluster.sent[2:]) == (EACH_TOLD, [("PATCH", IN_B)])


def test_what_is_missing_at_the_end_is_explained() -> None:
    cluster = fanned_out(a=OLD, b=OLD, c=None)
    cluster.objects[IN_A] = delivered.external_secret("a", status="False")
    del cluster.objects[eso.external_secret_path("c", "app")]
    arrived = deliver.deliver(target(cluster), installation(), 1, NEW, 0.05)
    assert arrived.missing == {
        "a": "secret synced",
        "b": f"synced last at {delivered.REFRESHED}, with other content",
        "c": "no ExternalSecret: ESO has not fanned out to it",
    }
    assert arrived.namespaces == ()


def test_a_namespace_that_joins_after_the_proof_is_not_reported_as_proved() -> None:
    cluster = fanned_out(a=NEW)
    cluster.before_read = lambda path: (
        cluster.objects.update(delivered.cluster({"b": NEW}).objects) if path == EXTERNAL_SECRETS else None
    )
    assert deliver.deliver(target(cluster), installation(), 1, NEW, 5).namespaces == ("a",)


def test_a_relay_that_is_not_filled_explains_every_namespace() -> None:
    relayed = REGISTRY.model_copy(update={"delivery": "fanout"})
    relay = delivered.external_secret(CONFIG.eso.namespace, status="False", message="no such key")
    cluster = FakeCluster(lists={f"{eso.GROUP}/externalsecrets": [relay, delivered.external_secret("a")]})
    found = deliver.explain(prechecks.Target(CONFIG, relayed, cluster, None), "digest", {"b", "a"})
    assert found == dict.fromkeys("ab", f"its relay in {CONFIG.eso.namespace}: no such key")
    direct = deliver.explain(prechecks.Target(CONFIG, REGISTRY, cluster, None), "digest", {"a"})
    assert "relay" not in direct["a"]


BUSY = KubernetesApiError("GET", "/", 503, "ServiceUnavailable", "starting")
REFUSAL = KubernetesApiError("GET", "/", 403, "Forbidden", "no")


class Flaky(Versions):
    """A Vault that is away for some requests."""

    failures = 0

    def read_metadata(self, mount: str, path: str) -> EntryMetadata | None:
        if self.failures:
            self.failures -= 1
            raise UnreachableError("Vault is sealed")
        return super().read_metadata(mount, path)


def test_an_api_server_and_a_vault_that_are_away_for_a_moment_are_waited_for() -> None:
    vault = Flaky("x")
    vault.failures = 3
    cluster = refreshing("a", "b", a=OLD, b=OLD)
    cluster.failures = {
        ("GET", SECRETS): [AWAY, BUSY],
        ("PATCH", IN_A): [BUSY, AWAY],
        ("WATCH", SECRETS): [AWAY, BUSY, AWAY],
    }
    assert deliver.deliver(target(cluster, vault), OLD_ESO, 1, NEW, 5).missing == {}
    assert vault.failures == 0
    assert not any(cluster.failures.values())


@pytest.mark.parametrize("request_", [("GET", SECRETS), TOLD, ("WATCH", SECRETS)], ids=["look", "sync", "wait"])
@pytest.mark.parametrize(("failure", "retry_seconds"), [(REFUSAL, 0), (AWAY, 99)], ids=["refusal", "outage"])
def test_a_refusal_ends_the_delivery_and_so_does_an_outage_that_outlasts_it(
    monkeypatch: pytest.MonkeyPatch, request_: tuple[str, str], failure: PullSecretsError, retry_seconds: float
) -> None:
    monkeypatch.setattr(waiting, "RETRY_SECONDS", retry_seconds)
    cluster = refreshing("a", a=OLD)
    cluster.failures = {request_: [failure]}
    with pytest.raises(type(failure)):
        deliver.deliver(target(cluster), installation(), 1, NEW, 5)


def test_what_cannot_be_explained_is_missing_all_the_same() -> None:
    cluster = fanned_out(a=OLD)
    # The proof reads them first.
    cluster.failures = {("GET", EXTERNAL_SECRETS): [None, REFUSAL]}
    missing = deliver.deliver(target(cluster), installation(), 1, NEW, 0).missing
    assert missing == {"a": "its ExternalSecret cannot be read: Kubernetes API: GET /: 403 Forbidden: no"}


@pytest.mark.parametrize(
    ("labelled", "only", "cause"),
    [
        (["a", "b"], {"a", "typo"}, "--only: found typo; allowed: namespaces that carry apps.platform/tenant=true"),
        ([], None, "no namespace carries apps.platform/tenant=true.*`pulumi up`.*`pull-secrets seed`"),
    ],
)
def test_where_nothing_could_be_proved_nothing_is_begun(labelled: list[str], only: set[str] | None, cause: str) -> None:
    cluster = fanned_out(**dict.fromkeys(labelled))
    with pytest.raises(BadInputError, match=cause):
        prechecks.prepare(target(cluster), only)
    assert cluster.sent == []


def test_a_newer_write_of_somebody_else_ends_the_wait_and_is_not_taken_back() -> None:
    vault, cluster = Versions("old", "ours"), fanned_out(a=OLD)

    def theirs(*_: str) -> None:
        vault.write(credential("theirs"))

    cluster.before_write = theirs
    with pytest.raises(ConflictError, match="version 3 was written while version 2 was being delivered"):
        deliver.deliver(target(cluster, vault), installation(), 2, NEW, 5)
    with pytest.raises(ConflictError):
        deliver.write_back(target(cluster, vault), 2, 5)
    assert len(vault.states) == 3


def test_the_content_before_is_written_as_a_new_version() -> None:
    vault = Versions("old", "bad")
    assert deliver.write_back(target(fanned_out(), vault), 2, 5) == (3, content_digest(credential("old")))
    assert vault.data[3] == vault.data[1]


def test_a_version_that_was_rotated_in_before_is_known() -> None:
    vault = Versions("old", "good")
    here = target(fanned_out(), vault)
    assert not deliver.is_finished(here, 2)
    deliver.finish(here, 2)
    assert deliver.is_finished(here, 2)
    recorded = vault.custom
    assert recorded["rotated-in-dev"] == "2"
    deliver.finish(here, 2)
    assert vault.custom is recorded, "it is not written again"


def test_a_version_that_another_cluster_rotated_in_has_arrived_too_and_each_records_its_own() -> None:
    vault = Versions("old", "good")
    vault.custom |= {"rotated-in-other": "2", "rotated-in-dev": "1"}
    here = target(fanned_out(), vault)
    assert deliver.is_finished(here, 2)
    deliver.finish(here, 2)
    assert vault.custom["rotated-in-dev"] == "2"


def test_a_sealed_registry_is_not_in_vault() -> None:
    sealed = REGISTRY.model_copy(update={"source": "sealedSecret"})
    with pytest.raises(BadInputError, match="pull-secrets seal app"):
        prechecks.require_in_vault(sealed)


def test_a_sealed_credential_is_not_taken_back_here() -> None:
    sealed = prechecks.Target(CONFIG, REGISTRY, fanned_out(), None)
    with pytest.raises(BadInputError, match="taken back in git"):
        deliver.write_back(sealed, 0, 1)
