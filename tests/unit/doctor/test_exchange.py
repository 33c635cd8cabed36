"""Reports for other programs have the shape that JUnit's readers and SARIF's schema ask for."""

from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from pullsecrets.doctor.checks import all_checks
from pullsecrets.doctor.diagnosis import Report, Unchecked, diagnose
from pullsecrets.doctor.exchange import as_document, as_junit, as_sarif
from pullsecrets.doctor.model import Check, Severity
from pullsecrets.errors import PullSecretsError
from tests.unit.doctor.tenants import healthy
from tests.unit.doctor.test_gate import FINE, SEALED, accepted, checked

WARNED = checked("warned", Severity.WARNING)
ACCEPTED = checked("accepted", Severity.TENANT)


def _refuse(_: object) -> Any:
    raise PullSecretsError("403 \x1b[31mForbidden")


BLIND = Check("blind", "it can see", _refuse)


@pytest.fixture(scope="module")
def report() -> Report:
    return diagnose(healthy().snapshot(), (SEALED, WARNED, FINE, ACCEPTED, BLIND), [accepted("accepted")])


# The shape of Ant's JUnit report: https://github.com/windyroad/JUnit-Schema/blob/master/JUnit.xsd, with the
# `skipped` of Jenkins' junit-10.xsd: what may stand in what, and which attributes are required.
_JUNIT = {
    "testsuites": (set(), {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped"}, {"testcase"}),
    "testcase": ({"name", "classname"}, {"skipped", "error", "failure", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
}


def junit(report: Report, stack: str, fail_on: Severity) -> Element:
    return fromstring(as_junit(report, stack, fail_on))  # noqa: S314 - written here


def test_junit_has_a_test_case_for_each_check(report: Report) -> None:
    root = junit(report, "prod", Severity.TENANT)
    for element in root.iter():
        attributes, below = _JUNIT[element.tag]
        assert element.attrib.keys() == attributes, element.tag
        assert {child.tag for child in element} <= below, element.tag
    (suite,) = root
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 5, "failures": 1, "errors": 1, "skipped": 1}
    assert {case.attrib["name"]: [child.tag for child in case] for case in suite} == {
        "vault-sealed": ["failure"],
        "warned": ["system-out"],
        "fine": [],
        "accepted": ["skipped"],
        "blind": ["error"],
    }
    warned = junit(report, "prod", Severity.WARNING)
    assert warned.find(".//testcase[@name='warned']/failure") is not None


# Objects of https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json: which
# properties each may have (the schema permits no others) and which it must have.
_TEXT = ({"text"}, {"text"})
_SARIF: dict[str, tuple[set[str], set[str]]] = {
    "": ({"$schema", "version", "runs"}, {"version", "runs"}),
    "runs": ({"tool", "automationDetails", "invocations", "results"}, {"tool"}),
    "tool": ({"driver"}, {"driver"}),
    "driver": ({"name", "version", "rules"}, {"name"}),
    "rules": ({"id", "shortDescription", "fullDescription", "help"}, {"id"}),
    "shortDescription": _TEXT,
    "fullDescription": _TEXT,
    "help": _TEXT,
    "message": _TEXT,
    "automationDetails": ({"id"}, set()),
    "invocations": ({"executionSuccessful", "toolExecutionNotifications"}, {"executionSuccessful"}),
    "toolExecutionNotifications": ({"level", "message", "associatedRule"}, {"message"}),
    "associatedRule": ({"id"}, set()),
    "results": (
        {
            "ruleId",
            "ruleIndex",
            "level",
            "message",
            "locations",
            "partialFingerprints",
            "properties",
            "suppressions",
        },
        {"message"},
    ),
    "locations": ({"physicalLocation", "logicalLocations"}, set()),
    "physicalLocation": ({"artifactLocation", "region"}, {"artifactLocation"}),
    "artifactLocation": ({"uri"}, set()),
    "region": ({"startLine"}, set()),
    "logicalLocations": ({"name", "kind", "fullyQualifiedName"}, set()),
    "suppressions": ({"kind", "justification"}, {"kind"}),
}


def judge(name: str, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            judge(name, item)
    elif isinstance(value, dict) and name in _SARIF:
        allowed, required = _SARIF[name]
        assert required <= value.keys() <= allowed, name
        for key, item in value.items():
            judge(key, item)


def test_sarif_has_a_rule_for_each_check_and_a_result_for_each_finding(report: Report) -> None:
    found = as_sarif(report, "prod", "spoke")
    judge("", found)
    (run,) = found["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["vault-sealed", "warned", "fine", "accepted", "blind"]
    results = {item["ruleId"]: item for item in run["results"]}
    assert {name: (item["level"], bool(item.get("suppressions"))) for name, item in results.items()} == {
        "vault-sealed": ("error", False),
        "warned": ("warning", False),
        "accepted": ("error", True),
    }
    assert all(rules[item["ruleIndex"]] == item["ruleId"] for item in run["results"])
    assert all(item["level"] in {"none", "note", "warning", "error"} for item in run["results"])
    assert run["invocations"][0]["executionSuccessful"] is False
    again = as_sarif(report, "prod", "spoke")["runs"][0]["results"]
    assert [item["partialFingerprints"] for item in again] == [item["partialFingerprints"] for item in run["results"]]


def test_every_finding_has_its_check_as_code_and_a_link_to_its_page(report: Report) -> None:
    document = as_document(report, "prod", None)
    assert {item["check"]: item["link"] for item in document["diagnoses"]} == {
        name: f"docs/diagnoses.md#{name}" for name in ("vault-sealed", "warned")
    }
    assert document["passed"] == ["fine"]
    assert [item["check"] for item in document["suppressed"]] == ["accepted"]
    assert len({check.name for check in all_checks()}) == len(all_checks())


def test_nothing_to_tell_is_a_report_too() -> None:
    nothing = Report((), (Unchecked("fine", "title", "reason"),), (FINE,))
    assert junit(nothing, "prod", Severity.TENANT).find(".//error") is not None
    judge("", as_sarif(nothing, "prod", "spoke"))
