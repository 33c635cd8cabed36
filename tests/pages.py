"""Tries a page of the documentation from start to end: its commands in one shell, its stack file's changes merged in.

What a page's code blocks are, by the words behind their opening fence:

- `sh` is run, and must end with 0; `sh exit=1` must end with 1. Exported variables carry over to the next block. The
  first block sets the variables, and a trial puts values of its own in their place.
- `yaml Pulumi.stack.yaml` is merged into the stack file: maps by key, lists by appending.
- `text` is what only a person can do; a trial does it where it says so.
- anything else is only shown.
"""

import io
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FENCE = re.compile(r"^```(?P<words>[^`\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
STACK_FILE = "yaml Pulumi.stack.yaml"
LONGEST = 120

# The shell's variables at the end of a block, however it ends.
_KEEP = "trap 'env --null > \"$TRIAL_VARIABLES\"' EXIT\n"


@dataclass(frozen=True)
class Block:
    """A code block, the section that it stands in, and where."""

    section: str
    words: str
    text: str
    place: str

    @property
    def is_command(self) -> bool:
        """Whether it is run."""
        return self.words.partition(" ")[0] == "sh"

    @property
    def exit_code(self) -> int:
        """How it must end."""
        return int(self.words.partition("exit=")[2] or 0)


def read_page(file: Path) -> list[Block]:
    """Return the code blocks of a page in order."""
    text = file.read_text(encoding="utf-8")
    return [
        Block(
            section=_section(text[: found.start()]),
            words=found["words"].strip(),
            text=found["text"],
            place=f"{file.name}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for found in FENCE.finditer(text)
    ]


def _section(before: str) -> str:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", before), re.MULTILINE)
    return headings[-1] if headings else ""


@dataclass(frozen=True)
class Scenario:
    """What a trial brings to a page."""

    values: Mapping[str, str]
    """In place of the ones that the page's first block exports."""
    faults: Mapping[str, Callable[[], AbstractContextManager[object]]] = field(
        default_factory=dict[str, Callable[[], AbstractContextManager[object]]]
    )
    """By section: the state of things in which it is tried."""
    acts: Mapping[str, Callable[[], object]] = field(default_factory=dict[str, Callable[[], object]])
    """By section: what a person does at its `text` block."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keys of the stack file beside the page's own, for a cluster that others use too."""


class Shell:
    """Runs blocks one after the other; exported variables stay."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Begin with an environment, in the folder that holds the stack files."""
        self.folder = folder
        self.environment = dict(environment)
        self.printed: list[str] = []

    def run(self, block: Block) -> None:
        """Run a block.

        Raises:
            AssertionError: when it ends otherwise than it says; the message is what it printed.
        """
        variables = self.folder / ".trial-variables"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", _KEEP + block.text],
            cwd=self.folder,
            env={**self.environment, "TRIAL_VARIABLES": str(variables)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        self.printed.append(done.stdout)
        assert done.returncode == block.exit_code, f"{block.place} ended with {done.returncode}:\n{done.stdout}"
        kept = variables.read_bytes().decode().split("\0")
        variables.unlink()
        self.environment = dict(item.split("=", 1) for item in kept if "=" in item)
        self.environment.pop("TRIAL_VARIABLES")


def try_page(file: Path, shell: Shell, scenario: Scenario) -> None:
    """Run a page from start to end.

    Raises:
        AssertionError: a block ends otherwise than it says, or the page is not what the scenario is written for.
    """
    blocks = read_page(file)
    first = next(block for block in blocks if block.is_command)
    texts = {block.section for block in blocks if block.words == "text"}
    assert scenario.faults.keys() <= {block.section for block in blocks}, f"{file.name} has not all sections"
    assert scenario.acts.keys() <= texts, f"{file.name} has no text block in each section where a person acts"
    shell.run(first)
    assert all(f"{name}=" in first.text for name in scenario.values), f"{first.place} does not set all variables"
    examples = {shell.environment[name]: value for name, value in scenario.values.items()}
    shell.environment.update(scenario.values)
    for section, group in groupby(blocks, key=lambda block: block.section):
        with scenario.faults.get(section, nullcontext)():
            for block in group:
                if block is not first:
                    _try(block, shell, scenario, examples)


def _try(block: Block, shell: Shell, scenario: Scenario, examples: Mapping[str, str]) -> None:
    if block.is_command:
        shell.run(block)
    elif block.words == STACK_FILE:
        text = block.text
        for example, value in examples.items():
            text = re.sub(rf"(?<![\w-]){re.escape(example)}(?![\w-])", value, text)
        file = shell.folder / f"Pulumi.{shell.environment['PULL_SECRETS_STACK']}.yaml"
        merge(file, _load(text), {"config": {f"pull-secrets:{key}": value for key, value in scenario.extra.items()}})
    elif block.words == "text" and block.section in scenario.acts:
        scenario.acts[block.section]()


def merge(file: Path, *changes: Mapping[str, Any]) -> None:
    """Merge documents into a YAML file, which is made when it is not there."""
    content = _load(file.read_text(encoding="utf-8")) if file.exists() else {}
    for change in changes:
        _merge(content, change)
    stream = io.StringIO()
    YAML(typ="safe").dump(content, stream)
    file.write_text(stream.getvalue(), encoding="utf-8")


def _load(text: str) -> dict[str, Any]:
    return YAML(typ="safe").load(text) or {}


def _merge(content: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(content.get(key), dict):
            _merge(content[key], value)
        elif isinstance(value, list) and isinstance(content.get(key), list):
            content[key] += value
        else:
            content[key] = value
