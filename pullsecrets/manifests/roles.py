"""The roles of one stack, for whoever administers its cluster to apply."""

from dataclasses import dataclass

from pullsecrets.config import StackConfig
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests.builders import ReviewerSpec
from pullsecrets.manifests.guard import ADMISSION
from pullsecrets.manifests.rbac import (
    PREFIX,
    Platform,
    administrator_roles,
    auditor_roles,
    deployer_roles,
    diagnostician_roles,
    migrator_roles,
    monitoring_deployer_roles,
    offboarder_roles,
    operator_roles,
    surveyor_roles,
    verifier_roles,
)


@dataclass(frozen=True)
class Groups:
    """Kubernetes groups that the roles are bound to."""

    deployers: str = "pull-secrets-deployers"
    administrators: str = "pull-secrets-administrators"
    auditors: str = "pull-secrets-auditors"
    surveyors: str = "pull-secrets-surveyors"
    operators: str = "pull-secrets-operators"
    diagnosticians: str = "pull-secrets-diagnosticians"
    offboarders: str = "pull-secrets-offboarders"
    migrators: str = "pull-secrets-migrators"
    verifiers: str = "pull-secrets-verifiers"


def stack_roles(config: StackConfig, groups: Groups) -> list[KubernetesObject]:
    """Return every role and binding that people and pipelines need in the stack's cluster."""
    eso, prefix = config.eso, f"{PREFIX}-{config.cluster.name}"
    registries = [registry.name for registry in config.registries]
    by_admission = config.binding == ADMISSION
    platform = Platform(
        eso_namespace=eso.namespace,
        reviewers=[ReviewerSpec.of(config).name] if config.has_vault else [],
        relays=[config.relay_store(registry) for registry in config.registries if registry.relayed],
        sealed=any(registry.sealed for registry in config.registries),
        distribution=eso.distribution,
        guard=config.guard.mode != "off",
        pod_admission=by_admission,
    )
    monitoring: list[KubernetesObject] = []
    if config.monitoring.enabled:
        monitoring = monitoring_deployer_roles(
            groups.administrators, config.monitoring.namespace, [config.cluster.name], prefix
        )
    return [
        *deployer_roles(groups.deployers, platform, prefix),
        *administrator_roles(groups.administrators, platform, prefix),
        *monitoring,
        *auditor_roles(groups.auditors, registries, f"{prefix}-auditor", by_admission=by_admission),
        *surveyor_roles(groups.surveyors, prefix),
        *operator_roles(
            groups.operators,
            platform,
            registries,
            prefix,
            openshift=config.cluster.platform == "openshift",
            rollout=bool(config.rollout.waves),
        ),
        *(
            diagnostician_roles(groups.diagnosticians, eso.namespace, eso.service_account, prefix)
            if config.has_vault
            else ()
        ),
        *offboarder_roles(groups.offboarders, prefix),
        *migrator_roles(groups.migrators, prefix),
        *verifier_roles(groups.verifiers, prefix),
    ]
