"""A ClusterSecretStore of the stack is not Ready, and its own message is the best that is known of the cause.

Other checks look for the cause themselves, with a login of doctor's own; where one of them finds it, this one stands
below it. ESO looks at a store every few minutes, so it may stay so for a while after the cause is gone.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import (
    NOT_SYNCED,
    again_command,
    readiness,
    revalidate_command,
    sole,
    stores,
    up_command,
)
from pullsecrets.doctor.snapshot import Snapshot

NAME = "store-not-ready"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the stores that say that they are not Ready."""
    for store in stores(snapshot):
        status, message = readiness(store.item)
        if store.item is None or status == "True":
            continue
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="No namespace receives a new or rotated credential.",
            cause=f"ClusterSecretStore {store.name!r} is not Ready: {message}.",
            evidence=(f"ClusterSecretStore {store.name}: Ready={status}: {message}",),
            fix=(
                f"kubectl describe clustersecretstore {store.name}   # its events hold the provider's answer",
                revalidate_command(store.name),
                up_command(snapshot),
                again_command(snapshot),
            ),
            prevention="Alert on the store's condition Ready; it fails before the first Secret is missed.",
            registry=sole(store.registries),
        )


CHECK = Check(NAME, "The ClusterSecretStores are Ready", find, explains=NOT_SYNCED)
