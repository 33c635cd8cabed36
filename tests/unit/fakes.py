"""Fakes of the servers, for tests of code that only reads lists."""

from collections.abc import Iterator, Mapping
from typing import Any

from pullsecrets.kube.client import KubernetesClient


class FakeLists(KubernetesClient):
    """A cluster that answers each list with the objects given for its path."""

    def __init__(self, lists: Mapping[str, list[dict[str, Any]]]) -> None:
        self._lists = lists

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        assert not metadata_only, f"{path} {query}: the whole objects are wanted"
        yield from self._lists[path]
