"""Everything that a stack declares in its cluster: the one list that `render` writes and the preflight looks for."""

from collections.abc import Iterator

from pullsecrets.config import StackConfig
from pullsecrets.kube.admission import MUTATING_VERSIONS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import audit_job, bind_watch, builders, guard
from pullsecrets.manifests.alerts import prometheus_rule
from pullsecrets.manifests.builders import EgressSpec, PullSecretSpec, ReviewerSpec, StoreSpec
from pullsecrets.manifests.dashboard import dashboard_config_map
from pullsecrets.manifests.monitoring import MonitoringSpec


def platform_objects(
    config: StackConfig, stack: str, pod_admission: str = MUTATING_VERSIONS[0]
) -> Iterator[tuple[str, KubernetesObject]]:
    """Yield every object but the tenants' namespaces, each with the folder that `render` keeps it in.

    SealedSecrets are not among them: `seal` has written them already, where the repository keeps them.

    Args:
        pod_admission: version of the policies that append to Pods.
    """
    if config.declares_egress:
        yield f"platform/{config.eso.network_policy}", builders.egress(EgressSpec.of(config))
    if config.has_vault:
        reviewer = ReviewerSpec.of(config)
        yield f"platform/{reviewer.name}", builders.token_reviewer_binding(reviewer)
    for store in config.vault_stores:
        yield f"secrets/{store.name}", builders.cluster_secret_store(StoreSpec.of(config, store))
    for registry in config.registries:
        spec = PullSecretSpec.of(config, registry)
        yield f"secrets/{registry.name}", builders.cluster_external_secret(spec)
        if spec.relay:
            yield from _relay(spec, spec.relay.name, sealed=registry.sealed)
    for item in guard.stack_objects(config, pod_admission):
        # A policy and its binding share a name, and each object has a folder of its own.
        name = f"{item['metadata']['name']}{'-binding' if item['kind'].endswith('Binding') else ''}"
        yield f"platform/{name}", item
    for item in monitoring_objects(config, stack):
        yield f"monitoring/{item['metadata']['name']}-{item['kind'].lower()}", item


def stack_objects(config: StackConfig, stack: str, pod_admission: str = MUTATING_VERSIONS[0]) -> list[KubernetesObject]:
    """Return every object, as `platform_objects`, and the tenants' namespaces."""
    tenants = [builders.tenant_namespace(tenant) for tenant in config.resolve_tenants()]
    return [*(item for _, item in platform_objects(config, stack, pod_admission)), *tenants]


def monitoring_objects(config: StackConfig, stack: str) -> list[KubernetesObject]:
    """Return the objects that monitoring adds; none where it is off."""
    if not config.monitoring.enabled:
        return []
    spec = MonitoringSpec.of(config, stack)
    watch = bind_watch.objects(spec) if spec.bound_accounts is not None else []
    return [prometheus_rule(spec), dashboard_config_map(spec), *audit_job.objects(spec), *watch]


def _relay(spec: PullSecretSpec, name: str, *, sealed: bool) -> Iterator[tuple[str, KubernetesObject]]:
    for item in (*builders.relay_reader(spec), builders.relay_store(spec)):
        yield f"secrets/{name}-{item['kind'].lower()}", item
    if not sealed:
        yield f"secrets/{name}-source", builders.relay_external_secret(spec)
