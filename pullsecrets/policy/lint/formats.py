"""A lint's report as text for people, and as JSON, SARIF and JUnit for pipelines."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from pullsecrets.policy.lint.judging import POLICIES, Report, Violation
from pullsecrets.policy.model import Level, PolicyInfo, Severity
from pullsecrets.text import counted

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SCORES = {Severity.LOW: "2.0", Severity.MEDIUM: "5.0", Severity.HIGH: "8.0", Severity.CRITICAL: "9.5"}
"""What code scanning shows as low, medium, high and critical."""


def render(report: Report, name: str) -> str:
    """Return a report in one of `FORMATS`, without a last line break."""
    return FORMATS[name](report)


def _text(report: Report) -> str:
    lines = [_line(violation) for violation in report.told]
    lines += [f"no longer there, remove it from the baseline: {entry}" for entry in report.gone]
    if report.not_looked_at:
        lines.append(f"not checked: {'; '.join(report.not_looked_at)}")
    advisory, accepted = len(report.told) - report.mandatory, len(report.violations) - len(report.told)
    judged = f"{report.mandatory} mandatory, {advisory} advisory" + (f", {accepted} accepted" if accepted else "")
    return "\n".join([*lines, f"{judged}: {counted(report.objects, 'object')} in {counted(len(report.files), 'file')}"])


def _line(found: Violation) -> str:
    place = f"{found.file}:{found.line}:{found.column}"
    return f"{place}: {found.level} {found.policy.name}: {found.problem}\n    fix: {found.fix}"


def _json(report: Report) -> str:
    violations = [
        {
            "policy": found.policy.name,
            "level": found.level,
            "severity": found.policy.severity,
            "file": found.file,
            "line": found.line,
            "column": found.column,
            "problem": found.problem,
            "fix": found.fix,
            "url": found.policy.url,
            "accepted": found.accepted,
        }
        for found in report.violations
    ]
    document = {
        "files": len(report.files),
        "objects": report.objects,
        "mandatory": report.mandatory,
        "violations": violations,
        "noLongerThere": list(report.gone),
        "notLookedAt": list(report.not_looked_at),
    }
    return json.dumps(document, indent=2)


def _sarif(report: Report) -> str:
    names = [policy.name for policy in POLICIES]
    driver = {
        "name": "pull-secrets lint",
        "informationUri": "https://external-secrets.io/latest/api/clusterexternalsecret/",
        "rules": [_sarif_rule(policy) for policy in POLICIES],
    }
    results = [_sarif_result(found, names.index(found.policy.name)) for found in report.violations]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _sarif_rule(policy: PolicyInfo) -> dict[str, Any]:
    return {
        "id": policy.name,
        "name": policy.title,
        "shortDescription": {"text": policy.title},
        "fullDescription": {"text": policy.description},
        "help": {"text": policy.remediation},
        "helpUri": policy.url,
        "defaultConfiguration": {"level": _sarif_level(policy.level)},
        # Code scanning shows the score of rules that have this tag alone.
        "properties": {"tags": ["security", *policy.tags], "security-severity": _SCORES[policy.severity]},
    }


def _sarif_result(found: Violation, rule: int) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": _uri(found.file)},
        "region": {"startLine": found.line, "startColumn": found.column},
    }
    result: dict[str, Any] = {
        "ruleId": found.policy.name,
        "ruleIndex": rule,
        "level": _sarif_level(found.level),
        "rank": float(_SCORES[found.policy.severity]) * 10,
        "message": {"text": f"{found.problem}; {found.fix}"},
        "locations": [{"physicalLocation": place}],
        "properties": {"severity": found.policy.severity},
    }
    if found.accepted:
        result["suppressions"] = [{"kind": "external", "justification": found.accepted}]
    return result


def _uri(file: str) -> str:
    """Return a file's place as a URI: relative to where the lint ran, unless it was named absolutely."""
    return Path(file).as_uri() if Path(file).is_absolute() else quote(file)


def _sarif_level(level: Level) -> str:
    return "warning" if level is Level.ADVISORY else "error"


def _junit(report: Report) -> str:
    by_file: dict[str, list[Violation]] = {file: [] for file in report.files}
    for found in report.told:
        by_file.setdefault(found.file, []).append(found)
    failed = {
        file: [found for found in violations if found.level is not Level.ADVISORY]
        for file, violations in by_file.items()
    }
    counts = {"tests": str(len(by_file)), "failures": str(sum(bool(found) for found in failed.values()))}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": "pull-secrets lint", "errors": "0", **counts})
    for file, violations in by_file.items():
        case = ET.SubElement(suite, "testcase", {"classname": "pull-secrets lint", "name": _xml(file)})
        if failed[file]:
            first = failed[file][0]
            attributes = {"type": first.policy.name, "message": _xml(first.problem)}
            ET.SubElement(case, "failure", attributes).text = _xml("\n".join(map(_line, failed[file])))
        advisory = [found for found in violations if found.level is Level.ADVISORY]
        if advisory:
            ET.SubElement(case, "system-out").text = _xml("\n".join(map(_line, advisory)))
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


def _xml(text: str) -> str:
    return _NOT_XML.sub("�", text)


FORMATS: Final[dict[str, Callable[[Report], str]]] = {
    "text": _text,
    "json": _json,
    "sarif": _sarif,
    "junit": _junit,
}
