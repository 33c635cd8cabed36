"""Delivery is proved by metadata alone, whatever comes, goes and breaks while it is watched."""

from collections.abc import Collection

import pytest

from pullsecrets.delivery import proof
from pullsecrets.delivery.proof import Progress, prove_digest, wait_for_digest
from pullsecrets.errors import UnreachableError
from pullsecrets.kube import waiting
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.eso import external_secret_path
from pullsecrets.kube.objects import secret_path
from tests.unit import delivered
from tests.unit.cluster import FakeCluster, Object
from tests.unit.kube.test_eso import REGISTRY

NEW, OLD = "new-digest", "old-digest"
SECRETS = "/api/v1/secrets"
AWAY = UnreachableError("away")


def holding(namespace: str, digest: str | None = NEW) -> tuple[str, Object]:
    """The Secret of a namespace, as it comes to hold some content."""
    return secret_path(namespace, "app"), delivered.secret(namespace, digest)


def external_secret(namespace: str, status: str = "True") -> tuple[str, Object]:
    return external_secret_path(namespace, "app"), delivered.external_secret(namespace, status=status)


def wait(cluster: FakeCluster, timeout: float = 5, only: list[str] | None = None) -> tuple[set[str], list[Progress]]:
    seen: list[Progress] = []
    return set(prove_digest(cluster, REGISTRY, NEW, only, timeout, seen.append).missing), seen


def test_it_ends_as_soon_as_every_namespace_holds_the_content() -> None:
    cluster = delivered.cluster({"a": OLD, "b": None})
    cluster.objects["/api/v1/namespaces/going"] = delivered.namespace("going", deletionTimestamp="2026-01-01T00:00:00Z")
    cluster.objects["/api/v1/namespaces/other"] = {"metadata": {"name": "other"}}
    cluster.coming = [holding("a"), holding("b"), holding("a", OLD)]
    missing, seen = wait(cluster)
    assert missing == set()
    assert [sorted(progress.missing) for progress in seen] == [["a", "b"], ["b"], []]
    assert (seen[-1].proved, len(cluster.coming)) == (2, 1)
    assert SECRETS not in cluster.whole, "a Secret's content is never asked for"
    selector = {"fieldSelector": "metadata.name=app"}
    assert cluster.watched == [{**selector, "resourceVersion": "1", "allowWatchBookmarks": "true"}]


def test_a_secret_that_claims_the_content_is_proved_once_its_external_secret_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proof, "FIRST_PAUSE_SECONDS", 0.01)
    cluster = delivered.cluster({"a": OLD}, a="False")
    cluster.coming = [holding("a")]

    def meanwhile(_: str) -> None:
        if cluster.listed.count(SECRETS) == 2:
            cluster.objects.update([external_secret("a")])

    cluster.before_read = meanwhile
    missing, seen = wait(cluster)
    assert (missing, [progress.proved for progress in seen]) == (set(), [0, 1])
    assert wait(delivered.cluster({"a": NEW}, a="False"), timeout=0.05)[0] == {"a"}


def test_what_somebody_wrote_in_the_second_of_esos_write_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(proof, "WHOLE_SECOND", 0.01)
    cluster = delivered.cluster({"a": NEW, "b": NEW}, a="False", b="False")
    synced: list[Collection[str]] = []

    def sync(namespaces: Collection[str]) -> None:
        synced.append(namespaces)
        cluster.objects.update(map(external_secret, "ab"))

    assert wait_for_digest(cluster, REGISTRY, NEW, None, 5, sync) == frozenset()
    assert synced == [{"a", "b"}]


def test_without_time_it_looks_once_and_tells_what_was_wanted_with_what_was_proved() -> None:
    cluster = delivered.cluster({"a": NEW, "b": OLD})
    assert prove_digest(cluster, REGISTRY, NEW, None, 0) == Progress(frozenset("ab"), frozenset("b"))
    assert cluster.listed.count(SECRETS) == 1
    assert wait_for_digest(cluster, REGISTRY, NEW, None, 0) == {"b"}


def test_old_content_foreign_secrets_and_deletions_are_missing() -> None:
    cluster = delivered.cluster({"a": OLD, "b": None, "c": NEW})
    cluster.coming = [holding("a", OLD), holding("b", None), (secret_path("c", "app"), None)]
    assert wait(cluster, timeout=0.05)[0] == {"a", "b", "c"}


def test_a_namespace_that_goes_drops_out_and_one_that_comes_joins() -> None:
    cluster = delivered.cluster({"stays": NEW, "goes": OLD})
    seen: list[frozenset[str]] = []

    def meanwhile(progress: Progress) -> None:
        seen.append(progress.wanted)
        if len(seen) == 1:
            del cluster.objects["/api/v1/namespaces/goes"]
            cluster.objects |= delivered.cluster({"comes": None}).objects
            cluster.coming = [holding("stays", OLD), holding("stays"), holding("comes")]

    assert prove_digest(cluster, REGISTRY, NEW, None, 5, meanwhile).missing == frozenset()
    assert (seen[0], seen[-1]) == ({"stays", "goes"}, {"stays", "comes"})


def test_only_the_named_namespaces_are_waited_for() -> None:
    missing, seen = wait(delivered.cluster({"a": NEW, "b": OLD}), only=["a", "not-labelled"])
    assert (missing, seen[0].wanted) == (set(), {"a"})


@pytest.mark.parametrize(
    "end",
    [
        {"type": "ERROR", "object": {"code": 410}},
        KubernetesApiError("GET", SECRETS, 410, "Expired", "too old resource version"),
    ],
)
def test_a_watch_that_expired_begins_anew_with_a_list(end: Object | Exception) -> None:
    cluster = delivered.cluster({"a": OLD, "b": OLD})
    cluster.coming = [holding("a"), end, holding("b")]
    assert wait(cluster)[0] == set()
    assert cluster.listed.count(SECRETS) == 2


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)
    cluster = delivered.cluster({"a": OLD})
    cluster.coming = [AWAY, holding("a")]
    busy = KubernetesApiError("GET", "/", 503, "ServiceUnavailable", "starting")
    cluster.failures = {("GET", SECRETS): [busy, AWAY]}
    assert wait(cluster)[0] == set()
    cluster.failures = {("GET", SECRETS): [AWAY] * 100}
    with pytest.raises(UnreachableError):
        wait(cluster, timeout=0.05)


def test_a_refusal_is_not_waited_for() -> None:
    cluster = delivered.cluster({"a": OLD})
    cluster.refuse["GET", SECRETS] = 403, "no"
    with pytest.raises(KubernetesApiError, match="Forbidden"):
        wait(cluster)
