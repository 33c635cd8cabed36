"""No command shows the credential: not when it works, not when it fails, not with every library's debug log on."""

import array
import base64
import fcntl
import json
import os
import secrets
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.controlplane import ControlPlane
from local.controlplane.rbac import MIGRATORS
from local.controlplane.waiting import NotYet, until
from tests.e2e.stack import Stack
from tests.registry import Behaviour, TestRegistry, registry

pytestmark = pytest.mark.controlplane

CANARY = f"canary-{secrets.token_hex(16)}"
NAME = "canary-app"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    with registry(tmp_path_factory.mktemp("registry"), Behaviour(password=CANARY)) as running:
        yield running


@pytest.fixture(scope="module")
def own(plane: ControlPlane, server: TestRegistry) -> Iterator[Stack]:
    """A stack that is configured and seeded and not deployed: the commands find a lot to say."""
    baseline: dict[str, Any] = {
        "cluster": {"name": "canary"},
        "vault": {
            "mount": "secret",
            "auth": {"mount": "kubernetes-canary", "role": "external-secrets-canary"},
            "egress": {"cidrs": ["127.0.0.1/32"]},
        },
        "eso": {"store": "vault-canary", "networkPolicy": "eso-allow-egress-to-vault-canary"},
        "registries": [
            {
                "name": NAME,
                "hosts": [server.host],
                "selector": {"canary.platform/app": "true"},
                "namespaces": ["canary-*"],
            }
        ],
        "tenants": {
            "protect": False,
            "onLeave": "delete",
            "namespaces": [{"name": "canary-one", "registries": [NAME]}],
        },
    }
    own = Stack(plane, plane.layout.state / "canary-stack", "canary", baseline)
    own.configure()
    own.workspace.environment["VAULT_TOKEN"] = own.seeder_token
    yield own
    plane.vault("root").secrets.kv.v2.delete_metadata_and_all_versions(
        f"canary/registries/{NAME}", mount_point="secret"
    )


def document(server: TestRegistry) -> str:
    auth = base64.b64encode(f"bot:{CANARY}".encode()).decode()
    return json.dumps({"auths": {server.host: {"auth": auth}}})


def forms(server: TestRegistry) -> list[str]:
    """What a leak would look like: the password, and it inside base64, of which any twelve digits would do."""
    auth = base64.b64encode(f"bot:{CANARY}".encode()).decode()
    whole = base64.b64encode(document(server).encode()).decode()
    bare = base64.b64encode(CANARY.encode()).decode()
    return [CANARY, CANARY.removeprefix("canary-"), auth, auth[8:20], bare[:12], whole, whole[60:100]]


def scenarios(server: TestRegistry, folder: Path) -> Iterator[tuple[str, tuple[str, ...], str, int]]:
    """Each command line, its standard input and the exit code that shows that it came as far as it should."""
    ca = ("--verify-login", "--registry-ca", str(server.ca_file))
    good = document(server)
    from_stdin = ("seed", NAME, "--yes", "--from-file", "-")
    config = folder / "config.json"
    config.write_text(json.dumps({"auths": {server.host: {}}, "credsStore": "canary"}))
    helper = folder / "docker-credential-canary"
    helper.write_text(f"#!/bin/sh\necho '{json.dumps({'Username': 'bot', 'Secret': CANARY})}'\n")
    helper.chmod(0o755)
    yield "it works", (*from_stdin, *ca), good, 0
    yield "a helper is asked", ("seed", NAME, "--yes", "--from-docker-config", str(config)), "", 0
    yield "a password is read", ("seed", NAME, "--yes", "--username", "bot", "--password-stdin", *ca), CANARY, 0
    yield "it is read again as JSON", (*from_stdin, "--json", "--dry-run", "--expires-in", "9d"), good, 0
    yield "the registry says no", (*from_stdin, *ca), good, 1
    yield "the host is wrong", from_stdin, good.replace("localhost", "elsewhere"), 2
    yield "the document is cut off", from_stdin, good[:-3], 2
    yield "auth is no base64", from_stdin, json.dumps({"auths": {server.host: {"auth": CANARY}}}), 2
    yield "a field is unknown", from_stdin, json.dumps({"auths": {server.host: {"identitytoken": CANARY}}}), 2
    yield "a path is not there", ("seed", NAME, "--from-file", str(folder / "absent")), good, 2
    yield "the helper fails", ("seed", NAME, "--from-docker-config", str(config)), "", 2
    yield "coverage is shown", ("audit", "--json"), "", 1


