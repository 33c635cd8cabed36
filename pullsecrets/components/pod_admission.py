"""`PodAdmission`: one registry's entry in the `imagePullSecrets` of Pods in opted-in namespaces, at admission."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from pullsecrets.components import _objects
from pullsecrets.manifests import guard


class PodAdmissionArgs(TypedDict):
    """Arguments of `PodAdmission`."""

    name: pulumi.Input[str]
    """Name of the policy and of its binding."""
    secret: pulumi.Input[str]
    """Name of the pull Secret in each namespace."""
    selector: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Opt-in labels: Pods of a namespace that carries all of them get the entry."""
    version: NotRequired[str]
    """Of the API: `v1`, or `v1beta1` where the cluster serves nothing newer. Known before anything is declared."""


class PodAdmission(pulumi.ComponentResource):
    """Declares the MutatingAdmissionPolicy that appends a pull Secret to new Pods, whatever ServiceAccount they run as.

    It replaces `ImagePullSecretBinding` on clusters that serve MutatingAdmissionPolicy (in `v1`, Kubernetes 1.36 and
    newer, or in `v1beta1`). Pods that are there already stay as they are.
    """

    policy_name: pulumi.Output[str]
    """Name of the policy, known once it is bound."""

    def __init__(self, name: str, args: PodAdmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare policy and binding.

        Args:
            args: the Secret and who receives it.
            opts: resource options; let tenants depend on it, so that their first Pods get the entry.
        """
        super().__init__("pullsecrets:index:PodAdmission", name, {}, opts)
        # A resource's type is chosen here; each is known to the other as an alias, so that an upgrade replaces nothing.
        group = kubernetes.admissionregistration
        api = group.v1beta1 if args.get("version") == "v1beta1" else group.v1
        item = _objects.build(guard.pod_policy, guard.PodAdmissionSpec, args)
        policy = api.MutatingAdmissionPolicy(
            f"{name}-pod-policy",
            metadata=item.apply(_objects.owned),
            spec=item["spec"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        in_force = _objects.build(guard.pod_policy_binding, guard.PodAdmissionSpec, args)
        binding = api.MutatingAdmissionPolicyBinding(
            f"{name}-pod-binding",
            metadata=in_force.apply(_objects.owned),
            spec=in_force["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        self.policy_name = pulumi.Output.all(args["name"], binding.id).apply(lambda known: str(known[0]))
        self.register_outputs({"policy_name": self.policy_name})
