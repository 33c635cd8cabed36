"""The wrapper scripts are what shellcheck likes, and hand everything on to the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components.program import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "seed-app-registry-pull-secret.sh"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run([SHELLCHECK, "--shell=sh", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("given", [None, "/elsewhere"])
def test_words_are_handed_on_as_they_are(tmp_path: Path, given: str | None) -> None:
    # A copy outside the project: there the command is the one on PATH.
    script = tmp_path / "project" / "scripts" / SCRIPT.name
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT.read_text())
    fake = tmp_path / "pull-secrets"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$PULL_SECRETS_DIRECTORY" "$@"\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **({"PULL_SECRETS_DIRECTORY": given} if given else {})}
    words = ["--stack", "prod", "--from-file", "a file", "-y"]
    done = subprocess.run(["sh", script, *words], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [given or str(tmp_path / "project"), "seed", "app-registry-pull", *words]


def test_without_the_command_it_says_how_to_get_it(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / SCRIPT.name
    script.parent.mkdir()
    script.write_text(SCRIPT.read_text())
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(["/bin/sh", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pull-secrets is not installed; run `uv sync`" in done.stderr
