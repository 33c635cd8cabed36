"""A bundle has all that a ticket needs, and no credential wherever one stood."""

import json
import tarfile
from pathlib import Path
from typing import IO, cast

import pytest

from pullsecrets import redaction
from pullsecrets.doctor.bundle import write_bundle
from pullsecrets.doctor.diagnosis import diagnose
from pullsecrets.doctor.exchange import as_document
from pullsecrets.errors import BadInputError
from pullsecrets.kube.marks import LAST_APPLIED
from tests.unit.doctor.tenants import HOST, TENANTS, World, healthy

CANARY = "canary-d41d8cd98f00"
LOGIN = json.dumps({"auths": {HOST: {"auth": CANARY}}})


def with_canaries() -> World:
    """A cluster in which a credential stands wherever somebody may have put one."""
    world = healthy()
    name = TENANTS[0]
    for item in (
        world.namespaces[name],
        world.secrets[name],
        world.external_secrets[name],
        world.accounts[name, "default"],
    ):
        item["metadata"].setdefault("annotations", {}).update({LAST_APPLIED: LOGIN, "note": CANARY})
    world.secrets[name]["data"] = {".dockerconfigjson": CANARY}
    template = {"data": {".dockerconfigjson": LOGIN}, "templateFrom": [{"literal": CANARY}]}
    world.external_secrets[name]["spec"] = {"target": {"template": template}, "data": [{"secretKey": "kept"}]}
    pod = world.add_pod(name, "failing", fails="ErrImagePull")
    pod["spec"]["containers"][0] |= {"env": [{"name": "PASSWORD", "value": CANARY}], "args": [CANARY]}
    world.add_event(
        "Pod", name, "failing", "Failed", f'pull failed: {{"password": "{CANARY}"}} https://user:{CANARY}@{HOST}'
    )
    return world


def bundled(world: World, file: Path) -> dict[str, str]:
    snapshot = world.snapshot()
    snapshot.once("vault_server", lambda: "Vault is not asked here")
    write_bundle(file, snapshot, as_document(diagnose(snapshot, ()), snapshot.stack, None))
    with tarfile.open(file) as archive:
        return {member.name: cast("IO[bytes]", archive.extractfile(member)).read().decode() for member in archive}


def test_no_credential_is_in_it_wherever_one_stood(tmp_path: Path) -> None:
    files = bundled(with_canaries(), tmp_path / "ticket.tar.gz")
    assert CANARY not in json.dumps(files)
    assert json.loads(files["pull-secrets-test/external-secrets.json"])["app"][0]["spec"]["data"] == [
        {"secretKey": "kept"}
    ]


def test_what_the_process_has_read_is_in_no_file_either(world: World, tmp_path: Path) -> None:
    redaction.register(CANARY)
    world.namespaces[TENANTS[0]]["metadata"]["labels"]["note"] = CANARY
    assert CANARY not in json.dumps(bundled(world, tmp_path / "ticket.tar.gz"))


def test_it_holds_what_the_report_was_read_from(tmp_path: Path) -> None:
    files = bundled(healthy(), tmp_path / "ticket.tar.gz")
    names = {name.removeprefix("pull-secrets-test/").removesuffix(".json") for name in files}
    assert names >= {"report", "stack", "versions", "namespaces", "secrets", "external-secrets", "pods", "coverage"}
    read = {name: json.loads(text) for name, text in files.items()}
    assert {item["namespace"] for item in read["pull-secrets-test/coverage.json"]} >= set(TENANTS)
    assert read["pull-secrets-test/namespaces.json"].keys() >= set(TENANTS)
    assert read["pull-secrets-test/vault.json"]["metadata"]["app"]["current_version"] == 3
    assert not any("not read" in (part or ()) for part in read.values())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--bundle .*nowhere"):
        bundled(healthy(), tmp_path / "nowhere" / "ticket.tar.gz")
