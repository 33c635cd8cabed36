"""The cache key: everything that changes a build changes it, and nothing else does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.toolchain import golang, recipes, store

LINUX = ("linux", "amd64", ("-trimpath",))


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recipes, "MODULES", tmp_path)
    store.key.cache_clear()
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "go.mod").write_text("module local/hello\n\ngo 1.26.0\n")
    return tmp_path


def recipe(version: str = "v1.0.0") -> recipes.Recipe:
    return recipes.Recipe("hello", version, (recipes.Program(".", "hello"),))


def key(of: recipes.Recipe, go: str = "go1.26.8", machine: tuple[str, str, tuple[str, ...]] = LINUX) -> str:
    store.key.cache_clear()
    return store.key(of, go, *machine)


def test_same_inputs_give_the_same_key_with_the_version_in_front() -> None:
    assert key(recipe()) == key(recipe())
    assert key(recipe()).startswith("v1.0.0-")


@pytest.mark.parametrize(
    ("go", "machine"),
    [
        ("go1.27.3", LINUX),
        ("go1.26.8", ("darwin", "amd64", ("-trimpath",))),
        ("go1.26.8", ("linux", "arm64", ("-trimpath",))),
        ("go1.26.8", ("linux", "amd64", ())),
    ],
)
def test_go_version_machine_and_flags_are_part_of_the_key(go: str, machine: tuple[str, str, tuple[str, ...]]) -> None:
    assert key(recipe(), go, machine) != key(recipe())


def test_version_is_part_of_the_key() -> None:
    assert key(recipe("v1.0.1")).split("-")[1] != key(recipe()).split("-")[1]


def test_a_changed_module_file_changes_the_key(modules: Path) -> None:
    before = key(recipe())
    (modules / "hello" / "go.sum").write_text("")
    with_sum = key(recipe())
    (modules / "hello" / "go.sum").write_text("example.com/x v1.0.0 h1:abc=\n")
    assert len({before, with_sum, key(recipe())}) == 3


def test_content_that_moves_from_one_file_to_another_changes_the_key(modules: Path) -> None:
    (modules / "hello" / "a").write_text("xb")
    (modules / "hello" / "b").write_text("")
    before = key(recipe())
    (modules / "hello" / "a").write_text("x")
    (modules / "hello" / "b").write_text("b")
    assert key(recipe()) != before


def test_every_committed_recipe_has_its_module_and_distinct_executables() -> None:
    root = Path(golang.__file__).parent / "modules"
    executables = [name for recipe in recipes.RECIPES for name in recipe.executables]
    assert len(set(executables)) == len(executables)
    for one in recipes.RECIPES:
        assert (root / one.name / "go.mod").read_text().startswith("// "), one.name
        assert (root / one.name / "go.sum").is_file(), one.name
        # Go names several programs itself: after their folders, and the module's own after the module.
        own = (root / one.name / "go.mod").read_text().partition("\nmodule ")[2].partition("\n")[0]
        named = [(own if program.package == "." else program.package).rpartition("/")[2] for program in one.programs]
        assert len(named) == 1 or named == [program.name for program in one.programs]


@pytest.mark.parametrize(
    "changed",
    [
        {"flags": ("-tags=x",)},
        {"embeds": (recipes.Copy("m", "a", "b"),)},
        {"trims": (recipes.Trim("m", "a", "b", lines=1),)},
    ],
)
def test_what_few_recipes_have_changes_the_key_of_those_alone(changed: dict[str, Any]) -> None:
    assert recipe().extras == ()
    assert replace(recipe(), **changed).extras != ()
