"""Judges what the engine sends by a pack's rules, so that it fails closed, shows no value and costs little.

The SDK's own analyzer reads a resource anew for each of its policies, and makes a policy that touches an unknown value
advisory. Here each resource is read once, and only if its type concerns a policy, as plain data in which such values
are `UNKNOWN`: the rule decides what that means. A rule that breaks is a violation too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pulumi
from google.protobuf import json_format
from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import EnforcementLevel, Policy, ReportViolation, proxy
from pulumi_policy.deserialize import deserialize_properties, serialize_properties
from pulumi_policy.policy import _PolicyAnalyzerServicer  # type: ignore - what the SDK answers itself is this class's

from pullsecrets.data import UNKNOWN
from pullsecrets.packs.crossguard import Pack, ResourcePolicy, StackPolicy
from pullsecrets.policy.model import Finding, Options, Provider, Resource, Settings

_SENTINELS = frozenset(value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_"))
"""What stands in a preview for a value of each type that is not known yet."""
_VERSION = "0.0.1"
"""As the SDK says it; what counts is the version in PulumiPolicy.yaml."""


class Analyzer(_PolicyAnalyzerServicer):
    """The service of a pack: metadata, settings and levels are the SDK's part, judging is ours."""

    def __init__(self, pack: Pack) -> None:
        """Serve this pack."""
        super().__init__(
            pack.name,
            _VERSION,
            list(pack.policies),
            # Each policy states its own level; one that forgot to would be the strictest.
            EnforcementLevel.MANDATORY,
            description=pack.description,
            display_name=pack.title,
            tags=["kubernetes", "pull-secret"],
        )
        self._stack_policies = [policy for policy in pack.policies if isinstance(policy, StackPolicy)]
        self._resource_policies = [policy for policy in pack.policies if isinstance(policy, ResourcePolicy)]
        self._concerned = cache(self._of_type)

    def Analyze(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Judge one resource."""
        response = analyzer_pb2.AnalyzeResponse()
        if concerned := self._concerned(request.type):
            resource = _resource(request)
            for policy in concerned:
                self._judge(policy, lambda settings, rule=policy.rule: rule(resource, settings), response)
        return response

    def AnalyzeStack(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Judge all resources of a stack together."""
        response = analyzer_pb2.AnalyzeResponse()
        resources = [_resource(item) for item in request.resources] if self._stack_policies else []
        for policy in self._stack_policies:
            self._judge(policy, lambda settings, rule=policy.rule: rule(resources, settings), response)
        return response

    def Remediate(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Put one resource right by the policies that have a remedy; the violation of one that breaks stays."""
        response = analyzer_pb2.RemediateResponse()
        for policy in self._concerned(request.type):
            if policy.remedy and self._get_enforcement_level(policy) is EnforcementLevel.REMEDIATE:
                # What is secret stays so in what goes back.
                props = deserialize_properties(json_format.MessageToDict(request.properties), proxy_secrets=True)
                resource = replace(_resource(request), props=plain(props))
                try:
                    changed = policy.remedy(resource, self._settings(policy), props)
                except Exception:  # noqa: BLE001 - its text would be shown, and with it values
                    changed = False
                if changed:
                    request.properties.Clear()
                    request.properties.update(serialize_properties(props))
                    response.remediations.add(
                        policyName=policy.name, description=policy.description, properties=request.properties
                    )
        return response

    def _of_type(self, token: str) -> list[ResourcePolicy]:
        return [policy for policy in self._resource_policies if policy.concerns(token)]

    def _judge(self, policy: Policy, judge: Callable[[Settings], Iterable[Finding]], response: Any) -> None:
        level = self._get_enforcement_level(policy)
        if level is EnforcementLevel.DISABLED:
            return
        # What could not be put right stops the run.
        level = EnforcementLevel.MANDATORY if level is EnforcementLevel.REMEDIATE else level
        report: ReportViolation = self._create_report_violation(
            response, policy.name, policy.description, level, policy.severity
        )
        try:
            found = list(judge(self._settings(policy)))
        except Exception as error:  # noqa: BLE001 - the SDK would print the exception, and with it values
            cause = type(error).__name__
            report(f"the policy could not judge this ({cause}), which counts as a violation; report it", None)
            return
        for finding in found:
            report(str(finding), finding.urn)

    def _settings(self, policy: Policy) -> Settings:
        return self._get_policy_config(policy.name) or {}


def plain(value: Any) -> Any:
    """Return a value of the SDK as plain data, unknown parts as `UNKNOWN`.

    The content of a text asset is its text. What a file or an archive holds is unknown.
    """
    if isinstance(value, str):
        return UNKNOWN if value in _SENTINELS else value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, pulumi.StringAsset):
        return plain(value.text)
    return UNKNOWN if isinstance(value, pulumi.Asset | pulumi.Archive) else value


def _resource(request: Any) -> Resource:
    provider = request.provider if request.HasField("provider") else None
    return Resource(
        token=request.type,
        name=request.name,
        urn=request.urn,
        props=_props(request),
        provider=Provider(provider.type, provider.name, _props(provider)) if provider else None,
        options=Options(request.options.protect, request.options.deleteBeforeReplace),
    )


def _props(message: Any) -> dict[str, Any]:
    return plain(deserialize_properties(json_format.MessageToDict(message.properties)))
