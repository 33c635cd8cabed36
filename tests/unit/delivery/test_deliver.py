"""One version delivered: synced once, proved, superseded by others, taken back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from pullsecrets.credential.document import content_digest
from pullsecrets.credential.vault import EntryMetadata
from pullsecrets.delivery import deliver, prechecks
from pullsecrets.delivery.proof import Progress
from pullsecrets.errors import BadInputError, ConflictError, UnreachableError
from pullsecrets.kube import eso, waiting
from pullsecrets.kube.client import KubernetesApiError
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.credential.test_history import CONFIG, Versions, credential
from tests.unit.delivery.test_proof import NEW, OLD, Watched
from tests.unit.kube.test_eso import REGISTRY, installation

if TYPE_CHECKING:
    from pullsecrets.kube.client import KubernetesClient


OLD_ESO = installation((0, 19, 0))


@dataclass
class Cluster:
    """What the rotation asks of a cluster, by what each of its waits finds missing."""

    missing: list[set[str]]
    synced: list[set[str]] = field(default_factory=list[set[str]])
    conditions: dict[str, str] = field(default_factory=dict[str, str])
    """By namespace: whether the ExternalSecret there is Ready."""
    on_wait: Callable[[], None] = lambda: None
    failures: dict[str, list[Exception]] = field(default_factory=dict[str, list[Exception]])

    def fail(self, what: str) -> None:
        if self.failures.get(what):
            raise self.failures[what].pop(0)

    def wait(self, *_: object, timeout: float, **__: object) -> Progress:
        if timeout:
            self.on_wait()
        self.fail("wait" if timeout else "look")
        missing = frozenset(self.missing.pop(0) if len(self.missing) > 1 else self.missing[0])
        return Progress(missing | {"a", "b"}, missing)

    def force_sync(self, _cluster: object, _registry: object, _installation: object, namespaces: set[str]) -> None:
        self.fail("sync")
        self.synced.append(set(namespaces))

    def items(self, path: str, query: dict[str, str], *, metadata_only: bool = False) -> list[dict[str, Any]]:
        assert query == {"fieldSelector": "metadata.name=app"}
        self.fail("explain")
        if path == "/api/v1/secrets":
            assert metadata_only
            return [delivered.secret(name, OLD) for name in self.conditions]
        assert path == f"{eso.GROUP}/externalsecrets"
        return [delivered.external_secret(name, status=status) for name, status in self.conditions.items()]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[prechecks.Target, Cluster]]:
    def make(*missing: set[str], vault: Versions | None = None) -> tuple[prechecks.Target, Cluster]:
        cluster = Cluster(list(missing))
        monkeypatch.setattr(deliver, "prove_digest", cluster.wait)
        monkeypatch.setattr(eso, "force_sync", cluster.force_sync)
        monkeypatch.setattr(waiting, "RETRY_SECONDS", 0)
        monkeypatch.setattr(deliver, "LOOK_AT_VAULT_SECONDS", 0.01)
        return prechecks.Target(CONFIG, REGISTRY, cast("KubernetesClient", cluster), vault or Versions("x")), cluster

    return make


Make = Callable[..., tuple[prechecks.Target, Cluster]]


def test_where_all_hold_it_already_eso_is_left_alone(make: Make) -> None:
    target, cluster = make(set())
    arrived = deliver.deliver(target, installation(), 1, "digest", 5)
    assert (arrived.synced, arrived.namespaces, cluster.synced) == (False, ("a", "b"), [])


def test_a_version_that_hands_on_is_told_once_and_an_older_one_until_it_is_through(make: Make) -> None:
    for which, told in ((installation(), [{"a", "b"}]), (OLD_ESO, [{"a", "b"}, {"b"}])):
        target, cluster = make({"a", "b"}, {"b"}, set())
        arrived = deliver.deliver(target, which, 1, "digest", 5)
        assert arrived.missing == {}
        assert cluster.synced == told


def test_what_is_missing_at_the_end_is_explained(make: Make) -> None:
    target, cluster = make({"a", "b", "c"})
    cluster.conditions = {"a": "False", "b": "True"}
    arrived = deliver.deliver(target, installation(), 1, "digest", 0.05)
    assert arrived.missing == {
        "a": "secret synced",
        "b": f"synced last at {delivered.REFRESHED}, with other content",
        "c": "no ExternalSecret: ESO has not fanned out to it",
    }
    assert arrived.namespaces == ()


def test_a_namespace_that_joins_after_the_proof_is_not_reported_as_proved() -> None:
    class Joined(Watched):
        """The second namespace gets its label after the first look."""

        def items(self, *arguments: Any, **named: Any) -> Iterator[dict[str, Any]]:
            yield from super().items(*arguments, **named)
            self.namespaces = ["a", "b"]

    cluster = Joined(["a"], {"a": NEW, "b": OLD}, [])
    arrived = deliver.deliver(prechecks.Target(CONFIG, REGISTRY, cluster, Versions("x")), installation(), 1, NEW, 5)
    assert arrived.namespaces == ("a",)


def test_a_relay_that_is_not_filled_explains_every_namespace() -> None:
    relayed = REGISTRY.model_copy(update={"delivery": "fanout"})
    relay = delivered.external_secret(CONFIG.eso.namespace, status="False", message="no such key")
    cluster = FakeCluster(lists={f"{eso.GROUP}/externalsecrets": [relay, delivered.external_secret("a")]})
    found = deliver.explain(prechecks.Target(CONFIG, relayed, cluster, None), "digest", {"b", "a"})
    assert found == dict.fromkeys("ab", f"its relay in {CONFIG.eso.namespace}: no such key")
    direct = deliver.explain(prechecks.Target(CONFIG, REGISTRY, cluster, None), "digest", {"a"})
    assert "relay" not in direct["a"]


AWAY = UnreachableError("away")
BUSY = KubernetesApiError("GET", "/", 503, "ServiceUnavailable", "starting")


class Flaky(Versions):
    """A Vault that is away for some requests."""

    failures = 0

    def read_metadata(self, mount: str, path: str) -> EntryMetadata | None:
        if self.failures:
            self.failures -= 1
            raise UnreachableError("Vault is sealed")
        return super().read_metadata(mount, path)


def test_an_api_server_and_a_vault_that_are_away_for_a_moment_are_waited_for(make: Make) -> None:
    vault = Flaky("x")
    vault.failures = 3
    target, cluster = make({"a", "b"}, {"b"}, set(), vault=vault)
    cluster.failures = {"look": [AWAY, BUSY], "sync": [BUSY, AWAY], "wait": [AWAY, BUSY, AWAY]}
    assert deliver.deliver(target, OLD_ESO, 1, "digest", 5).missing == {}
    assert (cluster.synced, vault.failures) == ([{"a", "b"}, {"b"}], 0)


@pytest.mark.parametrize("what", ["look", "sync", "wait"])
def test_a_refusal_ends_the_delivery_and_so_does_an_outage_that_outlasts_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    refusal = KubernetesApiError("GET", "/", 403, "Forbidden", "no")
    for failure, retry_seconds in ((refusal, 0), (AWAY, 99)):
        target, cluster = make({"a"})
        monkeypatch.setattr(waiting, "RETRY_SECONDS", retry_seconds)
        cluster.failures = {what: [failure]}
        with pytest.raises(type(failure)):
            deliver.deliver(target, installation(), 1, "digest", 5)


def test_what_cannot_be_explained_is_missing_all_the_same(make: Make) -> None:
    target, cluster = make({"a"})
    cluster.failures = {"explain": [KubernetesApiError("GET", "/", 403, "Forbidden", "no")]}
    missing = deliver.deliver(target, installation(), 1, "digest", 0.02).missing
    assert missing == {"a": "its ExternalSecret cannot be read: Kubernetes API: GET /: 403 Forbidden: no"}


@pytest.mark.parametrize(
    ("labelled", "only", "cause"),
    [
        (["a", "b"], {"a", "typo"}, "--only: found typo; allowed: namespaces that carry apps.platform/tenant=true"),
        ([], None, "no namespace carries apps.platform/tenant=true.*`pulumi up`.*`pull-secrets seed`"),
    ],
)
def test_where_nothing_could_be_proved_nothing_is_begun(
    monkeypatch: pytest.MonkeyPatch, labelled: list[str], only: set[str] | None, cause: str
) -> None:
    monkeypatch.setattr(eso, "require_refreshing", lambda *_: None)
    target = prechecks.Target(CONFIG, REGISTRY, Watched(labelled, {}, []), Versions("x"))
    with pytest.raises(BadInputError, match=cause):
        prechecks.prepare(target, only)


def test_a_newer_write_of_somebody_else_ends_the_wait_and_is_not_taken_back(make: Make) -> None:
    vault = Versions("old", "ours")
    target, cluster = make({"a"}, vault=vault)
    cluster.on_wait = lambda: vault.states.setdefault(3, vault.states[2].__class__(3, "2026-01-01T00:00:00Z")) and None
    with pytest.raises(ConflictError, match="version 3 was written while version 2 was being delivered"):
        deliver.deliver(target, installation(), 2, "digest", 5)
    vault.data[3] = {"dockerconfigjson": credential("theirs")}
    with pytest.raises(ConflictError):
        deliver.write_back(target, 2, 5)
    assert len(vault.states) == 3


def test_the_content_before_is_written_as_a_new_version(make: Make) -> None:
    vault = Versions("old", "bad")
    target, _ = make(set(), vault=vault)
    assert deliver.write_back(target, 2, 5) == (3, content_digest(credential("old")))
    assert vault.data[3] == vault.data[1]


def test_a_version_that_was_rotated_in_before_is_known(make: Make) -> None:
    vault = Versions("old", "good")
    target, _ = make(set(), vault=vault)
    assert not deliver.is_finished(target, 2)
    deliver.finish(target, 2)
    assert deliver.is_finished(target, 2)
    assert vault.custom["rotated-in-dev"] == "2"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Versions, "patch_metadata", None)
        deliver.finish(target, 2)


def test_a_version_that_another_cluster_rotated_in_has_arrived_too_and_each_records_its_own(make: Make) -> None:
    vault = Versions("old", "good")
    target, _ = make(set(), vault=vault)
    vault.custom |= {"rotated-in-other": "2", "rotated-in-dev": "1"}
    assert deliver.is_finished(target, 2)
    deliver.finish(target, 2)
    assert vault.custom["rotated-in-dev"] == "2"


def test_a_sealed_registry_is_not_in_vault() -> None:
    sealed = REGISTRY.model_copy(update={"source": "sealedSecret"})
    with pytest.raises(BadInputError, match="pull-secrets seal app"):
        prechecks.require_in_vault(sealed)


def test_a_sealed_credential_is_not_taken_back_here(make: Make) -> None:
    target, _ = make(set())
    sealed = prechecks.Target(CONFIG, REGISTRY, target.cluster, None)
    with pytest.raises(BadInputError, match="taken back in git"):
        deliver.write_back(sealed, 0, 1)
