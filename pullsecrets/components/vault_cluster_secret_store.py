"""`VaultClusterSecretStore`: the ClusterSecretStore through which ESO reads the registry paths."""

from typing import NotRequired, TypedDict

import pulumi

from pullsecrets.components import _objects
from pullsecrets.manifests import builders


class VaultClusterSecretStoreArgs(TypedDict):
    """Arguments of `VaultClusterSecretStore`."""

    name: pulumi.Input[str]
    """Name of the ClusterSecretStore."""
    server: pulumi.Input[str]
    """https URL of Vault as ESO reaches it."""
    mount: NotRequired[pulumi.Input[str]]
    """KV mount."""
    ca_bundle: NotRequired[pulumi.Input[str | None]]
    """Base64 of the PEM certificates that sign Vault's; None for the system's own."""
    auth_mount: pulumi.Input[str]
    """Vault's Kubernetes auth mount."""
    role: pulumi.Input[str]
    """Role that ESO logs in to."""
    audiences: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Audiences of ESO's token: the role's, and the API server's so that the token can review itself."""
    namespace: NotRequired[pulumi.Input[str]]
    """Namespace of ESO's ServiceAccount."""
    service_account: NotRequired[pulumi.Input[str]]
    """ESO's ServiceAccount."""
    selector: NotRequired[pulumi.Input[dict[str, pulumi.Input[str]] | None]]
    """The opt-in label; a namespace without it cannot use the store. None for a relay's: ESO's own namespace alone."""


class VaultClusterSecretStore(pulumi.ComponentResource):
    """Declares the store of one grant and waits until ESO has logged in to Vault through it.

    One opt-in label opens it, and its role reads what that label grants: a tenant's own ExternalSecret reaches no path
    that the tenant was not granted.
    """

    store_name: pulumi.Output[str]
    """Name of the ClusterSecretStore, known once it is Ready."""

    def __init__(
        self, name: str, args: VaultClusterSecretStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the store.

        Args:
            args: Vault's side and the namespaces that may use the store.
            opts: resource options; let it depend on `VaultAccess` and `EsoEgress`, without which it cannot be Ready.
        """
        super().__init__("pullsecrets:index:VaultClusterSecretStore", name, {}, opts)
        item = _objects.build(builders.cluster_secret_store, builders.StoreSpec, args)
        self.store_name = _objects.declare_store(f"{name}-store", item, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"store_name": self.store_name})
