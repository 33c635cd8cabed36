"""What the engine finds in PULUMI_HOME and on PATH."""

import os
import shlex
import sys

import pytest

from local import pulumi_home
from local.toolchain.recipes import (
    BUILT_KUBERNETES_PLUGIN_VERSION,
    KUBERNETES_PLUGIN_VERSION,
    VAULT_PLUGIN_VERSION,
)

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


def served(home):
    return {plugin.package: plugin for plugin in home.plugins}


def test_without_downloads_the_built_plugins_are_used_and_say_so(state, toolchain):
    home = pulumi_home.assemble(state)
    kubernetes = served(home)["kubernetes"]
    assert kubernetes.version == BUILT_KUBERNETES_PLUGIN_VERSION
    assert "built here" in kubernetes.origin
    assert f"asks for {KUBERNETES_PLUGIN_VERSION}" in kubernetes.origin
    assert command(state / KUBERNETES)[-2:] == [str(toolchain / "pulumi-resource-kubernetes"), "$@"]
    assert command(state / VAULT)[-2:] == [str(toolchain / "pulumi-resource-vault"), "$@"]


def test_official_plugins_are_used_where_they_can_be_had(state, monkeypatch):
    monkeypatch.setattr(pulumi_home.toolchain, "install_official_plugin", lambda *_: True)
    assert [str(plugin) for plugin in pulumi_home.assemble(state).plugins] == [
        f"kubernetes {KUBERNETES_PLUGIN_VERSION}: Pulumi's release",
        f"vault {VAULT_PLUGIN_VERSION}: Pulumi's release",
    ]
    assert not (state / KUBERNETES).exists()


# A plugin that serves what its first argument says; started as the engine starts one, which names itself.
PLUGIN = """#!{python}
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    def GetPluginInfo(self, request, context):
        return plugin_pb2.PluginInfo(version="4.30.0")

    def GetSchema(self, request, context):
        return provider_pb2.GetSchemaResponse(schema=json.dumps({{"name": "{package}"}}))


server = grpc.server(ThreadPoolExecutor())
provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
threading.Event().wait()
"""


def given(folder, monkeypatch, text, mode=0o755):
    plugin = folder / "another"
    plugin.write_text(text)
    plugin.chmod(mode)
    monkeypatch.setenv(pulumi_home.KUBERNETES_PLUGIN, str(plugin))
    return plugin


def test_the_environment_names_another_kubernetes_plugin(state, monkeypatch, tmp_path):
    plugin = given(tmp_path, monkeypatch, PLUGIN.format(python=sys.executable, package="kubernetes"))
    kubernetes = served(pulumi_home.assemble(state))["kubernetes"]
    assert kubernetes.version == "4.30.0"
    assert kubernetes.origin == f"{plugin}, which LOCAL_KUBERNETES_PLUGIN names"
    assert str(plugin) in command(state / KUBERNETES)


@pytest.mark.parametrize(
    ("text", "mode", "cause"),
    [
        ("", 0o644, "is no executable file"),
        ("no program", 0o755, "cannot be started"),
        ("#!/bin/sh\nexit 1\n", 0o755, "prints no port"),
        ("#!/bin/sh\necho usage: something else\n", 0o755, "prints no port"),
        ("#!/bin/sh\necho 1\nsleep 60\n", 0o755, "does not speak the protocol"),
        (PLUGIN.format(python=sys.executable, package="vault"), 0o755, "serves the package 'vault'"),
    ],
)
def test_and_is_refused_with_the_cause_and_the_remedy(state, monkeypatch, tmp_path, text, mode, cause):
    plugin = given(tmp_path, monkeypatch, text, mode)
    with pytest.raises(pulumi_home.PluginNotUsableError) as refused:
        pulumi_home.assemble(state)
    assert str(refused.value).startswith(f"LOCAL_KUBERNETES_PLUGIN={plugin} is no Kubernetes plugin: ")
    assert cause in str(refused.value)
    assert "or unset it" in str(refused.value)
    assert not (state / KUBERNETES).exists()


def test_a_release_of_pulumi_brings_its_own_language_host(state, monkeypatch):
    pulumi_home.assemble(state)
    monkeypatch.setattr(pulumi_home.toolchain, "pulumi_is_official", lambda: True)
    home = pulumi_home.assemble(state)
    assert not list(home.shims.iterdir())
