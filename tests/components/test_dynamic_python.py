"""A component with dynamic resources is declared only where the engine has a Python to run them in."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pullsecrets.components.dynamic_python import require_dynamic_python
from pullsecrets.errors import BadInputError

REFUSED = r"runtime.options.virtualenv of Pulumi.yaml: this component holds dynamic resources, which {} cannot run \({}"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("PULUMI_RUNTIME_VIRTUALENV", "PULUMI_RUNTIME_TOOLCHAIN", "PULUMI_PYTHON_CMD"):
        monkeypatch.delenv(name, raising=False)
    require_dynamic_python.cache_clear()
    yield
    require_dynamic_python.cache_clear()


def python(folder: Path, script: str) -> Path:
    """A Python that does what a script says."""
    program = folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("variable", ["PULUMI_RUNTIME_VIRTUALENV", "PULUMI_PYTHON_CMD"])
def test_the_environment_that_serves_the_components_will_do(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    found = {"PULUMI_RUNTIME_VIRTUALENV": Path(sys.executable).parents[1], "PULUMI_PYTHON_CMD": Path(sys.executable)}
    monkeypatch.setenv(variable, str(found[variable]))
    require_dynamic_python()


def test_an_environment_of_its_own_will_do_if_it_has_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python(tmp_path, f'exec "{sys.executable}" "$@"')
    monkeypatch.setenv("PULUMI_RUNTIME_VIRTUALENV", str(tmp_path))
    require_dynamic_python()


@pytest.mark.parametrize("variable", ["PULUMI_RUNTIME_VIRTUALENV", "PATH"])
def test_a_python_without_the_package_is_refused_with_what_to_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    bare = python(tmp_path, "echo \"ModuleNotFoundError: No module named 'pulumi'\" >&2; exit 1")
    bare.with_name("python3").symlink_to(bare)
    chosen = {"PULUMI_RUNTIME_VIRTUALENV": (tmp_path, bare), "PATH": (bare.parent, bare.with_name("python3"))}
    monkeypatch.setenv(variable, str(chosen[variable][0]))
    with pytest.raises(BadInputError, match=REFUSED.format(chosen[variable][1], "ModuleNotFoundError")):
        require_dynamic_python()


def test_an_environment_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PULUMI_RUNTIME_TOOLCHAIN", "uv")
    with pytest.raises(BadInputError, match=REFUSED.format(r"\.venv/bin/python", ".*No such file")):
        require_dynamic_python()
