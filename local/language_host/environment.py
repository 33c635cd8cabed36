"""The Python that a program, policy pack or plugin runs in, from the `options` of its `runtime`."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KNOWN_OPTIONS = {"toolchain", "virtualenv"}
_TOOLCHAINS = {"uv", "pip"}
_RELEASE = re.compile(r"\d+(\.\d+)*")


class RuntimeOptionError(Exception):
    """The runtime options name no Python that can be used. The message says why and what to do."""


@dataclass(frozen=True)
class Package:
    """An installed distribution."""

    name: str
    version: str


@dataclass(frozen=True)
class Plugin:
    """The engine plugin that an installed package wants."""

    name: str
    version: str
    server: str


@dataclass(frozen=True)
class Environment:
    """A Python and what is installed beside it.

    Attributes:
        toolchain: `uv` or `pip`.
        virtualenv: the folder of the virtual environment; None is the Python on PATH.
    """

    toolchain: str
    virtualenv: Path | None

    @property
    def python(self) -> str:
        """The interpreter to start.

        Raises:
            RuntimeOptionError: there is none.
        """
        if self.virtualenv is None:
            command = os.environ.get("PULUMI_PYTHON_CMD", "python3")
            found = shutil.which(command)
            if found is None:
                raise RuntimeOptionError(
                    f"No {command} on PATH: set the runtime option `virtualenv` to one that exists"
                )
            return found
        python = self.virtualenv / "bin" / "python"
        if not python.exists():
            fix = "uv sync" if self.toolchain == "uv" else "pulumi install"
            raise RuntimeOptionError(f"{self.virtualenv} is not a virtual environment: run `{fix}` to make it")
        return str(python)

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """The variables of a process in this environment, as if it were activated, on top of `base`."""
        variables = dict(base)
        if self.virtualenv is not None:
            variables["VIRTUAL_ENV"] = str(self.virtualenv)
            variables["PATH"] = os.pathsep.join([str(self.virtualenv / "bin"), variables.get("PATH", os.defpath)])
            variables.pop("PYTHONHOME", None)
        return variables

    def packages(self, transitive: bool) -> list[Package]:
        """What is installed, by name; without `transitive` only what nothing else that is installed requires."""
        found = {_normal(d.name): d for d in self._distributions()}
        required = set() if transitive else {name for d in found.values() for name in _requirements(d)}
        return [Package(d.name, d.version) for name, d in sorted(found.items()) if name not in required]

    def plugins(self) -> list[Plugin]:
        """The engine plugins of the installed packages, in the versions that these packages name."""
        versions = {_normal(d.name): d.version for d in self._distributions()}
        plugins: list[Plugin] = []
        for folder in self._site_packages():
            for path in sorted(folder.glob("*/pulumi-plugin.json")):
                plugin = _plugin(json.loads(path.read_text("utf-8")), path.parent.name, versions)
                if plugin is not None:
                    plugins.append(plugin)
        return plugins

    def _distributions(self) -> Iterator[importlib.metadata.Distribution]:
        return iter(importlib.metadata.distributions(path=[str(p) for p in self._site_packages()]))

    def _site_packages(self) -> list[Path]:
        if self.virtualenv is not None:
            return sorted((self.virtualenv / "lib").glob("python3*/site-packages"))
        asked = [self.python, "-c", "import json, site; print(json.dumps(site.getsitepackages()))"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True)
        return [Path(p) for p in json.loads(answer.stdout)]


def resolve(root: Path, program: Path, options: Mapping[str, Any], *, is_plugin: bool = False) -> Environment:
    """Reads the runtime options.

    Args:
        root: the folder of the project file; relative `virtualenv` options start here.
        program: the folder of the program; without options the nearest `uv.lock` upwards decides.
        options: the `options` of the project's `runtime`.
        is_plugin: plugins do not fall back to the Python on PATH.

    Raises:
        RuntimeOptionError: an option or value that this host does not know.
    """
    unknown = set(options) - _KNOWN_OPTIONS
    if unknown:
        names, known = ", ".join(sorted(unknown)), ", ".join(sorted(_KNOWN_OPTIONS))
        raise RuntimeOptionError(f"runtime option {names}: the local language host knows {known}")
    lock = _upwards(program, "uv.lock")
    toolchain = options.get("toolchain", "uv" if lock else "pip")
    if toolchain not in _TOOLCHAINS:
        raise RuntimeOptionError(f"runtime option toolchain: {toolchain!r}; the local language host knows uv and pip")
    virtualenv = options.get("virtualenv")
    if virtualenv is not None and not isinstance(virtualenv, str):
        raise RuntimeOptionError(f"runtime option virtualenv: {virtualenv!r}; a path is needed")
    if virtualenv:
        return Environment(toolchain, root / virtualenv)
    if toolchain == "uv":
        project = lock or _upwards(program, "pyproject.toml") or program / "pyproject.toml"
        return Environment(toolchain, project.parent / os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv"))
    return Environment(toolchain, root / "venv" if is_plugin else None)


def _upwards(folder: Path, name: str) -> Path | None:
    return next((p / name for p in (folder, *folder.parents) if (p / name).exists()), None)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    for line in distribution.requires or []:
        if "extra ==" not in line:
            yield _normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0])


def _plugin(described: Mapping[str, Any], module: str, versions: Mapping[str, str]) -> Plugin | None:
    """The plugin a `pulumi-plugin.json` describes; None when there is none or its version cannot be told."""
    if not described.get("resource"):
        return None
    package = _normal(module)
    version = described.get("version") or versions.get(package, "")
    # A pre-release of a package does not tell the plugin's exact version.
    if not described.get("version") and not _RELEASE.fullmatch(version):
        return None
    name = described.get("name") or package.removeprefix("pulumi-")
    return Plugin(name, version if version.startswith("v") else f"v{version}", described.get("server") or "")
