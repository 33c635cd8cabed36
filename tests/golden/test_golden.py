"""What the project writes for its own stacks, tests and help is what the files beside this module hold.

`pytest tests/golden --update-golden` writes them anew; the diff then belongs to the change and says what it did.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer import rich_utils
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import parse
from pullsecrets.doctor.chain import chains_of
from pullsecrets.doctor.diagnosis import diagnose
from pullsecrets.doctor.exchange import as_document
from pullsecrets.files import as_yaml
from pullsecrets.manifests.render import render
from pullsecrets.manifests.roles import Groups, stack_roles
from tests.components.program import run_program, stack_file
from tests.components.test_program import ENVIRONMENT
from tests.unit.doctor.tenants import healthy
from tests.unit.doctor.test_tenant_checks import CHECKS, FAULTS, Fault

HERE = Path(__file__).parent
WIDTH = 100

Made = Callable[[pytest.MonkeyPatch], str]


def rendered(stack: str, _: pytest.MonkeyPatch) -> str:
    files = render(parse(stack_file(stack), stack), stack)
    return "".join(f"# {path}\n{text}" for path, text in sorted(files.items()))


def roles(stack: str, _: pytest.MonkeyPatch) -> str:
    return "".join(as_yaml(item, "---\n") for item in stack_roles(parse(stack_file(stack), stack), Groups()))


def declared(stack: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each resource that the program registers, without the code that a dynamic one carries."""
    resources = run_program(stack_file(stack), ENVIRONMENT, monkeypatch, stack).resources
    found = {
        (item.typ, item.name): {key: item.inputs[key] for key in item.inputs if key != "__provider"}
        for item in resources
    }
    assert len(found) == len(resources)
    return as_json([{"type": typ, "name": name, "inputs": found[typ, name]} for typ, name in sorted(found)])


def help_of(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", WIDTH)
    done = CliRunner().invoke(app, [*arguments, "--help"], prog_name="pull-secrets")
    lines = click.unstyle(done.output).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def diagnosed(fault: Fault, namespace: str | None, _: pytest.MonkeyPatch) -> str:
    world = healthy()
    fault(world)
    snapshot = world.snapshot(namespace)
    return as_json(as_document(diagnose(snapshot, CHECKS), snapshot.stack, namespace, chains_of(snapshot)))


def as_json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command, of those that hold others too."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


GOLDEN: dict[str, Made] = {
    **{f"render-{stack}.yaml": partial(rendered, stack) for stack in ("dev", "prod")},
    **{f"roles-{stack}.yaml": partial(roles, stack) for stack in ("dev", "prod")},
    **{f"program-{stack}.json": partial(declared, stack) for stack in ("dev", "prod")},
    **{f"help/{'-'.join(path) or 'all'}.txt": partial(help_of, path) for path in commands(typer.main.get_command(app))},
    **{f"doctor/{fault.__name__}.json": partial(diagnosed, fault, namespace) for fault, _, namespace in FAULTS},
}


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_written_is_in_the_file(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    file, text = HERE / name, GOLDEN[name](monkeypatch)
    if request.config.getoption("update_golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    assert text == known, (
        f"tests/golden/{name} holds something else: where that is meant, `pytest tests/golden --update-golden`"
    )


def test_each_file_is_of_something_that_is_written() -> None:
    files = {str(file.relative_to(HERE)) for file in HERE.rglob("*.*") if file.suffix in {".json", ".yaml", ".txt"}}
    assert files - GOLDEN.keys() == set(), "remove them"
