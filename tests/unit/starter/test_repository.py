"""The files of a team's own repository: pipelines for its stacks, a stack file that passes, and no file lost."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import load_stack
from pullsecrets.errors import BadInputError, ConflictError
from pullsecrets.starter import repository

REPOSITORY = Path(__file__).parents[3]
TOOLS = Path(sys.executable).parent
ANSWERS = ["--cluster", "east", "--vault", "https://vault.example.com:8200", "--host", "registry.example.com"]


def init(folder: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["init", str(folder), *options])


def texts(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def two_stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that was written for one cluster, and to which another one's stack file was added."""
    folder = tmp_path_factory.mktemp("ours")
    assert init(folder, *ANSWERS, "--adopt", "shop", "--tenant", "shop-test", "--project", "ours").exit_code == 0
    before = texts(folder)
    done = init(folder, *ANSWERS, "--cluster", "west", "--adopt", "shop", "--wave", "2")
    assert done.exit_code == 0, done.output
    assert {name: text for name, text in texts(folder).items() if name != "Pulumi.west.yaml"} == before
    return folder


def test_a_stack_that_has_its_file_keeps_it_and_gets_the_other_files_of_this_version(tmp_path: Path) -> None:
    assert init(tmp_path, *ANSWERS, "--adopt", "shop").exit_code == 0
    before = texts(tmp_path)
    (tmp_path / "Pulumi.east.yaml").write_text("# ours\n")
    (tmp_path / ".ci" / "stack").write_text("of an earlier version")
    assert init(tmp_path, "--stack", "east", "--overwrite").exit_code == 0
    assert texts(tmp_path) == {**before, "Pulumi.east.yaml": "# ours\n"}


@pytest.mark.parametrize("stack", ["east", "west"])
def test_the_stack_file_is_one_that_program_and_editor_accept(two_stacks: Path, stack: str) -> None:
    config = load_stack(stack, two_stacks)
    assert config.vault.auth.mount == f"kubernetes-{stack}"
    assert {tenant.name: tenant.adopt for tenant in config.resolve_tenants()}["shop"]
    written = YAML(typ="safe").load((two_stacks / f"Pulumi.{stack}.yaml").read_text())
    schema = json.loads((two_stacks / "stack.schema.json").read_text())
    jsonschema.validate(written, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"config": {**written["config"], "ours:no-such-key": 1}}, schema)


def test_the_pipelines_name_no_stack_and_take_the_teams_from_its_stack_files(two_stacks: Path) -> None:
    found = {name: text for name, text in texts(two_stacks).items() if name.startswith((".ci", ".github", ".gitlab"))}
    assert {name for name, text in found.items() if re.search(r"\b(dev|prod)\b|make install", text)} == set()
    assert "stages: [list, stacks]" in found[".gitlab-ci.yml"]
    listed = CliRunner().invoke(app, ["stacks", "--matrix", "github", "--directory", str(two_stacks)])
    assert listed.output == 'stacks=["east", "west"]\nwaves=[["east"], ["west"]]\n'


@pytest.mark.parametrize(
    "linter",
    [
        ["zizmor", "--quiet", "--offline", "--config", str(REPOSITORY / ".github" / "zizmor.yml"), "."],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/deploy.yml"],
        ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", ".gitlab-ci.yml"],
    ],
    ids=lambda linter: " ".join(linter[:3]),
)
def test_the_pipelines_pass_the_linters_of_this_repository(two_stacks: Path, linter: list[str]) -> None:
    done = subprocess.run(
        [str(TOOLS / linter[0]), *linter[1:]], cwd=two_stacks, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_can_be_run(two_stacks: Path) -> None:
    scripts = [file for file in two_stacks.rglob("*") if file.is_file() and file.read_text().startswith("#!")]
    assert len(scripts) == 5
    assert all(file.stat().st_mode & 0o111 for file in scripts)


def test_the_package_is_required_in_this_version_or_as_the_team_says(tmp_path: Path) -> None:
    def required(name: str, *options: str) -> str:
        assert init(tmp_path / name, *ANSWERS, "--adopt", "shop", *options).exit_code == 0
        (requirement,) = tomllib.loads((tmp_path / name / "pyproject.toml").read_text())["project"]["dependencies"]
        return requirement

    assert required("one") == f"pull-secrets[pulumi,policies]=={version('pull-secrets')}"
    elsewhere = "pull-secrets[pulumi] @ https://packages.example.com/pull_secrets-0.1.0-py3-none-any.whl"
    assert required("two", "--requirement", elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("recorded", "required"),
    [
        (
            {"url": "https://example.com/p-1-py3-none-any.whl", "archive_info": {}},
            " @ https://example.com/p-1-py3-none-any.whl",
        ),
        ({"url": "file:///clone", "dir_info": {"editable": True}}, f"=={version('pull-secrets')}"),
        (None, f"=={version('pull-secrets')}"),
    ],
)
def test_the_wheel_that_init_was_installed_from_is_the_one_that_is_required(
    monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Any] | None, required: str
) -> None:
    installed = SimpleNamespace(read_text=lambda _: recorded and json.dumps(recorded))
    monkeypatch.setattr(repository.metadata, "distribution", lambda _: installed)
    written = repository.files("ours")[PurePosixPath("pyproject.toml")]
    assert f'"pull-secrets[pulumi,policies]{required}"' in written


@pytest.mark.parametrize(("option", "kept"), [("--keep", True), ("--overwrite", False), (None, True)])
def test_a_file_of_the_teams_is_replaced_only_on_request(tmp_path: Path, option: str | None, kept: bool) -> None:
    ours = {"README.md": "ours", "pyproject.toml": "ours", ".gitlab-ci.yml": "ours"}
    for name, text in ours.items():
        (tmp_path / name).write_text(text)
    done = init(tmp_path, *ANSWERS, "--adopt", "shop", *([option] if option else []))
    assert ((tmp_path / ".gitlab-ci.yml").read_text() == "ours") == kept
    assert (tmp_path / "pyproject.toml").read_text() == "ours"
    if option:
        assert (done.exit_code, (tmp_path / "Pulumi.yaml").exists()) == (0, True)
    else:
        assert isinstance(done.exception, ConflictError)
        assert ": .gitlab-ci.yml is there with other content, so nothing was written" in str(done.exception)
        assert texts(tmp_path) == ours


def test_what_cannot_be_written_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / ".github").write_text("a file where a folder is needed")
    with pytest.raises(BadInputError, match="name a folder that can be written"):
        repository.place(tmp_path, repository.files("ours"))
    assert list(texts(tmp_path)) == [".github"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--cluster: found nothing, and no terminal to ask in"),
        (["--cluster", "East"], "--cluster: found 'East'; allowed: lower-case letters"),
        (["--cluster", "east"], "--vault: found nothing"),
        ([*ANSWERS], "--adopt: found nothing"),
        ([*ANSWERS, "--vault", "http://vault", "--adopt", "shop"], "vault.address"),
        ([*ANSWERS, "--adopt", "kube-system"], "kube-system"),
        ([*ANSWERS, "--vault-ca", "/no/such.pem"], "--vault-ca /no/such.pem"),
        ([*ANSWERS, "--keep", "--overwrite"], "found both"),
    ],
)
def test_a_refusal_says_what_is_missing_or_wrong_and_writes_nothing(
    tmp_path: Path, options: list[str], said: str
) -> None:
    done = init(tmp_path / "new", *options)
    assert isinstance(done.exception, BadInputError)
    assert said in str(done.exception)
    assert not (tmp_path / "new").exists()
