"""The ClusterExternalSecret of a registry is not in the cluster, so no namespace is served, whatever its label.

Secrets that were delivered went with it, because ESO owns them.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.eso import GROUP

NAME = "fanout-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries without a ClusterExternalSecret."""
    for registry, found in snapshot.fanouts.items():
        if found is not None:
            continue
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"Namespaces labelled for {registry} have neither ExternalSecret nor Secret.",
            cause=f"ClusterExternalSecret {registry!r} does not exist.",
            evidence=(f"GET {GROUP}/clusterexternalsecrets: no {registry}",),
            fix=(up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack's deployers delete ClusterExternalSecrets: their Secrets go with them.",
            registry=registry,
        )


CHECK = Check(NAME, "Each registry's ClusterExternalSecret exists", find, explains=NOT_SYNCED)