def test_no_command_shows_the_credential_with_every_debug_log_on(
    own: Stack, server: TestRegistry, tmp_path: Path
) -> None:
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    logged = ""
    for what, arguments, stdin, code in scenarios(server, tmp_path):
        server.behaviour.password = "another" if what == "the registry says no" else CANARY
        if what == "the helper fails":
            (tmp_path / "docker-credential-canary").write_text(
                f'#!/bin/sh\necho \'{{"Secret": "{CANARY}"}}\'\nexit 1\n'
            )
        done = own.command("--verbose", *arguments, stdin=stdin, environment=environment)
        assert done.returncode == code, (what, done.stderr)
        for form in forms(server):
            assert form not in done.stdout, what
            assert form not in done.stderr, what
        assert own.workspace.environment["VAULT_TOKEN"] not in done.stdout + done.stderr, what
        logged += done.stderr
    # The logs were on: otherwise nothing was tried.
    assert "DEBUG urllib3.connectionpool: " in logged


def test_commands_that_read_what_is_stored_and_delivered_do_not_show_it(stack: Stack) -> None:
    token = stack.seeder_token
    migrator = stack.plane.kubeconfig_for("migrator", [MIGRATORS])
    operator = {"VAULT_TOKEN": token, "KUBECONFIG": str(stack.operator)}
    before, after = stack.passwords["ops-app"], CANARY
    assert stack.seed("ops-app", stack.credential("ops-app", after), "--yes").returncode == 0
    commands: list[tuple[tuple[str, ...], str, dict[str, str]]] = [
        (("rotate", "ops-app", "--from-file", "-", "--dry-run"), stack.credential("ops-app"), operator),
        (("rollback", "ops-app", "--dry-run"), "", operator),
        (("doctor", "--json"), "", operator),
        (("audit", "--json"), "", operator),
        (("adopt", "--registry", "ops-app", "--dry-run"), "", {**operator, "KUBECONFIG": str(migrator)}),
        (("cleanup", "--dry-run"), "", {**operator, "KUBECONFIG": str(migrator)}),
    ]
    try:
        for arguments, stdin, environment in commands:
            done = stack.command("--verbose", *arguments, stdin=stdin, environment=environment)
            assert done.returncode in {0, 1}, (arguments, done.stderr)
            assert "DEBUG urllib3.connectionpool: " in done.stderr, arguments
            assert "Traceback" not in done.stderr, (arguments, done.stderr)
            for password in (before, after):
                for form in (password, *inside_base64(password)):
                    assert form not in done.stdout + done.stderr, arguments
    finally:
        stack.seed_all()


def inside_base64(password: str) -> list[str]:
    """Digits that any base64 of a text with this password holds, wherever in the text it stands."""
    return [base64.b64encode(password.encode()[offset:][:15]).decode() for offset in range(3)]


def test_the_command_line_of_a_running_seed_does_not_hold_the_credential(own: Stack, server: TestRegistry) -> None:
    reading, writing = os.pipe()
    words = ["seed", NAME, "--yes", "--username", "bot", "--password-fd", str(reading), "--stack", "canary"]
    with subprocess.Popen(
        [sys.executable, "-m", "pullsecrets", *words, "--directory", str(own.workspace.root)],
        env=own.workspace.environment,
        pass_fds=[reading],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        os.close(reading)
        os.write(writing, CANARY[:20].encode())

        def waits_for_the_rest() -> None:
            # What was written so far is read when the pipe is empty: the process holds half of the password.
            if _unread(running.pid, words[words.index("--password-fd") + 1]):
                raise NotYet("the password is not read yet")

        until(waits_for_the_rest, 60, "the password read")
        visible = Path(f"/proc/{running.pid}/cmdline").read_bytes() + Path(f"/proc/{running.pid}/environ").read_bytes()
        os.write(writing, CANARY[20:].encode())
        os.close(writing)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    assert b"--password-fd" in visible
    for form in (*forms(server), CANARY[:20]):
        assert form.encode() not in visible
        assert form not in stdout + stderr


def _unread(pid: int, descriptor: str) -> int:
    """How many bytes wait in a pipe of another process."""
    waiting = array.array("i", [0])
    with Path(f"/proc/{pid}/fd/{descriptor}").open("rb", buffering=0) as pipe:
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0]
