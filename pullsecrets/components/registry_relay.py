"""`RegistryRelay`: one Secret in ESO's namespace, and a store from which opted-in namespaces read that Secret alone."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.rbac.v1 import Role, RoleBinding

from pullsecrets.components import _objects
from pullsecrets.manifests import builders


class RegistryRelayArgs(TypedDict):
    """Arguments of `RegistryRelay`."""

    name: pulumi.Input[str]
    """Name of the store, and of the ServiceAccount, Role and RoleBinding by which it reads."""
    namespace: pulumi.Input[str]
    """ESO's namespace, where the relayed Secret stands."""
    server: pulumi.Input[str]
    """https URL of the API server as ESO's Pods call it."""
    sealed_secret: NotRequired[pulumi.Input[dict[str, Any]]]
    """The SealedSecret to declare in place of a reading from Vault, as `pull-secrets seal` wrote it."""


class RegistryRelay(pulumi.ComponentResource):
    """Declares what a relayed registry has in ESO's namespace.

    Vault then sees one read per refresh and not one per namespace, and a cluster without Vault gets by with a
    SealedSecret. Each registry has a store and a reader of its own, so that the opt-in to one registry opens no other.
    """

    store_name: pulumi.Output[str]
    """Name of the ClusterSecretStore, known once it is Ready."""

    def __init__(
        self,
        name: str,
        registry: Mapping[str, Any],
        relay: RegistryRelayArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the relay.

        Args:
            registry: arguments of the `RegistryPullSecret` that it serves.
            relay: where it stands, and how it is read.
            opts: resource options; let it depend on the Vault store.
        """
        super().__init__("pullsecrets:index:RegistryRelay", name, {}, opts)
        sealed = relay.get("sealed_secret")
        if sealed is None:
            source = _objects.build(builders.relay_external_secret, builders.PullSecretSpec, registry)
        else:
            source = pulumi.Output.from_input(sealed)
        children = pulumi.ResourceOptions(parent=self)
        kind = "external-secrets.io/v1/ExternalSecret" if sealed is None else "bitnami.com/v1alpha1/SealedSecret"
        _objects.declare_custom(f"{name}-source", kind, source, children)
        self.store_name = self._declare_store(name, registry)
        self.register_outputs({"store_name": self.store_name})

    def _declare_store(self, name: str, registry: Mapping[str, Any]) -> pulumi.Output[str]:
        children = pulumi.ResourceOptions(parent=self)
        reader = _objects.build(builders.relay_reader, builders.PullSecretSpec, registry)
        readers = _objects.declare_account(f"{name}-reader", reader, Role, RoleBinding, children)
        store = _objects.build(builders.relay_store, builders.PullSecretSpec, registry)
        after = pulumi.ResourceOptions(parent=self, depends_on=readers)
        return _objects.declare_store(f"{name}-store", store, after)
