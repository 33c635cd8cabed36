"""A ClusterSecretStore of the stack is not in the cluster.

ExternalSecrets name it: those of a relayed registry the relay's, all others the registry's own that reads Vault.
`pulumi up` makes it again; on clusters where Argo CD applies the rendered objects, look at the Application.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, sole, stores, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.eso import GROUP

NAME = "store-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the stores that are not there."""
    for store in stores(snapshot):
        if store.item is not None:
            continue
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="Every ExternalSecret that names the store fails: could not get ClusterSecretStore.",
            cause=f"ClusterSecretStore {store.name!r} does not exist.",
            evidence=(f"GET {GROUP}/clustersecretstores/{store.name}: 404",),
            fix=(up_command(snapshot), again_command(snapshot)),
            prevention="Keep tenants.protect on, and let only the stack's deployers delete ClusterSecretStores.",
            registry=sole(store.registries),
        )


CHECK = Check(NAME, "The stack's ClusterSecretStores exist", find, explains=NOT_SYNCED)
