"""The stacks of a project as objects of the Pulumi Kubernetes Operator, which runs them from the cluster it is in.

Version 2 of the operator, API `pulumi.com/v1`: https://github.com/pulumi/pulumi-kubernetes-operator/blob/v2.9.0/docs/stacks.md
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import PurePosixPath

from pullsecrets import names
from pullsecrets.errors import BadInputError
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests.render import KUSTOMIZATION, as_yaml, kustomization

HEADER = "# Rendered by `pull-secrets fleet render`: change the stack files and render again.\n"
FOLDER = PurePosixPath("fleet")
"""Where the files stand, below the root of the GitOps repository."""
PULUMI_VERSION = "3.258.0"
IMAGE = f"pulumi/pulumi:{PULUMI_VERSION}-nonroot"
"""What the workspaces run by default; the operator itself would take the latest."""
NAMESPACE = "pull-secrets"
PREFIX = "pull-secrets-"
"""Of the names of each stack's ServiceAccount and Secrets."""
_KUBECONFIG = "/var/run/pull-secrets"
_ENGINE = {"PULUMI_SKIP_CHECKPOINTS": "true", "PULUMI_PARALLEL": "64", "PULUMI_PARALLEL_DIFF": "true"}


@dataclass(frozen=True)
class Source:
    """Where the operator finds the project, and how it is set up there."""

    repository: str
    """URL of the git repository."""
    branch: str | None = None
    """Polled for new commits; either this or `commit`."""
    commit: str | None = None
    folder: str | None = None
    """Of the project in the repository; None for its root."""
    organization: str | None = None
    """Of Pulumi Cloud; None for another backend."""
    namespace: str = NAMESPACE
    """Of the operator's cluster; it must exist."""
    image: str = IMAGE


def render(stacks: Sequence[FleetStack], source: Source) -> dict[PurePosixPath, str]:
    """Return a file per stack and their kustomization, by path.

    A stack waits for those of the wave before: for their last update to have succeeded, at the commit that they name.

    Raises:
        BadInputError: when a file does not parse, because its objects would be missing; when a stack's name is none
            for an object; when the source names neither branch nor commit, or both.
    """
    for stack in stacks:
        if stack.problem:
            raise BadInputError(stack.problem)
        if not names.DNS_LABEL.fullmatch(f"{PREFIX}{stack.name}"):
            allowed = "lower-case letters, digits and '-', at most 50: it names objects of the operator"
            raise BadInputError(f"{stack.path}: found stack {stack.name!r}; allowed: {allowed}")
    if bool(source.branch) == bool(source.commit):
        raise BadInputError("--branch, --commit: found both or neither; allowed: one of them")
    waves = [[], *([*wave] for _, wave in groupby(stacks, lambda stack: stack.wave))]
    files = {
        FOLDER / f"{stack.name}.yaml": HEADER
        + "".join(as_yaml(item, "---\n") for item in objects(stack, source, before))
        for before, wave in pairwise(waves)
        for stack in wave
    }
    files[FOLDER / KUSTOMIZATION] = as_yaml(kustomization([path.name for path in files]), HEADER)
    return files


def objects(stack: FleetStack, source: Source, before: Sequence[FleetStack]) -> Iterator[KubernetesObject]:
    """Yield what the operator needs for one stack, but for its Secrets.

    Args:
        stack: the stack.
        source: where it finds the project.
        before: the stacks of the wave before.
    """
    account = f"{PREFIX}{stack.name}"
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": source.namespace},
    }
    # The operator proves itself to the workspace by its token, which the workspace has the API server review.
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{source.namespace}:{account}:auth-delegator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": source.namespace}],
    }
    yield {
        "apiVersion": "pulumi.com/v1",
        "kind": "Stack",
        "metadata": {
            "name": stack.name,
            "namespace": source.namespace,
            "labels": stack.selectable,
            "annotations": {"argocd.argoproj.io/sync-wave": str(stack.wave)},
        },
        "spec": {
            "stack": f"{source.organization}/{stack.name}" if source.organization else stack.name,
            "projectRepo": source.repository,
            **({"commit": source.commit} if source.commit else {"branch": source.branch}),
            **({"repoDir": source.folder} if source.folder else {}),
            # A mistyped name makes no stack, and an object that is deleted destroys none.
            "useLocalStackOnly": True,
            "destroyOnFinalize": False,
            **({"prerequisites": [{"name": other.name} for other in before]} if before else {}),
            "serviceAccountName": account,
            "workspaceTemplate": {"spec": _workspace(account, source.image)},
        },
    }


def _workspace(account: str, image: str) -> KubernetesObject:
    """Return the Pod that runs the program: credentials come from Secrets that the platform keeps beside it."""
    settings = {**_ENGINE, "KUBECONFIG": f"{_KUBECONFIG}/kubeconfig"}
    return {
        "image": image,
        "securityProfile": "restricted",
        "env": [{"name": name, "value": value} for name, value in settings.items()],
        "envFrom": [{"secretRef": {"name": account}}],
        "podTemplate": {
            "spec": {
                "containers": [
                    {
                        "name": "pulumi",
                        "volumeMounts": [{"name": "kubeconfig", "mountPath": _KUBECONFIG, "readOnly": True}],
                    }
                ],
                "volumes": [{"name": "kubeconfig", "secret": {"secretName": f"{account}-kubeconfig"}}],
            }
        },
    }
