"""What Argo CD and Flux are told to deploy from a repository, and how they build it, by manifests that stand in it.

Argo CD: https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/ and, for ApplicationSets,
https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/. Flux:
https://fluxcd.io/flux/components/kustomize/kustomizations/; it builds with files from outside a kustomization's folder
and without plugins (github.com/fluxcd/pkg, kustomize/kustomize_generator.go, Build).
"""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Final

from pullsecrets.data import Values, dig, mapping, sequence
from pullsecrets.kube.objects import group_of, kind_of

_APPLICATION: Final = ("argoproj.io", "Application")
_APPLICATION_SET: Final = ("argoproj.io", "ApplicationSet")
_FLUX: Final = ("kustomize.toolkit.fluxcd.io", "Kustomization")
_TEMPLATED: Final = re.compile(r"\{\{.*?\}\}")


@dataclass(frozen=True)
class Deployed:
    """Folders of the repository that a controller deploys in the same way."""

    file: PurePosixPath
    name: str
    """What a report calls the controller's object, such as `Application shop`."""
    folders: tuple[PurePosixPath, ...]
    adds: str = ""
    """What it adds to their kustomizations that decides what Pods pull, as JSON: images, patches, components."""

    def components_of(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """Return the components that it adds to a folder's kustomization."""
        named = sequence(json.loads(self.adds or "{}").get("components"))
        return [PurePosixPath(posixpath.normpath(folder / str(name))) for name in named]


@dataclass(frozen=True)
class BuildOptions:
    """Options of kustomize that a controller of the repository builds with."""

    enable_helm: bool = False
    any_file: bool = False
    """Whether kustomizations may take in files from outside their folders (`LoadRestrictionsNone`)."""
    left_out: tuple[str, ...] = ()
    """Options that would have programs run that the repository names."""
    file: PurePosixPath | None = None
    """Where it stands."""


def is_controllers(item: Values) -> bool:
    """Tell whether an object says what to deploy."""
    return (group_of(item), kind_of(item)) in {_APPLICATION, _APPLICATION_SET, _FLUX}


def deployed_by(file: PurePosixPath, item: Values, folders: Iterable[PurePosixPath]) -> Iterator[Deployed]:
    """Yield what an object has deployed from folders of the repository that it stands in.

    A path that is not in the repository is of another one. What an ApplicationSet fills in is taken from the folders
    that are there: each that its path, or its git generator, could mean.

    Args:
        file: where the object stands.
        item: an Application, an ApplicationSet or Flux's Kustomization.
    """
    name = f"{kind_of(item)} {dig(item, ('metadata', 'name'))}"
    known = sorted(folders)
    if kind_of(item) == "Kustomization":
        spec = mapping(item.get("spec"))
        found = _meant(known, spec.get("path"))
        yield Deployed(file, name, found, _adds(spec.get("images"), spec.get("patches"), spec.get("components")))
        return
    is_set = kind_of(item) == "ApplicationSet"
    place = ("spec", "template", "spec") if is_set else ("spec",)
    sources = [dig(item, (*place, "source")), *sequence(dig(item, (*place, "sources")))]
    for source in map(mapping, sources):
        own = mapping(source.get("kustomize"))
        images = [_argo_image(str(image)) for image in sequence(own.get("images"))]
        adds = _adds(images, own.get("patches"), own.get("components"))
        meant = _generated(item, known, source.get("path")) if is_set else _meant(known, source.get("path"))
        # What an ApplicationSet fills in is unknown.
        yield Deployed(file, name, meant, "" if _TEMPLATED.search(adds) else adds)


def _meant(folders: list[PurePosixPath], path: Any) -> tuple[PurePosixPath, ...]:
    if not isinstance(path, str):
        return ()
    glob = _TEMPLATED.sub("*", posixpath.normpath(path.lstrip("/") or "."))
    return tuple(folder for folder in folders if matches(folder, glob))


def _generated(item: Values, folders: list[PurePosixPath], path: Any) -> tuple[PurePosixPath, ...]:
    """Return the folders of an ApplicationSet: those of its git generators where the path is theirs."""
    if not isinstance(path, str) or not _TEMPLATED.fullmatch(path):
        return _meant(folders, path)
    generators = mapping(item.get("spec")).get("generators")
    entries = [mapping(entry) for entry in _every(generators, "directories")]
    kept = {folder for entry in entries if not entry.get("exclude") for folder in _meant(folders, entry.get("path"))}
    kept -= {folder for entry in entries if entry.get("exclude") for folder in _meant(folders, entry.get("path"))}
    for entry in map(mapping, _every(generators, "files")):
        kept.update(_meant(folders, posixpath.dirname(str(entry.get("path")))))
    elements = (str(value) for entry in map(mapping, _every(generators, "elements")) for value in entry.values())
    kept.update(folder for value in elements for folder in _meant(folders, value) if folder.name)
    return tuple(sorted(kept))


def _every(value: Any, key: str) -> Iterator[Any]:
    """Yield the items of every list of this name, however deep: generators stand in matrices and merges too."""
    if isinstance(value, dict):
        for name, found in mapping(value).items():
            yield from sequence(found) if name == key else _every(found, key)
    else:
        for found in sequence(value):
            yield from _every(found, key)


def _adds(images: Any, patches: Any, components: Any) -> str:
    parts = {"images": images, "patches": patches, "components": components}
    found = {name: part for name, part in parts.items() if sequence(part)}
    return json.dumps(found, sort_keys=True) if found else ""


def _argo_image(text: str) -> dict[str, str]:
    """Read `[name=]image[:tag|@digest]`, as `kustomize edit set image` takes it."""
    name, given, image = text.partition("=")
    image = image if given else text
    image, digest, of_content = image.partition("@")
    head, slash, last = image.rpartition("/")
    last, tag, value = last.partition(":")
    new = f"{head}{slash}{last}"
    found = {"name": name if given else new, "newName": new}
    return found | ({"digest": of_content} if digest else {"newTag": value} if tag else {})


def build_options(file: PurePosixPath, item: Values) -> BuildOptions | None:
    """Read the options that an object has Argo CD or Flux build with; None for any other object.

    Options that have programs run are not taken from a repository, which a pull request may change.
    """
    group, kind = group_of(item), kind_of(item)
    if (group, kind) == _FLUX:
        return BuildOptions(any_file=True, file=file)
    text: Any = None
    if kind == "ConfigMap" and dig(item, ("metadata", "name")) == "argocd-cm":
        text = dig(item, ("data", "kustomize.buildOptions"))
    elif (group, kind) == ("argoproj.io", "ArgoCD"):
        text = dig(item, ("spec", "kustomizeBuildOptions"))
    if not isinstance(text, str):
        return None
    words = text.replace("=", " ").split()
    running = [word for word in words if word in {"--enable-alpha-plugins", "--enable-exec", "--enable-star"}]
    return BuildOptions("--enable-helm" in words, "LoadRestrictionsNone" in words, tuple(running), file)


def matches(folder: PurePosixPath, glob: str) -> bool:
    """Tell whether a pattern means a folder: `*` stands for a part of a name, `**` for any folders."""
    return _expression(glob).fullmatch(str(folder)) is not None


@cache
def _expression(glob: str) -> re.Pattern[str]:
    parts = (".*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") for part in PurePosixPath(glob).parts)
    return re.compile("/".join(parts) or re.escape("."))
