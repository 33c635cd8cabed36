"""What others write between our read and our write is read and written again, and no other refusal is."""

from typing import Any

import pytest

from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.editing import EDIT_ATTEMPTS, edit

DENIED = "ValidatingAdmissionPolicy 'company' with binding 'all' denied request: not here"


class Written(KubernetesClient):
    """One object that others write `writes` times, each time between our read and our write."""

    def __init__(self, status: int, message: str, *, writes: int = 0, refuses: bool = True, gone: bool = False) -> None:
        self.answer = KubernetesApiError("PATCH", "/x", status, "", message)
        self.writes, self.refuses, self.gone = writes, refuses, gone
        self.version = self.tried = 0

    def find(self, path: str) -> dict[str, Any] | None:
        assert path == "/x"
        return None if self.gone and self.tried else {"metadata": {"resourceVersion": str(self.version)}}

    def write(self, _found: dict[str, Any]) -> None:
        self.tried += 1
        interrupted = self.version < self.writes
        self.version += interrupted
        if interrupted or self.refuses:
            raise self.answer


@pytest.mark.parametrize("status", [409, 422])
def test_a_write_in_between_is_read_and_written_again(status: int) -> None:
    cluster = Written(status, "the test failed", writes=3, refuses=False)
    edit(cluster, "/x", cluster.write)
    assert cluster.tried == 4


@pytest.mark.parametrize("status", [409, 422])
def test_writes_that_never_cease_are_a_conflict_with_the_last_answer(status: int) -> None:
    cluster = Written(status, "the test failed", writes=99)
    with pytest.raises(ConflictError, match=r"/x: others changed it 10 times in a row .*the test failed"):
        edit(cluster, "/x", cluster.write)
    assert cluster.tried == EDIT_ATTEMPTS


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500])
@pytest.mark.parametrize(("message", "writes"), [(DENIED, 0), (DENIED, 99), ("field is immutable", 0)])
def test_a_refusal_that_another_read_would_not_help_comes_at_once(status: int, message: str, writes: int) -> None:
    cluster = Written(status, message, writes=writes)
    with pytest.raises(KubernetesApiError, match=message) as raised:
        edit(cluster, "/x", cluster.write)
    assert cluster.tried == 1
    assert ("admission policy 'company' refuses it, now and later" in str(raised.value)) == (message == DENIED)


@pytest.mark.parametrize("status", [404, 409])
def test_what_is_gone_by_then_is_left_alone(status: int) -> None:
    cluster = Written(status, "not found", gone=True)
    edit(cluster, "/x", cluster.write)
    assert cluster.tried == 1
