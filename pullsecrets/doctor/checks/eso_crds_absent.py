"""The cluster does not serve ESO's kinds: its custom resource definitions are not installed, or not all of them.

A chart installed without `installCRDs`, or an uninstall that took the definitions and with them every object.
"""

from collections.abc import Iterator

from pullsecrets.doctor.checks.eso_absent import INSTALL
from pullsecrets.doctor.discovery import served_versions
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, up_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "eso-crds-absent"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when no version of ESO's kinds is served."""
    if served_versions(snapshot):
        return
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="`kubectl get clusterexternalsecrets` answers that the server has no such resource type.",
        cause="The custom resource definitions of External Secrets Operator are not installed.",
        evidence=("GET /apis/external-secrets.io: 404",),
        fix=(INSTALL.format(namespace=snapshot.config.eso.namespace), up_command(snapshot), again_command(snapshot)),
        prevention="Keep the definitions when the chart is uninstalled (`helm.sh/resource-policy: keep`).",
    )


CHECK = Check(
    NAME,
    "ESO's custom resource definitions are installed",
    find,
    explains=("store-missing", "fanout-missing", *STORE_UNUSABLE),
)
