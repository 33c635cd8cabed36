"""Composes the components into one cluster stack, in the order in which they need each other."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import cast

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_vault as vault

from pullsecrets.components.cluster_pull_secret_guard import ClusterPullSecretGuard, ClusterPullSecretGuardArgs
from pullsecrets.components.eso_egress import EsoEgress, EsoEgressArgs
from pullsecrets.components.image_pull_secret_binding import ImagePullSecretBindings
from pullsecrets.components.namespace_opt_in import NamespaceOptIn
from pullsecrets.components.pod_admission import PodAdmission, PodAdmissionArgs
from pullsecrets.components.pull_secret_monitoring import PullSecretMonitoring, PullSecretMonitoringArgs
from pullsecrets.components.registry_pull_secret import RegistryPullSecret, RegistryPullSecretArgs
from pullsecrets.components.tenant_namespace import (
    TenantNamespaceArgs,
    binding_of,
    declare_binding,
    declare_opt_in,
)
from pullsecrets.components.vault_access import VaultAccess
from pullsecrets.components.vault_cluster_secret_store import VaultClusterSecretStore, VaultClusterSecretStoreArgs
from pullsecrets.components.vault_registry_entry import VaultRegistryEntry
from pullsecrets.config import Registry, StackConfig, Tenant, VaultStore
from pullsecrets.durations import parse_duration
from pullsecrets.manifests import builders, guard
from pullsecrets.manifests.monitoring import MonitoringSpec
from pullsecrets.tenancy.changes import Before
from pullsecrets.tenancy.preflight import Environment


def declare(config: StackConfig, environment: Environment, before: Before) -> None:
    """Declare everything that a stack's configuration asks for.

    No change is a moment without a Secret. Labels come first, so that a namespace carries the new one before anything
    looks for it; then what looks for labels; bindings last, which also take away what is not declared any more. A
    destroy goes the other way.

    Args:
        environment: what the preflight learned of the cluster and of Vault.
        before: what state holds of an earlier run.
    """
    providers: list[pulumi.ProviderResource] = [_kubernetes_provider(config)]
    if config.has_vault:
        providers.append(_vault_provider(environment))
    opts = pulumi.ResourceOptions(providers=providers)
    # Who may put which label, before the labels.
    guards = [_guard(config, opts)] if config.guard.mode != "off" else []
    opted_in: asyncio.Future[list[pulumi.Resource]] = asyncio.get_running_loop().create_future()
    after_labels = _after(opts, pulumi.Output.from_input(opted_in))
    source = _vault(config, environment, opts, after_labels) if config.has_vault else []
    delivered_by = [
        *_pod_admissions(config, environment, after_labels),
        *(
            RegistryPullSecret(registry.name, _fanout(config, environment, registry), _after(after_labels, source))
            for registry in config.registries
        ),
    ]
    tenants = {tenant.name: _tenant(config, tenant) for tenant in config.resolve_tenants()}
    labels = [_opt_in(name, args, before, _after(opts, guards)) for name, args in tenants.items()]
    opted_in.set_result([*labels])
    after_delivery = _after(opts, [*labels, *delivered_by])
    former = [
        declare_binding(name, tenants[name], _handed_over(name, after_delivery))
        for name in tenants.keys() & before.bound_apart
    ]
    ImagePullSecretBindings(
        "bindings",
        {
            "namespaces": {name: binding_of(args) for name, args in tenants.items()},
            "context": config.cluster.context,
        },
        _after(after_delivery, former),
    )
    if config.monitoring.enabled:
        spec = MonitoringSpec.of(config, pulumi.get_stack())
        PullSecretMonitoring("monitoring", cast("PullSecretMonitoringArgs", asdict(spec)), _after(opts, source))


def _vault(
    config: StackConfig, environment: Environment, opts: pulumi.ResourceOptions, after_labels: pulumi.ResourceOptions
) -> list[VaultClusterSecretStore]:
    """Declare the Vault side and the stores that read it, which labelled namespaces may use."""
    entries = {registry.name: _entry(config, registry, opts) for registry in config.vault_registries}
    access = _access(config, environment, entries, opts)
    before: list[pulumi.Resource] = [access]
    if config.declares_egress:
        before.append(EsoEgress("eso-egress", cast("EsoEgressArgs", asdict(builders.EgressSpec.of(config))), opts))
    return [
        VaultClusterSecretStore(
            store.name,
            cast("VaultClusterSecretStoreArgs", asdict(builders.StoreSpec.of(config, store))),
            pulumi.ResourceOptions.merge(_after(after_labels, before), _kept(config, store)),
        )
        for store in config.vault_stores
    ]


def _kept(config: StackConfig, store: VaultStore) -> pulumi.ResourceOptions:
    """Protect a store, and take over a relay's store of the same name when its registry becomes direct.

    As another resource the relay's would be deleted after this one was made, and with it the object that both are.
    """
    registry = store.registries[0]
    options = pulumi.ResourceOptions(protect=config.tenants.protect)
    if store.name == config.relay_store(registry):
        fanout = pulumi.create_urn(registry.name, "pullsecrets:index:RegistryPullSecret")
        relay = pulumi.create_urn(f"{registry.name}-relay", "pullsecrets:index:RegistryRelay", fanout)
        options.aliases = [relay]
    return options


def _fanout(config: StackConfig, environment: Environment, registry: Registry) -> RegistryPullSecretArgs:
    args = cast("RegistryPullSecretArgs", asdict(builders.PullSecretSpec.of(config, registry)))
    if "relay" in args and registry.sealed:
        args["relay"]["sealed_secret"] = environment.sealed[registry.name]
    return args


def _guard(config: StackConfig, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    args = cast("ClusterPullSecretGuardArgs", asdict(guard.GuardSpec.of(config)))
    return ClusterPullSecretGuard("guard", args, opts)


def _pod_admissions(
    config: StackConfig, environment: Environment, opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    if config.binding != guard.ADMISSION:
        return []
    version = environment.pod_admission
    specs = {registry.name: guard.PodAdmissionSpec.of(config, registry, version) for registry in config.registries}
    return [PodAdmission(name, cast("PodAdmissionArgs", asdict(spec)), opts) for name, spec in specs.items()]


def _entry(config: StackConfig, registry: Registry, opts: pulumi.ResourceOptions) -> VaultRegistryEntry:
    return VaultRegistryEntry(
        registry.name,
        {
            "address": config.vault.address,
            "ca_bundle": config.vault.ca_bundle,
            "mount": config.vault.mount,
            "path": registry.path,
            "policy": builders.vault_policy_name(config, registry),
            "cluster": config.cluster.name,
            "owner": registry.owner,
            "hosts": list(registry.hosts),
            "max_versions": registry.max_versions,
        },
        opts,
    )


def _access(
    config: StackConfig,
    environment: Environment,
    entries: Mapping[str, VaultRegistryEntry],
    opts: pulumi.ResourceOptions,
) -> VaultAccess:
    auth = config.vault.auth
    roles = {store.role: [entries[item.name].policy_name for item in store.registries] for store in config.vault_stores}
    return VaultAccess(
        "vault-access",
        {
            "mount": auth.mount,
            "create_mount": auth.create,
            "import_mount": auth.create and environment.auth_mount_exists,
            "kubernetes_host": environment.reviews.host,
            "kubernetes_ca_cert": environment.reviews.ca_cert,
            "role": auth.role,
            "policies": [*roles.pop(auth.role, ())],
            "further_roles": {role: [*policies] for role, policies in roles.items()},
            "audience": auth.audience,
            "token_ttl": int(parse_duration(auth.token_ttl).total_seconds()),
            "namespace": config.eso.namespace,
            "service_account": config.eso.service_account,
            "reviewer": builders.ReviewerSpec.of(config).name,
        },
        opts,
    )


def _tenant(config: StackConfig, tenant: Tenant) -> TenantNamespaceArgs:
    return {
        **cast("TenantNamespaceArgs", tenant.model_dump(mode="json")),
        "registries": {name: dict(config.registry(name).selector) for name in tenant.registries},
        "delete_on_leave": config.tenants.on_leave == "delete",
        "protect": config.tenants.protect,
        "bind_service_accounts": config.binding != guard.ADMISSION,
        "context": config.cluster.context,
    }


def _opt_in(name: str, args: TenantNamespaceArgs, before: Before, opts: pulumi.ResourceOptions) -> NamespaceOptIn:
    if name in before.handing_over:
        # Version 0.9 held it as a resource of the Kubernetes provider, which would delete it.
        kept = pulumi.ResourceOptions.merge(
            _handed_over(name, opts), pulumi.ResourceOptions(ignore_changes=["metadata"])
        )
        opts = _after(opts, [kubernetes.core.v1.Namespace(f"{name}-namespace", opts=kept)])
    if before.wrapped:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=[_inside_component(name)]))
    return declare_opt_in(name, args, opts)


def _handed_over(name: str, opts: pulumi.ResourceOptions) -> pulumi.ResourceOptions:
    """Keep a former resource of a tenant for one more run, in which state learns that its end takes nothing away."""
    release = "pulumi-python:dynamic/pullsecrets:NamespaceRelease"
    aliases = [_inside_component(name), _inside_component(name, name=f"{name}-release", type_=release)]
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True, aliases=aliases))


def _inside_component(tenant: str, **former: str) -> pulumi.Alias:
    """Return where earlier versions had a tenant's resources: in a component for each tenant."""
    return pulumi.Alias(parent=pulumi.create_urn(tenant, "pullsecrets:index:TenantNamespace"), **former)


def _after(
    opts: pulumi.ResourceOptions, needed: pulumi.Input[Sequence[pulumi.Input[pulumi.Resource]]]
) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=needed))


def _kubernetes_provider(config: StackConfig) -> kubernetes.Provider:
    return kubernetes.Provider(
        "cluster",
        context=config.cluster.context,
        enable_server_side_apply=True,
        # A run killed before it saved its state must converge on a rerun. The preflight has refused every object of
        # these names that is not this stack's own.
        upsert_existing_objects=True,
        # A value that somebody overwrote with kubectl would make the preview of its repair fail with a conflict.
        enable_patch_force=True,
        # The defaults, 50 requests a second in bursts of 120, would alone cost 18 seconds for 1,000 tenants.
        kube_client_settings=kubernetes.KubeClientSettingsArgs(qps=200, burst=400),
    )


def _vault_provider(environment: Environment) -> vault.Provider:
    # The token comes from VAULT_TOKEN, so that it is never an input and never in state.
    return vault.Provider("vault", address=environment.vault_address, skip_child_token=True)
