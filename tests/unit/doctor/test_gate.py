"""What a pipeline gates on: the checks that it names, what it accepts for a time, and what it waits for."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pullsecrets.doctor.checks import choose
from pullsecrets.doctor.diagnosis import Report, Unchecked, diagnose
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.suppression import Suppression, read_suppressions, stale
from pullsecrets.errors import BadInputError
from tests.unit.doctor.tenants import NOW, healthy

TODAY = NOW.date()


def checked(name: str, *severities: Severity, explains: tuple[str, ...] = ()) -> Check:
    """A check that finds something of each severity, in a namespace of that severity's name."""
    found = [
        Finding(
            item, "symptom", f"cause {item.name}", ("seen",), ("mend",), "prevent", item.name.lower(), "app", check=name
        )
        for item in severities
    ]
    return Check(name, f"no {name}", lambda _: found, explains)


SEALED, UNBOUND, FINE = (
    checked("vault-sealed", Severity.CLUSTER, explains=("account-unbound",)),
    checked("account-unbound", Severity.WARNING, Severity.CLUSTER),
    checked("fine"),
)
CHECKS = (SEALED, UNBOUND, FINE)


def report(*suppressions: Suppression, checks: tuple[Check, ...] = CHECKS) -> Report:
    return diagnose(healthy().snapshot(), checks, suppressions)


@pytest.mark.parametrize(
    ("only", "skip", "names"),
    [
        ((), (), ["vault-sealed", "account-unbound", "fine"]),
        (("fine", "vault-sealed"), (), ["vault-sealed", "fine"]),
        ((), ("vault-sealed",), ["account-unbound", "fine"]),
        (("fine", "vault-sealed"), ("fine",), ["vault-sealed"]),
    ],
)
def test_checks_are_chosen_by_name(only: tuple[str, ...], skip: tuple[str, ...], names: list[str]) -> None:
    assert [check.name for check in choose(CHECKS, only, skip)] == names


def test_a_name_of_no_check_is_refused_with_one_that_is_like_it() -> None:
    with pytest.raises(BadInputError, match=r"--only: found 'vault-seal'; .*such as vault-sealed.*\n--skip: found 'x'"):
        choose(CHECKS, ["vault-seal"], ["x"])


@pytest.mark.parametrize("found", list(Severity))
@pytest.mark.parametrize("fail_on", list(Severity))
def test_a_finding_fails_from_its_severity_on(found: Severity, fail_on: Severity) -> None:
    assert report(checks=(checked("one", found), FINE)).passes(fail_on) == (found < fail_on)


def test_what_could_not_be_checked_never_passes() -> None:
    assert not Report((), (Unchecked("one", "title", "403"),)).passes(Severity.CLUSTER)


def test_a_check_passes_when_it_looked_and_found_nothing() -> None:
    assert [check.name for check in report().passed] == ["fine"]


def accepted(check: str, **more: str) -> Suppression:
    return Suppression(check, "moves off with release 4.2", TODAY, **more)


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        (accepted("vault-sealed"), {("account-unbound", "cluster"), ("account-unbound", "warning")}),
        (accepted("account-unbound"), {("vault-sealed", "cluster")}),
        (accepted("account-unbound", namespace="warn*"), {("vault-sealed", "cluster"), ("account-unbound", "cluster")}),
        (accepted("account-unbound", registry="app"), {("vault-sealed", "cluster")}),
        *(
            (entry, {("vault-sealed", "cluster"), ("account-unbound", "cluster"), ("account-unbound", "warning")})
            for entry in (
                accepted("account-unbound", registry="other"),
                accepted("account-unbound", namespace="another"),
                replace(accepted("vault-sealed"), until=TODAY - timedelta(days=1)),
            )
        ),
    ],
)
def test_what_is_accepted_fails_nothing_and_explains_nothing(entry: Suppression, left: set[tuple[str, str]]) -> None:
    found = report(entry)
    assert {(item.check, item.namespace) for item in found.findings()} == left
    assert len(found.suppressed) == 3 - len(left)
    assert not {check.name for check in found.passed} & {item.check for item, _ in found.suppressed}


def written(tmp_path: Path, text: str) -> tuple[Suppression, ...]:
    (tmp_path / "accepted.yaml").write_text(text)
    return read_suppressions(tmp_path / "accepted.yaml")


def test_a_file_of_accepted_findings_is_read(tmp_path: Path) -> None:
    assert written(tmp_path, "") == ()
    text = "- {check: vault-sealed, namespace: team-*, reason: maintenance, until: 2027-01-31}\n"
    assert written(tmp_path, text) == (Suppression("vault-sealed", "maintenance", date(2027, 1, 31), "team-*"),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {check: a, until: 2027-01-31}", "entry 1: reason: found no text"),
        ("- {check: a, reason: ' ', until: 2027-01-31}", "entry 1: reason: found no text"),
        ("- {check: a, reason: b}", "entry 1: until: found no date"),
        ("- {check: a, reason: b, until: soon}", "entry 1: until: found no date"),
        ("- {check: a, reason: b, until: 2027-01-31T10:00:00Z}", "entry 1: until: found no date"),
        ("- {reason: b, until: 2027-01-31}", "entry 1: check: found no text"),
        ("- {check: a, reason: b, until: 2027-01-31, names: c}", "entry 1: found key 'names'"),
        ("- {check: a, reason: b, until: 2027-01-31, namespace: [c]}", "entry 1: namespace: found no text"),
        ("check: a", "entry 1: reason: found no text"),
        ("- a", "entry 1: found no mapping"),
        ("- [", "not YAML"),
    ],
)
def test_an_entry_without_reason_or_expiry_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadInputError, match=problem):
        written(tmp_path, text)


def test_an_entry_that_suppresses_nothing_any_more_is_told() -> None:
    old = replace(accepted("fine", namespace="team-a"), until=date(2026, 2, 28))
    assert list(stale([accepted("fine"), old, accepted("fines")], ["fine"], TODAY)) == [
        "fine, namespace team-a: accepted until 2026-02-28 and no longer (moves off with release 4.2)",
        "fines: no check has that name; did you mean fine?",
    ]
