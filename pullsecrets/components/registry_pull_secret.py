"""`RegistryPullSecret`: one registry's fan-out into every namespace that opted in."""

from typing import NotRequired, TypedDict

import pulumi

from pullsecrets.components import _objects
from pullsecrets.components.registry_relay import RegistryRelay, RegistryRelayArgs
from pullsecrets.manifests import builders


class RegistryPullSecretArgs(TypedDict):
    """Arguments of `RegistryPullSecret`."""

    name: pulumi.Input[str]
    """Name of the ClusterExternalSecret and of the Secret in each namespace."""
    path: pulumi.Input[str]
    """KV path below the mount, without `data/`; unused when the credential is sealed."""
    property: NotRequired[pulumi.Input[str]]
    """Field of the KV entry that holds the dockerconfigjson document; unused when the credential is sealed."""
    selector: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Opt-in labels: a namespace that carries all of them receives the Secret."""
    refresh: NotRequired[pulumi.Input[str]]
    """How often ESO reads the store again, such as `1h`."""
    store: pulumi.Input[str]
    """ClusterSecretStore of Vault; unused when the credential is sealed."""
    sync_wave: NotRequired[pulumi.Input[int]]
    """Argo CD sync wave, for clusters where Argo CD also looks at the object."""
    eso_version: NotRequired[pulumi.Input[str | None]]
    """Version of the operator, such as `2.5.0`; see `eso.version` of the stack file."""
    relay: NotRequired[RegistryRelayArgs]
    """With it one Secret in ESO's namespace is read from Vault, and the namespaces read that one through the relay's
    store. Without it each namespace reads Vault by itself."""


class RegistryPullSecret(pulumi.ComponentResource):
    """Declares the ClusterExternalSecret that delivers one registry's Secret.

    Its Ready condition says nothing of delivery (it is True with no namespace selected and with every
    ExternalSecret failing, ESO issues 2419 and 3029), so it is not awaited: `pull-secrets audit` proves delivery.
    """

    secret_name: pulumi.Output[str]
    """Name of the Secret in each namespace."""

    def __init__(self, name: str, args: RegistryPullSecretArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the fan-out.

        Args:
            name: resource name.
            args: where the credential is and which namespaces receive it.
            opts: resource options; let it depend on the store.
        """
        super().__init__("pullsecrets:index:RegistryPullSecret", name, {}, opts)
        needed: list[pulumi.Resource] = []
        if relay := args.get("relay"):
            # When the registry was direct, its Vault store may have been the object that is the relay's store now.
            before = pulumi.create_urn(relay["name"], "pullsecrets:index:VaultClusterSecretStore")
            opts = pulumi.ResourceOptions(parent=self, aliases=[before])
            needed.append(RegistryRelay(f"{name}-relay", args, relay, opts))
        item = _objects.build(builders.cluster_external_secret, builders.PullSecretSpec, args)
        opts = pulumi.ResourceOptions(parent=self, depends_on=needed)
        _objects.declare_custom(f"{name}-fanout", "external-secrets.io/v1/ClusterExternalSecret", item, opts)
        self.secret_name = pulumi.Output.from_input(args["name"])
        self.register_outputs({"secret_name": self.secret_name})
