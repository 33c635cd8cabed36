"""One answer to whether a Secret is ours and holds what its digest claims, for each way in which it may not."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.coverage.inventory import bare
from pullsecrets.kube.marks import MANAGED_LABEL
from pullsecrets.kube.ownership import Delivery, Fault, field_manager
from tests.unit.delivered import DATA, LATER, WRITTEN, Object, external_secret, owner, secret, written

DIGEST = "0123456789abcdef"
BEFORE = "2026-01-01T09:00:00Z"


class Pair:
    """A namespace in which everything is as ESO leaves it, to be spoiled."""

    def __init__(self) -> None:
        self.external: Object | None = external_secret("a")
        self.secret: Object | None = secret("a", DIGEST)

    @property
    def metadata(self) -> Any:
        assert self.secret is not None
        return self.secret["metadata"]

    @property
    def status(self) -> Any:
        assert self.external is not None
        return self.external["status"]

    def delivery(self) -> Delivery:
        return Delivery("app", self.external, self.secret)


Spoil = Callable[[Pair], None]


def no_external_secret(pair: Pair) -> None:
    pair.external = None


def somebodys_external_secret(pair: Pair) -> None:
    assert pair.external is not None
    pair.external["metadata"]["ownerReferences"] = []


def not_ready(pair: Pair) -> None:
    pair.status["conditions"] = [{"type": "Ready", "status": "False", "message": "target is immutable"}]


def kept_without_a_source(pair: Pair) -> None:
    pair.status["conditions"][0]["message"] = "secret retained due to DeletionPolicy=Retain"


def no_secret(pair: Pair) -> None:
    pair.secret = None


def no_owner(pair: Pair) -> None:
    pair.metadata["ownerReferences"] = []


def owner_of_another_group(pair: Pair) -> None:
    pair.metadata["ownerReferences"][0]["apiVersion"] = "secrets.example.com/v1"


def owner_that_does_not_control(pair: Pair) -> None:
    del pair.metadata["ownerReferences"][0]["controller"]


def owner_that_is_gone(pair: Pair) -> None:
    pair.metadata["ownerReferences"] = [owner("ExternalSecret", "app", uid="of-the-one-before")]


def no_label(pair: Pair) -> None:
    del pair.metadata["labels"][MANAGED_LABEL]


def immutable(pair: Pair) -> None:
    pair.metadata["managedFields"].append(written("kubectl-patch", BEFORE, immutable={}))


def other_content(pair: Pair) -> None:
    pair.metadata["annotations"] = dict.fromkeys(pair.metadata["annotations"], "fedcba9876543210")


def edited(pair: Pair) -> None:
    pair.metadata["managedFields"].append(written("kubectl-edit", LATER, data=DATA))


def edited_in_the_second_of_the_write(pair: Pair) -> None:
    pair.metadata["managedFields"].append(written("kubectl-edit", WRITTEN, data=DATA))


def digest_written_by_hand(pair: Pair) -> None:
    pair.metadata["managedFields"].append(written("kubectl-annotate", LATER, digest=True))


def no_writer(pair: Pair) -> None:
    pair.metadata["managedFields"] = []


SPOILED = [
    (no_external_secret, "ESO has not fanned out"),
    (somebodys_external_secret, "another owner created the ExternalSecret app"),
    (not_ready, "target is immutable"),
    (kept_without_a_source, "found nothing at the path"),
    (no_secret, "there is no Secret"),
    (no_owner, Fault.FOREIGN),
    (owner_of_another_group, Fault.FOREIGN),
    (owner_that_does_not_control, Fault.FOREIGN),
    (owner_that_is_gone, "an ExternalSecret that is gone"),
    (no_label, Fault.UNMANAGED),
    (immutable, Fault.IMMUTABLE),
    (other_content, "with other content"),
    (edited, f"kubectl-edit wrote its content at {LATER}"),
    (edited_in_the_second_of_the_write, f"kubectl-edit wrote its content at {WRITTEN}"),
    (digest_written_by_hand, f"kubectl-annotate wrote its content at {LATER}"),
    (no_writer, "not recorded who wrote"),
]


def test_what_eso_wrote_and_nobody_touched_is_proved() -> None:
    delivery = Pair().delivery()
    assert (delivery.delivered, delivery.fault, delivery.digest) == (True, None, DIGEST)
    assert delivery.unproved(DIGEST) is None


@pytest.mark.parametrize(("spoil", "doubt"), SPOILED, ids=[spoil.__name__ for spoil, _ in SPOILED])
def test_each_doubt_is_told_and_the_audit_sees_it_too(spoil: Spoil, doubt: str) -> None:
    pair = Pair()
    spoil(pair)
    assert doubt in str(pair.delivery().unproved(DIGEST))
    if pair.secret and spoil is not other_content:
        # As the inventory keeps it: without most of what is large.
        kept = Delivery("app", pair.external, bare(copy.deepcopy(pair.secret)))
        assert kept.unproved() == pair.delivery().unproved()


TOGETHER = [
    somebodys_external_secret,
    not_ready,
    kept_without_a_source,
    owner_that_is_gone,
    no_label,
    immutable,
    other_content,
    edited,
    digest_written_by_hand,
    no_writer,
]


@given(st.sets(st.sampled_from(TOGETHER), min_size=1))
def test_however_many_doubts_there_are_it_is_never_proved(spoils: set[Spoil]) -> None:
    pair = Pair()
    for spoil in spoils:
        spoil(pair)
    assert pair.delivery().unproved(DIGEST) is not None


def test_a_secret_that_a_tenants_own_external_secret_keeps_is_not_ours() -> None:
    pair = Pair()
    somebodys_external_secret(pair)
    assert (pair.delivery().delivered, pair.delivery().fault) == (False, Fault.FOREIGN)


@pytest.mark.parametrize("refreshed", [WRITTEN, "2026-01-01T12:00:00Z"])
def test_what_others_wrote_before_eso_last_wrote_or_looked_is_written_over(refreshed: str) -> None:
    """A Secret that was made by hand with the same bytes stays theirs by managedFields, and ESO compared it since."""
    late = LATER if refreshed > LATER else BEFORE
    pair = Pair()
    pair.status["refreshTime"] = refreshed
    pair.metadata["managedFields"].append(written("kubectl-create", late, data=DATA))
    assert pair.delivery().unproved(DIGEST) is None


@pytest.mark.parametrize(
    ("set_at", "told_at", "status", "fault"),
    [
        # As by a manifest with `immutable: false` that ESO took over.
        (BEFORE, WRITTEN, "True", None),
        (BEFORE, LATER, "True", None),
        # Made so after ESO wrote it; ESO wrote metadata and has not told yet; ESO said that it could not.
        (WRITTEN, LATER, "True", Fault.IMMUTABLE),
        (LATER, LATER, "True", Fault.IMMUTABLE),
        (BEFORE, BEFORE, "True", Fault.IMMUTABLE),
        (BEFORE, LATER, "False", Fault.IMMUTABLE),
    ],
)
def test_a_field_that_says_not_immutable_is_told_from_one_that_says_so(
    set_at: str, told_at: str, status: str, fault: Fault | None
) -> None:
    pair = Pair()
    pair.external = external_secret("a", status=status)
    pair.external["metadata"]["managedFields"] = [{"manager": "eso", "time": told_at, "subresource": "status"}]
    pair.metadata["managedFields"].append(written("kubectl-create", set_at, immutable={}))
    kept = Delivery("app", {**pair.external, **bare(copy.deepcopy(pair.external))}, pair.secret)
    assert pair.delivery().fault is kept.fault is fault
    assert (pair.delivery().unproved(DIGEST) is None) == (fault is None)


def test_a_long_name_is_hashed_as_eso_hashes_it() -> None:
    assert field_manager("app") == "externalsecrets.external-secrets.io/app"
    assert field_manager("a" * 60).startswith("externalsecrets.external-secrets.io/sha3/")
