"""One model of a GitOps repository: its files, the graph of its kustomizations, and what of it is deployed."""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pullsecrets.config import Registry
from pullsecrets.config.gitops import GitOps
from pullsecrets.data import Values, dig, every_text, mapping, sequence
from pullsecrets.errors import BadInputError
from pullsecrets.gitops.controllers import Deployed, deployed_by, is_controllers, matches
from pullsecrets.image import written_host
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.kube.podspec import KNOWN, PodSpec, PodTable, pod_specs
from pullsecrets.policy.lint.reading import KUSTOMIZATIONS, Manifest, Unread, files_in, read

LIST: Final = "imagePullSecrets"
_CHART: Final = "Chart.yaml"
_OF_CHART: Final = frozenset({"charts", "templates"})
"""Folders of a chart whose files are no manifests yet."""


@dataclass(frozen=True)
class Pulling:
    """An object that has Pods made, what they pull and which Secrets they name."""

    item: Values
    pod: PodSpec
    file: PurePosixPath | None
    """The file of the repository that it comes from; None for what was fetched."""

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
        return frozenset(written_host(image) for _, image in self.pod.images(self.item))

    @cached_property
    def references(self) -> tuple[str, ...]:
        """Names in its list of pull Secrets."""
        entries = sequence(dig(self.item, (*self.pod.path, LIST)))
        return tuple(str(mapping(entry).get("name")) for entry in entries)

    def pulls_from(self, registry: Registry) -> bool:
        """Tell whether one of its containers pulls from a registry."""
        return not self.hosts.isdisjoint(registry.hosts)


@dataclass(frozen=True)
class Workload(Pulling):
    """One object of a file that has Pods made, or a patch of one."""

    file: PurePosixPath
    manifest: Manifest
    patch: bool
    """Whether a kustomization names the file as a patch, not as a resource."""

    @property
    def line(self) -> int:
        """Line of the list of pull Secrets, or of what would hold it."""
        return self.manifest.position((*self.pod.path, LIST))[0]


@dataclass(frozen=True)
class Kustomization:
    """One kustomization and the files and folders of the repository that it names."""

    file: PurePosixPath
    manifest: Manifest
    resources: tuple[PurePosixPath, ...]
    components: tuple[PurePosixPath, ...]
    others: tuple[PurePosixPath, ...]
    """What generates, transforms or validates, which can be kustomizations too."""
    patches: tuple[PurePosixPath, ...]
    inputs: frozenset[PurePosixPath]
    """Every place in the repository that one of its texts could name, whether or not something is there."""
    changing: bool
    """Whether it takes in what can change without the repository: a remote base without a commit, or a chart."""

    @property
    def folder(self) -> PurePosixPath:
        """The folder that is built."""
        return self.file.parent

    @property
    def is_component(self) -> bool:
        """Whether it is built only as a part of others."""
        return kind_of(self.manifest.item) == "Component"


@dataclass(frozen=True)
class Root:
    """A folder that is built by itself, as whoever deploys it would."""

    folder: PurePosixPath
    deployed: Deployed | None = None
    """What Argo CD or Flux adds to it, where that decides what Pods pull."""

    def __str__(self) -> str:
        """Return what a report calls it."""
        return f"{self.folder} as {self.deployed.name} deploys it" if self.deployed else str(self.folder)


