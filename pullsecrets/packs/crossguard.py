"""Turns a rule and its metadata into a policy of the Pulumi SDK, so that it fails closed and shows no value.

A policy that touches an unknown value is only advisory in the SDK. So each resource is first turned into plain data in
which such values are `UNKNOWN`, and the rule decides what that means. A rule that breaks is a violation too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    proxy,
)
from pulumi_policy import Severity as PolicySeverity

from pullsecrets.data import UNKNOWN
from pullsecrets.policy.model import Finding, Options, PolicyInfo, Provider, Resource, ResourceRule, Settings, StackRule

_SENTINELS = frozenset(value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_"))
"""What stands in a preview for a value of each type that is not known yet."""

Remedy = Callable[[Resource, Settings, Mapping[str, Any]], bool]
"""Puts a resource's own properties right in place, and tells whether it changed them."""


@dataclass(frozen=True)
class Pack:
    """A policy pack: what its folder's `__main__.py` serves."""

    name: str
    title: str
    description: str
    policies: tuple[Policy, ...]


def resource_policy(info: PolicyInfo, rule: ResourceRule, remedy: Remedy | None = None) -> ResourceValidationPolicy:
    """Return the policy that judges each resource by a rule, and puts it right first where there is a remedy."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        _report(lambda: rule(_resource(args), args.get_config()), report)

    def remediate(args: ResourceValidationArgs) -> Mapping[str, Any] | None:
        changed = remedy is not None and remedy(_resource(args), args.get_config(), args.props)
        return args.props if changed else None

    return ResourceValidationPolicy(
        validate=validate,
        remediate=remediate if remedy else None,  # type: ignore[arg-type] - the SDK takes None for "nothing to change"
        **_metadata(info),
    )


def stack_policy(info: PolicyInfo, rule: StackRule) -> StackValidationPolicy:
    """Return the policy that judges all resources of a stack together."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        _report(lambda: rule([_resource(item) for item in args.resources], args.get_config()), report)

    return StackValidationPolicy(validate=validate, **_metadata(info))


def plain(value: Any) -> Any:
    """Return a value of the SDK without its proxies, unknown parts as `UNKNOWN`.

    The content of a text asset is its text. What a file or an archive holds is unknown.
    """
    if isinstance(value, str):
        return UNKNOWN if value in _SENTINELS else value
    if isinstance(value, Mapping):
        found = cast("Mapping[Any, Any]", value)
        return {str(key): _item(found, key) for key in found}
    if isinstance(value, Sequence):
        return [_item(value, index) for index in range(len(cast("Sequence[Any]", value)))]
    if isinstance(value, pulumi.StringAsset):
        return plain(value.text)
    return UNKNOWN if isinstance(value, pulumi.Asset | pulumi.Archive) else value


def _item(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except proxy.UnknownValueError:
        return UNKNOWN


def _resource(args: Any) -> Resource:
    provider = args.provider
    return Resource(
        token=args.resource_type,
        name=args.name,
        urn=args.urn,
        props=plain(args.props),
        provider=Provider(provider.resource_type, provider.name, plain(provider.props)) if provider else None,
        options=Options(bool(args.opts.protect), bool(args.opts.delete_before_replace)),
    )


def _report(judge: Callable[[], Iterable[Finding]], report: ReportViolation) -> None:
    try:
        found = list(judge())
    except Exception as error:  # noqa: BLE001 - the SDK would print the exception, and with it values
        report(
            f"the policy could not judge this ({type(error).__name__}), which counts as a violation; report it", None
        )
        return
    for finding in found:
        report(str(finding), finding.urn)


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
