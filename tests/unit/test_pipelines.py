"""What the pipelines run on a stack, with a `pulumi` and a GitLab of the test's own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from ruamel.yaml import YAML

from policies.packs import PACKS
from pullsecrets import preview_comment

REPOSITORY = Path(__file__).resolve().parents[2]
EVENTS = Path(__file__).parent / "previews" / "events.jsonl"
TOKEN = "generated"
FAKE_PULUMI = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
if [[ "$1" == preview && "$*" == *--json* ]]; then cat "$EVENTS"; fi
if [[ "$*" == *"$FAILS"* ]]; then exit 3; fi
"""


class Stack:
    """`.ci/stack` in a copy of the repository's layout."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        self.calls = folder / "calls"
        self.private = folder / "private"
        self.private.mkdir()
        (self.root / ".ci").mkdir(parents=True)
        (self.root / ".ci" / "stack").write_bytes((REPOSITORY / ".ci" / "stack").read_bytes())
        for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "local", "policies", "pullsecrets", "pyproject.toml", ".venv"):
            (self.root / name).symlink_to(REPOSITORY / name)
        self.programs = folder / "programs"
        self.programs.mkdir()
        pulumi = self.programs / "pulumi"
        pulumi.write_text(FAKE_PULUMI)
        pulumi.chmod(0o755)

    def run(self, action: str, fails: str = "nothing") -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "EVENTS": str(EVENTS),
            "FAILS": fails,
            "TMPDIR": str(self.private),
            "VAULT_ADDR": "https://vault.example",
        }
        command = ["bash", str(self.root / ".ci" / "stack"), action, "dev"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def lines(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


@pytest.mark.parametrize(("fails", "code"), [("nothing", 0), ("preview", 3)])
def test_a_preview_leaves_its_comment_and_no_value_whether_it_passes_or_not(
    stack: Stack, fails: str, code: int
) -> None:
    done = stack.run("preview", fails)
    assert done.returncode == code, done.stderr
    comment = (stack.root / "build" / "comment-dev.md").read_text()
    assert comment == preview_comment.render(preview_comment.read(EVENTS.read_text()), "dev")
    assert list(stack.private.iterdir()) == []
    assert "oldState" not in done.stdout + done.stderr


@pytest.mark.parametrize("action", ["preview", "up"])
def test_previews_and_updates_carry_every_pack_with_its_settings(stack: Stack, action: str) -> None:
    assert stack.run(action).returncode == 0
    (line,) = stack.lines()
    for pack in PACKS:
        assert f"--policy-pack {REPOSITORY / 'policies' / pack.name.replace('-', '_')} " in f"{line} "
        assert f"/{pack.name}.json" in line


def test_an_update_previews_first_so_that_a_policy_stops_it_before_a_change(stack: Stack) -> None:
    stack.run("up")
    assert "--skip-preview" not in stack.lines()[0]


@pytest.mark.parametrize(("fails", "code"), [("nothing", 0), ("preview", 3), ("analyze", 3)])
def test_drift_looks_at_cluster_and_state_both_whatever_the_first_finds(stack: Stack, fails: str, code: int) -> None:
    assert stack.run("drift", fails).returncode == code
    preview, export, analyze = stack.lines()
    assert "--refresh --expect-no-changes" in preview
    assert export.startswith("stack export")
    assert analyze.startswith("policy analyze")
    assert analyze.count("--policy-pack ") == len(PACKS)


def test_another_action_is_refused_with_what_is_allowed(stack: Stack) -> None:
    done = stack.run("destroy")
    assert done.returncode == 2
    assert "allowed are preview, up and drift" in done.stderr


def test_workflows_pin_every_action_by_commit_and_start_without_permissions() -> None:
    workflows = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
    assert [path.stem for path in workflows] == ["checks", "deploy", "drift", "e2e", "preview"]
    for path in workflows:
        assert "\npermissions: {}\n" in path.read_text()
    for path in [*workflows, REPOSITORY / ".github" / "actions" / "stack" / "action.yml"]:
        for used in re.findall(r"uses: (.*)", path.read_text()):
            assert used == "./.github/actions/stack" or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used)


@pytest.mark.parametrize("end", ["", "\n"])
def test_every_credential_of_a_kubeconfig_is_masked_as_it_is_used(tmp_path: Path, end: str) -> None:
    action = YAML(typ="safe").load((REPOSITORY / ".github" / "actions" / "stack" / "action.yml").read_text())
    (step,) = [step for step in action["runs"]["steps"] if step.get("name") == "Write the kubeconfig"]
    values = [f"canary-of-line-{number}-3c9d==" for number in range(5)]
    lines = [
        "users:",
        f"- token: {values[0]}",
        f"    client-certificate-data: '{values[1]}'\r",
        f'    password: "{values[2]}"',
        f"    - {values[3][:4]}",
        "    client-key-data: >-",
        f"      {values[3]}",
        f"    client-key-data: {values[4]}",
    ]
    content = "\n".join(lines) + end
    environment = {"PATH": os.environ["PATH"], "CONTENT": content, "RUNNER_TEMP": str(tmp_path)}
    # As the runner does for `shell: bash`.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    masked = [line.removeprefix("::add-mask::") for line in done.stdout.splitlines()]
    assert [line for line in masked if "canary" in line] == values
    file = tmp_path / "kubeconfig"
    assert file.read_bytes().decode() == content
    assert file.stat().st_mode & 0o777 == 0o600


class GitLab(BaseHTTPRequestHandler):
    """The notes of one merge request, two to a page."""

    notes: list[dict[str, Any]]

    def do_GET(self) -> None:
        if self.path.endswith("/user"):
            self._answer({"id": 7})
            return
        page = int(re.search(r"[?&]page=(\d+)", self.path)[1])  # type: ignore[index]
        more = str(page + 1) if len(self.notes) > page * 2 else ""
        self._answer(self.notes[page * 2 - 2 : page * 2], {"X-Next-Page": more})

    def do_POST(self) -> None:
        self.notes.append({"id": 100 + len(self.notes), "author": {"id": 7}, **self._body()})
        self._answer({})

    def do_PUT(self) -> None:
        number = int(self.path.rpartition("/")[2])
        next(note for note in self.notes if note["id"] == number).update(self._body())
        self._answer({})

    def _body(self) -> dict[str, Any]:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, document: Any, headers: dict[str, str] | None = None) -> None:
        allowed = self.headers["PRIVATE-TOKEN"] == TOKEN
        content = json.dumps(document).encode()
        self.send_response(200 if allowed else 401)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def gitlab() -> Iterator[ThreadingHTTPServer]:
    handler = type("OneGitLab", (GitLab,), {"notes": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def note(server: ThreadingHTTPServer, file: Path, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "2",
        "GITLAB_NOTE_TOKEN": token,
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, str(REPOSITORY / ".ci" / "gitlab_note.py"), str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_merge_request_has_one_note_per_stack_and_nobody_elses_is_touched(
    gitlab: ThreadingHTTPServer, tmp_path: Path
) -> None:
    notes: list[dict[str, Any]] = gitlab.RequestHandlerClass.notes  # type: ignore[attr-defined]
    file = tmp_path / "comment.md"
    marker = preview_comment.marker("dev")
    notes += [{"id": number, "author": {"id": 8}, "body": f"{marker}\nforged"} for number in range(5)]
    for text in ("first", "second"):
        file.write_text(f"{marker}\n{text}\n")
        done = note(gitlab, file)
        assert done.returncode == 0, done.stderr
    assert [item["body"] for item in notes if item["author"]["id"] == 7] == [f"{marker}\nsecond\n"]
    assert all(item["body"].endswith("forged") for item in notes if item["author"]["id"] == 8)


def test_a_refused_token_is_named_and_not_shown(gitlab: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "comment.md").write_text("x\n")
    done = note(gitlab, tmp_path / "comment.md", token="canary-token")
    assert done.returncode == 1
    assert "has GITLAB_NOTE_TOKEN scope api?" in done.stderr
    assert "canary-token" not in done.stdout + done.stderr
