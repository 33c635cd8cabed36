"""`EsoEgress`: the way out of ESO's namespace to Vault, DNS and the API server."""

from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apiextensions import CustomResourcePatch
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from pullsecrets.components import _objects
from pullsecrets.manifests import builders


class EsoEgressArgs(TypedDict):
    """Arguments of `EsoEgress`."""

    name: pulumi.Input[str]
    """Name of the NetworkPolicy, or of our entry in Red Hat's operator configuration."""
    namespace: NotRequired[pulumi.Input[str]]
    """Namespace that ESO runs in."""
    pod_labels: NotRequired[pulumi.Input[dict[str, pulumi.Input[str]]]]
    """Labels of ESO's Pods."""
    vault_cidrs: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Address blocks of a Vault outside the cluster; empty when it runs inside."""
    vault_namespace_labels: NotRequired[pulumi.Input[dict[str, pulumi.Input[str]]]]
    """Labels of the namespace of a Vault inside the cluster; empty when it runs outside."""
    vault_port: pulumi.Input[int]
    """TCP port of Vault."""
    api_server_cidrs: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Address blocks of the API server; empty permits its port at any address."""
    api_server_port: NotRequired[pulumi.Input[int]]
    """TCP port that the API server itself listens on, such as 6443."""
    distribution: NotRequired[str]
    """`helm`, or `redhat` where an operator owns all NetworkPolicies of ESO."""


class EsoEgress(pulumi.ComponentResource):
    """Opens ESO's egress to Vault, DNS and the API server in a namespace that denies everything else.

    On Red Hat's ESO operator the rules go into its `ExternalSecretsConfig`, because it removes NetworkPolicies that it
    did not make. Its API never lets an entry go again, so that entry stays when the stack is destroyed.
    """

    policy_name: pulumi.Output[str]
    """Name of the NetworkPolicy or of the operator's entry."""

    def __init__(self, name: str, args: EsoEgressArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the egress rule.

        Args:
            args: where ESO, Vault and the API server are.
            opts: resource options; children inherit providers.
        """
        super().__init__("pullsecrets:index:EsoEgress", name, {}, opts)
        item = _objects.build(builders.egress, builders.EgressSpec, args)
        if args.get("distribution") == "redhat":
            CustomResourcePatch(
                f"{name}-config",
                api_version="operator.openshift.io/v1alpha1",
                kind="ExternalSecretsConfig",
                metadata=item["metadata"],
                spec=item["spec"],
                opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
            )
        else:
            NetworkPolicy(
                f"{name}-policy",
                metadata=item.apply(_objects.owned),
                spec=item["spec"],
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.policy_name = pulumi.Output.from_input(args["name"])
        self.register_outputs({"policy_name": self.policy_name})
