"""What the pipelines run on a stack, with a `pulumi` of the test's own, and what their jobs may reach."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pullsecrets.gitops import preview_comment
from pullsecrets.packs.pull_secrets import PACK

REPOSITORY = Path(__file__).resolve().parents[2]
EVENTS = Path(__file__).parent / "gitops" / "previews" / "events.jsonl"
FAKE_PULUMI = """#!/usr/bin/env bash
echo "$PULUMI_BACKEND_URL $*" >> "$CALLS"
if [[ "$*" == "stack export"* ]]; then echo '{"deployment": {}}' > "${@: -1}"; fi
if [[ "$1" == preview && "$*" == *--json* ]]; then cat "$EVENTS"; fi
if [[ "$*" == "stack init"* ]] && grep -q '^encryptionsalt' Pulumi.dev.yaml; then exit 255; fi
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
        for name in ("stack", "state_copy.py"):
            (self.root / ".ci" / name).write_bytes((REPOSITORY / ".ci" / name).read_bytes())
        (self.root / "Pulumi.dev.yaml").write_bytes((REPOSITORY / "Pulumi.dev.yaml").read_bytes())
        for name in ("Pulumi.yaml", "local", "pullsecrets", "pyproject.toml", ".venv"):
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
            "PULUMI_BACKEND_URL": "s3://used",
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
def test_previews_and_updates_carry_every_policy_with_its_settings(stack: Stack, action: str) -> None:
    assert stack.run(action).returncode == 0
    (line,) = [line for line in stack.lines() if " preview " in line or " up " in line]
    assert re.search(rf"--policy-pack {stack.private}/[^/]+/{PACK.name} ", line)
    assert f"/{PACK.name}.json" in line


def test_an_update_previews_first_so_that_a_policy_stops_it_before_a_change(stack: Stack) -> None:
    stack.run("up")
    assert "--skip-preview" not in stack.lines()[0]


@pytest.mark.parametrize(("fails", "code"), [("nothing", 0), ("preview", 3), ("analyze", 3)])
def test_drift_looks_at_cluster_and_state_both_whatever_the_first_finds(stack: Stack, fails: str, code: int) -> None:
    assert stack.run("drift", fails).returncode == code
    preview, export, analyze = [line.removeprefix("s3://used ") for line in stack.lines()]
    assert "--refresh --expect-no-changes" in preview
    assert export.startswith("stack export")
    assert analyze.startswith("policy analyze")
    assert analyze.count("--policy-pack ") == 1


@pytest.mark.parametrize("known", [False, True])
def test_a_preview_starts_from_a_copy_of_the_state_in_a_backend_of_its_own(stack: Stack, known: bool) -> None:
    before = (stack.root / "Pulumi.dev.yaml").read_bytes()
    if known:
        (stack.root / "build").mkdir()
        (stack.root / "build" / "state-dev.json").write_text("{}")
    assert stack.run("preview").returncode == 0
    assert {line.partition(" ")[0].startswith("file://") for line in stack.lines()} == {True}
    imported = [line for line in stack.lines() if "stack import" in line]
    assert [line.rpartition(" ")[2] for line in imported] == (["build/state-dev.json"] if known else [])
    assert (stack.root / "Pulumi.dev.yaml").read_bytes() == before


def test_a_preview_needs_no_passphrase_of_the_stack(stack: Stack) -> None:
    file = stack.root / "Pulumi.dev.yaml"
    file.write_text(f"encryptionsalt: v1:of-a-passphrase\n{file.read_text()}")
    before = file.read_bytes()
    assert stack.run("preview").returncode == 0
    assert file.read_bytes() == before


def test_an_update_leaves_a_copy_of_the_state_for_previews(stack: Stack) -> None:
    assert stack.run("up").returncode == 0
    assert json.loads((stack.root / "build" / "state-dev.json").read_text()) == {"deployment": {}}


