"""Charts that Argo CD or Flux renders: which value has the list of pull Secrets, and that value written.

A chart's templates decide which value that is and how its items look. That is read from the chart where it stands in
the repository, or from values that are set already; nothing is guessed. The fields are those of
https://argo-cd.readthedocs.io/en/stable/user-guide/helm/ and https://fluxcd.io/flux/components/helm/helmreleases/.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import yaml

from pullsecrets.config import Registry
from pullsecrets.config.gitops import GitOps
from pullsecrets.data import Path, Values, dig, mapping, sequence, shown
from pullsecrets.gitops.repository import Repository
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.policy.lint.reading import Manifest

KEYS: Final[tuple[Path, ...]] = (("imagePullSecrets",), ("global", "imagePullSecrets"), ("image", "pullSecrets"))
"""The values by which most charts take the list."""


@dataclass(frozen=True)
class Release:
    """A chart as an object has it rendered."""

    file: PurePosixPath
    manifest: Manifest
    chart: str
    folder: PurePosixPath | None
    """The chart itself, where it stands in the repository."""
    values: Path
    """Where the object has values."""
    value_files: tuple[PurePosixPath, ...]
    """Files of the repository with values."""

    def __str__(self) -> str:
        """Return what a report calls it."""
        name = dig(self.manifest.item, ("metadata", "name"))
        return f"{kind_of(self.manifest.item)} {name}, which renders chart {self.chart}"


@dataclass(frozen=True)
class Value:
    """The value of a chart that has the list of pull Secrets."""

    key: Path
    named: bool
    """Whether its items are objects with a name, and not names alone."""


class UnknownValueError(Exception):
    """Nothing in the repository tells which value it is, or how its items look; the text says which."""


def releases(repository: Repository) -> Iterator[Release]:
    """Yield the charts that Applications and HelmReleases of a repository render."""
    for file in repository.mentioning("argoproj.io/", "helm.toolkit.fluxcd.io/"):
        for manifest in repository.manifests(file):
            kind = (group_of(manifest.item), kind_of(manifest.item))
            if kind == ("argoproj.io", "Application"):
                yield from _of_application(repository, file, manifest)
            elif kind == ("helm.toolkit.fluxcd.io", "HelmRelease"):
                chart = str(dig(manifest.item, ("spec", "chart", "spec", "chart")) or "")
                files = [str(name) for name in sequence(dig(manifest.item, ("spec", "chart", "spec", "valuesFiles")))]
                folder = _chart(repository, chart)
                yield Release(file, manifest, chart, folder, ("spec", "values"), _files(repository, folder, files))


def _of_application(repository: Repository, file: PurePosixPath, manifest: Manifest) -> Iterator[Release]:
    spec = mapping(manifest.item.get("spec"))
    sources = [(("spec", "source"), spec.get("source"))]
    sources += [(("spec", "sources", index), one) for index, one in enumerate(sequence(spec.get("sources")))]
    for path, source in ((path, mapping(one)) for path, one in sources):
        folder = _chart(repository, str(source.get("path") or ""))
        if source.get("chart") or folder:
            files = [str(name) for name in sequence(dig(source, ("helm", "valueFiles")))]
            chart = str(source.get("chart") or (folder.name if folder else ""))
            values = (*path, "helm", "valuesObject")
            yield Release(file, manifest, chart, folder, values, _files(repository, folder, files))


def _chart(repository: Repository, named: str) -> PurePosixPath | None:
    folder = PurePosixPath(posixpath.normpath(named))
    return folder if named and folder in repository.charts else None


def _files(repository: Repository, folder: PurePosixPath | None, names: list[str]) -> tuple[PurePosixPath, ...]:
    # A file of another source of the Application (`$values/...`) is one of this repository where it stands here.
    places = [
        PurePosixPath(name.partition("/")[2]) if name.startswith("$") else (folder or PurePosixPath()) / name
        for name in names
    ]
    found = (PurePosixPath(posixpath.normpath(place)) for place in places)
    return tuple(place for place in found if (repository.root / place).is_file())


def value_paths(item: Values, settings: GitOps) -> set[Path]:
    """Return where an object that renders a chart can have a list of pull Secrets in its values."""
    if kind_of(item) not in {"Application", "HelmRelease"}:
        return set()
    sources = [
        ("spec", "source"),
        *(("spec", "sources", index) for index, _ in enumerate(sequence(dig(item, ("spec", "sources"))))),
    ]
    holders: list[Path] = [("spec", "values"), *((*source, "helm", "valuesObject") for source in sources)]
    keys = [*KEYS, *(tuple(key.split(".")) for key in settings.charts.values())]
    return {(*holder, *key) for holder in holders for key in keys}


def uses(repository: Repository, release: Release, registry: Registry) -> bool:
    """Tell whether a release's values, or those of its chart, name a host of a registry."""
    texts = [str(dig(release.manifest.item, ("spec",)))]
    files = [*release.value_files, *([release.folder / "values.yaml"] if release.folder else [])]
    texts += [
        (repository.root / file).read_text(errors="replace") for file in files if (repository.root / file).is_file()
    ]
    return any(host in text for host in registry.hosts for text in texts)


