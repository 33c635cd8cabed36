"""`VaultAccess`: how ESO's ServiceAccount logs in to Vault."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_vault as vault
from pulumi_kubernetes.rbac.v1 import ClusterRoleBinding

from pullsecrets.components import _objects
from pullsecrets.config.model import Eso, VaultAuth
from pullsecrets.durations import parse_duration
from pullsecrets.manifests import builders

_ESO, _AUTH = Eso(), VaultAuth()
_TOKEN_TTL = int(parse_duration(_AUTH.token_ttl).total_seconds())


class VaultAccessArgs(TypedDict):
    """Arguments of `VaultAccess`."""

    mount: pulumi.Input[str]
    """Path of Vault's Kubernetes auth mount for this cluster."""
    create_mount: NotRequired[bool]
    """Whether this stack makes the mount and its configuration, or uses one that is there."""
    import_mount: NotRequired[bool]
    """Whether an interrupted run of this stack made the mount already, so that it is taken into state."""
    kubernetes_host: pulumi.Input[str]
    """URL at which Vault reaches the cluster's API server."""
    kubernetes_ca_cert: NotRequired[pulumi.Input[str | None]]
    """PEM certificates that sign the API server's."""
    role: pulumi.Input[str]
    """Role that the first store logs in to."""
    policies: pulumi.Input[list[pulumi.Input[str]]]
    """Policies of that role: those of the registries that the store reads."""
    further_roles: NotRequired[dict[str, pulumi.Input[list[pulumi.Input[str]]]]]
    """Policies of each further store's role, by its name."""
    audience: NotRequired[pulumi.Input[str]]
    """Audience that a login token must carry."""
    token_ttl: NotRequired[pulumi.Input[int]]
    """Life of a Vault token in seconds."""
    namespace: NotRequired[pulumi.Input[str]]
    """Namespace of ESO's ServiceAccount."""
    service_account: NotRequired[pulumi.Input[str]]
    """ESO's ServiceAccount."""
    reviewer: pulumi.Input[str]
    """Name of the ClusterRoleBinding that lets ESO's token be reviewed."""


class VaultAccess(pulumi.ComponentResource):
    """Declares the Kubernetes auth mount, its configuration and a role per store, for ESO's ServiceAccount alone.

    Vault reviews a login with the very token that logs in, so it keeps no reviewer token of its own and none passes
    through state; the ServiceAccount is bound to `system:auth-delegator` for that.
    """

    role_names: pulumi.Output[list[str]]
    """Names of the roles."""

    def __init__(self, name: str, args: VaultAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare mount, configuration, roles and reviewer binding.

        Args:
            args: the cluster's side and the roles' policies.
            opts: resource options; children inherit the Vault and Kubernetes providers.
        """
        super().__init__("pullsecrets:index:VaultAccess", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        mount = self._mount(name, args) if args.get("create_mount", True) else pulumi.Output.from_input(args["mount"])
        # A resource's name tells its role's, so that no other resource ever deletes a role of that name.
        roles = [self._role(f"{name}-role", args["role"], args["policies"], mount, args)]
        for role, policies in args.get("further_roles", {}).items():
            roles.append(self._role(f"{name}-role-{role}", role, policies, mount, args))
        reviewer = {
            "name": args["reviewer"],
            "namespace": args.get("namespace", _ESO.namespace),
            "service_account": args.get("service_account", _ESO.service_account),
        }
        binding = _objects.build(builders.token_reviewer_binding, builders.ReviewerSpec, reviewer)
        _objects.declare_binding(f"{name}-reviewer", binding, ClusterRoleBinding, child)
        self.role_names = pulumi.Output.all(*(role.role_name for role in roles)).apply(list)
        self.register_outputs({"role_names": self.role_names})

    def _role(
        self,
        name: str,
        role: pulumi.Input[str],
        policies: pulumi.Input[list[pulumi.Input[str]]],
        mount: pulumi.Output[str],
        args: VaultAccessArgs,
    ) -> vault.kubernetes.AuthBackendRole:
        return vault.kubernetes.AuthBackendRole(
            name,
            backend=mount,
            role_name=role,
            bound_service_account_names=[args.get("service_account", _ESO.service_account)],
            bound_service_account_namespaces=[args.get("namespace", _ESO.namespace)],
            audience=args.get("audience", _AUTH.audience),
            token_policies=policies,
            token_ttl=args.get("token_ttl", _TOKEN_TTL),
            token_max_ttl=args.get("token_ttl", _TOKEN_TTL),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _mount(self, name: str, args: VaultAccessArgs) -> pulumi.Output[str]:
        backend = vault.AuthBackend(
            f"{name}-mount",
            type="kubernetes",
            path=args["mount"],
            description=_objects.owner(),
            opts=pulumi.ResourceOptions(parent=self, import_=str(args["mount"]) if args.get("import_mount") else None),
        )
        vault.kubernetes.AuthBackendConfig(
            f"{name}-config",
            backend=backend.path,
            kubernetes_host=args["kubernetes_host"],
            kubernetes_ca_cert=args.get("kubernetes_ca_cert"),
            # Without a reviewer token of its own Vault would look for the one of the Pod it runs in.
            disable_local_ca_jwt=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return backend.path
