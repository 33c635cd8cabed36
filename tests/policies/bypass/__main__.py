"""Declares each way around the packs that `cases.py` lists."""

from pathlib import Path
from typing import Any

import pulumi
from cases import CASES, REMEDIATED, UNKNOWN, YAML, Case
from pulumi_kubernetes.kustomize import Directory
from pulumi_kubernetes.yaml import ConfigGroup

KUBERNETES = "4.34.2"
COMMAND = "1.0.2"


def declare(case: Case, providers: dict[str, pulumi.ProviderResource], unknown: pulumi.Output[Any]) -> None:
    """Declare one case with its unknown parts filled in."""
    opts = pulumi.ResourceOptions(provider=providers[case.provider])
    pulumi.CustomResource(case.token, case.resource, _filled(case.props, unknown), opts)


def _filled(value: Any, unknown: pulumi.Output[Any]) -> Any:
    if value == UNKNOWN:
        return unknown
    if isinstance(value, dict):
        return {key: _filled(item, unknown) for key, item in value.items()}
    return [_filled(item, unknown) for item in value] if isinstance(value, list) else value


def provider(package: str, name: str, version: str, **props: Any) -> pulumi.ProviderResource:
    """Declare a provider."""
    return pulumi.ProviderResource(package, name, props, pulumi.ResourceOptions(version=version))


cluster = provider("kubernetes", "cluster", KUBERNETES, context="dev")
declared_providers = {
    "cluster": cluster,
    "upserting": provider("kubernetes", "upserting", KUBERNETES, context="dev", upsertExistingObjects="true"),
    "commands": provider("command", "commands", COMMAND),
}
other = pulumi.CustomResource(
    "kubernetes:core/v1:ConfigMap",
    "other",
    {"metadata": {"name": "other", "namespace": "team-a", "labels": {"app.kubernetes.io/part-of": "bypass"}}},
    pulumi.ResourceOptions(provider=cluster),
)
for declared in (*CASES, REMEDIATED):
    declare(declared, declared_providers, other.id)

children = pulumi.ResourceOptions(provider=cluster)
ConfigGroup("group", yaml=[YAML], resource_prefix="yaml", opts=children)
Directory("directory", str(Path(__file__).parent / "manifests"), resource_prefix="kustomize", opts=children)
