"""`seed` against a real Vault and a registry: every source, every refusal, and what is recorded."""

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.controlplane import ControlPlane
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.credential import vault_entry, vault_token
from pullsecrets.credential.sources import from_login
from pullsecrets.credential.vault import EntryMetadata
from pullsecrets.errors import ConflictError, ExitCode
from tests.e2e.stack import Stack
from tests.registry import Behaviour, TestRegistry, registry

pytestmark = pytest.mark.controlplane

NAME = "seed-app"
PATH = "seed/registries/seed-app"
PASSWORD = "canary-of-the-registry-1c2d3e4f"

Seed = Callable[..., subprocess.CompletedProcess[str]]


def baseline(host: str) -> dict[str, Any]:
    return {
        "cluster": {"name": "seed"},
        "vault": {
            "mount": "secret",
            "auth": {"mount": "kubernetes-seed", "role": "external-secrets-seed"},
            "egress": {"cidrs": ["127.0.0.1/32"]},
        },
        # One of the stores whose token reviewer the local deployers may bind, and that nobody else has here.
        "eso": {"store": "vault-bench", "networkPolicy": "eso-allow-egress-to-vault-seed"},
        "registries": [
            {
                "name": NAME,
                "hosts": [host],
                "rejectedHosts": ["registry.example.com"],
                "owner": "platform-team",
                "selector": {"seed.platform/app": "true"},
                "namespaces": ["seed-*"],
            }
        ],
        "tenants": {"protect": False, "onLeave": "delete", "namespaces": [{"name": "seed-one", "registries": [NAME]}]},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    with registry(tmp_path_factory.mktemp("registry"), Behaviour(password=PASSWORD)) as running:
        yield running


@pytest.fixture(scope="module")
def own(plane: ControlPlane, server: TestRegistry) -> Iterator[Stack]:
    """A stack whose registry's host is the running registry; never deployed."""
    own = Stack(plane, plane.layout.state / "seed-stack", "seed", baseline(server.host))
    own.configure()
    yield own
    root(plane).secrets.kv.v2.delete_metadata_and_all_versions(PATH, mount_point="secret")


@pytest.fixture
def run(own: Stack) -> Seed:
    """Run `seed` with the seeder's token."""
    token = own.seeder_token

    def seed_command(*options: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {"VAULT_TOKEN": token, **environment}
        done = own.command("seed", NAME, "--json", *options, stdin=stdin, environment=variables)
        assert PASSWORD not in done.stdout + done.stderr
        return done

    return seed_command


def root(plane: ControlPlane) -> Any:
    return plane.vault("root")


def config_of(own: Stack) -> StackConfig:
    return load_stack("seed", own.workspace.root)


def metadata(own: Stack) -> EntryMetadata | None:
    config = config_of(own)
    vault = vault_token.open_vault(config, own.workspace.environment["VAULT_TOKEN"])
    return vault.read_metadata(config.vault.mount, PATH)


def stored(own: Stack) -> dict[str, Any]:
    """What the path holds, as root reads it."""
    found = root(own.plane).secrets.kv.v2.read_secret_version(PATH, mount_point="secret", raise_on_deleted_version=True)
    return json.loads(found["data"]["data"]["dockerconfigjson"])


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == ExitCode.DONE, done.stderr
    return json.loads(done.stdout)


def document(host: str, password: str = PASSWORD) -> str:
    auth = base64.b64encode(f"bot:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth}}})


def test_nothing_is_written_when_anything_is_wrong(own: Stack, run: Seed, server: TestRegistry) -> None:
    ca = ("--registry-ca", str(server.ca_file))
    wrong = from_login("bot", "canary-wrong-password", [server.host]).to_json()
    plain = ("--from-file", "-", "--yes")
    refusals: list[tuple[ExitCode, str, tuple[str, ...], str]] = [
        (ExitCode.BAD_INPUT, "a name that images do not use", plain, document("registry.example.com")),
        (ExitCode.BAD_INPUT, "which is past", (*plain, "--expires-at", "2020-01-01"), document(server.host)),
        (ExitCode.BAD_INPUT, "found no source", ("--yes",), ""),
        (ExitCode.PROBLEM, "the login was refused by its token service", (*plain, "--verify-login", *ca), wrong),
        (ExitCode.UNREACHABLE, "name the CA's PEM file with --registry-ca", (*plain, "--verify-login"), wrong),
    ]
    for code, text, options, stdin in refusals:
        done = run(*options, stdin=stdin)
        assert (done.returncode, text in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
        assert "canary-wrong-password" not in done.stderr
    assert metadata(own) is None


def test_every_source_is_verified_and_recorded(own: Stack, run: Seed, server: TestRegistry, tmp_path: Path) -> None:
    """One credential from each source: the first writes it, the others find it there already."""
    ca = ("--registry-ca", str(server.ca_file))
    first = outcome(run("--from-file", "-", "--verify-login", *ca, "--expires-in", "90d", stdin=document(server.host)))
    assert (first["outcome"], first["version"], first["hosts"], first["users"]) == (
        "written",
        1,
        [server.host],
        ["bot"],
    )
    assert (first["stored_digest"], first["stored_expiry"]) == (None, None)
    expiry = first["new_expiry"]
    assert stored(own) == json.loads(document(server.host))
    found = metadata(own)
    assert found is not None
    recorded = {key: value for key, value in found.custom.items() if key != "seeded-at"}
    assert recorded == {
        "owner": "platform-team",
        "hosts": server.host,
        "seeded-hosts": server.host,
        "digest": first["new_digest"],
        "digest-version": "1",
        "expires-at": expiry,
    }

    docker = tmp_path / "config.json"
    docker.write_text(
        json.dumps(
            {"auths": {f"https://{server.host}/v1/": {}, "other.example.com": {"auth": "eDp5"}}, "credsStore": "t"}
        )
    )
    helper = tmp_path / "docker-credential-t"
    helper.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps({'Username': 'bot', 'Secret': PASSWORD})}\nEND\n")
    helper.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    at = ("--expires-at", expiry)
    sources = [
        run("--from-docker-config", "auto", *at, DOCKER_CONFIG=str(tmp_path), HOME="/nonexistent", PATH=path),
        run("--from-docker-config", str(docker), *at, PATH=path),
        run("--username", "bot", "--password-stdin", *at, stdin=f"{PASSWORD}\n"),
        run("--username", "bot", "--password-fd", "0", "--verify-login", *ca, *at, stdin=PASSWORD),
    ]
    assert [(item["outcome"], item["version"]) for item in map(outcome, sources)] == [("unchanged", 1)] * 4


def test_an_expiry_that_is_not_given_again_is_taken_away(own: Stack, run: Seed, server: TestRegistry) -> None:
    outcome(run("--from-file", "-", "--yes", "--expires-in", "6w", stdin=document(server.host)))
    before = metadata(own)
    asked = run("--from-file", "-", stdin=document(server.host))
    assert asked.returncode == ExitCode.BAD_INPUT
    assert "add --yes to write a new version over it" in asked.stderr
    dry = outcome(run("--from-file", "-", "--dry-run", stdin=document(server.host)))
    assert (dry["outcome"], metadata(own)) == ("planned", before)
    dropped = outcome(run("--from-file", "-", "--yes", stdin=document(server.host)))
    after = metadata(own)
    assert before is not None
    assert after is not None
    assert dropped["outcome"] == "recorded"
    assert after.current_version == before.current_version
    assert after.custom.keys() == before.custom.keys() - {"expires-at"}


def test_of_two_seeds_one_wins_and_the_other_ends_with_a_conflict(own: Stack, run: Seed, server: TestRegistry) -> None:
    config = config_of(own)
    vault = vault_token.open_vault(config, own.seeder_token)
    ours = from_login("bot", "ours-of-the-race", [server.host])
    planned = vault_entry.plan(vault, config, config.registries[0], ours)
    theirs = outcome(run("--from-file", "-", "--yes", stdin=document(server.host, "theirs-of-the-race")))
    with pytest.raises(ConflictError, match=f"another write came in after version {planned.version}") as raised:
        vault_entry.write(vault, config, config.registries[0], ours, planned)
    assert raised.value.exit_code == ExitCode.CONFLICT
    assert vault_entry.seeded_digest(metadata(own)) == theirs["new_digest"]


class TestTheWrapper:
    def run(self, own: Stack, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        token = own.seeder_token
        script = Path(__file__).parents[2] / "scripts" / "seed-app-registry-pull-secret.sh"
        environment = {**own.workspace.environment, "VAULT_TOKEN": token, "PULL_SECRETS_REGISTRY": NAME}
        return subprocess.run(
            ["sh", str(script), "--directory", str(own.workspace.root), *words],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_people_who_know_the_script_get_the_command(self, own: Stack, server: TestRegistry) -> None:
        done = self.run(own, "--stack", "seed", "--username", "bot", "--password-stdin", "--yes", stdin=PASSWORD)
        assert done.returncode == ExitCode.DONE, done.stderr
        assert stored(own) == json.loads(document(server.host))
        assert PASSWORD not in done.stdout + done.stderr

    def test_the_wrong_host_is_refused(self, own: Stack) -> None:
        wrong = document("registry.example.com")
        done = self.run(own, "--stack", "seed", "--from-file", "-", "--yes", stdin=wrong)
        assert done.returncode == ExitCode.BAD_INPUT
        assert "a name that images do not use" in done.stderr