@dataclass(frozen=True)
class Repository:
    """A GitOps repository. Files are read when they are asked for, each once."""

    root: Path
    settings: GitOps
    files: tuple[PurePosixPath, ...]
    charts: tuple[PurePosixPath, ...]
    """Folders of Helm charts, whose templates are no manifests yet."""
    not_looked_at: tuple[str, ...]
    table: PodTable = field(default_factory=lambda: KNOWN, compare=False)
    """The kinds that have Pods made."""
    _read: dict[PurePosixPath, tuple[Manifest | Unread, ...]] = field(
        default_factory=dict[PurePosixPath, tuple[Manifest | Unread, ...]], compare=False
    )

    # Files.

    def manifests(self, file: PurePosixPath) -> Iterator[Manifest]:
        """Yield the objects of a file."""
        return (found for found in self._parts(file) if isinstance(found, Manifest))

    def unread(self, file: PurePosixPath) -> Iterator[Unread]:
        """Yield what of a file could not be read."""
        return (found for found in self._parts(file) if isinstance(found, Unread))

    def mentioning(self, *words: str) -> Iterator[PurePosixPath]:
        """Yield the files whose text has one of these words: only those are worth being parsed."""
        wanted = re.compile("|".join(map(re.escape, words)).encode())
        return (file for file, content in self._contents.items() if wanted.search(content))

    def _parts(self, file: PurePosixPath) -> tuple[Manifest | Unread, ...]:
        if file not in self._read:
            found = tuple(read(self.root / file)) if (self.root / file).is_file() else ()
            self._read[file] = found
        return self._read[file]

    @cached_property
    def _contents(self) -> Mapping[PurePosixPath, bytes]:
        return {file: (self.root / file).read_bytes() for file in self.files}

    def real(self, path: PurePosixPath) -> PurePosixPath:
        """Return a path of the repository without the links on its way; one that leads out stays as it is."""
        return PurePosixPath(self._real(str(path)))

    def _real(self, path: str) -> str:
        # As text: a large repository names tens of thousands of paths.
        if path not in self._real_paths:
            folder, _, name = path.rpartition("/")
            if path.startswith(("/", "..")) or path == ".":
                found = path
            elif os.path.islink(f"{self.root}/{path}"):  # noqa: PTH114 - as above
                place = os.path.relpath(os.path.realpath(f"{self.root}/{path}"), self.root)
                found = path if place.startswith("..") else place
            else:
                found = f"{self._real(folder)}/{name}" if folder else name
            self._real_paths[path] = found
        return self._real_paths[path]

    @cached_property
    def _real_paths(self) -> dict[str, str]:
        return {}

    # The graph.

    @cached_property
    def kustomizations(self) -> Mapping[PurePosixPath, Kustomization]:
        """Every kustomization by its folder."""
        files = (file for file in self.files if file.name in KUSTOMIZATIONS)
        found = (
            self._kustomization(file, item)
            for file in files
            for item in self.manifests(file)
            if group_of(item.item) == "kustomize.config.k8s.io"
        )
        return {item.folder: item for item in found}

    def _kustomization(self, file: PurePosixPath, manifest: Manifest) -> Kustomization:
        item, folder = manifest.item, str(file.parent)

        def paths(*keys: str) -> tuple[PurePosixPath, ...]:
            entries = [entry for key in keys for entry in sequence(item.get(key))]
            return tuple(PurePosixPath(self._real(path)) for entry in entries for path in _local(folder, entry))

        texts = (text for text in every_text(item) if len(text) < _LONGEST_PATH)
        named = {part for text in texts for part in (text, text.rpartition("=")[2])}
        inputs = frozenset(PurePosixPath(self._real(path)) for text in named for path in _local(folder, text))
        entries = [str(entry) for key in ("resources", "bases", "components") for entry in sequence(item.get(key))]
        remote = [entry for entry in entries if is_remote(entry)]
        charts = any(mapping(chart).get("repo") for chart in sequence(item.get("helmCharts")))
        return Kustomization(
            file,
            manifest,
            paths("resources", "bases"),
            paths("components"),
            paths("generators", "transformers", "validators"),
            paths("patches", "patchesStrategicMerge", "patchesJson6902"),
            inputs,
            charts or not all(_PINNED.search(entry) for entry in remote),
        )

    def reach(self, folder: PurePosixPath) -> frozenset[PurePosixPath]:
        """Return a folder and every folder and file that its kustomization takes in, itself or through others."""
        if folder not in self._reach:
            waiting, seen = [folder], set[PurePosixPath]()
            while waiting:
                path = waiting.pop()
                if path not in seen:
                    seen.add(path)
                    found = self.kustomizations.get(path)
                    waiting.extend((*found.resources, *found.components, *found.others) if found else ())
            self._reach[folder] = frozenset(seen)
        return self._reach[folder]

    @cached_property
    def _reach(self) -> dict[PurePosixPath, frozenset[PurePosixPath]]:
        return {}

    def taken_in(self, root: Root) -> frozenset[PurePosixPath]:
        """Return every folder and file that a root takes in, with the components that its controller adds."""
        added = root.deployed.components_of(root.folder) if root.deployed else []
        return frozenset[PurePosixPath]().union(*(self.reach(folder) for folder in (root.folder, *added)))

    def inputs(self, root: Root) -> frozenset[PurePosixPath]:
        """Return every place that decides what a root builds; of some of them nothing may be there."""
        reached = self.taken_in(root)
        found = [self.kustomizations[path] for path in reached if path in self.kustomizations]
        own = {root.deployed.file} if root.deployed else set[PurePosixPath]()
        return reached.union(own, *({item.file} | item.inputs for item in found))

    # What is deployed.

    @cached_property
    def deployed(self) -> tuple[Deployed, ...]:
        """What Argo CD and Flux are told to deploy from this repository, by manifests in it."""
        items = [
            (file, manifest)
            for file in self.mentioning("argoproj.io/", "toolkit.fluxcd.io/")
            for manifest in self.manifests(file)
            if is_controllers(manifest.item)
        ]
        folders = {parent for file in self.files for parent in file.parents}
        return tuple(found for file, item in items for found in deployed_by(file, item.item, folders))

    @cached_property
    def roots(self) -> tuple[Root, ...]:
        """What is built by itself, in the order of the folders.

        Those are the folders that the settings name; where they name none, every kustomization that no other takes in,
        every overlay of an environment, and the folders that Argo CD or Flux is told to deploy.
        """
        named = self.settings.roots
        if named:
            chosen = [folder for folder in self.kustomizations if any(matches(folder, glob) for glob in named)]
            return tuple(map(Root, sorted(chosen)))
        return tuple(root for root in self._all_roots if self._is_below_paths(root.folder))

    @cached_property
    def _all_roots(self) -> tuple[Root, ...]:
        items = self.kustomizations.values()
        taken = {path for item in items for path in (*item.resources, *item.components, *item.others)}
        alone = {
            item.folder
            for item in items
            if not item.is_component and (item.folder not in taken or self.environment_of(item.folder))
        }
        changed: dict[Root, None] = {}
        for found in self.deployed:
            for folder in {self.real(folder) for folder in found.folders}:
                if folder in self.kustomizations:
                    alone.add(folder)
                    if found.adds:
                        changed[Root(folder, found)] = None
        plain = {Root(folder) for folder in alone - {root.folder for root in changed}}
        return tuple(sorted({*plain, *changed}, key=lambda root: (root.folder, str(root))))

    def _is_below_paths(self, path: PurePosixPath) -> bool:
        paths = [PurePosixPath(posixpath.normpath(given)) for given in self.settings.paths]
        return not paths or any(given == path or given in path.parents for given in paths)

    @cached_property
    def built(self) -> frozenset[PurePosixPath]:
        """The files and folders that something takes in which is built."""
        return frozenset[PurePosixPath]().union(*(self.taken_in(root) for root in self._all_roots))

    @cached_property
    def patches(self) -> frozenset[PurePosixPath]:
        """The files that kustomizations name as patches."""
        return frozenset(file for item in self.kustomizations.values() for file in item.patches)

    def workloads_in(self, file: PurePosixPath) -> tuple[Workload, ...]:
        """Return the workloads of a file, or the patches of them."""
        return tuple(
            Workload(item.item, pod, file, item, file in self.patches)
            for item in self.manifests(file)
            for pod in pod_specs(item.item, self.table)
        )

    @cached_property
    def candidates(self) -> tuple[PurePosixPath, ...]:
        """The files that may hold a workload or the patch of one, below the paths that the settings name."""
        words = self.mentioning('"image"', "image:", LIST)
        return tuple(file for file in words if self._is_below_paths(file) and file.name not in KUSTOMIZATIONS)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Every workload that stands in a file, and every patch of one."""
        return tuple(item for file in self.candidates for item in self.workloads_in(file))

    @cached_property
    def plain(self) -> tuple[Workload, ...]:
        """The workloads in files that nothing builds."""
        if self.settings.roots:
            return ()
        files = (file for file in self.candidates if file not in self.built and file not in self.patches)
        return tuple(item for file in files for item in self.workloads_in(file) if item.hosts)

    # Services and environments, where the layout names them.

    @cached_property
    def services(self) -> tuple[str, ...]:
        """Names of the services, sorted; none where no folder is laid out as the settings say."""
        folders = {folder for file in self.files for folder in file.parents}
        if self.settings.services == GitOps().services:
            folders = {folder for folder in folders if _is_service(self.root / folder)}
        found = (self._services.fullmatch(str(folder)) for folder in folders)
        return tuple(sorted({match["service"] for match in found if match}))

    @cached_property
    def environments(self) -> tuple[str, ...]:
        """Names of the environments that some service has an overlay for, sorted."""
        return tuple(sorted({found for folder in self.kustomizations if (found := self.environment_of(folder))}))

    def service_of(self, path: PurePosixPath) -> str | None:
        """Return the service that a path belongs to, where the layout tells."""
        for folder in (path, *path.parents):
            if (found := self._services.fullmatch(str(folder))) and found["service"] in self.services:
                return found["service"]
        return None

    def environment_of(self, folder: PurePosixPath) -> str | None:
        """Return the environment that a folder is the overlay of, where the layout tells."""
        found = self._environments.fullmatch(str(folder))
        return found["environment"] if found else None

    def overlay(self, service: str, environment: str) -> PurePosixPath:
        """Return where the layout has a service's overlay for an environment."""
        return PurePosixPath(overlay_pattern(self.settings).format(service=service, environment=environment))

    @cached_property
    def _services(self) -> re.Pattern[str]:
        return _pattern(self.settings.services)

    @cached_property
    def _environments(self) -> re.Pattern[str]:
        return _pattern(overlay_pattern(self.settings))


