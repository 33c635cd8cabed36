"""What others write between our read and our write is read and written again, and no other refusal is."""

import pytest

from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.editing import EDIT_ATTEMPTS, edit
from tests.unit.cluster import FakeCluster

DENIED = "ValidatingAdmissionPolicy 'company' with binding 'all' denied request: not here"
FOREVER = 99


def contested(status: int, message: str, *, refused: int = FOREVER, others: int = 0, gone: bool = False) -> FakeCluster:
    """A cluster to edit, whose refusals and writes of others come each between our read and our write.

    Args:
        status: of the refusals.
        message: of them.
        refused: how many there are.
        others: how often others write.
        gone: whether somebody deletes the object.
    """
    cluster = FakeCluster(("/x", {"metadata": {"resourceVersion": "0"}}))
    cluster.failures = {("PATCH", "/x"): [KubernetesApiError("PATCH", "/x", status, "", message)] * refused}

    def meanwhile(*_: str) -> None:
        if gone:
            del cluster.objects["/x"]
        elif len(cluster.sent) <= others:
            cluster.objects["/x"] = {"metadata": {"resourceVersion": str(len(cluster.sent))}}

    cluster.before_write = meanwhile
    return cluster


def change(cluster: FakeCluster) -> None:
    edit(cluster, "/x", lambda _: cluster.merge_patch("/x", {}))


@pytest.mark.parametrize("status", [409, 422])
def test_a_write_in_between_is_read_and_written_again(status: int) -> None:
    cluster = contested(status, "the test failed", refused=3, others=3)
    change(cluster)
    assert len(cluster.sent) == 4


@pytest.mark.parametrize("status", [409, 422])
def test_writes_that_never_cease_are_a_conflict_with_the_last_answer(status: int) -> None:
    cluster = contested(status, "the test failed", others=FOREVER)
    with pytest.raises(ConflictError, match=r"/x: others changed it 10 times in a row .*the test failed"):
        change(cluster)
    assert len(cluster.sent) == EDIT_ATTEMPTS


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500])
@pytest.mark.parametrize(("message", "others"), [(DENIED, 0), (DENIED, FOREVER), ("field is immutable", 0)])
def test_a_refusal_that_another_read_would_not_help_comes_at_once(status: int, message: str, others: int) -> None:
    cluster = contested(status, message, others=others)
    with pytest.raises(KubernetesApiError, match=message) as raised:
        change(cluster)
    assert len(cluster.sent) == 1
    assert ("admission policy 'company' refuses it, now and later" in str(raised.value)) == (message == DENIED)


@pytest.mark.parametrize("status", [404, 409])
def test_what_is_gone_by_then_is_left_alone(status: int) -> None:
    cluster = contested(status, "not found", gone=True)
    change(cluster)
    assert len(cluster.sent) == 1
