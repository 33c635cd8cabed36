"""Builds what a repository deploys, each folder once a run, and across runs only what changed since."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, mapping, sequence
from pullsecrets.files import write_whole
from pullsecrets.gitops.kustomize import Builder
from pullsecrets.gitops.repository import Repository, Root
from pullsecrets.kube.podspec import PodTable, pod_specs
from pullsecrets.policy.lint.reading import objects_in

LONGEST_BUILD: Final = 120.0
"""Seconds; a remote base that does not answer must not hold a pipeline forever."""

_ORIGIN: Final = "config.kubernetes.io/origin"
_ROOT: Final = "pull-secrets/root"
_NOTES: Final = (_ROOT, _ORIGIN, "alpha.config.kubernetes.io/transformations")
"""Annotations that tell how something was built, ours and those of `buildMetadata`; they are no part of it."""


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
        top: folder of a copy of the repository to build in.
        kept_in: folder of what was built before, in which only what Pods pull is kept; without one everything is built,
            and every object is returned whole.
    """
    wanted = list(roots)
    with tempfile.TemporaryDirectory(prefix="pull-secrets-") as folder:
        work = _Work(repository, builder, top or repository.root, Path(folder).resolve(), kept_in)
        found = {root: kept for root in wanted if (kept := work.kept(root))}
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for built in pool.map(work.build, work.groups([root for root in wanted if root not in found])):
                found |= {one.root: one for one in built}
    return {root: found[root] for root in wanted}


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

    def kept(self, root: Root) -> Built | None:
        """Return what an earlier run built of the same."""
        file = self._file(root)
        found = _kept(file) if file else None
        return None if found is None else Built(root, found)

    def groups(self, roots: list[Root]) -> list[list[Root]]:
        """Return what is built by one process each: most of its time goes into its start."""
        together = [root for root in roots if self.kept_in and self._is_plain(root)]
        size = min(_MOST_TOGETHER, len(together) // (2 * (os.cpu_count() or 1)) + 1)
        groups = [together[start : start + size] for start in range(0, len(together), size)]
        return [*groups, *([root] for root in roots if root not in set(together))]

    def build(self, roots: list[Root]) -> list[Built]:
        """Build some roots with one process; where one of them does not build beside the others, by halves."""
        around = Path(tempfile.mkdtemp(dir=self.folder))
        self._write(around, roots)
        said = self._said(around)
        if isinstance(said, str) and len(roots) > 1:
            middle = len(roots) // 2
            return [*self.build(roots[:middle]), *self.build(roots[middle:])]
        if isinstance(said, str):
            return [Built(roots[0], failure=said)]
        made: dict[str, list[Made]] = {str(number): [] for number, _ in enumerate(roots)}
        for item in said:
            number, one = self._made(item, around)
            made[number].append(one)
        return [self._keep(root, made[str(number)]) for number, root in enumerate(roots)]

    def _is_plain(self, root: Root) -> bool:
        """Tell whether a root can be built beside others: nothing that it has reaches beyond its own objects."""
        items = (self.repository.kustomizations.get(path) for path in self.repository.reach(root.folder))
        return root.deployed is None and not any(
            item.changing or item.others or not _REACHING.isdisjoint(item.manifest.item) for item in items if item
        )

    def _write(self, around: Path, roots: list[Root]) -> None:
        """Write a kustomization around roots: it has kustomize tell where objects come from, and adds what is added."""
        top: dict[str, Any] = {"resources": [], "buildMetadata": ["originAnnotations"]}
        for number, root in enumerate(roots):
            alone = len(roots) == 1
            place = around if alone else around / str(number)
            content: dict[str, Any] = {"resources": [os.path.relpath(self.top / root.folder, place)]}
            if root.deployed:
                content |= json.loads(root.deployed.adds)
                added = root.deployed.components_of(root.folder)
                content["components"] = [os.path.relpath(self.top / path, place) for path in added]
            if alone:
                top |= content
            else:
                place.mkdir()
                content["commonAnnotations"] = {_ROOT: str(number)}
                (place / "kustomization.yaml").write_text(json.dumps(content))
                top["resources"].append(str(number))
        (around / "kustomization.yaml").write_text(json.dumps(top))

    def _said(self, around: Path) -> list[Values] | str:
        """Return the objects that a folder builds, or why it does not."""
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
            return f"not built within {LONGEST_BUILD:.0f} s"
        if ended.returncode:
            reason = _reason(ended.stderr.decode(errors="replace")).replace(f"{self.top}/", "")
            return reason or f"exit code {ended.returncode}"
        text = ended.stdout.decode()
        try:
            return objects_in(_with_images(text) if self.kept_in else text)
        except ValueError:
            return "what was built is not YAML"

    def _made(self, item: Values, around: Path) -> tuple[str, Made]:
        """Return the number of the root that built an object, and the object."""
        metadata = dict(mapping(item.get("metadata")))
        annotations = dict(mapping(metadata.pop("annotations", None)))
        origin = mapping(yaml.safe_load(str(annotations.get(_ORIGIN) or "{}")))
        kept = {key: value for key, value in annotations.items() if key not in _NOTES}
        metadata |= {"annotations": kept} if kept else {}
        named = origin.get("path") or origin.get("configuredIn")
        place = Path(os.path.realpath(around / str(named))) if named and not origin.get("repo") else None
        inside = place is not None and place.is_relative_to(self.top)
        file = PurePosixPath(place.relative_to(self.top)) if place and inside else None
        made = Made({**item, "metadata": metadata}, file, "configuredIn" in origin)
        return str(annotations.get(_ROOT, "0")), made

    def _keep(self, root: Root, made: list[Made]) -> Built:
        if not self.kept_in:
            return Built(root, tuple(made))
        table = self.repository.table
        found = Built(root, tuple(_pulling(one, table) for one in made if pod_specs(one.item, table)))
        if file := self._file(root):
            objects = [[one.item, str(one.origin or ""), one.generated] for one in found.objects]
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(file, json.dumps(objects))
        return found

    def _file(self, root: Root) -> Path | None:
        key = self._key(root) if self.kept_in else None
        return self.kept_in / f"{key}.json" if self.kept_in and key else None

    def _key(self, root: Root) -> str | None:
        """Return a name for everything that decides what a root builds; None where not everything is known."""
        repository = self.repository
        inputs = repository.inputs(root)
        items = [found for path in inputs if (found := repository.kustomizations.get(path))]
        if any(item.changing for item in items) or "--enable-alpha-plugins" in self.builder.command:
            return None
        files = {path for path in inputs if os.path.isfile(f"{self.top}/{path}")}  # noqa: PTH113 - thousands of them
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


_MOST_TOGETHER: Final = 16
_REACHING: Final = frozenset({"configurations", "crds", "helmCharts", "openapi", "secretGenerator", "vars"})
"""Keys of kustomizations that bear on more than what they list, or on names of pull Secrets."""
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
