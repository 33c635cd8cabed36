"""Argo CD Applications of a stack: services and environments in the rollout's order, after the infrastructure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pullsecrets.config import StackConfig
from pullsecrets.config.tenants import TenantMatrix
from pullsecrets.errors import BadInputError
from pullsecrets.files import as_yaml
from pullsecrets.gitops.repository import overlay_pattern

HEADER = "# Rendered by `pull-secrets gitops render --stack {stack}`: change Pulumi.{stack}.yaml and render again.\n"
FOLDER: Final = PurePosixPath("environments")
WAVE_LABEL = "rollout-wave"
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


def render(
    root: Path, config: StackConfig, stack: str, argo: ArgoCd, infrastructure: PurePosixPath, *, sets: bool = False
) -> Applications:
    """Render the Applications of a stack's services, and the one of its infrastructure.

    Args:
        root: the GitOps repository, whose overlays decide which Applications there are.
        stack: the stack's name, for the files' headers.
        infrastructure: folder of the repository with the stack's own objects, applied before every service.
        sets: whether one ApplicationSet for each of the stack's matrices stands for the services' Applications.

    Raises:
        BadInputError: when the folder of the infrastructure is not there.
    """
    if not (root / infrastructure).is_dir():
        raise BadInputError(
            f"{root / infrastructure}: no such folder; "
            f"write it with `pull-secrets render --stack {stack} --out {root}`, or name another with --infrastructure"
        )
    cluster = config.cluster.name
    items = {
        FOLDER / f"infrastructure-{cluster}-app.yaml": _application(
            argo, f"infrastructure-{cluster}", str(infrastructure), config.eso.namespace, 0
        )
    }
    missing: list[str] = []
    for number, matrix in enumerate(config.tenants.matrices, start=1):
        found: list[_Placed] = []
        for placed in _placed(config, matrix):
            if (root / placed.path).is_dir():
                found.append(placed)
            else:
                missing.append(placed.namespace)
        if sets:
            name = f"services-{cluster}" if number == 1 else f"services-{cluster}-{number}"
            items[FOLDER / f"{name}-applicationset.yaml"] = _application_set(argo, name, config, matrix, found)
        else:
            for one in found:
                file = FOLDER / one.environment / "apps" / f"{one.service}-app.yaml"
                items[file] = _application(argo, one.namespace, one.path, one.namespace, one.wave)
    header = HEADER.format(stack=stack)
    files = {path: as_yaml(item, header) for path, item in items.items()}
    return Applications(files, config.unplaced_services, tuple(missing))


@dataclass(frozen=True)
class _Placed:
    """A service in an environment, and the wave that it is rolled out in, from 1."""

    service: str
    environment: str
    namespace: str
    path: str
    wave: int


def _placed(config: StackConfig, matrix: TenantMatrix) -> list[_Placed]:
    """Return each product of a matrix whose service is in a wave."""
    return [
        _Placed(
            service,
            environment,
            namespace,
            overlay_pattern(config.gitops).format(service=service, environment=environment),
            wave + 1,
        )
        for service, environment, namespace in matrix.products()
        if (wave := config.rollout.wave_of(service)) is not None
    ]


def _application_set(
    argo: ArgoCd, name: str, config: StackConfig, matrix: TenantMatrix, placed: list[_Placed]
) -> dict[str, Any]:
    """Return the ApplicationSet of a matrix, which syncs wave after wave.

    That takes the controller's `--enable-progressive-syncs`, and turns automated syncs of its Applications off:
    https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Progressive-Syncs/
    """
    environments = [{"environment": name} for name in matrix.environments]
    counts = Counter(one.service for one in placed)
    whole = {service for service, count in counts.items() if count == len(environments)}
    services = {one.service: {"service": one.service, "wave": str(one.wave)} for one in placed if one.service in whole}
    lists = [{"list": {"elements": list(services.values())}}, {"list": {"elements": environments}}]
    rest = [
        {"service": one.service, "wave": str(one.wave), "environment": one.environment}
        for one in placed
        if one.service not in whole
    ]
    namespace = _filled(matrix.pattern)
    template = _application(argo, namespace, _filled(overlay_pattern(config.gitops)), namespace, 0)
    metadata = {"name": namespace, "namespace": argo.namespace, "labels": {WAVE_LABEL: "{{.wave}}"}}
    spec = {**template["spec"], "syncPolicy": {"syncOptions": ["CreateNamespace=false"]}}
    steps = [
        {"matchExpressions": [{"key": WAVE_LABEL, "operator": "In", "values": [str(wave)]}]}
        for wave in sorted({one.wave for one in placed})
    ]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": name, "namespace": argo.namespace, "annotations": {SYNC_WAVE: "1"}},
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [{"matrix": {"generators": lists}}, *([{"list": {"elements": rest}}] if rest else [])],
            "strategy": {"type": "RollingSync", "rollingSync": {"steps": steps}},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def _filled(pattern: str) -> str:
    return pattern.replace("{service}", "{{.service}}").replace("{environment}", "{{.environment}}")


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
