"""Every file of doctor/checks is one check, named after its file and documented; docs/diagnoses.md says the same."""

from graphlib import TopologicalSorter
from types import ModuleType

import pytest

from pullsecrets.doctor import document
from pullsecrets.doctor.checks import all_checks, modules
from pullsecrets.doctor.model import Check

MODULES = modules()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_each_file_exports_one_check_of_its_name_with_a_page(module: ModuleType) -> None:
    own = [value for value in vars(module).values() if isinstance(value, Check)]
    assert own == [module.CHECK]
    assert module.CHECK.name == module.__name__.rpartition(".")[2].replace("_", "-")
    assert module.CHECK.title
    first, *_ = (module.__doc__ or "").splitlines()
    assert len(first) > 30


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
