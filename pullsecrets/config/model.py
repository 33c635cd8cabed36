"""Sections of a stack's configuration: frozen models that refuse unknown keys and wrong types."""

import builtins
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pullsecrets import names
from pullsecrets.config.fields import (
    Address,
    Cidr,
    ConfigModel,
    DailySchedule,
    ExpiryNotice,
    FleetLabels,
    Host,
    KvPath,
    Label,
    Labels,
    NamespacePattern,
    ObjectName,
    PinnedImage,
    Port,
    Principal,
    Pushgateway,
    Refresh,
    RelativeFile,
    Selector,
    TokenTtl,
)
from pullsecrets.config.gitops import GitOps, WorkloadKind
from pullsecrets.config.tenants import NamespaceTenant, Tenant, Tenants, expand
from pullsecrets.errors import BadInputError


class ApiServer(ConfigModel):
    """Where ESO's Pods reach the Kubernetes API server, for the egress rule."""

    since: ClassVar = {"0.1.0": ("cidrs", "port", "url")}

    cidrs: tuple[Cidr, ...] = ()
    """Addresses that ESO may reach the API server at; empty: any, on that port."""
    port: Port = 6443
    """Where the API server listens."""
    url: Address = "https://kubernetes.default.svc"
    """As ESO's Pods call it, for the stores of relayed registries."""


class Cluster(ConfigModel):
    """The cluster of this stack."""

    since: ClassVar = {"0.1.0": ("name", "platform", "context", "api_server")}

    name: Label
    """Part of the default paths in Vault, and what reports call the cluster."""
    platform: Literal["kubernetes", "openshift"] = "kubernetes"
    """With `openshift` the guard knows the kinds that write the cluster pull-secret there."""
    context: str | None = None
    """Context of the kubeconfig. Default: its current one."""
    api_server: ApiServer = ApiServer()
    """Where ESO reaches the API server."""


class VaultAuth(ConfigModel):
    """Vault's Kubernetes auth mount for this cluster and the role that ESO logs in to."""

    since: ClassVar = {
        "0.1.0": (
            "mount",
            "create",
            "role",
            "audience",
            "api_audience",
            "token_ttl",
            "kubernetes_host",
            "kubernetes_ca_cert",
        )
    }

    mount: KvPath = "kubernetes"
    """Path of the auth mount."""
    create: bool = True
    """Whether the stack declares the mount; `false` where Vault's administrators do."""
    role: Label = "external-secrets-registries"
    """Role of the first registry's store; each further store has this name, `-` and its registry's."""
    audience: str = "vault"
    """Audience of the token that ESO shows Vault."""
    api_audience: str = "https://kubernetes.default.svc"
    """Audience of the token with which Vault asks the API server for a review."""
    token_ttl: TokenTtl = "10m"  # noqa: S105 - a duration
    """How long the Vault token of a login lives."""
    kubernetes_host: Address | None = None
    """The API server as Vault reaches it. Default: what Vault has; on the first `up`, the kubeconfig's server."""
    kubernetes_ca_cert: str | None = None
    """Its CA certificate in PEM. Default: as for `kubernetesHost`."""


class VaultEgress(ConfigModel):
    """Where Vault is, as a NetworkPolicy sees it: address blocks outside, or a namespace inside the cluster."""

    since: ClassVar = {"0.1.0": ("cidrs", "namespace_selector", "port")}

    cidrs: tuple[Cidr, ...] = ()
    """Vault's addresses outside the cluster."""
    namespace_selector: Labels | None = None
    """Labels of Vault's namespace inside the cluster."""
    port: Port | None = None
    """Port of Vault; behind a Service, that of its Pods. Default: the port of `vault.address`."""

    @model_validator(mode="after")
    def _one_destination(self) -> "VaultEgress":
        if bool(self.cidrs) == bool(self.namespace_selector):
            raise ValueError("either cidrs or namespaceSelector, not both and not neither")
        return self


