"""Assembles what the engine looks up by name: PULUMI_HOME with the provider plugins, and a folder of shims for PATH."""

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local import toolchain
from local.paths import repository
from local.toolchain.recipes import KUBERNETES_PLUGIN_VERSION, VAULT_PLUGIN_VERSION

KUBERNETES_PLUGIN = "LOCAL_KUBERNETES_PLUGIN"

GIVEN = "given"
OFFICIAL = "official"
BUILT = "built"
STAND_IN = "stand-in"


class PluginNotExecutableError(Exception):
    """The Kubernetes plugin that the environment names cannot be started."""


@dataclass(frozen=True)
class PulumiHome:
    """What `assemble` made.

    Attributes:
        home: the folder for PULUMI_HOME.
        shims: the folder to put first on PATH.
        variants: for each plugin which one is in place: `given`, `official`, `built` or `stand-in`.
    """

    home: Path
    shims: Path
    variants: dict[str, str]


def assemble(state: Path) -> PulumiHome:
    """Puts the plugins in place. What is right already is left alone; each file appears whole or not at all.

    Args:
        state: the clone's state folder; `pulumi-home/` and `bin/` are made in it.

    Raises:
        PluginNotExecutableError: LOCAL_KUBERNETES_PLUGIN names no executable file.
        local.toolchain.ToolMissing: a tool is not built; the message says how to build it.
    """
    home, shims = state / "pulumi-home", state / "bin"
    pulumi = toolchain.binary("pulumi")
    variants = {
        "kubernetes": _kubernetes(home, pulumi),
        "vault": _vault(home, pulumi),
        "python": _python(shims, pulumi),
    }
    return PulumiHome(home, shims, variants)


def _kubernetes(home: Path, pulumi: Path) -> str:
    program = _program(home, "kubernetes", KUBERNETES_PLUGIN_VERSION)
    given = os.environ.get(KUBERNETES_PLUGIN)
    if given:
        if not os.access(given, os.X_OK) or Path(given).is_dir():
            raise PluginNotExecutableError(
                f"{KUBERNETES_PLUGIN}={given} is no executable file: set it to the path of a "
                f"pulumi-resource-kubernetes {KUBERNETES_PLUGIN_VERSION}, or unset it"
            )
        _write_shim(program, _guarded("program", str(Path(given).resolve())))
        return GIVEN
    if _installed(home, pulumi, "kubernetes", KUBERNETES_PLUGIN_VERSION):
        return OFFICIAL
    _write_shim(program, _started("kubernetes"))
    return STAND_IN


def _vault(home: Path, pulumi: Path) -> str:
    if _installed(home, pulumi, "vault", VAULT_PLUGIN_VERSION):
        return OFFICIAL
    built = toolchain.binary("pulumi-resource-vault")
    _write_shim(_program(home, "vault", VAULT_PLUGIN_VERSION), _guarded("program", str(built)))
    return BUILT


def _python(shims: Path, pulumi: Path) -> str:
    """A release of the engine brings its Python language host along; a built one gets ours.

    The engine wants the host beside its own executable and warns of any other, so that is put into the folder too.
    """
    host, dynamic = shims / "pulumi-language-python", shims / "pulumi-resource-pulumi-python"
    if toolchain.pulumi_is_official():
        for shim in (shims / "pulumi", host, dynamic):
            shim.unlink(missing_ok=True)
        return OFFICIAL
    executor = toolchain.binary("pulumi-language-python-exec")
    _place(pulumi, shims / "pulumi")
    _write_shim(host, _started("python_host", "--executor", str(executor)))
    _write_shim(dynamic, _dynamic_provider())
    return STAND_IN


def _installed(home: Path, pulumi: Path, name: str, version: str) -> bool:
    # The engine that is built here knows no better where plugins come from than a release does.
    return toolchain.install_official_plugin(pulumi, name, version, home)


def _program(home: Path, name: str, version: str) -> Path:
    return home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"


def _started(plugin: str, *arguments: str) -> str:
    """The command line of one of this repository's plugins. `-P` keeps its neighbours off the import path."""
    start = repository() / "local" / "plugins" / "start.py"
    return shlex.join([sys.executable, "-P", str(start), plugin, *arguments])


def _guarded(kind: str, target: str) -> str:
    """The command line of a plugin of others that shall end with the engine."""
    guard = repository() / "local" / "plugins" / "guard.py"
    return shlex.join([sys.executable, "-P", str(guard), kind, target])


def _dynamic_provider() -> str:
    """The command line of dynamic providers, in the Python of the program, whose modules they load."""
    guard = shlex.quote(str(repository() / "local" / "plugins" / "guard.py"))
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
    text = f'#!/bin/sh\n# Written by `python -m local up`.\nexec {command} "$@"\n'
    if path.is_file() and not path.is_symlink() and path.read_text("utf-8", "replace") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole(path) as file:
        file.write_text(text, "utf-8")
        file.chmod(0o755)


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
