"""`TenantNamespace`: a namespace that opted in, with its ServiceAccounts bound."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi

from pullsecrets.components import _objects
from pullsecrets.components.image_pull_secret_binding import ImagePullSecretBinding, NamespaceBinding
from pullsecrets.components.namespace_opt_in import NamespaceOptIn
from pullsecrets.kube.marks import STANDARD_LABELS


class TenantNamespaceArgs(TypedDict):
    """Arguments of `TenantNamespace`."""

    name: str
    """Name of the namespace."""
    labels: NotRequired[dict[str, str]]
    """Labels that it carries: the opt-in labels that grant its registries, and others that it shall have."""
    annotations: NotRequired[dict[str, str]]
    """Annotations that it carries."""
    registries: dict[str, dict[str, str]]
    """Selector of each registry that the labels grant, by its name, which is also its pull Secret's."""
    adopt: NotRequired[bool]
    """Whether others create the namespace; if not, it is created where it is missing."""
    delete_on_leave: NotRequired[bool]
    """Whether a namespace that was created here is deleted when it is not declared any more; otherwise it stays."""
    protect: NotRequired[bool]
    """Whether that deletion needs `pulumi state unprotect` first."""
    bind_service_accounts: NotRequired[bool]
    """Whether ServiceAccounts get the entries; not where `PodAdmission` gives them to Pods."""
    service_accounts: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """ServiceAccounts that pull images, `default` among them."""
    context: NotRequired[pulumi.Input[str | None]]
    """kubeconfig context; None for the current one."""


class TenantNamespace(pulumi.ComponentResource):
    """Declares a tenant namespace and its labels, and binds its ServiceAccounts unless admission does.

    Whoever creates it, everything in the namespace survives each change of these arguments.
    """

    namespace_name: pulumi.Output[str]
    """Name of the namespace."""

    def __init__(
        self,
        name: str,
        args: TenantNamespaceArgs,
        opts: pulumi.ResourceOptions | None = None,
        delivered_by: Sequence[pulumi.Resource] = (),
    ) -> None:
        """Declare namespace and binding.

        Args:
            name: resource name.
            args: the namespace and who pulls in it.
            opts: resource options; children inherit the Kubernetes provider.
            delivered_by: what looks for the labels, such as `RegistryPullSecret`. Let it depend on `opted_in`; the
                binding comes after it, and with it the end of what is not declared any more.
        """
        super().__init__("pullsecrets:index:TenantNamespace", name, {}, opts)
        self.opted_in = declare_opt_in(name, args, pulumi.ResourceOptions(parent=self))
        after = pulumi.ResourceOptions(parent=self, depends_on=[self.opted_in, *delivered_by])
        declare_binding(name, args, after)
        self.namespace_name = pulumi.Output.from_input(args["name"])
        self.register_outputs({"namespace_name": self.namespace_name})


def declare_opt_in(name: str, args: TenantNamespaceArgs, opts: pulumi.ResourceOptions) -> NamespaceOptIn:
    """Declare a tenant's namespace and labels."""
    standard = {} if args.get("adopt") else STANDARD_LABELS
    protect = args.get("protect", True) and args.get("delete_on_leave") and not args.get("adopt")
    return NamespaceOptIn(
        f"{name}-labels",
        {
            "namespace": args["name"],
            "labels": {**standard, **args.get("labels", {})},
            "annotations": {**args.get("annotations", {})},
            "registries": {**args["registries"]},
            "owner": None if args.get("adopt") else _objects.owner(),
            "delete": args.get("delete_on_leave", False),
            "context": args.get("context"),
        },
        pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect)),
    )


def declare_binding(name: str, args: TenantNamespaceArgs, opts: pulumi.ResourceOptions) -> ImagePullSecretBinding:
    """Declare the binding of one tenant's ServiceAccounts."""
    return ImagePullSecretBinding(
        f"{name}-binding",
        {"namespace": args["name"], **binding_of(args), "context": args.get("context")},
        opts,
    )


def binding_of(args: TenantNamespaceArgs) -> NamespaceBinding:
    """Return what is bound in a tenant's namespace."""
    bound = args.get("bind_service_accounts", True)
    return {
        "service_accounts": args.get("service_accounts", ["default"]) if bound else [],
        "secrets": [*args["registries"]],
        "labels": {**args.get("labels", {})},
    }