class Vault(ConfigModel):
    """The Vault (or OpenBao) server that holds the credentials."""

    since: ClassVar = {"0.1.0": ("address", "mount", "ca_bundle", "auth", "egress")}

    address: Address
    """Where the cluster reaches Vault; `VAULT_ADDR` says where this machine does."""
    mount: KvPath = "secret"
    """A KV version 2 mount."""
    ca_bundle: str | None = None
    """CA certificates in PEM by which ESO trusts Vault."""
    auth: VaultAuth = VaultAuth()
    """How ESO logs in."""
    egress: VaultEgress | None = None
    """Declares a NetworkPolicy that lets ESO reach Vault, DNS and the API server **and nothing else**: what its other
    stores read needs a policy of its own beside it. Left out, ESO's network access is left to others."""

    @property
    def port(self) -> int:
        """TCP port of Vault as ESO's Pods see it."""
        return (self.egress and self.egress.port) or urlsplit(self.address).port or 443


class Eso(ConfigModel):
    """The External Secrets Operator of this cluster and the names of the objects it is given."""

    since: ClassVar = {
        "0.1.0": ("namespace", "service_account", "distribution", "version", "pod_labels", "store", "network_policy")
    }

    namespace: Label = "external-secrets"
    """Namespace of its Deployments."""
    service_account: ObjectName = "external-secrets"
    """ServiceAccount of its controller."""
    distribution: Literal["helm", "redhat"] = "helm"
    """How it is installed: by its chart, or by Red Hat's operator."""
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] | None = None
    """Such as `2.5.0`. From 2.3.0 on objects are spelled out further, so that Argo CD sees no difference."""
    pod_labels: Annotated[Labels, Field(min_length=1)] = Field(default={"app.kubernetes.io/name": "external-secrets"})
    """Labels of its controller's Pods, which the NetworkPolicy selects."""
    store: ObjectName = "vault-platform"
    """Name of the first registry's store, and the start of the others'."""
    network_policy: ObjectName = "eso-allow-egress-to-vault"
    """Name of the NetworkPolicy."""


class Registry(ConfigModel):
    """One registry credential, the namespaces that may have it and the label that grants it."""

    since: ClassVar = {
        "0.1.0": (
            "name",
            "hosts",
            "rejected_hosts",
            "path",
            "property",
            "store",
            "source",
            "delivery",
            "sealed_file",
            "owner",
            "selector",
            "namespaces",
            "refresh",
            "sync_wave",
            "max_versions",
        )
    }

    name: Label
    """Name of the Secret in every tenant namespace, and of the ClusterExternalSecret."""
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    """Hosts that the credential must log in to; a credential without one of them is refused."""
    rejected_hosts: tuple[Host, ...] = ()
    """Hosts that images must not name, such as a route that was renamed."""
    path: KvPath
    """The credential, below `vault.mount`. Default: `<cluster>/registries/<name>`, on OpenShift after `ocp/`."""
    property: Annotated[str, Field(min_length=1)] = "dockerconfigjson"
    """Key of the KV entry that holds the document."""
    store: ObjectName | None = None
    """ClusterSecretStore that reads the path. Default: `eso.store` for the first, for others `<eso.store>-<name>`."""
    source: Literal["vault", "sealedSecret"] = "vault"
    """Where the credential comes from; `sealedSecret` needs `delivery: fanout` and no Vault."""
    delivery: Literal["direct", "fanout"] = "direct"
    """Whether each namespace's ExternalSecret reads Vault, or a copy of the Secret in ESO's namespace."""
    sealed_file: RelativeFile | None = None
    """The SealedSecret in the repository. Default: `sealed/<cluster>/<name>.yaml` with `source: sealedSecret`."""
    owner: Annotated[str, Field(min_length=1, max_length=512)] = "platform"
    """Who renews the credential; kept as metadata of the KV entry."""
    selector: Selector
    """The opt-in label: namespaces that have it get the Secret."""
    namespaces: Annotated[tuple[NamespacePattern, ...], Field(min_length=1)]
    """Namespaces that may carry the opt-in label."""
    refresh: Refresh = "1h"
    """How often ESO reads the credential again."""
    sync_wave: int = 45
    """Argo CD's sync wave of the rendered ClusterExternalSecret."""
    max_versions: Annotated[int, Field(ge=2, le=100)] = 10
    """How many versions Vault keeps to roll back to."""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a namespace with these labels opts in."""
        return self.selector.items() <= labels.items()

    def permits(self, namespace: str) -> bool:
        """Tell whether the opt-in label may stand on a namespace; on a platform namespace it never may."""
        return names.matches(namespace, self.namespaces) and not names.is_platform_namespace(namespace)

    # By its full name: here `property` is a field.
    @builtins.property
    def relayed(self) -> bool:
        """Whether namespaces read a Secret in ESO's namespace, and only that one is read from its source."""
        return self.delivery == "fanout"

    @builtins.property
    def sealed(self) -> bool:
        """Whether the credential comes from a SealedSecret in the repository instead of Vault."""
        return self.source == "sealedSecret"


