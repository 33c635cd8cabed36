"""A report for other programs: one JSON document, JUnit for a pipeline's list of tests, SARIF for code scanning."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pullsecrets.doctor.chain import Chain
from pullsecrets.doctor.diagnosis import Diagnosis, Report
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.suppression import Suppression

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

# https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_document(report: Report, stack: str, namespace: str | None, chains: Iterable[Chain] = ()) -> dict[str, Any]:
    """Return a report as one JSON document, with how far each chain of the namespace asked about holds."""
    return {
        "stack": stack,
        "namespace": namespace,
        "healthy": report.healthy,
        "diagnoses": [_entry(item) for item in report.diagnoses],
        "unchecked": [asdict(item) for item in report.unchecked],
        "passed": [check.name for check in report.passed],
        "suppressed": [
            {"check": found.check, "namespace": found.namespace, "registry": found.registry, "reason": by.reason}
            for found, by in report.suppressed
        ],
        "chains": [{**asdict(chain), "breaks_at": chain.breaks_at} for chain in chains],
        "safe_fixes": [item.description for item in report.remedies()],
    }


def _entry(item: Diagnosis) -> dict[str, Any]:
    return {
        "check": item.check,
        "link": item.link,
        "severity": item.severity.name.lower(),
        "registry": item.registry,
        "namespaces": list(item.namespaces),
        "symptom": item.symptom,
        "causes": list(item.causes),
        "evidence": list(item.evidence),
        "fix": list(item.fix),
        "prevention": item.prevention,
        "consequences": [_entry(below) for below in item.consequences],
    }


def as_junit(report: Report, stack: str, fail_on: Severity) -> str:
    """Return a report in the form that JUnit's Ant task writes and CI servers read: each check is a test case.

    What could not be checked is an error, what is accepted is skipped, and what is found below the severity that the
    gate fails on is output of a test that passes.
    """
    cases = [_case(report, check, stack, fail_on) for check in report.checks]
    counts = {
        name: str(sum(case.find(tag) is not None for case in cases))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    suite = Element("testsuite", {"name": f"pull-secrets doctor {stack}", "tests": str(len(cases)), **counts})
    suite.extend(cases)
    suites = Element("testsuites")
    suites.append(suite)
    indent(suites)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{tostring(suites, encoding='unicode')}\n"


def _case(report: Report, check: Check, stack: str, fail_on: Severity) -> Element:
    case = Element("testcase", {"classname": f"pull-secrets.doctor.{stack}", "name": check.name})
    found = [item for item in report.findings() if item.check == check.name]
    failing = [item for item in found if item.severity >= fail_on]
    reasons = {by.reason: None for item, by in report.suppressed if item.check == check.name}
    for unchecked in (item for item in report.unchecked if item.check == check.name):
        SubElement(case, "error", {"type": "unchecked", "message": _clean(unchecked.reason)})
    if failing:
        worst = max(failing, key=lambda item: item.severity)
        told = {"type": worst.severity.name.lower(), "message": _clean(worst.cause)}
        SubElement(case, "failure", told).text = _clean("\n\n".join(map(_text, failing)))
    elif reasons and len(case) == 0:
        SubElement(case, "skipped", {"message": _clean("; ".join(reasons))})
    if rest := [item for item in found if item not in failing]:
        SubElement(case, "system-out").text = _clean("\n\n".join(map(_text, rest)))
    return case


def _text(found: Finding) -> str:
    where = [f"namespace {found.namespace}"] if found.namespace else []
    where += [f"registry {found.registry}"] if found.registry else []
    lines = [
        ", ".join(where),
        found.symptom,
        f"cause: {found.cause}",
        *(f"evidence: {line}" for line in found.evidence),
    ]
    return "\n".join(filter(None, [*lines, *(f"fix: {line}" for line in found.fix), f"prevent: {found.prevention}"]))


def _clean(text: str) -> str:
    """Return a text without the control characters that XML cannot hold."""
    return _NO_XML.sub("", text)


def as_sarif(report: Report, stack: str, cluster: str) -> dict[str, Any]:
    """Return a report in SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).

    A result is of the stack's file, for code scanning shows none without one, and of the namespace as a logical place.

    Args:
        cluster: the cluster's name, which results of several clusters are distinguished by.
    """
    rules = {check.name: number for number, check in enumerate(report.checks)}
    results = [(found, None) for found in report.findings()] + list(report.suppressed)
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pull-secrets doctor",
                        "version": version("pull-secrets"),
                        "rules": [_rule(check) for check in report.checks],
                    }
                },
                "automationDetails": {"id": f"pull-secrets-doctor/{cluster}/{stack}/"},
                "invocations": [{"executionSuccessful": not report.unchecked, **_notifications(report)}],
                "results": [_result(found, by, rules[found.check], stack, cluster) for found, by in results],
            }
        ],
    }


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.name,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.page.partition("\n\n")[0]},
        "help": {"text": f"{check.page}\n\n{check.link}"},
    }


def _notifications(report: Report) -> dict[str, Any]:
    found = [
        {"level": "error", "message": {"text": item.reason}, "associatedRule": {"id": item.check}}
        for item in report.unchecked
    ]
    return {"toolExecutionNotifications": found} if found else {}


def _result(found: Finding, by: Suppression | None, rule: int, stack: str, cluster: str) -> dict[str, Any]:
    place = f"{found.check}/{found.registry}/{found.namespace}" + ("" if found.namespace else f"/{found.cause}")
    return {
        "ruleId": found.check,
        "ruleIndex": rule,
        "level": "warning" if found.severity is Severity.WARNING else "error",
        "message": {"text": _text(found)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": f"Pulumi.{stack}.yaml"},
                    "region": {"startLine": 1},
                },
                "logicalLocations": list(_places(found, cluster)),
            }
        ],
        "partialFingerprints": {"finding/v1": hashlib.sha256(f"{cluster}/{place}".encode()).hexdigest()},
        "properties": {"severity": found.severity.name.lower()},
        **({"suppressions": [{"kind": "external", "justification": by.reason}]} if by else {}),
    }


def _places(found: Finding, cluster: str) -> Iterator[dict[str, str]]:
    if found.namespace:
        yield {"name": found.namespace, "kind": "namespace", "fullyQualifiedName": f"{cluster}/{found.namespace}"}
    else:
        yield {"name": cluster, "kind": "cluster", "fullyQualifiedName": cluster}
