"""`ImagePullSecretBinding`, the component: pull Secrets in the lists of one namespace's ServiceAccounts."""

from typing import NotRequired, TypedDict

import pulumi

from pullsecrets.components import image_pull_secret_binding


class ImagePullSecretBindingArgs(TypedDict):
    """Arguments of `ImagePullSecretBinding`."""

    namespace: pulumi.Input[str]
    """Namespace of the ServiceAccounts; it exists, and gets the Secrets by its labels."""
    secrets: pulumi.Input[list[pulumi.Input[str]]]
    """Names of the pull Secrets."""
    service_accounts: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """ServiceAccounts to bind. One that does not exist yet is bound by a later `up`, except `default`, which is waited
    for."""
    context: NotRequired[pulumi.Input[str | None]]
    """kubeconfig context; None for the current one."""


class ImagePullSecretBinding(pulumi.ComponentResource):
    """Binds pull Secrets to ServiceAccounts of a namespace that is labelled elsewhere; `TenantNamespace` does both.

    `imagePullSecrets` is an atomic list, so a ServiceAccountPatch would replace the entries that OpenShift puts there
    (and `destroy` would remove them all). This appends with a guarded JSON Patch and removes only its own.
    """

    namespace_name: pulumi.Output[str]
    """Name of the namespace."""

    def __init__(self, name: str, args: ImagePullSecretBindingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the binding.

        Args:
            name: resource name.
            args: namespace, Secrets and ServiceAccounts.
            opts: resource options; let it depend on what delivers the Secrets.
        """
        super().__init__("pullsecrets:index:ImagePullSecretBinding", name, {}, opts)
        image_pull_secret_binding.ImagePullSecretBinding(
            f"{name}-binding",
            {
                "namespace": args["namespace"],
                "service_accounts": args.get("service_accounts", ["default"]),
                "secrets": args["secrets"],
                "labels": {},
                "context": args.get("context"),
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.namespace_name = pulumi.Output.from_input(args["namespace"])
        self.register_outputs({"namespace_name": self.namespace_name})