class VaultStore(BaseModel):
    """One grant in Vault: a ClusterSecretStore, the role that it logs in to, and the registries that the role reads."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: str
    registries: tuple[Registry, ...]
    """More than one only where the same label opens them all."""


PLATFORM_ACCOUNTS = (
    "generic-garbage-collector",  # deletes what owners left behind
    "namespace-controller",  # deletes what a namespace holds
    "storage-version-migrator-controller",  # writes every object again after a change of encryption keys
)
"""ServiceAccounts of `kube-system` that write guarded objects as part of Kubernetes, as cmd/kube-controller-manager/app
names them for `--use-service-account-credentials`. Sealed-secrets and others run in that namespace too."""
PLATFORM_USERS = (
    # Without ServiceAccounts of their own, the controllers of Kubernetes act as this user.
    "system:kube-controller-manager",
    *(f"system:serviceaccount:kube-system:{name}" for name in PLATFORM_ACCOUNTS),
    # HyperShift's operator inside hosted clusters: a cluster-admin by RBAC, in no group of its own.
    "system:hosted-cluster-config",
)
PLATFORM_NAMESPACES = (
    "hypershift",  # keeps HostedControlPlane in step with HostedCluster
    "openshift-azure-operator",  # Azure Red Hat OpenShift repairs its own registry's login
    "openshift-cluster-version",  # applies a release's manifests
    "openshift-config-operator",
    "openshift-image-registry",
    "openshift-insights",  # writes the new pull-secret when a cluster changes its owner
    "openshift-kube-storage-version-migrator",  # writes every Secret again after a change of encryption keys
    "openshift-machine-config-operator",  # renders the MachineConfigs that hold the kubelet's registry logins
)
"""Namespaces whose ServiceAccounts write guarded objects as part of the cluster. By name and not `openshift-*`: Argo
CD runs in `openshift-gitops`, and installed operators in others."""


class Principals(ConfigModel):
    """Users and groups as the API server sees them."""

    since: ClassVar = {"0.1.0": ("users", "groups")}

    users: tuple[Principal, ...] = ()
    """Users by name; a ServiceAccount is `system:serviceaccount:<namespace>:<name>`."""
    groups: tuple[Principal, ...] = ()
    """Groups by name."""


class Guard(ConfigModel):
    """The guard in the cluster: who may write the cluster pull-secret and who may opt namespaces in."""

    since: ClassVar = {"0.1.0": ("mode", "changes", "writers", "labelers", "platform", "break_glass_group")}

    mode: Literal["deny", "warn", "off"] = "warn"
    """What the admission policies do about a violation."""
    changes: Literal["warn", "refuse"] = "warn"
    """What a preview or `up` does about a change that removes a running tenant's pull Secret, namespace or network."""
    writers: Principals = Principals()
    """Who may write the cluster pull-secret beside the platform and the break-glass group."""
    labelers: Principals = Principals()
    """Who may set opt-in labels on namespaces: the identities that run `pulumi up`. Required with `mode: deny`."""
    platform: Principals = Principals(
        users=PLATFORM_USERS, groups=tuple(f"system:serviceaccounts:{name}" for name in PLATFORM_NAMESPACES)
    )
    """The cluster's own controllers, which write guarded objects as part of their work."""
    break_glass_group: Principal = "pull-secrets-break-glass"
    """Members are always permitted, and recorded in the audit log."""


class RolloutWave(ConfigModel):
    """Services that are rolled out together, once the wave before is proved good."""

    since: ClassVar = {"0.1.0": ("name", "services")}

    name: Label
    """What reports call the wave."""
    services: Annotated[tuple[Label, ...], Field(min_length=1)]
    """Services of the tenants' matrices."""


