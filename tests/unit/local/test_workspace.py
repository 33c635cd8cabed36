"""A stack file's copy names the Vault and the API server that run at the moment."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from local.workspace import Workspace

SERVER, VAULT = "https://127.0.0.1:16443", "https://127.0.0.1:18200"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    cluster = {"server": SERVER, "certificate-authority-data": "Q0EK"}
    kubeconfig = {
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": {"token": "of-nobody"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    (tmp_path / "vault.pem").write_text("CA of Vault\n")
    environment = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "VAULT_ADDR": VAULT,
        "VAULT_CACERT": str(tmp_path / "vault.pem"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
    }
    listed = subprocess.CompletedProcess(["pulumi"], 0, json.dumps([{"name": "dev"}]))
    monkeypatch.setattr(Workspace, "pulumi", lambda *_, **__: listed)
    return Workspace(tmp_path / "workspace", environment)


def vault_of(workspace: Workspace) -> dict[str, Any]:
    return YAML(typ="safe").load(workspace.stack_file("dev"))["config"]["pull-secrets:vault"]


def test_what_a_file_of_ones_own_says_stays(workspace: Workspace) -> None:
    declared = {"address": "https://a.example.com", "auth": {"kubernetesHost": "https://b.example.com"}}
    workspace.use_stack("dev", json.dumps({"config": {"pull-secrets:vault": declared}}))
    assert vault_of(workspace) == declared
    workspace.use_stack("dev", json.dumps({"config": {"pull-secrets:vault": {"mount": "secret"}}}))
    assert vault_of(workspace)["auth"]["kubernetesHost"] == SERVER
    workspace.use_stack("dev", json.dumps({"config": {}}))
