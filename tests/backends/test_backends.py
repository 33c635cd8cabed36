"""What holds for a backend that a team shares: runs beside each other, killed runs, a server that goes away."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from local import pulumi_home
from local.controlplane.waiting import NotYet, until
from local.paths import repository
from pullsecrets.errors import ConflictError, UnreachableError
from pullsecrets.fleet.backend import refusal
from tests.backends.servers import S3, PostgreSQL, Server

pytestmark = pytest.mark.backends

DEADLINE = 240
THINGS = ["first", "second", "third"]


@pytest.fixture(scope="module", params=[S3, PostgreSQL])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    # Not below pytest's own folder, which is closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="backends-"))
    folder.chmod(0o755)
    server: Server = request.param(folder / "server")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a `pulumi` that shares nothing with the caller's own."""
    assembled = pulumi_home.assemble(tmp_path_factory.mktemp("pulumi"))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "AWS_", "PG"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(assembled.shims), kept.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(assembled.home),
        "PULUMI_CONFIG_PASSPHRASE": "tests of backends",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


class Stack:
    """A stack of the program in a folder of its own."""

    def __init__(self, name: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.folder = Path(shutil.copytree(Path(__file__).parent / "program", folder / name))
        self.made = self.folder / "made"
        self.gate = self.folder / "gate"
        (self.folder / ".venv").symlink_to(repository() / ".venv")
        self.environment = {**variables, "THINGS": str(self.folder)}
        self.pulumi("stack", "init", name)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = ["pulumi", "--non-interactive", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def begin(self) -> subprocess.Popen[str]:
        """Start an update, and return once it is making the first thing."""
        run = self.start("up", "--yes", "--skip-preview", "--stack", self.name)
        until(lambda: self._begun(run), deadline=DEADLINE, what="the first thing is being made")
        return run

    def _begun(self, run: subprocess.Popen[str]) -> None:
        if not self.made.exists():
            assert run.poll() is None, run.communicate()[0]
            raise NotYet("nothing is being made")

    def pulumi(self, *arguments: str) -> str:
        run = self.start(*arguments)
        printed, _ = run.communicate(timeout=DEADLINE)
        assert run.returncode == 0, printed
        return printed

    def up(self) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", "--stack", self.name)

    def refused(self, *arguments: str) -> str:
        run = self.start(*(arguments or ("up", "--yes", "--skip-preview")), "--stack", self.name)
        printed, _ = run.communicate(timeout=DEADLINE)
        assert run.returncode != 0, printed
        return printed

    def known(self) -> list[str]:
        """The things that the state holds."""
        exported = json.loads(self.pulumi("stack", "export", "--stack", self.name))
        return [found["id"] for found in exported["deployment"]["resources"] if found.get("id") in THINGS]


@pytest.fixture
def stacks(server: Server, variables: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> list[Stack]:
    """Two stacks in the backend, named after the test."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40]
    environment = {**variables, **server.environment()}
    return [Stack(f"{name}-{letter}", tmp_path, environment) for letter in "ab"]


def test_updates_of_different_stacks_run_beside_each_other(stacks: list[Stack]) -> None:
    runs = [stack.begin() for stack in stacks]
    for stack, run in zip(stacks, runs, strict=True):
        stack.gate.touch()
        printed, _ = run.communicate(timeout=DEADLINE)
        assert run.returncode == 0, printed
        assert stack.known() == THINGS


def test_a_killed_update_leaves_a_lock_that_cancel_frees_and_the_next_one_makes_the_rest(stacks: list[Stack]) -> None:
    stack, other = stacks
    run = stack.begin()
    assert isinstance(refusal(stack.refused(), stack.name), ConflictError)
    run.kill()
    run.wait()
    assert isinstance(refusal(stack.refused(), stack.name), ConflictError)
    for free in (stack, other):
        free.gate.touch()
    other.up()
    stack.pulumi("cancel", "--yes", "--stack", stack.name)
    stack.up()
    assert stack.known() == THINGS


def test_nothing_is_lost_where_the_server_goes_away_during_an_update(stacks: list[Stack], server: Server) -> None:
    stack, _ = stacks
    run = stack.begin()
    server.stop()
    stack.gate.touch()
    try:
        assert isinstance(refusal(stack.refused("preview"), stack.name), UnreachableError)
    finally:
        server.start()
    run.communicate(timeout=DEADLINE)
    if isinstance(refusal(stack.start("preview", "--stack", stack.name).communicate()[0], stack.name), ConflictError):
        stack.pulumi("cancel", "--yes", "--stack", stack.name)
    stack.up()
    assert stack.known() == THINGS
    assert set(stack.made.read_text().split()) == set(THINGS)


def test_a_refused_login_is_named_without_the_password(stacks: list[Stack], server: Server) -> None:
    stack, _ = stacks
    stack.environment |= server.environment(password="another")
    found = refusal(stack.refused("preview"), stack.name)
    assert isinstance(found, UnreachableError)
    assert "refuses the login" in str(found)