def load(root: Path, settings: GitOps, table: PodTable = KNOWN) -> Repository:
    """Find a repository's manifests.

    Args:
        settings: how it is laid out.

    Raises:
        BadInputError: when there is no folder at that path or at one of the settings, or no manifest in it.
    """
    top = root.resolve()
    for path in (".", *settings.paths):
        if not (top / path).is_dir():
            raise BadInputError(f"{root / path}: no such folder; name the root of the GitOps repository")
    files, passed = files_in([top])
    if not files:
        raise BadInputError(f"{root}: no YAML or JSON file there; name the root of the GitOps repository")
    found = [PurePosixPath(file.relative_to(top)) for file in files]
    charts = tuple(sorted(file.parent for file in found if file.name == _CHART))
    kept = tuple(file for file in found if not _is_of_chart(file, charts))
    return Repository(top, settings, kept, charts, tuple(passed), table)


def overlay_pattern(settings: GitOps) -> str:
    """Return where a service's overlay for an environment stands, with both names to be filled in."""
    own = settings.environments
    return own if "{service}" in own else posixpath.join(settings.services, own)


def is_remote(entry: str) -> bool:
    """Tell whether kustomize fetches what an entry names, as it does for URLs and for `host/owner/repository`."""
    return "://" in entry or "?ref=" in entry or entry.startswith(("git@", "github.com/", "git::"))


