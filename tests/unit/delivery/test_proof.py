"""Delivery is proved by metadata alone, whatever comes, goes and breaks while it is watched."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest

from pullsecrets.delivery import proof
from pullsecrets.delivery.proof import Progress, prove_digest, wait_for_digest
from pullsecrets.errors import UnreachableError
from pullsecrets.kube import waiting
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.eso import GROUP
from tests.unit import delivered
from tests.unit.kube.test_eso import REGISTRY

NEW, OLD = "new-digest", "old-digest"
Event = dict[str, Any]


class Watched(KubernetesClient):
    """A cluster whose Secrets change by a script: each watch gives one list of events, or an error."""

    def __init__(
        self, namespaces: list[str], digests: Mapping[str, str], watches: list[list[Event] | Exception]
    ) -> None:
        self.namespaces = namespaces
        self.digests = dict(digests)
        self.watches = watches
        self.lists = 0
        self.failures: list[Exception] = []
        self.statuses = ["True"]
        """What the ExternalSecrets say of being Ready, list by list; the last one for good."""

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        if path == f"{GROUP}/externalsecrets":
            assert (query, metadata_only) == ({"fieldSelector": "metadata.name=app"}, False)
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            yield from (delivered.external_secret(name, status=status) for name in self.namespaces)
            return
        assert (path, metadata_only) == ("/api/v1/namespaces", True)
        assert query == {"labelSelector": "apps.platform/tenant=true"}
        yield from ({"metadata": {"name": name}} for name in self.namespaces)
        yield {"metadata": {"name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}}

    def snapshot(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        assert (path, metadata_only, query) == ("/api/v1/secrets", True, {"fieldSelector": "metadata.name=app"})
        self.lists += 1
        if self.failures:
            raise self.failures.pop(0)
        return [delivered.secret(name, digest) for name, digest in self.digests.items()], "7"

    def watch(
        self, path: str, query: Mapping[str, str], seconds: int, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        assert (path, metadata_only, seconds > 0) == ("/api/v1/secrets", True, True)
        assert query["allowWatchBookmarks"] == "true"
        assert query["resourceVersion"]
        following = self.watches.pop(0) if self.watches else []
        if isinstance(following, Exception):
            raise following
        for event in following:
            self.digests |= {event["object"]["metadata"]["namespace"]: NEW} if event["type"] == "MODIFIED" else {}
            yield event


def changed(namespace: str, digest: str | None = NEW, kind: str = "MODIFIED") -> Event:
    return {"type": kind, "object": delivered.secret(namespace, digest)}


def wait(cluster: Watched, timeout: float = 5, only: list[str] | None = None) -> tuple[set[str], list[Progress]]:
    seen: list[Progress] = []
    return set(prove_digest(cluster, REGISTRY, NEW, only, timeout, seen.append).missing), seen


def test_it_ends_as_soon_as_every_namespace_holds_the_content() -> None:
    cluster = Watched(["a", "b"], {"a": OLD}, [[changed("a"), changed("b", kind="ADDED")]])
    missing, seen = wait(cluster)
    assert missing == set()
    assert [sorted(progress.missing) for progress in seen] == [["a", "b"], ["b"], []]
    assert seen[-1].proved == 2


def test_a_secret_that_claims_the_content_is_proved_once_its_external_secret_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proof, "FIRST_PAUSE_SECONDS", 0.01)
    cluster = Watched(["a"], {"a": OLD}, [[changed("a")]])
    cluster.statuses = ["False", "False", "False", "True"]
    missing, seen = wait(cluster)
    assert (missing, [progress.proved for progress in seen]) == (set(), [0, 1])
    cluster = Watched(["a"], {"a": NEW}, [])
    cluster.statuses = ["False"]
    assert wait(cluster, timeout=0.05)[0] == {"a"}


def test_what_somebody_wrote_in_the_second_of_esos_write_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(proof, "WHOLE_SECOND", 0.01)
    cluster = Watched(["a", "b"], {"a": NEW, "b": NEW}, [])
    cluster.statuses = ["False"]
    synced: list[Collection[str]] = []

    def sync(namespaces: Collection[str]) -> None:
        synced.append(namespaces)
        cluster.statuses = ["True"]

    assert prove_digest(cluster, REGISTRY, NEW, None, 5, sync=sync).missing == frozenset()
    assert synced == [{"a", "b"}]


def test_without_time_it_looks_once() -> None:
    cluster = Watched(["a", "b"], {"a": NEW, "b": OLD}, [])
    assert wait(cluster, timeout=0)[0] == {"b"}
    assert cluster.lists == 1


def test_old_content_foreign_secrets_and_deletions_are_missing() -> None:
    events = [changed("a", OLD), changed("b", None), changed("c", NEW, "DELETED")]
    assert wait(Watched(["a", "b", "c"], {"c": NEW}, [events]), timeout=0.05)[0] == {"a", "b", "c"}


def test_a_namespace_that_goes_drops_out_and_one_that_comes_joins() -> None:
    cluster = Watched(["stays", "goes"], {"stays": NEW, "goes": OLD}, [])
    looks = 0

    def meanwhile(progress: Progress) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            cluster.namespaces = ["stays", "comes"]
            cluster.watches = [[], [changed("comes")]]
        else:
            assert progress.wanted == {"stays", "comes"}

    assert prove_digest(cluster, REGISTRY, NEW, None, 5, meanwhile).missing == frozenset()
    assert looks == 3


def test_what_was_proved_is_told_with_what_was_wanted() -> None:
    cluster = Watched(["a", "b"], {"a": NEW, "b": OLD}, [])
    assert prove_digest(cluster, REGISTRY, NEW, None, 0) == Progress(frozenset("ab"), frozenset("b"))
    assert wait_for_digest(cluster, REGISTRY, NEW, None, 0) == {"b"}


def test_only_the_named_namespaces_are_waited_for() -> None:
    missing, seen = wait(Watched(["a", "b"], {"a": NEW, "b": OLD}, []), only=["a", "not-labelled"])
    assert (missing, seen[0].wanted) == (set(), {"a"})


@pytest.mark.parametrize(
    "end",
    [
        [{"type": "ERROR", "object": {"code": 410}}],
        KubernetesApiError("GET", "/api/v1/secrets", 410, "Expired", "too old resource version"),
    ],
)
def test_a_watch_that_expired_begins_anew_with_a_list(end: list[Event] | Exception) -> None:
    cluster = Watched(["a", "b"], {"a": OLD, "b": OLD}, [[changed("a")], end, [changed("b")]])
    assert wait(cluster)[0] == set()
    assert cluster.lists == 2


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)
    cluster = Watched(["a"], {"a": OLD}, [UnreachableError("away"), [changed("a")]])
    cluster.failures = [KubernetesApiError("GET", "/", 503, "ServiceUnavailable", "starting"), UnreachableError("away")]
    assert wait(cluster)[0] == set()
    cluster = Watched(["a"], {"a": OLD}, [])
    cluster.failures = [UnreachableError("away")] * 100
    with pytest.raises(UnreachableError):
        wait(cluster, timeout=0.05)


def test_a_refusal_is_not_waited_for() -> None:
    cluster = Watched(["a"], {"a": OLD}, [])
    cluster.failures = [KubernetesApiError("GET", "/api/v1/secrets", 403, "Forbidden", "no")]
    with pytest.raises(KubernetesApiError, match="Forbidden"):
        wait(cluster)