def has(repository: Repository, release: Release, registry: Registry) -> bool:
    """Tell whether the values of a release name a registry's Secret in one of the lists that are known."""
    settled = [dig(release.manifest.item, release.values), *(_values(repository, file) for file in release.value_files)]
    keys = [*KEYS, *_declared(repository, release)]
    items = [item for values in settled for key in keys for item in sequence(dig(values, key))]
    return any(registry.name in (item, mapping(item).get("name")) for item in items)


def value_of(repository: Repository, release: Release) -> Value:
    """Return the value of a release's chart that has the list of pull Secrets.

    Raises:
        UnknownValueError: when nothing here tells which it is, or how its items look.
    """
    own = dig(release.manifest.item, release.values)
    chart = _values(repository, release.folder / "values.yaml") if release.folder else None
    keys = _declared(repository, release)
    keys = (
        keys
        or [key for key in KEYS if dig(own, key) is not None]
        or [key for key in KEYS if key[-1] in mapping(dig(chart, key[:-1]))]
    )
    how = f"name it in the stack file: `gitops.charts: {{{release.chart}: ...}}`, as `helm show values` has it"
    if len(keys) != 1:
        known = " and ".join(map(shown, keys)) or "none of the usual ones, and the chart is not here"
        raise UnknownValueError(f"which value has the list of pull Secrets is unknown ({known}); {how}")
    (key,) = keys
    for item in (*sequence(dig(own, key)), *sequence(dig(chart, key))):
        return Value(key, isinstance(item, dict))
    named = _named_by_templates(repository, release, key)
    if named is None:
        raise UnknownValueError(f"how the items of {shown(key)} look cannot be told: write the first by hand")
    return Value(key, named)


def _declared(repository: Repository, release: Release) -> list[Path]:
    declared = repository.settings.charts.get(release.chart)
    return [tuple(declared.split("."))] if declared else []


def _named_by_templates(repository: Repository, release: Release, key: Path) -> bool | None:
    """Tell from a chart's templates whether items are objects: those are written as they are, names one by one."""
    if release.folder is None:
        return None
    files = sorted((repository.root / release.folder / "templates").rglob("*"))
    text = "\n".join(file.read_text(errors="replace") for file in files if file.is_file())
    value = re.escape(f".Values.{'.'.join(map(str, key))}")
    if re.search(rf"range[^}}]*{value}\b[^}}]*}}}}\s*-\s*name:\s*{{{{-?\s*(\.|\$\w+)\s*(\|[^}}]*)?}}}}", text):
        return False
    whole = rf"toYaml\s+{value}\b|{value}\b\s*\|\s*toYaml|with\s+{value}\b[^}}]*}}}}[^{{]*{{{{-?\s*toYaml\s+\."
    return True if re.search(whole, text) else None


def _values(repository: Repository, file: PurePosixPath) -> Values:
    try:
        return mapping(yaml.safe_load((repository.root / file).read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
