"""The roles of one stack, for a cluster administrator to apply, and the single rights in them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

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


@dataclass(frozen=True)
class Right:
    """One thing that a role lets its members do, as a review of access asks for it."""

    role: str
    verb: str
    group: str
    resource: str
    """With its subresource, such as `pods/eviction`."""
    name: str = ""
    """The one object that it is for; any when empty."""
    namespace: str = ""
    """Where; everywhere when empty."""

    def __str__(self) -> str:
        """Say it as kubectl does, such as `create clustersecretstores.external-secrets.io`."""
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''} {self.name}".strip() + where


def rights_of(roles: Iterable[KubernetesObject]) -> Iterator[Right]:
    """Yield every single right that roles grant; objects that are no roles grant none."""
    for role in roles:
        metadata = role["metadata"]
        for rule in role.get("rules", ()):
            names = rule.get("resourceNames", [""])
            for group, resource, name, verb in product(rule["apiGroups"], rule["resources"], names, rule["verbs"]):
                yield Right(metadata["name"], verb, group, resource, name, metadata.get("namespace", ""))


def deployment_roles(config: StackConfig, groups: Groups) -> list[KubernetesObject]:
    """Return the roles of the user who runs the first `pulumi up`: what stands above tenants, and tenants."""
    prefix, platform = f"{PREFIX}-{config.cluster.name}", _platform(config)
    monitoring: list[KubernetesObject] = []
    if config.monitoring.enabled:
        monitoring = monitoring_deployer_roles(
            groups.administrators,
            config.monitoring.namespace,
            [config.cluster.name],
            prefix,
            bind_watch=config.monitoring.bind_watch,
        )
    return [
        *deployer_roles(groups.deployers, platform, prefix),
        *administrator_roles(groups.administrators, platform, prefix),
        *monitoring,
    ]


def stack_roles(config: StackConfig, groups: Groups) -> list[KubernetesObject]:
    """Return every role and binding that people and pipelines need in the stack's cluster."""
    eso, prefix, platform = config.eso, f"{PREFIX}-{config.cluster.name}", _platform(config)
    registries = [registry.name for registry in config.registries]
    return [
        *deployment_roles(config, groups),
        *auditor_roles(groups.auditors, registries, f"{prefix}-auditor", by_admission=platform.pod_admission),
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


def _platform(config: StackConfig) -> Platform:
    return Platform(
        eso_namespace=config.eso.namespace,
        reviewers=[ReviewerSpec.of(config).name] if config.has_vault else [],
        relays=[config.relay_store(registry) for registry in config.registries if registry.relayed],
        sealed=any(registry.sealed for registry in config.registries),
        egress=config.declares_egress,
        distribution=config.eso.distribution,
        guard=config.guard.mode != "off",
        pod_admission=config.binding == ADMISSION,
    )
