"""Assembles what the engine looks up by name: PULUMI_HOME with the provider plugins, and a folder of shims for PATH."""

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from local import toolchain
from local.paths import repository
from local.plugin_probe import NotAPluginError, version_of
from local.toolchain.recipes import (
    BUILT_KUBERNETES_PLUGIN_VERSION,
    KUBERNETES_PLUGIN_VERSION,
    VAULT_PLUGIN_VERSION,
)

KUBERNETES_PLUGIN = "LOCAL_KUBERNETES_PLUGIN"


class PluginNotUsableError(Exception):
    """The Kubernetes plugin that the environment names is none."""


@dataclass(frozen=True)
class Plugin:
    """What serves a package to the engine.

    Attributes:
        package: `kubernetes` or `vault`.
        version: the version that it says it is.
        origin: where it comes from, for people.
    """

    package: str
    version: str
    origin: str

    def __str__(self) -> str:
        """A line of `make status`."""
        return f"{self.package} {self.version}: {self.origin}"


@dataclass(frozen=True)
class PulumiHome:
    """What `assemble` made.

    Attributes:
        home: the folder for PULUMI_HOME.
        shims: the folder to put first on PATH.
        plugins: what is in place.
    """

    home: Path
    shims: Path
    plugins: tuple[Plugin, ...]


_OFFICIAL = "Pulumi's release"
_LANGUAGE_HOST = repository() / "local" / "language_host"


def assemble(state: Path) -> PulumiHome:
    """Puts the plugins in place. What is right already is left alone; each file appears whole or not at all.

    Args:
        state: the clone's state folder; `pulumi-home/` and `bin/` are made in it.

    Raises:
        PluginNotUsableError: LOCAL_KUBERNETES_PLUGIN names no Kubernetes plugin.
        local.toolchain.ToolMissing: a tool is not built; the message says how to build it.
    """
    home, shims = state / "pulumi-home", state / "bin"
    pulumi = toolchain.binary("pulumi")
    plugins = (_kubernetes(home, pulumi), _vault(home, pulumi))
    _python(shims, pulumi)
    _write(_record(state), json.dumps([asdict(plugin) for plugin in plugins]), 0o644)
    return PulumiHome(home, shims, plugins)


def plugins(state: Path) -> tuple[Plugin, ...]:
    """Returns what `assemble` has put in place; nothing where it has not run."""
    try:
        recorded = json.loads(_record(state).read_text("utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(Plugin(**plugin) for plugin in recorded)


def _record(state: Path) -> Path:
    return state / "pulumi-home" / "assembled.json"


def _kubernetes(home: Path, pulumi: Path) -> Plugin:
    # The engine looks for the version that the SDK asks for, whichever serves it.
    program = _program(home, "kubernetes", KUBERNETES_PLUGIN_VERSION)
    given = os.environ.get(KUBERNETES_PLUGIN)
    if given:
        version = _given(Path(given))
        _write_shim(program, _guarded("program", str(Path(given).resolve())))
        return Plugin("kubernetes", version, f"{given}, which {KUBERNETES_PLUGIN} names")
    if _installed(home, pulumi, "kubernetes", KUBERNETES_PLUGIN_VERSION):
        return Plugin("kubernetes", KUBERNETES_PLUGIN_VERSION, _OFFICIAL)
    _write_shim(program, _guarded("program", str(toolchain.binary("pulumi-resource-kubernetes"))))
    return Plugin(
        "kubernetes",
        BUILT_KUBERNETES_PLUGIN_VERSION,
        f"Pulumi's, built here without its components for charts, Kustomize and YAML files; "
        f"the SDK asks for {KUBERNETES_PLUGIN_VERSION}, which cannot be downloaded here",
    )


def _given(program: Path) -> str:
    """The version of the plugin that somebody names."""
    try:
        return version_of(program.resolve(), "kubernetes")
    except NotAPluginError as cause:
        raise PluginNotUsableError(
            f"{KUBERNETES_PLUGIN}={program} is no Kubernetes plugin: {cause}. Set it to the path of a "
            f"pulumi-resource-kubernetes, or unset it"
        ) from cause


def _vault(home: Path, pulumi: Path) -> Plugin:
    if _installed(home, pulumi, "vault", VAULT_PLUGIN_VERSION):
        return Plugin("vault", VAULT_PLUGIN_VERSION, _OFFICIAL)
    built = toolchain.binary("pulumi-resource-vault")
    _write_shim(_program(home, "vault", VAULT_PLUGIN_VERSION), _guarded("program", str(built)))
    return Plugin("vault", VAULT_PLUGIN_VERSION, "HashiCorp's Terraform provider over Pulumi's bridge, built here")


def _python(shims: Path, pulumi: Path) -> None:
    """A release of the engine brings its Python language host along; a built one gets ours.

    The engine wants the host beside its own executable and warns of any other, so that is put into the folder too.
    """
    host, dynamic = shims / "pulumi-language-python", shims / "pulumi-resource-pulumi-python"
    if toolchain.pulumi_is_official():
        for shim in (shims / "pulumi", host, dynamic):
            shim.unlink(missing_ok=True)
        return
    executor = toolchain.binary("pulumi-language-python-exec")
    _place(pulumi, shims / "pulumi")
    _write_shim(host, _language_host(executor))
    _write_shim(dynamic, _dynamic_provider())


def _installed(home: Path, pulumi: Path, name: str, version: str) -> bool:
    # The engine that is built here knows no better where plugins come from than a release does.
    return toolchain.install_official_plugin(pulumi, name, version, home)


def _program(home: Path, name: str, version: str) -> Path:
    return home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"


def _language_host(executor: Path) -> str:
    """The command line of this repository's language host. `-P` keeps its neighbours off the import path."""
    start = _LANGUAGE_HOST / "start.py"
    return shlex.join([sys.executable, "-P", str(start), "--executor", str(executor)])


def _guarded(kind: str, target: str) -> str:
    """The command line of a plugin of others that shall end with the engine."""
    return shlex.join([sys.executable, "-P", str(_LANGUAGE_HOST / "guard.py"), kind, target])


def _dynamic_provider() -> str:
    """The command line of dynamic providers, in the Python of the program, whose modules they load."""
    guard = shlex.quote(str(_LANGUAGE_HOST / "guard.py"))
    return f'"${{PULUMI_RUNTIME_VIRTUALENV:-.venv}}/bin/python" -u -P {guard} module pulumi.dynamic'


def _place(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy where they are on different file systems."""
    if target.is_file() and (target.samefile(source) or _same_size_and_time(source, target)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with _whole(target) as file:
        file.unlink()
        try:
            os.link(source, file)
        except OSError:
            shutil.copy2(source, file)


def _same_size_and_time(one: Path, other: Path) -> bool:
    first, second = one.stat(), other.stat()
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def _write_shim(path: Path, command: str) -> None:
    _write(path, f'#!/bin/sh\n# Written by `python -m local up`.\nexec {command} "$@"\n', 0o755)


def _write(path: Path, text: str, mode: int) -> None:
    if path.is_file() and not path.is_symlink() and path.read_text("utf-8", "replace") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole(path) as file:
        file.write_text(text, "utf-8")
        file.chmod(mode)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yields a file beside `path` that takes its place when it is complete."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        yield Path(temporary)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
