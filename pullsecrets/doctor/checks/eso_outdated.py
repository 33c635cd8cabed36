"""External Secrets Operator is older than 0.17, or the cluster does not serve `external-secrets.io/v1`.

Everything that the stack declares is `external-secrets.io/v1`, which ESO serves and stores from 0.17 on.
"""

from collections.abc import Iterator

from pullsecrets.doctor.discovery import ESO_GROUP, served_versions
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "eso-outdated"
OLDEST = (0, 17, 0)


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding for each controller that is too old, or one when v1 is not served."""
    versions = served_versions(snapshot)
    old = [item for item in snapshot.installations if item.version and item.version < OLDEST]
    unserved = bool(versions) and "v1" not in versions
    if not old and not unserved:
        return
    reasons = [*(f"controller {item} is older than v0.17" for item in old)]
    if unserved:
        reasons.append(f"the API server serves {ESO_GROUP} {', '.join(versions)} and not v1")
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="ExternalSecrets of version v1 cannot be made, or are not reconciled.",
        cause=f"External Secrets Operator is too old: {'; '.join(reasons)}.",
        evidence=(
            *(f"Deployment {item.namespace}/{item.name}: version {item}" for item in old),
            f"GET /apis/{ESO_GROUP}: {', '.join(versions) or 'not served'}",
        ),
        fix=(
            "# read ESO's notes on every minor version between; definitions first, then the controller:",
            f"helm upgrade external-secrets external-secrets/external-secrets -n {snapshot.config.eso.namespace}",
            again_command(snapshot),
        ),
        prevention="Upgrade ESO with the cluster: from 0.20 on one annotation refreshes every namespace at once.",
    )


CHECK = Check(
    NAME,
    "External Secrets Operator serves v1 (0.17 or newer)",
    find,
    explains=("eso-v1beta1-manifests", *STORE_UNUSABLE),
)
