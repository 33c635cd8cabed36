"""The roles of one stack, for whoever administers its cluster to apply."""

from dataclasses import dataclass

from pullsecrets.access import (
    auditor_roles,
    deployer_roles,
    diagnostician_roles,
    migrator_roles,
    monitoring_deployer_roles,
    offboarder_roles,
    operator_roles,
    verifier_roles,
)
from pullsecrets.config import StackConfig
from pullsecrets.manifests import KubernetesObject, ReviewerSpec


@dataclass(frozen=True)
class Groups:
    """Kubernetes groups that the roles are bound to."""

    deployers: str = "pull-secrets-deployers"
    auditors: str = "pull-secrets-auditors"
    operators: str = "pull-secrets-operators"
    diagnosticians: str = "pull-secrets-diagnosticians"
    offboarders: str = "pull-secrets-offboarders"
    migrators: str = "pull-secrets-migrators"
    verifiers: str = "pull-secrets-verifiers"


def stack_roles(config: StackConfig, groups: Groups) -> list[KubernetesObject]:
    """Return every role and binding that people and pipelines need in the stack's cluster."""
    eso = config.eso
    reviewers = [ReviewerSpec.of(config).name] if config.has_vault else []
    relays = [config.relay_store(registry) for registry in config.registries if registry.relayed]
    monitoring: list[KubernetesObject] = []
    if config.monitoring.enabled:
        monitoring = monitoring_deployer_roles(groups.deployers, config.monitoring.namespace, [config.cluster.name])
    return [
        *deployer_roles(groups.deployers, eso.namespace, reviewers, relays, eso.distribution),
        *monitoring,
        *auditor_roles(groups.auditors),
        *operator_roles(groups.operators, eso.namespace),
        *diagnostician_roles(groups.diagnosticians, eso.namespace, eso.service_account),
        *offboarder_roles(groups.offboarders),
        *migrator_roles(groups.migrators),
        *verifier_roles(groups.verifiers),
    ]
