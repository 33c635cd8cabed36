"""Writes the program's objects as YAML for a GitOps repository: one folder per object, each with a kustomization."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pullsecrets.config import StackConfig
from pullsecrets.files import as_yaml, write_whole
from pullsecrets.kube.admission import MUTATING_VERSIONS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import builders
from pullsecrets.manifests.stack import platform_objects

KUSTOMIZATION = "kustomization.yaml"
HEADER = "# Rendered by `pull-secrets render --stack {stack}`: change Pulumi.{stack}.yaml and render again.\n"
HEADER_START = HEADER.partition(" --stack")[0]
SYNC_OPTIONS_ANNOTATION = "argocd.argoproj.io/sync-options"


@dataclass(frozen=True)
class RenderChanges:
    """What rendering changes in a folder, as paths relative to it."""

    written: tuple[PurePosixPath, ...]
    removed: tuple[PurePosixPath, ...]
    unchanged: tuple[PurePosixPath, ...]


FIELDS = ("written", "removed", "unchanged")


def render(config: StackConfig, stack: str, pod_admission: str = MUTATING_VERSIONS[0]) -> dict[PurePosixPath, str]:
    """Return every file of the stack's tree by its path, such as `clusters/<cluster>/secrets/<registry>/...`.

    Args:
        pod_admission: version of the policies that append to Pods, one that the cluster serves.
    """
    root = PurePosixPath("clusters", config.cluster.name)
    objects = {root / folder: item for folder, item in rendered_objects(config, stack, pod_admission)}
    files: dict[PurePosixPath, str] = {}
    for folder, item in objects.items():
        name = f"{item['kind'].lower()}.yaml"
        files[folder / name] = _yaml(item, stack)
        files[folder / KUSTOMIZATION] = _yaml(kustomization([name]), stack)
    folders = [str(folder.relative_to(root)) for folder in objects]
    files[root / KUSTOMIZATION] = _yaml(kustomization(folders), stack)
    return files


def compare(
    files: Mapping[PurePosixPath, str],
    target: Path,
    header_start: str = HEADER_START,
    below: PurePosixPath | None = None,
) -> RenderChanges:
    """Compare rendered files with a folder.

    Files there that an earlier rendering wrote, known by how they begin, and this one does not are counted as removed;
    what people wrote by hand is never touched.

    Args:
        target: the folder.
        header_start: how a rendered file begins.
        below: where earlier files are looked for; by default in the folders, two deep, of those that are rendered.
    """
    unchanged = {path for path, text in files.items() if _read(target / path) == text}
    earlier = {PurePosixPath(file.relative_to(target)) for file in _rendered_files(target, files, header_start, below)}
    return RenderChanges(
        written=tuple(sorted(files.keys() - unchanged)),
        removed=tuple(sorted(earlier - files.keys())),
        unchanged=tuple(sorted(unchanged)),
    )


def apply(files: Mapping[PurePosixPath, str], changes: RenderChanges, target: Path) -> None:
    """Bring a folder to the rendered state, each file at once or not at all."""
    for path in changes.written:
        write_whole(target / path, files[path])
    for path in changes.removed:
        (target / path).unlink()
        _remove_empty(target / path.parent, target)


def rendered_objects(
    config: StackConfig, stack: str, pod_admission: str = MUTATING_VERSIONS[0]
) -> Iterator[tuple[str, KubernetesObject]]:
    """Yield every object of the stack's tree, each with its folder."""
    yield from platform_objects(config, stack, pod_admission)
    for tenant in config.resolve_tenants():
        item = builders.tenant_namespace(tenant)
        # As `protect` does for the program: leaving the repository must not delete a tenant.
        item["metadata"]["annotations"] = {SYNC_OPTIONS_ANNOTATION: "Prune=false,Delete=false"}
        yield f"namespaces/{tenant.name}", item


def kustomization(resources: list[str]) -> KubernetesObject:
    """Return a kustomization of these files or folders."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}


def _yaml(item: KubernetesObject, stack: str) -> str:
    return as_yaml(item, HEADER.format(stack=stack))


def _rendered_files(
    target: Path, files: Mapping[PurePosixPath, str], header_start: str, below: PurePosixPath | None
) -> Iterator[Path]:
    for root in [below] if below else {PurePosixPath(*path.parts[:2]) for path in files}:
        for file in (target / root).rglob("*.yaml"):
            if (_read(file) or "").startswith(header_start):
                yield file


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return None


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
