"""Answers the engine's requests about Python programs: the LanguageRuntime service."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from local.language_host.environment import Environment, RuntimeOptionError, resolve
from local.language_host.policy_proxy import PolicyProxy
from local.language_host.processes import Child, Exit, Output

# The executor's word for "the user has already seen a good message".
_BAIL = 32
_POLICY_PACK = "analyzer"
_Answer = TypeVar("_Answer")


class PythonHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The language host of Python."""

    def __init__(self, engine: str, executor: Path, version: str) -> None:
        """Makes a host.

        Args:
            engine: address of the engine that started it, may be empty until the handshake.
            executor: the SDK's script that runs a program.
            version: of the SDK, which is the version the host reports.
        """
        self._muted = threading.Event()
        self._engine = engine
        self._executor = executor
        self._version = version
        self._running: set[Child] = set()
        self._lock = threading.Lock()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Learns the engine's address when the engine attaches to a running host."""
        self._engine = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Tells the host's version."""
        return plugin_pb2.PluginInfo(version=self._version)

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Lists the provider plugins of the installed packages."""
        environment = _environment(request.info, context)
        packages = [
            plugin_pb2.PackageDependency(name=p.name, kind="resource", version=p.version, server=p.server)
            for p in _answer(context, environment.plugins)
        ]
        return language_pb2.GetRequiredPackagesResponse(packages=packages)

    def GetRequiredPlugins(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Lists the same plugins for engines that do not ask for packages."""
        environment = _environment(request.info, context)
        plugins = [
            plugin_pb2.PluginDependency(name=p.name, kind="resource", version=p.version, server=p.server)
            for p in _answer(context, environment.plugins)
        ]
        return language_pb2.GetRequiredPluginsResponse(plugins=plugins)

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs a program to its end; what it writes goes to the host's own output, which the engine shows."""
        if request.attach_debugger:
            return language_pb2.RunResponse(error="the local language host attaches no debugger")
        environment = _environment(request.info, context)
        python = _answer(context, lambda: environment.python)
        argv = [python, str(self._executor), *_run_arguments(request, self._engine)]
        variables = environment.variables(os.environ)
        variables["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        variables["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        child = self._start(argv, Path(request.info.program_directory), variables, context)
        code = self._shown(child)
        if code == _BAIL:
            return language_pb2.RunResponse(bail=True)
        if code < 0:
            return language_pb2.RunResponse(error=f"program was ended by signal {-code}")
        return language_pb2.RunResponse(error=f"program exited with non-zero exit code: {code}" if code else "")

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Runs a policy pack or a plugin written in Python and streams what it writes."""
        if request.attach_debugger:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "the local language host attaches no debugger")
        is_pack = request.kind == _POLICY_PACK
        environment = _environment(request.info, context, is_plugin=not is_pack)
        python = _answer(context, lambda: environment.python)
        variables = environment.variables(dict(entry.split("=", 1) for entry in request.env) or os.environ)
        program = request.info.program_directory
        if is_pack:
            argv = [python, "-u", "-m", "pulumi.policy", *request.args, program]
            yield from self._run_policy_pack(argv, Path(program), variables, context)
            return
        child = self._start([python, program, *request.args], Path(request.pwd), variables, context)
        yield from map(_plugin_response, child.events())
        self._forget(child)

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Installs what a program needs into its virtual environment."""
        environment = _environment(request.info, context, is_plugin=request.is_plugin)
        folder = Path(request.info.program_directory)
        for argv in _answer(context, lambda: _install_commands(environment, folder)):
            child = self._start(argv, folder, environment.variables(os.environ), context)
            for event in child.events():
                if isinstance(event, Output):
                    yield language_pb2.InstallDependenciesResponse(**{event.stream: event.data})
                elif event.code:
                    context.abort(grpc.StatusCode.UNKNOWN, f"`{' '.join(argv)}` failed with exit code {event.code}")
            self._forget(child)

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Asks for the toolchain where a project names none."""
        if "toolchain" in request.info.options.fields:
            return language_pb2.RuntimeOptionsResponse()
        kinds = language_pb2.RuntimeOptionPrompt
        choices = [
            kinds.RuntimeOptionValue(promptType=kinds.STRING, stringValue=name, displayName=name)
            for name in ("uv", "pip")
        ]
        prompt = kinds(
            key="toolchain",
            description="The toolchain to use for installing dependencies and running the program",
            promptType=kinds.STRING,
            choices=choices,
            default=choices[0],
        )
        return language_pb2.RuntimeOptionsResponse(prompts=[prompt])

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Tells which Python runs the program."""
        environment = _environment(request.info, context)
        python = _answer(context, lambda: environment.python)
        shown = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
        return language_pb2.AboutResponse(
            executable=python,
            version=shown.stdout.strip().removeprefix("Python "),
            metadata={"toolchain": environment.toolchain},
        )

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Lists the installed packages."""
        environment = _environment(request.info, context)
        packages = _answer(context, lambda: environment.packages(transitive=request.transitiveDependencies))
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[language_pb2.DependencyInfo(name=p.name, version=p.version) for p in packages]
        )

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Interrupts what runs."""
        self.mute()
        for child in self._children():
            threading.Thread(target=child.stop, daemon=True).start()
        return empty_pb2.Empty()

    def mute(self) -> None:
        """Shows no more of what programs write: they are being interrupted, and would write where."""
        self._muted.set()

    def close(self) -> None:
        """Ends what still runs."""
        stops = [threading.Thread(target=child.stop) for child in self._children()]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()

    def _children(self) -> list[Child]:
        with self._lock:
            return list(self._running)

    def _shown(self, child: Child) -> int:
        """Shows what a program writes until it ends, and returns its exit code."""
        code = 0
        for event in child.events():
            if isinstance(event, Exit):
                code = event.code
            elif not self._muted.is_set():
                os.write((sys.stdout if event.stream == "stdout" else sys.stderr).fileno(), event.data)
        self._forget(child)
        return code

    def _run_policy_pack(
        self, argv: list[str], folder: Path, variables: dict[str, str], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        proxy = PolicyProxy()
        if not context.add_callback(proxy.close):
            proxy.close()
            return
        yield language_pb2.RunPluginResponse(stdout=f"{proxy.port}\n".encode())
        configuration = proxy.configuration()
        if not context.is_active():
            return
        if configuration is not None:
            variables |= _policy_variables(configuration)
        child = self._start(argv, folder, variables, context)
        opening = b""
        attached = False
        for event in child.events():
            # The pack's first line is its port, which is not for the engine.
            if not attached and isinstance(event, Output) and event.stream == "stdout":
                opening += event.data
                line, newline, rest = opening.partition(b"\n")
                if not newline:
                    continue
                proxy.attach(int(line))
                attached, event = True, Output("stdout", rest)  # noqa: PLW2901
            if isinstance(event, Exit):
                proxy.fail(f"the policy pack ended with exit code {event.code}")
            yield _plugin_response(event)
        self._forget(child)

    def _start(self, argv: list[str], folder: Path, variables: dict[str, str], context: grpc.ServicerContext) -> Child:
        child = Child(argv, folder, variables)
        with self._lock:
            self._running.add(child)
        # The callback runs when the request ends, in whichever way; a process that has ended by then is left alone.
        if not context.add_callback(child.stop):
            child.stop()
        return child

    def _forget(self, child: Child) -> None:
        with self._lock:
            self._running.discard(child)


def _answer(context: grpc.ServicerContext, compute: Callable[[], _Answer]) -> _Answer:
    """Computes an answer; a problem with the environment becomes the request's error."""
    try:
        return compute()
    except RuntimeOptionError as problem:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(problem))
        raise


def _environment(info: Any, context: grpc.ServicerContext, *, is_plugin: bool = False) -> Environment:
    options = json_format.MessageToDict(info.options)
    root, program = Path(info.root_directory), Path(info.program_directory)
    return _answer(context, lambda: resolve(root, program, options, is_plugin=is_plugin))


def _run_arguments(request: Any, engine: str) -> list[str]:
    flags = {
        "monitor": request.monitor_address,
        "engine": engine,
        "project": request.project,
        "root_directory": request.info.root_directory,
        "stack": request.stack,
        "pwd": request.pwd,
        "dry_run": str(request.dryRun).lower(),
        "parallel": str(request.parallel),
        "organization": request.organization,
    }
    given = [part for name, value in flags.items() if value for part in (f"--{name}", value)]
    return [*given, request.info.entry_point, *request.args]


def _policy_variables(configuration: Any) -> dict[str, str]:
    known = {
        "PULUMI_ORGANIZATION": configuration.organization,
        "PULUMI_PROJECT": configuration.project,
        "PULUMI_STACK": configuration.stack,
        "PULUMI_DRY_RUN": str(configuration.dry_run).lower(),
        "PULUMI_CONFIG": json.dumps(dict(configuration.config)),
    }
    return {name: value for name, value in known.items() if value}


def _plugin_response(event: Output | Exit) -> Any:
    if isinstance(event, Exit):
        return language_pb2.RunPluginResponse(exitcode=event.code)
    if event.stream == "stdout":
        return language_pb2.RunPluginResponse(stdout=event.data)
    return language_pb2.RunPluginResponse(stderr=event.data)


def _install_commands(environment: Environment, folder: Path) -> list[list[str]]:
    """The commands that fill a virtual environment.

    Raises:
        RuntimeOptionError: the toolchain is not installed, or there is nothing to install.
    """
    if environment.toolchain == "uv":
        uv = shutil.which("uv")
        if uv is None:
            raise RuntimeOptionError(
                "No uv on PATH: install it (`pip install uv`) or set the runtime option toolchain to pip"
            )
        return [[uv, "sync"]]
    if environment.virtualenv is None:
        python, create = environment.python, []
    else:
        python = str(environment.virtualenv / "bin" / "python")
        create = [] if Path(python).exists() else [[sys.executable, "-m", "venv", str(environment.virtualenv)]]
    if (folder / "requirements.txt").exists():
        wanted = ["-r", "requirements.txt"]
    elif (folder / "pyproject.toml").exists():
        wanted = ["."]
    else:
        raise RuntimeOptionError(
            f"{folder} has neither requirements.txt nor pyproject.toml: there is nothing to install"
        )
    return [*create, [python, "-m", "pip", "install", *wanted]]
