"""`TenantNamespace`: a namespace that opted in, with its ServiceAccounts bound."""

from typing import TypedDict

import pulumi
from pulumi_kubernetes.core.v1 import Namespace

from components import _objects
from components.image_pull_secret_binding import ImagePullSecretBinding
from components.namespace_opt_in import NamespaceOptIn
from components.namespace_release import NamespaceRelease
from pullsecrets import manifests


class TenantNamespaceArgs(TypedDict):
    """Arguments of `TenantNamespace`."""

    name: str
    """Name of the namespace."""
    labels: dict[str, str]
    """Opt-in labels that grant the registries."""
    adopt: bool
    """Whether the namespace exists and only our labels are put on it; if not, it is made."""
    protect: bool
    """Whether deleting a made namespace needs `pulumi state unprotect` first."""
    bind_service_accounts: bool
    """Whether ServiceAccounts get the entries; not where `PodAdmission` gives them to Pods."""
    service_accounts: pulumi.Input[list[pulumi.Input[str]]]
    """ServiceAccounts that pull images, `default` among them."""
    secrets: pulumi.Input[list[pulumi.Input[str]]]
    """Names of the pull Secrets that the labels grant."""
    context: pulumi.Input[str | None]
    """kubeconfig context; None for the current one."""


class TenantNamespace(pulumi.ComponentResource):
    """Declares a tenant namespace, or labels one that exists, and binds its ServiceAccounts unless admission does."""

    namespace_name: pulumi.Output[str]
    """Name of the namespace."""

    def __init__(self, name: str, args: TenantNamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare namespace and binding.

        Args:
            name: resource name.
            args: the namespace and who pulls in it.
            opts: resource options; children inherit the Kubernetes provider.
        """
        super().__init__("pullsecrets:index:TenantNamespace", name, {}, opts)
        if args["adopt"]:
            namespace: pulumi.Resource = NamespaceOptIn(
                f"{name}-labels",
                {
                    "namespace": args["name"],
                    "labels": {**args["labels"]},
                    "registries": args["secrets"],
                    "context": args["context"],
                },
                pulumi.ResourceOptions(parent=self),
            )
        else:
            item = manifests.namespace(args["name"], args["labels"])
            namespace = Namespace(
                f"{name}-namespace",
                metadata=_objects.owned(item),
                opts=pulumi.ResourceOptions(parent=self, protect=args["protect"]),
            )
        if args["bind_service_accounts"]:
            ImagePullSecretBinding(
                f"{name}-binding",
                {
                    "namespace": args["name"],
                    "service_accounts": args["service_accounts"],
                    "secrets": args["secrets"],
                    "context": args["context"],
                },
                pulumi.ResourceOptions(parent=self, depends_on=[namespace]),
            )
        elif not args["adopt"]:
            # The binding and the opt-in release finalizers themselves.
            NamespaceRelease(
                f"{name}-release",
                {"namespace": args["name"], "registries": args["secrets"], "context": args["context"]},
                pulumi.ResourceOptions(parent=self, depends_on=[namespace]),
            )
        self.namespace_name = pulumi.Output.from_input(args["name"])
        self.register_outputs({"namespace_name": self.namespace_name})