_PINNED: Final = re.compile(r"[?&](?:ref|version)=[0-9a-f]{40}\b")
_LONGEST_PATH: Final = 1000


def _local(folder: str, entry: Any) -> Iterator[str]:
    """Yield where an entry points to, which need not be there: a patch may be written in place, a base be remote."""
    named = entry if isinstance(entry, str) else mapping(entry).get("path")
    if isinstance(named, str) and named and "\n" not in named and "\0" not in named and not is_remote(named):
        yield posixpath.normpath(posixpath.join(folder, named))


def _is_of_chart(file: PurePosixPath, charts: Sequence[PurePosixPath]) -> bool:
    if _OF_CHART.isdisjoint(file.parts):
        return False
    return any(file.relative_to(chart).parts[0] in _OF_CHART for chart in charts if chart in file.parents)


def _pattern(text: str) -> re.Pattern[str]:
    names = re.escape(posixpath.normpath(text))
    return re.compile(re.sub(r"\\\{(service|environment)\\\}", r"(?P<\1>[^/]+)", names))


def _is_service(folder: Path) -> bool:
    """Tell a service of the default layout from a folder of shared patches: it has a base, overlays or a deployment."""
    return folder.is_dir() and any((folder / name).exists() for name in ("base", "overlays", "deployment.yaml"))
