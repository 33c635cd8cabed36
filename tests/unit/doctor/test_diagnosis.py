"""Ranking, grouping, causes above their consequences, and checks that could not look."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.doctor.diagnosis import EVERYWHERE, Report, Unchecked, diagnose, rank
from pullsecrets.doctor.model import Check, Finding, Remedy, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import PullSecretsError, UnreachableError
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import stack_config


def finding(check: str, namespace: str | None = None, severity: Severity = Severity.TENANT, **parts: str) -> Finding:
    return Finding(
        check=check,
        severity=severity,
        symptom=parts.get("symptom", f"Pods in {namespace} fail."),
        cause=parts.get("cause", f"{check} in {namespace}."),
        evidence=(f"read in {namespace}",),
        fix=(f"kubectl -n {namespace} fix",),
        prevention="Look.",
        namespace=namespace,
        registry=parts.get("registry"),
    )


def check(name: str, *explains: str, find: Callable[[Snapshot], Iterable[Finding]] = lambda _: ()) -> Check:
    return Check(name, f"no {name}", find, explains)


def ranked(findings: Iterable[Finding], *checks: Check):
    return rank(findings, {item.name: item for item in checks})


def snapshot(only: str | None = None) -> Snapshot:
    return Snapshot(stack_config(), "test", FakeCluster(), only=only)


def test_the_most_severe_comes_first_and_then_what_concerns_most_namespaces() -> None:
    found = ranked(
        [
            finding("expiring", severity=Severity.WARNING),
            finding("few", "a"),
            *(finding("many", name) for name in ("a", "b", "c")),
            finding("sealed", severity=Severity.CLUSTER),
        ],
    )
    assert [item.check for item in found] == ["sealed", "many", "few", "expiring"]


def test_the_same_finding_in_many_namespaces_is_one_diagnosis_with_examples() -> None:
    (found,) = ranked([finding("unbound", f"team-{number}") for number in range(40)])
    assert len(found.namespaces) == 40
    assert found.causes == (f"unbound in {EVERYWHERE}.",)
    assert found.symptom == f"Pods in {EVERYWHERE} fail."
    assert len(found.evidence) == len(found.fix) == 3


def test_a_namespace_is_replaced_as_a_whole_name_only() -> None:
    (found,) = ranked(
        [finding("x", "dev", cause="dev and dev-2 differ."), finding("x", "b", cause="b and dev-2 differ.")]
    )
    assert found.causes == (f"{EVERYWHERE} and dev-2 differ.",)


def test_among_equals_what_may_follow_from_something_comes_after_what_never_does() -> None:
    found = ranked(
        [finding("a-store-not-ready", severity=Severity.CLUSTER), finding("policy", severity=Severity.CLUSTER)],
        check("vault", "a-store-not-ready"),
        check("policy"),
    )
    assert [item.check for item in found] == ["policy", "a-store-not-ready"]


def test_registries_and_severities_are_kept_apart() -> None:
    found = ranked(
        [
            finding("stale", "a", registry="one"),
            finding("stale", "a", registry="two"),
            finding("stale", "b", Severity.WARNING, registry="one"),
        ]
    )
    assert len(found) == 3


def test_findings_about_the_cluster_keep_each_its_cause() -> None:
    found = ranked([finding("denied", cause="one"), finding("denied", cause="two")])
    assert [item.causes for item in found] == [("one",), ("two",)]


def test_consequences_stand_below_their_cause_and_not_beside_it() -> None:
    (cause,) = ranked(
        [
            finding("failing", "a"),
            finding("failing", "b"),
            finding("store", severity=Severity.CLUSTER),
            finding("vault"),
        ],
        check("vault", "store"),
        check("store", "failing"),
        check("failing"),
    )
    assert cause.check == "vault"
    assert [(item.check, item.namespaces) for item in cause.consequences] == [("store", ()), ("failing", ("a", "b"))]


def test_a_cause_in_one_namespace_explains_nothing_in_another() -> None:
    found = ranked(
        [finding("unlabelled", "a"), finding("failing", "a"), finding("failing", "b")], check("unlabelled", "failing")
    )
    assert {(item.check, item.namespaces) for item in found} == {("unlabelled", ("a",)), ("failing", ("b",))}


def test_a_cause_of_one_registry_explains_nothing_of_another() -> None:
    found = ranked(
        [
            finding("empty", registry="one"),
            finding("failing", "a", registry="two"),
            finding("failing", "a", registry="one"),
        ],
        check("empty", "failing"),
    )
    assert {(item.check, item.registry) for item in found} == {("empty", "one"), ("failing", "two")}


def test_checks_that_explain_each_other_lose_nothing() -> None:
    found = ranked([finding("one"), finding("other")], check("one", "other"), check("other", "one"))
    assert {each.check for item in found for each in item.all_findings()} == {"one", "other"}


NAMES = st.sampled_from(["a", "b", "c", "d"])
FINDINGS = st.builds(finding, NAMES, st.none() | st.sampled_from(["x", "y"]), st.sampled_from(Severity))


@given(st.lists(FINDINGS, max_size=12), st.dictionaries(NAMES, st.sets(NAMES), max_size=4))
def test_whatever_explains_what_no_finding_is_lost_or_told_twice(
    findings: list[Finding], explained: dict[str, set[str]]
) -> None:
    found = ranked(findings, *(check(name, *sorted(others - {name})) for name, others in explained.items()))
    told = [each for item in found for each in item.all_findings()]
    assert len(told) == len(set(told))
    assert set(told) == set(findings)
    assert list(found) == sorted(found, key=lambda item: -item.severity)


def test_remedies_of_causes_come_first_and_each_once() -> None:
    def remedied(name: str, text: str, namespace: str | None = None) -> Finding:
        return replace(finding(name, namespace), remedy=Remedy(text, lambda _: None))

    found = ranked(
        [remedied("failing", "sync", "a"), remedied("failing", "sync", "b"), remedied("egress", "open")],
        check("egress", "failing"),
    )
    assert [item.description for item in Report(found, ()).remedies()] == ["open", "sync"]


def test_a_check_that_cannot_look_is_told_and_never_green() -> None:
    def refused(_: Snapshot) -> Iterable[Finding]:
        raise UnreachableError("Vault is away")

    def broken(_: Snapshot) -> Iterable[Finding]:
        raise KeyError("a value that was read")

    report = diagnose(snapshot(), [check("a", find=refused), check("b", find=broken), check("c")])
    assert not report.healthy
    assert report.unchecked[0] == Unchecked("a", "no a", "Vault is away")
    # An unexpected failure costs its own check alone, and its text may hold anything.
    assert "KeyError" in report.unchecked[1].reason
    assert "a value" not in report.unchecked[1].reason


@pytest.mark.parametrize(("severity", "healthy"), [(Severity.WARNING, True), (Severity.TENANT, False)])
def test_warnings_alone_are_healthy(severity: Severity, healthy: bool) -> None:
    report = diagnose(snapshot(), [check("a", find=lambda _: [finding("a", severity=severity)])])
    assert (len(report.diagnoses), report.healthy) == (1, healthy)


def test_asked_about_one_namespace_the_others_are_left_out_and_the_cluster_stays() -> None:
    found = [finding("x", "mine"), finding("x", "other"), finding("x")]
    report = diagnose(snapshot(only="mine"), [check("x", find=lambda _: found)])
    assert {item.namespace for item in report.findings()} == {"mine", None}


def test_a_reading_is_made_once_for_all_that_ask_at_the_same_time() -> None:
    seen, made, everyone = snapshot(), [0], threading.Barrier(4)

    def ask(_: Snapshot) -> Iterable[Finding]:
        everyone.wait(5)

        def read() -> int:
            made[0] += 1
            return 7

        assert seen.once("number", read) == 7
        return ()

    report = diagnose(seen, [check(name, find=ask) for name in "abcd"])
    assert (made, report.unchecked) == ([1], ())


def test_a_reading_that_fails_fails_for_each_that_asks_and_is_not_tried_again() -> None:
    seen, tries = snapshot(), [0]

    def read() -> int:
        tries[0] += 1
        raise PullSecretsError("no")

    for _ in range(3):
        with pytest.raises(PullSecretsError, match="no"):
            seen.once("number", read)
    assert tries == [1]
