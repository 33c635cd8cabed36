"""What stands in a GitOps repository: its services, workloads and kustomizations, each with file and line."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pullsecrets.data import Path as ValuePath
from pullsecrets.data import Values, dig, mapping, sequence
from pullsecrets.errors import BadInputError
from pullsecrets.image import written_host
from pullsecrets.kube.objects import kind_of
from pullsecrets.kube.podspec import images_at, pod_path
from pullsecrets.policy.lint.reading import KUSTOMIZATIONS, Manifest, Unread, files_in, read

APPS: Final = PurePosixPath("apps")
OVERLAYS: Final = "overlays"
LIST: Final = "imagePullSecrets"


@dataclass(frozen=True)
class Workload:
    """One object of a file that has Pods made, or a patch of one."""

    file: PurePosixPath
    manifest: Manifest
    pod: ValuePath
    patch: bool
    """Whether a kustomization names the file as a patch, not as a resource."""

    @property
    def item(self) -> Values:
        """The object."""
        return self.manifest.item

    @property
    def kind(self) -> str:
        """The object's kind."""
        return kind_of(self.item)

    @property
    def name(self) -> str:
        """The object's name."""
        return str(dig(self.item, ("metadata", "name")) or "")

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Hosts of the registries that its containers of every sort pull from."""
        return frozenset(written_host(image) for _, image in images_at(self.item, self.pod))

    @cached_property
    def references(self) -> tuple[str, ...]:
        """Names in its list of pull Secrets."""
        return tuple(str(mapping(entry).get("name")) for entry in sequence(dig(self.item, (*self.pod, LIST))))

    @property
    def line(self) -> int:
        """Line of the list of pull Secrets, or of what would hold it."""
        return self.manifest.position((*self.pod, LIST))[0]


@dataclass(frozen=True)
class Kustomization:
    """One kustomization and the files and folders of the repository that it names."""

    file: PurePosixPath
    component: bool
    resources: tuple[PurePosixPath, ...]
    components: tuple[PurePosixPath, ...]
    patches: tuple[PurePosixPath, ...]

    @property
    def folder(self) -> PurePosixPath:
        """The folder that is built."""
        return self.file.parent


@dataclass(frozen=True)
class Repository:
    """A GitOps repository as read once."""

    root: Path
    manifests: tuple[tuple[PurePosixPath, Manifest], ...]
    unread: tuple[tuple[PurePosixPath, Unread], ...]
    charts: tuple[PurePosixPath, ...]
    """Folders of Helm charts, whose templates are no manifests yet."""
    services: tuple[str, ...]

    @cached_property
    def kustomizations(self) -> Mapping[PurePosixPath, Kustomization]:
        """Every kustomization by its folder."""
        found = (_kustomization(file, item.item) for file, item in self.manifests if file.name in KUSTOMIZATIONS)
        return {item.folder: item for item in found}

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Every workload below apps/, and every patch of one."""
        patches = {file for item in self.kustomizations.values() for file in item.patches}
        return tuple(
            Workload(file, manifest, pod, file in patches)
            for file, manifest in self.manifests
            if APPS in file.parents and (pod := pod_path(manifest.item)) is not None
        )

    @cached_property
    def resources(self) -> tuple[Workload, ...]:
        """The workloads that are not patches and have containers."""
        return tuple(item for item in self.workloads if not item.patch and item.hosts)

    @cached_property
    def builds(self) -> tuple[PurePosixPath, ...]:
        """Folders below apps/ to build: every overlay, and every other kustomization that none below apps/ takes in."""
        below = [item for item in self.kustomizations.values() if APPS in item.folder.parents]
        # Of these only: what is outside apps/ is not built, so what it takes in would not be either.
        taken = {path for item in below for path in (*item.resources, *item.components)}
        roots = (item.folder for item in below if not item.component)
        return tuple(sorted(folder for folder in roots if folder not in taken or folder.parent.name == OVERLAYS))

    @cached_property
    def environments(self) -> tuple[str, ...]:
        """Names of the folders in `apps/<service>/overlays/`, sorted."""
        folders = (folder for folder in self.kustomizations if APPS in folder.parents)
        return tuple(sorted({folder.name for folder in folders if folder.parent.name == OVERLAYS}))

    def reached(self, folders: Iterable[PurePosixPath]) -> frozenset[PurePosixPath]:
        """Return the files that kustomizations name as resources, themselves or through others."""
        waiting, seen, files = list(folders), set[PurePosixPath](), set[PurePosixPath]()
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            found = self.kustomizations.get(path)
            if found is None:
                files.add(path)
            else:
                waiting.extend((*found.resources, *found.components))
        return frozenset(files)

    def carrying(self, shared: PurePosixPath) -> frozenset[PurePosixPath]:
        """Return the files that a kustomization names which takes in a component."""
        using = (item for item in self.kustomizations.values() if shared in item.components)
        return frozenset(file for item in using for file in item.resources)

    def sources(self, folder: PurePosixPath) -> tuple[Workload, ...]:
        """Return the workloads that a folder is built from."""
        files = self.reached([folder])
        return tuple(item for item in self.workloads if not item.patch and item.file in files)


