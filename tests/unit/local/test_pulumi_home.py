"""What the engine finds in PULUMI_HOME and on PATH."""

import os
import shlex

import pytest

from local import pulumi_home
from local.toolchain.recipes import KUBERNETES_PLUGIN_VERSION, VAULT_PLUGIN_VERSION

KUBERNETES = f"pulumi-home/plugins/resource-kubernetes-v{KUBERNETES_PLUGIN_VERSION}/pulumi-resource-kubernetes"
VAULT = f"pulumi-home/plugins/resource-vault-v{VAULT_PLUGIN_VERSION}/pulumi-resource-vault"


@pytest.fixture(autouse=True)
def toolchain(monkeypatch, tmp_path):
    """A toolchain whose tools are empty files and which can download nothing."""
    tools = tmp_path / "tools"
    tools.mkdir()

    def binary(name):
        path = tools / name
        if not path.exists():
            path.touch(mode=0o755)
        return path

    monkeypatch.setattr(pulumi_home.toolchain, "binary", binary)
    monkeypatch.setattr(pulumi_home.toolchain, "install_official_plugin", lambda *_: False)
    monkeypatch.setattr(pulumi_home.toolchain, "pulumi_is_official", lambda: False)
    monkeypatch.delenv(pulumi_home.KUBERNETES_PLUGIN, raising=False)
    return tools


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def command(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert os.access(path, os.X_OK)
    return shlex.split(lines[-1])


def test_without_downloads_the_stand_in_and_the_built_plugin_are_used(state, toolchain):
    home = pulumi_home.assemble(state)
    assert home.variants == {"kubernetes": "stand-in", "vault": "built", "python": "stand-in"}
    assert command(state / KUBERNETES)[-2:] == ["kubernetes", "$@"]
    assert command(state / VAULT)[-2:] == [str(toolchain / "pulumi-resource-vault"), "$@"]


def test_official_plugins_are_used_where_they_can_be_had(state, monkeypatch):
    monkeypatch.setattr(pulumi_home.toolchain, "install_official_plugin", lambda *_: True)
    assert pulumi_home.assemble(state).variants == {"kubernetes": "official", "vault": "official", "python": "stand-in"}
    assert not (state / KUBERNETES).exists()


def test_the_environment_names_another_kubernetes_plugin(state, monkeypatch, toolchain):
    plugin = toolchain / "another"
    plugin.touch(mode=0o755)
    monkeypatch.setenv(pulumi_home.KUBERNETES_PLUGIN, str(plugin))
    assert pulumi_home.assemble(state).variants["kubernetes"] == "given"
    assert str(plugin) in command(state / KUBERNETES)


def test_and_is_refused_if_it_cannot_be_started(state, monkeypatch, tmp_path):
    monkeypatch.setenv(pulumi_home.KUBERNETES_PLUGIN, str(tmp_path / "absent"))
    with pytest.raises(
        pulumi_home.PluginNotExecutableError, match=r"LOCAL_KUBERNETES_PLUGIN=.*absent is no executable"
    ):
        pulumi_home.assemble(state)


def test_the_engine_stands_beside_its_language_host_so_that_it_does_not_warn(state, toolchain):
    shims = pulumi_home.assemble(state).shims
    assert (shims / "pulumi").samefile(toolchain / "pulumi")
    assert command(shims / "pulumi-language-python")[-2:] == [str(toolchain / "pulumi-language-python-exec"), "$@"]


def test_a_release_of_pulumi_brings_its_own_language_host(state, monkeypatch):
    pulumi_home.assemble(state)
    monkeypatch.setattr(pulumi_home.toolchain, "pulumi_is_official", lambda: True)
    home = pulumi_home.assemble(state)
    assert home.variants["python"] == "official"
    assert not list(home.shims.iterdir())


def test_a_second_time_nothing_is_written(state):
    pulumi_home.assemble(state)
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}
    pulumi_home.assemble(state)
    assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before
