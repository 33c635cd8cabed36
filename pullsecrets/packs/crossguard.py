"""What a pack is made of: rules with their metadata, as policies of the Pulumi SDK; `analyzer` judges by them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    ResourceValidationPolicy,
    StackValidationPolicy,
)
from pulumi_policy import Severity as PolicySeverity

from pullsecrets.policy.model import PolicyInfo, Resource, ResourceRule, Settings, StackRule

Remedy = Callable[[Resource, Settings, Mapping[str, Any]], bool]
"""Puts a resource's own properties right in place, and tells whether it changed them."""


@dataclass(frozen=True)
class Pack:
    """A policy pack: what its folder's `__main__.py` serves."""

    name: str
    title: str
    description: str
    policies: tuple[Policy, ...]

    @property
    def folder(self) -> str:
        """The name of its folder in `pullsecrets/packs`."""
        return self.name.replace("-", "_")


class ResourcePolicy(ResourceValidationPolicy):
    """A policy that judges each resource by a rule, and puts it right first where there is a remedy."""

    def __init__(
        self,
        info: PolicyInfo,
        rule: ResourceRule,
        remedy: Remedy | None = None,
        *,
        concerns: Callable[[str], bool] = lambda _token: True,
    ) -> None:
        """Make a policy of a rule.

        Args:
            info: its metadata.
            rule: what finds violations.
            remedy: what puts a resource right.
            concerns: tells by a resource's type token whether the rule could find anything; all others are not read.
        """
        super().__init__(**_metadata(info))  # type: ignore - the SDK's annotations are partly unknown
        self.rule = rule
        self.remedy = remedy
        self.concerns = concerns


class StackPolicy(StackValidationPolicy):
    """A policy that judges all resources of a stack together."""

    def __init__(self, info: PolicyInfo, rule: StackRule) -> None:
        """Make a policy of a rule about a stack."""
        super().__init__(**_metadata(info))  # type: ignore - the SDK's annotations are partly unknown
        self.rule = rule


def _metadata(info: PolicyInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "description": info.description,
        "enforcement_level": EnforcementLevel(info.level.value),
        "config_schema": PolicyConfigSchema({key: dict(schema) for key, schema in info.settings.items()}),
        "display_name": info.title,
        "severity": PolicySeverity(info.severity.value),
        "tags": list(info.tags),
        "remediation_steps": info.remediation,
        "url": info.url,
    }