def source_of(built: Values, sources: Iterable[Workload]) -> Workload | None:
    """Find what a built object comes from; an overlay may have put something before or behind its name."""
    name = str(dig(built, ("metadata", "name")))
    same_kind = (found for found in sources if found.kind == kind_of(built) and found.name in name)
    return max(same_kind, key=lambda found: len(found.name), default=None)


def service_of(file: PurePosixPath) -> str:
    """Return the service that a path below apps/ belongs to."""
    return file.parts[len(APPS.parts)]


def load(root: Path) -> Repository:
    """Read a repository's manifests.

    Raises:
        BadInputError: when there is no folder `apps/` at that path.
    """
    if not (root / APPS).is_dir():
        raise BadInputError(f"{root}: no folder {APPS}/ there; name the root of the GitOps repository")
    charts = tuple(sorted(_relative(file.parent, root) for file in root.rglob("Chart.yaml") if file.is_file()))
    manifests: list[tuple[PurePosixPath, Manifest]] = []
    unread: list[tuple[PurePosixPath, Unread]] = []
    for path in files_in([root])[0]:
        file = _relative(path, root)
        if any(chart in file.parents for chart in charts):
            continue
        for found in read(path):
            if isinstance(found, Unread):
                unread.append((file, found))
            else:
                manifests.append((file, found))
    services = tuple(sorted({folder.name for folder in (root / APPS).iterdir() if _is_service(folder)}))
    return Repository(root, tuple(manifests), tuple(unread), charts, services)


def _relative(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(root).as_posix())


def _is_service(folder: Path) -> bool:
    """Tell a service from a folder of shared patches: only a service has a base, overlays or a deployment."""
    return folder.is_dir() and any((folder / name).exists() for name in ("base", OVERLAYS, "deployment.yaml"))


def _kustomization(file: PurePosixPath, item: Values) -> Kustomization:
    def paths(*keys: str) -> tuple[PurePosixPath, ...]:
        return tuple(path for key in keys for entry in sequence(item.get(key)) for path in _local(file.parent, entry))

    return Kustomization(
        file,
        kind_of(item) == "Component",
        paths("resources", "bases"),
        paths("components"),
        paths("patches", "patchesStrategicMerge", "patchesJson6902"),
    )


def _local(folder: PurePosixPath, entry: Any) -> Iterator[PurePosixPath]:
    """Yield where an entry points to, which need not be there: a patch may be written in place, a base be remote."""
    named = entry if isinstance(entry, str) else mapping(entry).get("path")
    if isinstance(named, str) and "\n" not in named and "://" not in named:
        yield PurePosixPath(posixpath.normpath(folder / named))
