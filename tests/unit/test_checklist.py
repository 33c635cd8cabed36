"""The documents name only what there is: each box of the checklist has its row, each command, path and test exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from pullsecrets.cli.app import app
from tests.pages import STACK_FILE, read_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHECKLIST = DOCS / "checklist.md"
BOXES = 78
PAGES = [
    CHECKLIST,
    *(DOCS / f"{name}.md" for name in ("announcement", "onboarding", "adding-a-cluster", "production-rollout")),
    *(
        DOCS / f"{name}.md"
        for name in (
            "registry-access",
            "gitops",
            "operations",
            "commands",
            "monitoring",
            "upgrading",
            "decommissioning",
        )
    ),
    *sorted((DOCS / "runbooks").glob("*.md")),
    ROOT / "README.md",
]
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
TOP = ("docs/", "local/", "pullsecrets/", "scripts/", "tests/", "Dockerfile", "Makefile")


def spans(page: Path) -> Iterator[str]:
    """What stands between single backticks outside code blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def command_lines(page: Path) -> Iterator[str]:
    """Every call of the command line, in the text and in shell blocks."""
    yield from (span for span in spans(page) if span.startswith("pull-secrets "))
    for block in re.findall(r"^```sh[^\n]*\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"\bpull-secrets [^|;&>#]+", line.partition("  #")[0])


def defined_tests(file: Path) -> set[str]:
    """Names of a file's tests."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def require_command(line: str) -> None:
    """Fail unless the command of a line and each of its options exist."""
    words = [word.strip("'\"") for word in line.split()[1:]]
    command: Any = typer.main.get_command(app)
    while words and words[0] == "--verbose":
        words.pop(0)
    while words and hasattr(command, "commands") and not words[0].startswith(("-", "<", "...")):
        assert words[0] in command.commands, f"{line}: {words[0]} is no command"
        command = command.commands[words.pop(0)]
    options = {name for item in command.params for name in (*item.opts, *item.secondary_opts)} | {"--help", "--list"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0].rstrip(",.") not in options]
    assert not unknown, f"{line}: {unknown}"


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_box_has_its_row() -> None:
    numbers = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \|", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, BOXES + 1))


def test_every_row_is_proved_or_for_people() -> None:
    rows = re.findall(r"^\| \d+ \|.*\|$", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE)
    assert [row for row in rows if not TEST.search(row) and "| people" not in row] == []


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(CHECKLIST.read_text(encoding="utf-8"))
    missing = [f"{file}::{name}" for file, name in named if name not in defined_tests(ROOT / file)]
    assert named
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    for line in command_lines(page):
        require_command(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    named = [span.partition("::")[0] for span in spans(page) if span.startswith(TOP) and " " not in span]
    assert [path for path in named if "<" not in path and not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or file.suffix != ".md" or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


def test_every_runbook_and_guide_is_tried() -> None:
    trials = ("test_documents.py", "test_monitoring.py")
    trial = "".join((ROOT / "tests/ops" / name).read_text(encoding="utf-8") for name in trials)
    guides = (
        "onboarding.md",
        "adding-a-cluster.md",
        "production-rollout.md",
        "registry-access.md",
        "gitops.md",
        "monitoring.md",
    )
    pages = [*guides, *(f"runbooks/{file.name}" for file in (DOCS / "runbooks").glob("*.md"))]
    assert [page for page in pages if f'"{page}"' not in trial] == []
    blocks = [block for page in pages for block in read_page(DOCS / page)]
    kinds = {re.sub(r"=\d$", "", block.words) for block in blocks}
    assert kinds <= {"sh", "sh exit", "text", "yaml", STACK_FILE, "mermaid"}


def test_a_command_or_option_that_there_is_not_is_found() -> None:
    for line in ("pull-secrets sed app", "pull-secrets gitops cheque .", "pull-secrets audit --wat 60"):
        with pytest.raises(AssertionError):
            require_command(line)
