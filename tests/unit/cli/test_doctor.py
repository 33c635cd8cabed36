"""What `doctor` prints: causes first, what follows from them below, and what could not be checked with its reason."""

from dataclasses import replace
from datetime import date

import pytest
from typer.testing import CliRunner

from pullsecrets.cli import doctor, options
from pullsecrets.cli.app import app
from pullsecrets.doctor import fix
from pullsecrets.doctor.checks import all_checks
from pullsecrets.doctor.diagnosis import Report, Unchecked, rank
from pullsecrets.doctor.model import Check, Finding, Remedy, Severity
from pullsecrets.doctor.suppression import Suppression
from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import KubernetesClient
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import healthy

SEALED = Finding(
    check="vault-sealed",
    severity=Severity.CLUSTER,
    symptom="No namespace receives a credential.",
    cause="Vault [at https://vault] is sealed.",
    evidence=("GET seal-status: sealed",),
    fix=("vault operator unseal",),
    prevention="Auto-unseal.",
)
FAILING = [
    replace(
        SEALED, check="external-secret-failing", severity=Severity.TENANT, namespace=f"team-{number}", registry="app"
    )
    for number in range(7)
]
NAMED = "team-0, team-1, team-2, team-3, team-4"
SEAL = Check("vault-sealed", "Vault is unsealed", lambda _: (), ("external-secret-failing",))
CHECKS = {SEAL.name: SEAL}
UNCHECKED = tuple(Unchecked(name, "title", "Vault is sealed") for name in ("role", "policy"))


def printed(report: Report, capsys: pytest.CaptureFixture[str], only: str | None = None) -> list[str]:
    doctor._show(healthy().snapshot(only), report)
    return capsys.readouterr().out.splitlines()


def test_a_diagnosis_has_every_part_and_its_consequences_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(Report(rank([*FAILING, SEALED], CHECKS), UNCHECKED, (SEAL,)), capsys)
    assert lines[:8] == [
        "1. vault-sealed  the whole cluster",
        "   No namespace receives a credential.",
        "   cause    Vault [at https://vault] is sealed.",
        "   evidence GET seal-status: sealed",
        "   fix      vault operator unseal",
        "   prevent  Auto-unseal.",
        "   more     docs/diagnoses.md#vault-sealed",
        f"   follows  external-secret-failing  registry app, 7 namespaces: {NAMED} and 2 more",
    ]
    assert "? could not be checked: role, policy: Vault is sealed" in lines
    assert lines[-1] == "1 check: 1 cause, 0 warnings, 2 not checked"


def test_what_is_accepted_is_shown_with_its_reason_and_what_passed_when_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    accepted = Suppression("role", "[later] with release 4.2", date(2027, 1, 31))
    found = replace(SEALED, check="role")
    doctor._show(healthy().snapshot(), Report((), (), (SEAL,), ((found, accepted),)), verbose=True)
    assert capsys.readouterr().out.splitlines() == [
        "✓ vault-sealed  Vault is unsealed",
        f"accepted: role until 2027-01-31: [later] with release 4.2 ({found.cause})",
        "✓ healthy: 1 check found nothing but what is accepted",
    ]


def test_a_namespace_is_explained_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(Report((), ()), capsys, only="team-a")
    assert lines[0] == "app in team-a"
    assert lines[1] == "  ✓ label            example.com/app=true"
    assert lines[-1].startswith("✓ healthy")


def test_a_fix_that_fails_does_not_keep_the_others_from_helping(capsys: pytest.CaptureFixture[str]) -> None:
    applied: list[str] = []

    def refuse(_: KubernetesClient) -> None:
        raise ConflictError("somebody else wrote")

    broken = replace(SEALED, remedy=Remedy("first", refuse))
    working = replace(SEALED, cause="another", remedy=Remedy("second", lambda _: applied.append("second")))
    report = Report(rank([broken, working], CHECKS), ())
    outcomes = doctor._fix(FakeCluster(), report.remedies(), options.Change(yes=True))
    assert {item.description: item.error for item in outcomes} == {"first": "somebody else wrote", "second": None}
    assert applied == ["second"]
    assert "somebody else wrote" in capsys.readouterr().out


def test_what_a_fix_makes_possible_is_applied_too() -> None:
    applied: list[str] = []

    def seen(*names: str) -> fix.Seen:
        remedies = [Remedy(name, lambda _, name=name: applied.append(name)) for name in names]
        findings = [replace(SEALED, cause=item.description, remedy=item) for item in remedies]
        return healthy().snapshot(None), Report(rank(findings, CHECKS), ())

    # The label's finding stays for a moment; nothing that was tried is tried again.
    looks, shown = iter([seen("label"), seen("evict"), seen()]), list[fix.Seen]()
    (_, report), outcomes = fix.follow_up(
        seen("label"), lambda: next(looks), lambda items: fix.apply_each(FakeCluster(), items), shown.append, pause=0
    )
    assert applied == [item.description for item in outcomes] == ["label", "evict"]
    assert (len(shown), report.remedies()) == (2, ())


def test_list_needs_no_stack_and_names_every_check() -> None:
    done = CliRunner().invoke(app, ["doctor", "--list"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [check.name for check in all_checks()]