class Rollout(ConfigModel):
    """The order in which the services of the tenants' matrices are rolled out; the first wave is the canary."""

    since: ClassVar = {"0.1.0": ("waves",)}

    waves: tuple[RolloutWave, ...] = ()
    """In order; the first is the canary."""

    def wave_of(self, service: str) -> int | None:
        """Return the position of a service's wave, 0 for the canary; None for a service in no wave."""
        return next((index for index, wave in enumerate(self.waves) if service in wave.services), None)


class Monitoring(ConfigModel):
    """Alert rules, a dashboard and the daily validation inside the cluster."""

    since: ClassVar = {
        "0.1.0": (
            "enabled",
            "namespace",
            "rule_labels",
            "dashboard_labels",
            "dashboard_folder",
            "coverage_target",
            "expiry_notice",
            "schedule",
            "image",
            "image_pull_secret",
            "pushgateway",
            "vault_role",
            "bind_watch",
        )
    }

    enabled: bool = False
    """Whether any of it is declared."""
    namespace: Label = "monitoring"
    """Namespace of all its objects; it must exist."""
    rule_labels: Labels = Field(default={})
    """Labels of the PrometheusRule, by which a Prometheus selects its rules."""
    dashboard_labels: Annotated[Labels, Field(min_length=1)] = Field(default={"grafana_dashboard": "1"})
    """Labels by which Grafana's sidecar finds dashboards."""
    dashboard_folder: Annotated[str, Field(min_length=1)] | None = None
    """Grafana's folder for the dashboard."""
    coverage_target: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the namespaces that must be green."""
    expiry_notice: ExpiryNotice = "336h"
    """How long before a credential's recorded expiry the alert fires."""
    schedule: DailySchedule = "0 6 * * *"
    """When the validation runs, in UTC."""
    image: PinnedImage | None = None
    """Of the validation: the one that the Dockerfile makes."""
    image_pull_secret: ObjectName | None = None
    """Secret in that namespace by which the image is pulled."""
    pushgateway: Pushgateway | None = None
    """Where the audit's metrics go; without it the validation is judged by the success of its Jobs alone."""
    vault_role: ObjectName = "pull-secrets-audit"
    """Role in Vault by which the validation reads digests and expiry, and no credential."""
    bind_watch: bool = False
    """Whether a Deployment runs `pull-secrets bind --watch`, for ServiceAccounts that appear between two runs."""


class Fleet(ConfigModel):
    """The stack's place among the stacks of the project, for pipelines and for commands over several stacks."""

    since: ClassVar = {"0.1.0": ("wave", "labels")}

    wave: Annotated[int, Field(ge=1)] = 1
    """Stacks of a lower wave are updated first; one that fails there keeps later waves from starting."""
    labels: FleetLabels = Field(default={})
    """By which `--select` picks stacks, such as `region: eu`."""


