"""Who a shell into the control plane can be: an identity in the cluster and a token in Vault for each job."""

from dataclasses import dataclass
from typing import Final

from local.controlplane.identities import ADMIN, PULUMI
from local.controlplane.rbac import AUDITORS, DIAGNOSTICIANS, OPERATORS


@dataclass(frozen=True)
class Person:
    """One job: what it is for, and by which identity and token it is done."""

    does: str
    identity: str
    token: str
    """Of OpenBao: `platform` reads no credential, `seeder` writes them, `root` may do anything."""
    groups: tuple[str, ...] | None = None
    """Of an identity that is made for it; None where `up` has made it."""


PEOPLE: Final = {
    "deployer": Person("pulumi preview, up and destroy", PULUMI, "platform"),
    "operator": Person("rotate, rollback, rollout and doctor", "operator", "seeder", (OPERATORS, DIAGNOSTICIANS)),
    "auditor": Person("audit and doctor, changing nothing", "auditor", "platform", (AUDITORS,)),
    "seeder": Person("seed; no rights in the cluster", "seeder", "seeder", ()),
    "admin": Person("breaking things and looking at them", ADMIN, "root"),
}
