"""`rotate` as a command: what it asks, prints and returns, with the cluster's part played by stand-ins."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pullsecrets import preflight, recreate, rotation
from pullsecrets.cli import console
from pullsecrets.cli import rotate as rotate_module
from pullsecrets.cli.app import app
from pullsecrets.errors import BadInputError
from pullsecrets.recreate import LackingPods
from pullsecrets.rotation import Delivered
from tests.unit.test_eso import installation
from tests.unit.test_rollback import CONFIG, Versions, credential


class Surroundings:
    """A Vault with some versions, and a delivery that reaches all namespaces but the missing ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.vault = Versions("old")
        self.missing: dict[str, str] = {}
        self.config = CONFIG
        monkeypatch.setattr(console, "load", lambda *_: self.config)
        monkeypatch.setattr(preflight, "open_vault", lambda _: self.vault)
        monkeypatch.setattr(rotate_module, "KubernetesClient", lambda _: None)
        monkeypatch.setattr(rotation, "prepare", lambda _: installation())
        monkeypatch.setattr(rotation, "deliver", self.deliver)
        monkeypatch.setattr(rotation, "selected_namespaces", lambda *_: frozenset({"a", "b"}))
        monkeypatch.setattr(recreate, "find_lacking", lambda *_: LackingPods((), {"a/bare": "delete it by hand"}))

    def deliver(
        self, _target: object, _which: object, version: int, digest: str, *_: object, **__: object
    ) -> Delivered:
        missing = {} if version == len(self.vault.states) > 2 else self.missing
        return Delivered(version, digest, tuple(sorted({"a", "b"} - missing.keys())), missing, 1.5)

    def run(self, *options: str, user: str = "new") -> Result:
        words = ["rotate", "app", "--stack", "dev", "--from-file", "-", *options]
        return CliRunner().invoke(app, words, input=credential(user))

    def json(self, *options: str, user: str = "new") -> tuple[int, dict[str, Any]]:
        done = self.run("--yes", "--json", *options, user=user)
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return Surroundings(monkeypatch)


def test_it_says_what_it_did_and_never_the_credential(here: Surroundings) -> None:
    done = here.run("--yes")
    assert done.exit_code == 0
    assert "2 of 2 namespaces hold version 2 of app in 1.5 s" in done.stdout
    assert "a/bare: delete it by hand" in done.stdout
    assert "password-of" not in done.output
    assert here.vault.custom["rotated-in-dev"] == "2"


def test_json_is_one_document(here: Surroundings) -> None:
    code, found = here.json()
    assert code == 0
    assert (found["outcome"], found["wrote"], found["version"], found["namespaces"]) == ("done", True, 2, ["a", "b"])
    assert here.json()[1]["wrote"] is False
    assert len(here.vault.states) == 2


def test_nothing_is_written_without_a_yes_or_in_a_dry_run(here: Surroundings) -> None:
    refused = here.run()
    assert isinstance(refused.exception, BadInputError)
    assert "add --yes" in str(refused.exception)
    planned = here.run("--dry-run")
    assert "2 namespaces would receive it: a, b" in planned.stdout
    assert here.json("--dry-run")[1]["outcome"] == "planned"
    assert len(here.vault.states) == 1


def test_what_is_missing_is_named_with_its_cause_and_the_version_stays(here: Surroundings) -> None:
    here.missing = {"b": "could not get secret data"}
    done = here.run("--yes")
    assert done.exit_code == 1
    assert "b: could not get secret data" in done.stdout
    assert "version 2 stays; run the same command again, or `pull-secrets rollback app`" in done.stdout
    assert "rotated-in-dev" not in here.vault.custom


def test_a_failure_is_taken_back_when_that_is_asked_for(here: Surroundings) -> None:
    here.missing = {"b": "could not get secret data"}
    code, found = here.json("--rollback-on-failure")
    assert (code, found["outcome"], found["rolledBack"]["version"]) == (1, "rolled back", 3)
    assert here.vault.data[3] == here.vault.data[1]


def test_a_rerun_after_a_kill_takes_back_too_but_not_a_version_that_had_arrived(here: Surroundings) -> None:
    assert here.json()[0] == 0
    here.missing = {"b": "could not get secret data"}
    assert here.json("--rollback-on-failure")[1]["outcome"] == "failed"
    assert len(here.vault.states) == 2
    del here.vault.custom["rotated-in-dev"]
    assert here.json("--rollback-on-failure")[1]["outcome"] == "rolled back"


def test_the_first_version_cannot_be_taken_back(here: Surroundings) -> None:
    here.vault = Versions()
    here.missing = {"b": "could not get secret data"}
    code, found = here.json("--rollback-on-failure")
    assert (code, found["outcome"]) == (1, "failed")
    assert "no earlier version is live" in found["notRolledBack"]


def test_kv_v1_has_no_way_back(here: Surroundings) -> None:
    vault = CONFIG.vault.model_copy(update={"kv_version": 1})
    here.config = CONFIG.model_copy(update={"vault_section": vault})
    here.vault.kind = "1"
    refused = here.run("--yes", "--rollback-on-failure").exception
    assert isinstance(refused, BadInputError)
    assert "found a KV v1 mount, which keeps no version to go back to" in str(refused)
