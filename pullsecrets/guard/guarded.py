"""What is guarded, as data: objects, fields of objects, and the kubelet's registry logins on each node."""

from dataclasses import dataclass
from typing import Final

from pullsecrets.data import Path


@dataclass(frozen=True)
class GuardedObject:
    """An object that only the cluster's own controllers and the break-glass group may write."""

    group: str
    kind: str
    resource: str
    """Plural name, as admission and RBAC rules spell the kind."""
    namespace: str | None
    """None for an object of the whole cluster."""
    name: str
    purpose: str

    def __str__(self) -> str:
        """Name it as messages do."""
        if self.namespace is None:
            return f"{self.kind.lower()}.{self.group}/{self.name}"
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def words(self) -> tuple[str, ...]:
        """What a resource says that mentions it, the rarest word first: name and namespace, or group, kind and name."""
        return (self.name, self.namespace) if self.namespace else (self.group, self.kind, self.name)


@dataclass(frozen=True)
class GuardedField:
    """A field that names a cluster's pull-secret in an object that is not guarded as a whole.

    Whoever creates such an object has to name one, and changes no cluster that is there: only a change is guarded.
    """

    group: str
    kind: str
    resource: str
    """Plural name, as admission and RBAC rules spell the kind."""
    path: Path
    purpose: str


GUARDED_OBJECTS: Final = (
    GuardedObject("", "Secret", "secrets", "openshift-config", "pull-secret", "the cluster-wide pull-secret"),
    GuardedObject(
        "", "Secret", "secrets", "kube-system", "additional-pull-secret", "HyperShift's hook for extra registries"
    ),
    GuardedObject("", "Secret", "secrets", "kube-system", "global-pull-secret", "HyperShift's merged pull-secret"),
    GuardedObject("", "Secret", "secrets", "kube-system", "original-pull-secret", "HyperShift's copy of the original"),
    GuardedObject(
        "config.openshift.io", "Image", "images", None, "cluster", "which registries the whole cluster may use"
    ),
)

_MACHINE_CONFIGURATION: Final = "machineconfiguration.openshift.io"

GUARDED_FIELDS: Final = (
    *(
        GuardedField(
            "hypershift.openshift.io", kind, resource, ("spec", "pullSecret"), "a hosted cluster's pull-secret"
        )
        for kind, resource in (("HostedCluster", "hostedclusters"), ("HostedControlPlane", "hostedcontrolplanes"))
    ),
    GuardedField(
        _MACHINE_CONFIGURATION,
        "ControllerConfig",
        "controllerconfigs",
        ("spec", "pullSecret"),
        "the pull-secret that is written to every node",
    ),
)

MACHINE_CONFIG: Final = (_MACHINE_CONFIGURATION, "MachineConfig")
"""Group and kind of what can write `KUBELET_AUTH_FILE` on every node."""

KUBELET_AUTH_FILE: Final = "/var/lib/kubelet/config.json"
"""The kubelet's registry logins on each node; the machine-config operator writes the cluster pull-secret there."""

GUARDED_KINDS: Final = frozenset(
    {(item.group, item.kind) for item in GUARDED_OBJECTS}
    | {(item.group, item.kind) for item in GUARDED_FIELDS}
    | {MACHINE_CONFIG}
)
"""Kinds of which at least one object, or one field, is guarded."""

GUARD_PARTS: Final = ("guarded-objects", "hosted-clusters", "machine-configs", "opt-in-labels")
"""Last parts of the names of the in-cluster guard's policies and their bindings: `pull-secrets-<cluster>-<part>`."""

_NODES_MIRRORS: Final = "nodes pull from the mirrors that it names, with the cluster pull-secret's logins"

OPAQUE_KINDS: Final = {
    ("config.openshift.io", "CRIOCredentialProviderConfig"): (
        "by it the kubelet of every node runs a program that reads namespaces' pull Secrets"
    ),
    ("config.openshift.io", "ClusterImagePolicy"): "by it every node refuses images, the cluster's own too",
    ("config.openshift.io", "ImageDigestMirrorSet"): _NODES_MIRRORS,
    ("config.openshift.io", "ImageTagMirrorSet"): _NODES_MIRRORS,
    ("operator.openshift.io", "ImageContentSourcePolicy"): _NODES_MIRRORS,
    (_MACHINE_CONFIGURATION, "ContainerRuntimeConfig"): "the machine-config operator makes files on every node of it",
    (_MACHINE_CONFIGURATION, "KubeletConfig"): "the machine-config operator makes files on every node of it",
    (_MACHINE_CONFIGURATION, "MachineOSConfig"): "the nodes' image is built from it",
}
"""Kinds that act on what is guarded, or could, by something that does not stand in the object, and why."""
