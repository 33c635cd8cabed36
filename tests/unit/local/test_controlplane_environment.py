"""The environment that the control plane writes for `pulumi`, `kubectl` and `bao`."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local import toolchain
from local.controlplane import environment
from local.controlplane.layout import Layout


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "binary", lambda name: Path("/tools") / name / "bin" / name)
    layout = Layout(tmp_path / "with space")
    layout.openbao.mkdir(parents=True)
    layout.platform_token.write_text("s.platform\n")
    return layout


@pytest.fixture
def variables(layout):
    return environment.variables(layout, layout.kubeconfig("pulumi"), "https://127.0.0.1:20001", layout.platform_token)


def test_the_passphrase_is_generated_once_and_kept_in_a_private_file(layout, variables):
    file = Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"])
    passphrase = file.read_text()
    assert len(passphrase) > 30
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    environment.variables(layout, layout.kubeconfig("pulumi"), "https://127.0.0.1:20001", layout.platform_token)
    assert file.read_text() == passphrase


def test_the_callers_path_and_proxy_exceptions_stay_behind_ours(variables):
    inside = environment.merged(
        variables, {"PATH": "/usr/bin", "NO_PROXY": "example.com", "VAULT_ADDR": "https://other"}
    )
    assert inside["PATH"] == f"{variables['PATH']}:/usr/bin"
    assert inside["NO_PROXY"] == "127.0.0.1,localhost,example.com"
    assert inside["VAULT_ADDR"] == "https://127.0.0.1:20001"


@pytest.mark.parametrize("outer", [{}, {"PATH": ""}])
def test_an_empty_path_adds_nothing(variables, outer):
    assert environment.merged(variables, outer)["PATH"] == variables["PATH"]


def test_a_shell_that_sources_the_file_gets_what_the_json_says(layout, variables):
    environment.write(layout, variables)
    shell, data = layout.environment
    script = f'. "{shell}"; {sys.executable} -c "import json, os; print(json.dumps(dict(os.environ)))"'
    outer = {"PATH": "/usr/bin:/bin"}
    sourced = json.loads(subprocess.run(["/bin/sh", "-c", script], env=outer, capture_output=True, check=True).stdout)
    expected = environment.merged(variables, outer)
    assert {name: sourced[name] for name in expected} == expected
    assert set(json.loads(data.read_text())) == set(variables)


def test_both_files_are_private(layout, variables):
    environment.write(layout, variables)
    assert {stat.S_IMODE(file.stat().st_mode) for file in layout.environment} == {0o600}
