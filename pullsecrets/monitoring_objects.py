"""Every object that monitoring adds to a stack: one list for `render` and for the preflight."""

from pullsecrets import audit_job
from pullsecrets.audit_job import AuditJobSpec
from pullsecrets.config import StackConfig
from pullsecrets.dashboard import dashboard_config_map
from pullsecrets.manifests import KubernetesObject
from pullsecrets.monitoring import MonitoringSpec, prometheus_rule


def stack_objects(config: StackConfig, stack: str) -> list[KubernetesObject]:
    """Return the objects of a stack; none where monitoring is off."""
    if not config.monitoring.enabled:
        return []
    spec = MonitoringSpec.of(config)
    return [prometheus_rule(spec), dashboard_config_map(spec), *audit_job.objects(AuditJobSpec.of(config, stack))]


def paths(config: StackConfig, stack: str) -> list[str]:
    """Return where the API server keeps these objects."""
    return [_path(item) for item in stack_objects(config, stack)]


def _path(item: KubernetesObject) -> str:
    version, metadata = item["apiVersion"], item["metadata"]
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    within = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{within}/{item['kind'].lower()}s/{metadata['name']}"
