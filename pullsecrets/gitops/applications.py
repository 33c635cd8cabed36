"""Argo CD Applications of a stack: one per service and environment in the rollout's order, one for infrastructure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pullsecrets.config import StackConfig
from pullsecrets.config.tenants import TenantMatrix, expand
from pullsecrets.errors import BadInputError
from pullsecrets.gitops.repository import overlay_pattern
from pullsecrets.manifests.render import as_yaml

HEADER = "# Rendered by `pull-secrets gitops render --stack {stack}`: change Pulumi.{stack}.yaml and render again.\n"
HEADER_START = HEADER.partition(" --stack")[0]
SYNC_WAVE = "argocd.argoproj.io/sync-wave"


@dataclass(frozen=True)
class ArgoCd:
    """What the Applications say of Argo CD and of the repository that it reads."""

    repository: str
    revision: str = "main"
    project: str = "default"
    server: str = "https://kubernetes.default.svc"
    namespace: str = "argocd"


@dataclass(frozen=True)
class Applications:
    """The rendered files by path, and the services that have none."""

    files: Mapping[PurePosixPath, str]
    unplaced: tuple[str, ...]
    """Services in no wave of the rollout."""
    without_overlay: tuple[str, ...]
    """Namespaces whose service has no overlay for the environment."""


def render(root: Path, config: StackConfig, stack: str, argo: ArgoCd, infrastructure: PurePosixPath) -> Applications:
    """Render the Applications of a stack's services and infrastructure.

    Args:
        root: the GitOps repository, whose overlays decide which Applications there are.
        config: the stack.
        stack: the stack's name, for the files' headers.
        argo: what the Applications say of Argo CD.
        infrastructure: folder of the repository with the stack's own objects, applied before every service.

    Raises:
        BadInputError: when the folder of the infrastructure is not there.
    """
    if not (root / infrastructure).is_dir():
        raise BadInputError(
            f"{root / infrastructure}: no such folder; "
            f"write it with `pull-secrets render --stack {stack} --out {root}`, or name another with --infrastructure"
        )
    items: dict[PurePosixPath, dict[str, Any]] = {}
    missing: list[str] = []
    for matrix in config.tenants.matrices:
        for environment in matrix.environments:
            name = f"infrastructure-{environment}"
            items[_file(environment, "infrastructure")] = _application(
                argo, name, str(infrastructure), config.eso.namespace, 0
            )
        for service, environment, namespace in _placed(config, matrix):
            path = overlay_pattern(config.gitops).format(service=service, environment=environment)
            if not (root / path).is_dir():
                missing.append(namespace)
                continue
            wave = (config.rollout.wave_of(service) or 0) + 1
            items[_file(environment, service)] = _application(argo, namespace, str(path), namespace, wave)
    header = HEADER.format(stack=stack)
    files = {path: as_yaml(item, header) for path, item in items.items()}
    return Applications(files, config.unplaced_services, tuple(missing))


def _placed(config: StackConfig, matrix: TenantMatrix) -> list[tuple[str, str, str]]:
    """Return service, environment and namespace of each product of a matrix whose service is in a wave."""
    pairs = [(service, environment) for service in matrix.services for environment in matrix.environments]
    products = [(*pair, tenant.name) for pair, tenant in zip(pairs, expand(matrix), strict=True)]
    return [product for product in products if config.rollout.wave_of(product[0]) is not None]


def _file(environment: str, name: str) -> PurePosixPath:
    return PurePosixPath("environments", environment, "apps", f"{name}-app.yaml")


def _application(argo: ArgoCd, name: str, path: str, namespace: str, wave: int) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": argo.namespace, "annotations": {SYNC_WAVE: str(wave)}},
        "spec": {
            "project": argo.project,
            "source": {"repoURL": argo.repository, "targetRevision": argo.revision, "path": path},
            "destination": {"server": argo.server, "namespace": namespace},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
        },
    }