class StackConfig(ConfigModel):
    """Everything one stack declares. Build it with `pullsecrets.config.parse`, which also applies the rules."""

    since: ClassVar = {
        "0.1.0": (
            "cluster",
            "vault_section",
            "eso",
            "registries",
            "tenants",
            "binding",
            "guard",
            "rollout",
            "monitoring",
            "gitops",
            "workloads",
            "fleet",
            "gate",
        )
    }

    cluster: Cluster
    """Name and platform of the cluster, and where its API server is."""
    vault_section: Annotated[Vault | None, Field(alias="vault")] = None
    """The Vault server; left out where every registry has `source: sealedSecret`."""
    eso: Eso = Eso()
    """The External Secrets Operator as it is installed, and names of objects."""
    registries: Annotated[tuple[Registry, ...], Field(min_length=1)]
    """Registry credentials, who may have them, and the label that grants each."""
    tenants: Tenants = Tenants()
    """The tenant namespaces."""
    binding: Literal["serviceAccounts", "admission"] = "serviceAccounts"
    """How Pods get the pull Secrets: appended to ServiceAccounts, or to new Pods at admission."""
    guard: Guard = Guard()
    """Who may write the cluster pull-secret and who may opt namespaces in."""
    rollout: Rollout = Rollout()
    """The order in which services are rolled out."""
    monitoring: Monitoring = Monitoring()
    """Alert rules, a dashboard and the daily validation."""
    gitops: GitOps = GitOps()
    """How the GitOps repository of the services is laid out and built."""
    workloads: tuple[WorkloadKind, ...] = ()
    """Further kinds that create Pods, in addition to the known ones."""
    fleet: Fleet = Fleet()
    """The stack's place among the stacks of the project."""
    gate: Literal["warn", "fail", "off"] = "warn"
    """What `pulumi up` does about a path in Vault that holds no credential."""

    @property
    def vault(self) -> Vault:
        """The Vault server; ask `has_vault` first where a stack may do without.

        Raises:
            BadInputError: when every registry of the stack is sealed, so that there is no Vault.
        """
        if self.vault_section is None:
            raise BadInputError(
                "vault: missing; this stack's registries have source: sealedSecret, which `pull-secrets seal` "
                "renews; allowed for this command: a registry with source: vault"
            )
        return self.vault_section

    @property
    def has_vault(self) -> bool:
        """Whether the stack declares a Vault server that a registry is read from."""
        return self.vault_section is not None and bool(self.vault_registries)

    @property
    def declares_egress(self) -> bool:
        """Whether the stack declares what ESO may reach."""
        return self.has_vault and self.vault.egress is not None

    @property
    def vault_stores(self) -> tuple[VaultStore, ...]:
        """The stores that read Vault, the one of the first registry first: it logs in to `vault.auth.role`."""
        by_name: dict[str, list[Registry]] = {}
        for registry in self.vault_registries if self.has_vault else ():
            by_name.setdefault(self.store_of(registry), []).append(registry)
        return tuple(
            VaultStore(
                name=name,
                role=f"{self.vault.auth.role}-{registries[0].name}" if index else self.vault.auth.role,
                registries=tuple(registries),
            )
            for index, (name, registries) in enumerate(by_name.items())
        )

    def store_of(self, registry: Registry) -> str:
        """Return the name of the store that reads a registry from Vault.

        By default the first registry has the store that `eso.store` names, and each further one a store of its own, so
        that one label opens one path.
        """
        if registry.store or registry in self.vault_registries[:1]:
            return registry.store or self.eso.store
        # With a dot, which no registry has in its name: with '-' it is the relay's own store that has this name.
        return f"{self.eso.store}.{registry.name}" if registry.relayed else f"{self.eso.store}-{registry.name}"

    def relay_store(self, registry: Registry) -> str:
        """Return the name of the store through which namespaces read a relayed registry's Secret."""
        return f"{self.eso.store}-{registry.name}"

    @property
    def vault_registries(self) -> tuple[Registry, ...]:
        """The registries whose credential is in Vault."""
        return tuple(registry for registry in self.registries if not registry.sealed)

    def registry(self, name: str) -> Registry:
        """Return the registry of that name.

        Raises:
            KeyError: when the stack has none of that name.
        """
        return {registry.name: registry for registry in self.registries}[name]

    @property
    def services(self) -> tuple[str, ...]:
        """The services of all matrices, each once, in the order of the configuration."""
        return tuple(dict.fromkeys(name for matrix in self.tenants.matrices for name in matrix.services))

    @property
    def unplaced_services(self) -> tuple[str, ...]:
        """The services that no wave of the rollout names: nothing would ever roll them out."""
        return tuple(name for name in self.services if self.rollout.wave_of(name) is None)

    def resolve_tenants(self) -> tuple[Tenant, ...]:
        """Return every tenant namespace once, the matrices multiplied out, sorted by name."""
        products = [tenant for matrix in self.tenants.matrices for tenant in expand(matrix)]
        declared = sorted([*self.tenants.namespaces, *products], key=lambda tenant: tenant.name)
        return tuple(self._resolve(tenant) for tenant in declared)

    def _resolve(self, declared: NamespaceTenant) -> Tenant:
        accounts = ("default", *(name for name in declared.service_accounts if name != "default"))
        granted = {key: value for name in declared.registries for key, value in self.registry(name).selector.items()}
        resolved = {"service_accounts": tuple(dict.fromkeys(accounts)), "labels": {**declared.labels, **granted}}
        return Tenant.model_validate({**dict(declared), **resolved})