def test_another_action_is_refused_with_what_is_allowed(stack: Stack) -> None:
    done = stack.run("destroy")
    assert done.returncode == 2
    assert "allowed are preview, up and drift" in done.stderr


def test_workflows_pin_every_action_by_commit_and_start_without_permissions() -> None:
    workflows = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
    assert [path.stem for path in workflows] == ["checks", "deploy", "drift", "e2e", "preview", "release"]
    for path in workflows:
        assert "\npermissions: {}\n" in path.read_text()
    for path in [*workflows, *(REPOSITORY / ".github" / "actions").glob("*/action.yml")]:
        for used in re.findall(r"uses: (.*)", path.read_text()):
            own, pinned = r"\./\.github/actions/\w+", r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"
            assert re.fullmatch(f"{own}|{pinned}", used)


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


def workflows() -> dict[str, dict[str, Any]]:
    """GitHub's workflows by name."""
    files = (REPOSITORY / ".github" / "workflows").glob("*.yml")
    return {file.stem: YAML(typ="safe").load(file.read_text()) for file in files}


GITLAB = (".gitlab-ci.yml", ".ci/gitlab-stacks.yml")


def gitlab() -> dict[str, Any]:
    """GitLab's jobs and templates by name, of parent and child pipeline."""
    reader = YAML(typ="safe")
    reader.constructor.add_constructor("!reference", lambda constructor, node: constructor.construct_sequence(node))
    return {name: job for file in GITLAB for name, job in reader.load((REPOSITORY / file).read_text()).items()}


def test_no_job_that_runs_a_branchs_code_may_write_to_the_repository() -> None:
    of_branches = {
        f"{name}/{job}": item
        for name, workflow in workflows().items()
        if name in {"checks", "e2e", "preview"}
        for job, item in workflow["jobs"].items()
    }
    others = {name: workflow["on"] for name, workflow in workflows().items() if name in {"deploy", "drift"}}
    assert others["deploy"] == {"push": {"branches": ["main"]}}
    assert others["drift"].keys() == {"schedule", "workflow_dispatch"}
    writing = {
        job: [scope for scope, right in item["permissions"].items() if right == "write" and scope != "id-token"]
        for job, item in of_branches.items()
    }
    assert {job: scopes for job, scopes in writing.items() if scopes} == {"preview/comment": ["pull-requests"]}
    checkouts = [step for step in of_branches["preview/comment"]["steps"] if "checkout" in step.get("uses", "")]
    assert [step["with"]["ref"] for step in checkouts] == ["${{ github.event.pull_request.base.sha }}"]
    texts = "".join((REPOSITORY / file).read_text() for file in GITLAB).replace("JOB-TOKEN", "")
    tokens = set(re.findall(r"\w*TOKEN\w*", texts))
    assert tokens == {"CI_JOB_TOKEN", "VAULT_ID_TOKEN", "VAULT_TOKEN"}


