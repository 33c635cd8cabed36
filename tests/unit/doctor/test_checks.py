"""Every check is named after its function and documented; docs/diagnoses.md says the same."""

from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from pullsecrets.doctor import document, model
from pullsecrets.doctor.checks import all_checks
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from tests.unit.cluster import FakeCluster
from tests.unit.doctor.tenants import stack_config


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.name)
def test_each_check_has_a_title_and_a_page(check: Check) -> None:
    assert check.title
    first, *_ = check.page.splitlines()
    assert len(first) > 30


def test_a_check_is_named_after_its_function_and_names_its_findings() -> None:
    @model.check("All is well", explains=("vault-sealed",))
    def something_broken(_: Snapshot) -> Iterator[Finding]:
        """Something is broken."""
        yield Finding(Severity.WARNING, "It fails.", "It broke.", (), (), "Look.")

    assert something_broken.name == "something-broken"
    assert something_broken.title == "All is well"
    assert something_broken.explains == ("vault-sealed",)
    assert something_broken.page == "Something is broken."
    (found,) = something_broken.find(Snapshot(stack_config(), "test", FakeCluster()))
    assert found.check == "something-broken"


def test_checks_are_sorted_and_each_is_there_once() -> None:
    names = [check.name for check in all_checks()]
    assert names == sorted(set(names))


def test_what_a_check_explains_is_a_check() -> None:
    names = {check.name for check in all_checks()}
    assert {consequence for check in all_checks() for consequence in check.explains} <= names


def test_no_check_explains_itself_over_others() -> None:
    TopologicalSorter({check.name: set(check.explains) for check in all_checks()}).prepare()


def test_the_page_is_not_out_of_date() -> None:
    assert document.TARGET.read_text(encoding="utf-8") == document.document(), "run `make docs`"


def test_the_page_has_each_check_and_what_it_explains() -> None:
    page = document.document()
    for check in all_checks():
        section = page.partition(f"## {check.name}\n")[2].partition("\n## ")[0]
        assert section
        assert all(f"(#{name})" in section for name in check.explains)


def test_check_fails_on_another_page(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(document, "TARGET", tmp_path / "diagnoses.md")
    assert document.main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert document.main([]) == 0
    assert document.main(["--check"]) == 0
