"""What the alert rules, the dashboard and the jobs of a stack in the cluster are made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from pullsecrets.config.model import StackConfig
from pullsecrets.manifests.builders import named_alike
from pullsecrets.manifests.rbac import ServiceAccount

_AUDITED: Final = {
    **dict.fromkeys(("cluster", "vault_section", "eso", "registries", "tenants", "binding"), True),
    "monitoring": {"namespace": True, "image_pull_secret": True},
}
"""What of a stack's configuration an audit reads; of monitoring, what it tells itself by."""


@dataclass(frozen=True)
class RegistryWatch:
    """What the rules need to know of one registry."""

    name: str
    hosts: Sequence[str]
    namespaces: Sequence[str]
    refresh: str
    """Such as `1h`."""


@dataclass(frozen=True)
class AuditAccessSpec:
    """What the validation's access to Vault is made of."""

    mount: str
    paths: Sequence[str]
    policy: str
    auth_mount: str
    role: str
    audience: str
    """The API server's: Vault reviews the token that logs in with that very token, and a projected token has one."""
    token_ttl: str

    @classmethod
    def of(cls, config: StackConfig) -> Self:
        """Take the values from a stack's configuration that reads Vault."""
        vault = config.vault
        return cls(
            mount=vault.mount,
            paths=[registry.path for registry in config.vault_registries],
            # No registry's policy has such a name: there is no dot in theirs.
            policy=f"pull-secrets-audit.{config.cluster.name}",
            auth_mount=vault.auth.mount,
            role=config.monitoring.vault_role,
            audience=vault.auth.api_audience,
            token_ttl=vault.auth.token_ttl,
        )


@dataclass(frozen=True)
class MonitoringSpec:
    """What all of it is made of; the arguments of the `PullSecretMonitoring` component, which describes each."""

    name: str
    namespace: str
    cluster: str
    registries: Sequence[RegistryWatch]
    stores: Sequence[str]
    coverage_target: float
    expiry_notice: str
    rule_labels: Mapping[str, str]
    dashboard_labels: Mapping[str, str]
    stack: str
    files: Mapping[str, str]
    """The stack's files by name, as `stack_files` makes them."""
    image: str
    schedule: str
    dashboard_folder: str | None = None
    image_pull_secret: str | None = None
    pushgateway: str | None = None
    bound_accounts: Sequence[str] | None = None
    vault: AuditAccessSpec | None = None

    @classmethod
    def of(cls, config: StackConfig, stack: str) -> Self:
        """Take the values from a stack's configuration that has monitoring on."""
        relays = [config.relay_store(registry) for registry in config.registries if registry.relayed]
        bound = sorted({name for tenant in config.resolve_tenants() for name in tenant.service_accounts})
        return cls(
            **named_alike(cls, config.monitoring),
            name=_name(config),
            cluster=config.cluster.name,
            registries=[RegistryWatch(**named_alike(RegistryWatch, registry)) for registry in config.registries],
            stores=[*(store.name for store in config.vault_stores), *relays],
            stack=stack,
            files=stack_files(config, stack),
            bound_accounts=bound if config.monitoring.bind_watch else None,
            vault=AuditAccessSpec.of(config) if config.has_vault else None,
        )

    @property
    def audit(self) -> ServiceAccount:
        """The ServiceAccount that the validation runs under; its CronJob has the same name."""
        return ServiceAccount(self.namespace, f"{self.name}-audit")

    @property
    def binder(self) -> ServiceAccount:
        """The ServiceAccount that `bind --watch` runs under; its Deployment has the same name."""
        return ServiceAccount(self.namespace, f"{self.name}-bind")

    @property
    def config_map(self) -> str:
        """Name of the ConfigMap with the stack's files."""
        return f"{self.audit.name}-stack"

    @property
    def cronjob(self) -> str:
        """Namespace and name of the validation, for messages."""
        return f"{self.namespace}/{self.audit.name}"

    def audit_series(self, name: str, matchers: str = "") -> str:
        """Return a selector of a series that the audit of this cluster pushed."""
        return f'{name}{{cluster="{self.cluster}"{", " if matchers else ""}{matchers}}}'

    def cronjob_series(self, name: str) -> str:
        """Return a selector of what kube-state-metrics tells of the daily validation."""
        return f'kube_cronjob_{name}{{namespace="{self.namespace}", cronjob="{self.audit.name}"}}'


def account(config: StackConfig, job: str = "audit") -> ServiceAccount:
    """Return the ServiceAccount that a stack's validation runs under, or another job of the stack's in the cluster."""
    return ServiceAccount(config.monitoring.namespace, f"{_name(config)}-{job}")


def stack_files(config: StackConfig, stack: str) -> dict[str, str]:
    """Return the files that a stack is read from in the cluster: what an audit needs of it and nothing else.

    Vault's address and certificates are written out, as they may have come from the environment. The kubeconfig's
    context is left out: in a Pod there is none. A stack file holds no credential.
    """
    known = config.model_dump(mode="json", by_alias=True, include=_AUDITED, exclude_defaults=True)
    known["cluster"].pop("context", None)
    values = {f"pull-secrets:{key}": value for key, value in known.items() if value}
    # JSON is YAML.
    return {
        "Pulumi.yaml": json.dumps({"name": "pull-secrets", "runtime": "python"}, indent=2) + "\n",
        f"Pulumi.{stack}.yaml": json.dumps({"config": values}, indent=2, sort_keys=True) + "\n",
    }


def _name(config: StackConfig) -> str:
    return f"pull-secrets-{config.cluster.name}"
