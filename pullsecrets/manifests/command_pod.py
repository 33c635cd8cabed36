"""The Pod in which a command of ours runs in the cluster: it passes the `restricted` Pod Security Standard."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests.rbac import ServiceAccount

STACK_FOLDER = "/stack"


@dataclass(frozen=True)
class CommandPod:
    """What such a Pod is made of."""

    name: str
    """Of its ServiceAccount, and of whatever makes the Pod."""
    container: str
    """Such as `audit`."""
    image: str
    image_pull_secret: str | None
    words: Sequence[str]
    """The command with its options."""
    stack_files: str
    """ConfigMap from which it reads the stack."""
    restart: str = "Never"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    volumes: Sequence[Mapping[str, Any]] = ()
    """Beside the stack's files and a scratch folder."""
    mounts: Sequence[Mapping[str, Any]] = ()

    @property
    def labels(self) -> dict[str, str]:
        """For the NetworkPolicies of a namespace that denies egress, and for selectors."""
        own = {"app.kubernetes.io/name": f"pull-secrets-{self.container}", "app.kubernetes.io/instance": self.name}
        return {**STANDARD_LABELS, **own}


def account_objects(account: ServiceAccount, rights: Iterable[KubernetesObject]) -> list[KubernetesObject]:
    """Return the ServiceAccount that such a Pod runs under, and with our labels the role and the binding that it has.

    Its token is mounted by the Pod that wants it, and by no other.
    """
    metadata = {"name": account.name, "namespace": account.namespace, "labels": dict(STANDARD_LABELS)}
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}
    return [made, *({**item, "metadata": {**item["metadata"], "labels": dict(STANDARD_LABELS)}} for item in rights)]


def template(pod: CommandPod) -> dict[str, Any]:
    """Return the Pod's template."""
    # In the Pod and not in its ServiceAccount, whose list OpenShift writes too.
    pulls = {"imagePullSecrets": [{"name": pod.image_pull_secret}]} if pod.image_pull_secret else {}
    spec = {
        **pulls,
        "serviceAccountName": pod.name,
        "automountServiceAccountToken": True,
        "restartPolicy": pod.restart,
        # No user by number: the image names one, and OpenShift gives each namespace a range of its own.
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(pod)],
        "volumes": [
            {"name": "stack", "configMap": {"name": pod.stack_files}},
            # For Vault's certificates, which the HTTP library takes from a file only.
            {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
            *pod.volumes,
        ],
    }
    return {"metadata": {"labels": pod.labels}, "spec": spec}


def _container(pod: CommandPod) -> dict[str, Any]:
    stack = {"name": "stack", "mountPath": STACK_FOLDER, "readOnly": True}
    scratch = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the container's own
    return {
        "name": pod.container,
        "image": pod.image,
        "command": list(pod.words[:1]),
        "args": list(pod.words[1:]),
        "env": [{"name": name, "value": value} for name, value in pod.environment.items()],
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "16Mi"},
            "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [stack, scratch, *pod.mounts],
    }
