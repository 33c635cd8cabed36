"""The Python language host: which Python, what the engine is told, what becomes of the processes."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from local.controlplane.waiting import NotYet, until
from local.language_host import protocol

protocol.prepare()

from pulumi.runtime.proto import (  # noqa: E402
    language_pb2,
    language_pb2_grpc,
)

from local.language_host.environment import Environment, Package, Plugin, RuntimeOptionError, resolve  # noqa: E402
from local.language_host.host import PythonHost  # noqa: E402

# Stands for the SDK's script: does what the program's first line says.
EXECUTOR = """
import json, os, sys
sys.path.insert(0, os.getcwd())
import program
program.run(sys.argv[1:])
"""


class TestEnvironment:
    @pytest.fixture
    def root(self, tmp_path):
        (tmp_path / "uv.lock").touch()
        (tmp_path / "packs" / "security").mkdir(parents=True)
        return tmp_path

    def test_the_option_virtualenv_is_relative_to_the_project(self, root):
        found = resolve(root, root, {"toolchain": "pip", "virtualenv": "env"})
        assert found == Environment("pip", root / "env")

    def test_uv_means_the_environment_beside_the_lock_file_upwards(self, root):
        pack = root / "packs" / "security"
        assert resolve(pack, pack, {"toolchain": "uv"}) == Environment("uv", root / ".venv")
        assert resolve(pack, pack, {}) == Environment("uv", root / ".venv")

    def test_pip_without_virtualenv_means_the_python_on_path_but_not_for_plugins(self, tmp_path):
        options = {"toolchain": "pip"}
        assert resolve(tmp_path, tmp_path, options) == Environment("pip", None)
        assert resolve(tmp_path, tmp_path, options, is_plugin=True) == Environment("pip", tmp_path / "venv")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"toolchain": "poetry"}, "runtime option toolchain: 'poetry'; the local language host knows uv and pip"),
            ({"typechecker": "mypy"}, "runtime option typechecker: the local language host knows toolchain, virtual"),
            ({"virtualenv": 3}, "runtime option virtualenv: 3; a path is needed"),
        ],
    )
    def test_options_that_are_not_known_are_named(self, tmp_path, options, message):
        with pytest.raises(RuntimeOptionError, match=message):
            resolve(tmp_path, tmp_path, options)

    def test_a_virtual_environment_that_is_missing_is_named_with_the_command_that_makes_it(self, tmp_path):
        with pytest.raises(RuntimeOptionError, match=r"\.venv is not a virtual environment: run `uv sync`"):
            _ = Environment("uv", tmp_path / ".venv").python

    def test_processes_run_as_if_it_were_activated(self, tmp_path):
        variables = Environment("uv", tmp_path).variables({"PATH": "/bin", "PYTHONHOME": "x", "A": "b"})
        assert variables == {"VIRTUAL_ENV": str(tmp_path), "PATH": f"{tmp_path}/bin:/bin", "A": "b"}

    def test_plugins_are_those_that_installed_packages_name_in_their_own_versions(self, tmp_path):
        site = tmp_path / "lib" / "python3.11" / "site-packages"
        for name, described in {
            "pulumi_kubernetes": {"resource": True, "name": "kubernetes", "version": "4.34.2"},
            "pulumi_example": {"resource": True},
            "pulumi_policy": {"resource": False},
        }.items():
            (site / name).mkdir(parents=True)
            (site / name / "pulumi-plugin.json").write_text(json.dumps(described))
            install(site, name, "1.2.3")
        environment = Environment("uv", tmp_path)
        assert environment.plugins() == [Plugin("example", "v1.2.3", ""), Plugin("kubernetes", "v4.34.2", "")]

    def test_direct_dependencies_are_those_that_no_other_package_requires(self, tmp_path):
        site = tmp_path / "lib" / "python3.11" / "site-packages"
        install(site, "pulumi", "3.0", "grpcio>=1", "extra-thing ; extra == 'all'")
        install(site, "grpcio", "1.0")
        environment = Environment("uv", tmp_path)
        assert environment.packages(transitive=False) == [Package("pulumi", "3.0")]
        assert environment.packages(transitive=True) == [Package("grpcio", "1.0"), Package("pulumi", "3.0")]


def install(site: Path, name: str, version: str, *requires: str) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (folder / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires)]) + "\n")


@pytest.fixture
def project(tmp_path):
    """A project whose virtual environment is that of the tests."""
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return tmp_path


@pytest.fixture
def service(tmp_path):
    """The host behind real gRPC, as the engine has it."""
    executor = tmp_path / "executor.py"
    executor.write_text(EXECUTOR)
    host = PythonHost("127.0.0.1:1", executor, "3.258.0")
    server = grpc.server(ThreadPoolExecutor(8))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield language_pb2_grpc.LanguageRuntimeStub(channel)
    server.stop(None)
    host.close()


def info(folder, **options):
    request = language_pb2.ProgramInfo(root_directory=str(folder), program_directory=str(folder), entry_point=".")
    request.options.update({"virtualenv": ".venv", **options})
    return request


class TestRun:
    def run(self, service, project, body, **more):
        (project / "program.py").write_text("import json, os, sys, time\ndef run(arguments):\n    " + body + "\n")
        request = language_pb2.RunRequest(
            info=info(project), monitor_address="m:1", project="p", stack="s", pwd=str(project), parallel=4, **more
        )
        return service.Run(request, timeout=30)

    def test_cancelling_interrupts_the_program(self, service, project):
        body = "open('started', 'w').close(); time.sleep(600)"
        with ThreadPoolExecutor() as threads:
            running = threads.submit(self.run, service, project, body)
            until(lambda: exists(project / "started"), 20, "the program runs")
            service.Cancel(empty_pb2.Empty())
            assert running.result(20).error

    def test_a_missing_environment_is_the_requests_error(self, service, project):
        request = language_pb2.RunRequest(info=info(project, virtualenv="absent"))
        with pytest.raises(grpc.RpcError) as caught:
            service.Run(request, timeout=30)
        assert "absent is not a virtual environment" in str(caught.value.details())


def exists(path: Path) -> None:
    if not path.exists():
        raise NotYet(f"no {path.name}")


class TestRunPlugin:
    def start(self, service, folder, **more):
        environment = [f"{key}={value}" for key, value in os.environ.items()]
        request = language_pb2.RunPluginRequest(info=info(folder), pwd=str(folder), env=environment, **more)
        return service.RunPlugin(request, timeout=60)

    def test_what_a_plugin_writes_is_streamed_then_its_exit_code(self, service, project):
        (project / "__main__.py").write_text(
            "import sys\nprint('out', *sys.argv[1:])\nprint('err', file=sys.stderr)\nsys.exit(4)\n"
        )
        responses = list(self.start(service, project, args=["a"]))
        assert b"".join(r.stdout for r in responses) == b"out a\n"
        assert b"".join(r.stderr for r in responses) == b"err\n"
        assert responses[-1].exitcode == 4

    def test_a_plugin_is_ended_when_the_engine_no_longer_wants_it(self, service, project):
        (project / "__main__.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
        responses = self.start(service, project)
        pid = int(next(responses).stdout)
        responses.cancel()
        until(lambda: is_gone(pid), 20, "the plugin is gone")


def is_gone(pid: int) -> None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise NotYet("it runs")


def test_a_project_without_toolchain_is_asked_for_one(service, project):
    bare = language_pb2.ProgramInfo(root_directory=str(project), program_directory=str(project))
    prompts = service.RuntimeOptionsPrompts(language_pb2.RuntimeOptionsRequest(info=bare)).prompts
    assert [choice.stringValue for choice in prompts[0].choices] == ["uv", "pip"]
    decided = language_pb2.RuntimeOptionsRequest(info=info(project, toolchain="uv"))
    assert list(service.RuntimeOptionsPrompts(decided).prompts) == []


def test_nothing_to_install_is_an_error_that_says_so(service, project):
    request = language_pb2.InstallDependenciesRequest(info=info(project, toolchain="pip"))
    with pytest.raises(grpc.RpcError) as caught:
        list(service.InstallDependencies(request))
    assert "neither requirements.txt nor pyproject.toml" in str(caught.value.details())


def test_the_host_starts_without_loading_the_sdk():
    code = (
        "import sys; from local.language_host import protocol; protocol.prepare();"
        "from pulumi.runtime.proto import language_pb2_grpc; print('pulumi.output' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