@pytest.mark.parametrize("name", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE"])
def test_a_preview_is_given_no_way_to_the_state_that_is_used(name: str) -> None:
    assert name not in (REPOSITORY / ".github" / "workflows" / "preview.yml").read_text()
    assert name in (REPOSITORY / ".github" / "workflows" / "deploy.yml").read_text()


def test_what_previews_reach_is_theirs_alone() -> None:
    environments = {
        name: {job.get("environment") for job in workflow["jobs"].values()} for name, workflow in workflows().items()
    }
    assert environments["preview"] - {None} == {"${{ matrix.stack }}-preview"}
    assert environments["deploy"] | environments["drift"] == {
        None,
        "${{ matrix.stack }}",
        "${{ matrix.stack }}-drift",
    }
    jobs = gitlab()
    assert jobs[".preview"]["environment"]["name"] == "$STACK-preview"
    assert jobs[".drift"]["environment"]["name"] == "$STACK-drift"


def test_images_are_named_by_digest_and_the_same_as_the_images_own() -> None:
    image = gitlab()["default"]["image"]
    assert re.fullmatch(r"python:[\w.-]+@sha256:[0-9a-f]{64}", image)
    assert f"FROM {image}" in (REPOSITORY / "Dockerfile").read_text()


def test_nothing_is_downloaded_past_a_checksum() -> None:
    files = [*(REPOSITORY / ".github").rglob("*.yml"), *(REPOSITORY / ".ci").iterdir(), REPOSITORY / ".gitlab-ci.yml"]
    texts = {file.name: file.read_text() for file in files}
    assert [name for name, text in texts.items() if re.search(r"curl[^\n|]*\|\s*(ba)?(sh|tar)\b", text)] == []
    assert [name for name, text in texts.items() if "get.pulumi.com" in text] == ["install-pulumi"]
    assert not any("pulumi/actions" in text for text in texts.values())


FAKE_CURL = """#!/usr/bin/env bash
while (( $# )); do
  case $1 in
    -o) out=$2; shift ;;
    https://*) url=$1 ;;
  esac
  shift
done
cp "$SERVED/${url##*/}" "${out:-${url##*/}}"
"""


def install(tmp_path: Path, *, archive: str | None = None, checksums: str | None = None) -> tuple[int, Path]:
    """Run `.ci/install-pulumi` against an archive and a file of checksums, as a release has them unless given."""
    served, release = tmp_path / "served", tmp_path / "release"
    served.mkdir()
    (release / "pulumi").mkdir(parents=True)
    (release / "pulumi" / "pulumi").write_text("the release's program")
    name = "pulumi-v1.2.3-linux-x64.tar.gz"
    subprocess.run(["tar", "-czf", str(served / name), "-C", str(release), "pulumi"], check=True, timeout=60)
    digest = hashlib.sha256((served / name).read_bytes()).hexdigest()
    (served / "pulumi-1.2.3-checksums.txt").write_text(checksums or f"{'0' * 64}  other.tar.gz\n{digest}  {name}\n")
    if archive:
        (served / name).write_text(archive)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "curl").write_text(FAKE_CURL)
    (programs / "curl").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "SERVED": str(served)}
    command = [str(REPOSITORY / ".ci" / "install-pulumi"), "1.2.3", "installed"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, tmp_path / "installed"


def test_a_release_whose_checksum_is_right_is_installed(tmp_path: Path) -> None:
    code, folder = install(tmp_path)
    assert code == 0
    assert (folder / "pulumi").read_text() == "the release's program"


@pytest.mark.parametrize(
    "change", [{"archive": "another"}, {"checksums": f"{'0' * 64}  other.tar.gz\n"}, {"checksums": "<html></html>\n"}]
)
def test_a_release_whose_checksum_is_wrong_or_not_told_is_not_installed(tmp_path: Path, change: dict[str, str]) -> None:
    code, folder = install(tmp_path, **change)
    assert code != 0
    assert not folder.exists()


def test_the_copy_of_a_state_holds_nothing_that_was_encrypted(tmp_path: Path) -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:canary"}
    kept = {"urn": "urn:pulumi:dev::p::t::n", "inputs": {"data": [secret, {"other": secret}], "name": "kept"}}
    deployment = {"secrets_providers": {"type": "passphrase", "state": {"salt": "canary"}}, "resources": [kept]}
    state, copy = tmp_path / "state.json", tmp_path / "copy.json"
    state.write_text(json.dumps({"version": 3, "deployment": deployment}))
    command = [sys.executable, str(REPOSITORY / ".ci" / "state_copy.py"), str(state), str(copy)]
    subprocess.run(command, check=True, timeout=60)
    assert "canary" not in copy.read_text()
    (resource,) = json.loads(copy.read_text())["deployment"]["resources"]
    assert resource == {**kept, "inputs": {"data": ["", {"other": ""}], "name": "kept"}}
