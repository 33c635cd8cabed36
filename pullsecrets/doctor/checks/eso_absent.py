"""External Secrets Operator is not installed: no Deployment of its controller is in the cluster.

It is looked for by the label `app.kubernetes.io/name=external-secrets`, which its chart and Red Hat's operator set.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import CONTROLLER, STORE_UNUSABLE, again_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "eso-absent"
INSTALL = (
    "helm install external-secrets external-secrets/external-secrets -n {namespace} --create-namespace "
    "--set installCRDs=true   # or Red Hat's operator"
)


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when no controller is installed."""
    if snapshot.installations:
        return
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER,
        symptom="Labelled namespaces get no ExternalSecret and no Secret; nothing in the cluster reports an error.",
        cause="No Deployment of External Secrets Operator's controller is in the cluster.",
        evidence=(f"{CONTROLLER}: none",),
        fix=(INSTALL.format(namespace=snapshot.config.eso.namespace), again_command(snapshot)),
        prevention="Install ESO with the cluster's own platform services, and alert when its Deployment is gone.",
    )


CHECK = Check(
    NAME,
    "External Secrets Operator is installed",
    find,
    explains=("eso-crds-absent", "eso-not-reconciling", "store-missing", "fanout-missing", *STORE_UNUSABLE),
)
