"""`ClusterPullSecretGuard`: admission rules on who writes the cluster pull-secret and who opts a namespace in."""

from typing import Any, TypedDict

import pulumi
from pulumi_kubernetes.admissionregistration.v1 import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding

from pullsecrets.components import _objects
from pullsecrets.manifests import guard


class ClusterPullSecretGuardArgs(TypedDict):
    """Arguments of `ClusterPullSecretGuard`."""

    name: pulumi.Input[str]
    """First part of the policies' names, one of its own for each stack that stands in a cluster."""
    mode: pulumi.Input[str]
    """`deny`, or `warn` to tell the client and the audit log and let the request through."""
    break_glass_groups: pulumi.Input[list[pulumi.Input[str]]]
    """Groups that stay able to write everything; the first is the one that messages name."""
    writer_users: pulumi.Input[list[pulumi.Input[str]]]
    """Users who may write the guarded objects, the cluster's own controllers among them."""
    writer_groups: pulumi.Input[list[pulumi.Input[str]]]
    """Groups who may write the guarded objects."""
    labeler_users: pulumi.Input[list[pulumi.Input[str]]]
    """Users who may put opt-in labels on namespaces and take them off."""
    labeler_groups: pulumi.Input[list[pulumi.Input[str]]]
    """Groups who may put opt-in labels on namespaces and take them off; who runs `pulumi` is one of them."""
    grants: pulumi.Input[list[pulumi.Input[dict[str, Any]]]]
    """For each registry its `registry` name, `selector` (the opt-in labels) and `namespaces` (patterns)."""


class ClusterPullSecretGuard(pulumi.ComponentResource):
    """Declares the ValidatingAdmissionPolicies of the guard and the bindings that put them into force.

    The API server judges every client's requests by them, those that no policy pack sees included. They do not guard
    themselves: who may delete policies, or impersonate the break-glass group, can get past them.
    """

    policy_names: pulumi.Output[list[str]]
    """Names of the policies, known once they are bound."""

    def __init__(self, name: str, args: ClusterPullSecretGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the policies.

        Args:
            args: who may do what.
            opts: resource options; let what puts opt-in labels depend on it.
        """
        super().__init__("pullsecrets:index:ClusterPullSecretGuard", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        bound: list[pulumi.Output[str]] = []
        for part, builder in guard.GUARD_POLICIES.items():
            item = _objects.build(builder, guard.GuardSpec, args)
            policy = ValidatingAdmissionPolicy(
                f"{name}-{part}-policy", metadata=item.apply(_objects.owned), spec=item["spec"], opts=child
            )
            in_force = _objects.build(
                lambda spec, builder=builder: guard.guard_binding(builder(spec), spec), guard.GuardSpec, args
            )
            binding = ValidatingAdmissionPolicyBinding(
                f"{name}-{part}-binding",
                metadata=in_force.apply(_objects.owned),
                spec=in_force["spec"],
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
            bound.append(binding.id)
        self.policy_names = pulumi.Output.all(*bound).apply(lambda names: [str(item) for item in names])
        self.register_outputs({"policy_names": self.policy_names})
