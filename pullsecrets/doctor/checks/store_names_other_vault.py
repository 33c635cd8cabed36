"""A live store names another Vault than the stack file declares.

Somebody edited the store, or edited the stack file and did not run `pulumi up`. ESO reads what the store names, and the
next `pulumi up` restores what the stack file names: find out which one is right first. `vault.address` is how the
cluster reaches Vault; VAULT_ADDR, such as that of a port-forward, is how one machine does.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command, elsewhere, readiness, sole, store_evidence
from pullsecrets.doctor.snapshot import Snapshot

NAME = "store-names-other-vault"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the stores for which the two differ."""
    for store, live in elsewhere(snapshot):
        declared = snapshot.config.vault.address
        works = readiness(snapshot.store(store.name))[0] == "True"
        keep = f"pulumi config set --path pull-secrets:vault.address {live} --stack {snapshot.stack}"
        yield Finding(
            check=NAME,
            severity=Severity.WARNING if works else Severity.CLUSTER,
            symptom=(
                f"The next `pulumi up` would have ESO read {declared}."
                if works
                else "The store is not Ready, and no namespace receives a new or rotated credential through it."
            ),
            cause=f"ClusterSecretStore {store.name} names {live}, and the stack file {declared}.",
            evidence=(
                f"ClusterSecretStore {store.name}: spec.provider.vault.server: {live}",
                f"Pulumi.{snapshot.stack}.yaml: vault.address: {declared}",
                store_evidence(snapshot, store),
            ),
            fix=(
                f"{keep}   # if the store is right",
                f"pulumi preview --stack {snapshot.stack} --refresh --diff   # shows what `pulumi up` would do",
                again_command(snapshot),
            ),
            prevention="Let only the stack's deployers write ClusterSecretStores, and declare what the cluster uses.",
            registry=sole(store.registries),
        )


CHECK = Check(
    NAME,
    "The live stores name the Vault that the stack file declares",
    find,
    explains=("vault-unreachable", "vault-certificate-untrusted", *STORE_UNUSABLE),
)
