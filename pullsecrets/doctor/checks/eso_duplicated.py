"""More than one controller of External Secrets Operator works on the cluster's objects.

Two of them, such as the chart's beside Red Hat's operator, undo each other's writes: finalizers and annotations come
and go, and Secrets are written twice as often.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import CONTROLLER, again_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "eso-duplicated"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when several controllers fan out."""
    found = [item for item in snapshot.installations if item.fans_out]
    if len(found) < 2:
        return
    own = snapshot.config.eso.namespace
    others = [item for item in found if item.namespace != own] or found[1:]
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="Objects of ESO change back and forth, `rotate` refuses to start, Vault sees twice the logins.",
        cause=f"{len(found)} controllers work on the same objects: {', '.join(map(str, found))}.",
        evidence=(f"{CONTROLLER}: {', '.join(f'{item.namespace}/{item.name}' for item in found)}",),
        fix=(
            *(f"helm list -n {item.namespace}   # then uninstall {item}, keeping the definitions" for item in others),
            again_command(snapshot),
        ),
        prevention="Install ESO once per cluster; scope further ones with scopedNamespace or a controllerClass.",
    )


CHECK = Check(NAME, "One controller of ESO works on the cluster", find)
