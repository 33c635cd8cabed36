"""What is known of kinds without asking a server: groups, scopes, what cannot change in place, what is awaited."""

from typing import NamedTuple

_BUILT_IN_GROUPS = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)

_NAMESPACED = frozenset(
    [
        "Binding",
        "ConfigMap",
        "ControllerRevision",
        "CronJob",
        "CSIStorageCapacity",
        "DaemonSet",
        "Deployment",
        "Endpoints",
        "EndpointSlice",
        "Event",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "Lease",
        "LimitRange",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "PodTemplate",
        "ReplicaSet",
        "ReplicationController",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ]
)
_CLUSTER_WIDE = frozenset(
    [
        "APIService",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CSIDriver",
        "CSINode",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    ]
)

# Kinds whose readiness the official plugin waits for by default.
_AWAITED = frozenset(
    [
        "apps/DaemonSet",
        "apps/Deployment",
        "apps/StatefulSet",
        "batch/Job",
        "/PersistentVolume",
        "/PersistentVolumeClaim",
        "/Pod",
        "/ReplicationController",
        "/ResourceQuota",
        "/Service",
        "networking.k8s.io/Ingress",
    ]
)

# For these the official plugin lets `pulumi.com/skipAwait` end the wait for a deletion too.
_SKIPS_DELETION = frozenset(
    [
        "/Namespace",
        "/Pod",
        "/ReplicationController",
        "apps/DaemonSet",
        "apps/Deployment",
        "apps/StatefulSet",
        "batch/Job",
    ]
)

_SELECTOR = (".spec.selector",)
_REPLACED_ON_CHANGE: dict[str, tuple[str, ...]] = {
    "apps/DaemonSet": _SELECTOR,
    "apps/Deployment": _SELECTOR,
    "apps/StatefulSet": (
        *_SELECTOR,
        ".spec.podManagementPolicy",
        ".spec.revisionHistoryLimit",
        ".spec.serviceName",
        ".spec.volumeClaimTemplates",
    ),
    "batch/Job": (*_SELECTOR, ".spec.completions", ".spec.parallelism", ".spec.template"),
    "rbac.authorization.k8s.io/ClusterRoleBinding": (".roleRef",),
    "rbac.authorization.k8s.io/RoleBinding": (".roleRef",),
    "storage.k8s.io/StorageClass": (".parameters", ".provisioner"),
    "/PersistentVolumeClaim": (
        *_SELECTOR,
        ".spec.accessModes",
        ".spec.storageClassName",
        ".spec.volumeName",
    ),
    "/Pod": (".spec",),
    "/ResourceQuota": (".spec.scopes",),
    "/Secret": (".type",),
    "/Service": (".spec.clusterIP",),
}
_IDENTITY = (".metadata.name", ".metadata.namespace")


class Kind(NamedTuple):
    """A kind in a version of its group; the core group is the empty string."""

    group: str
    version: str
    name: str

    @classmethod
    def of(cls, api_version: str, name: str) -> "Kind":
        """Reads `apiVersion` and `kind` of an object; `core/v1` is a name of the core group."""
        group, _, version = api_version.rpartition("/")
        return cls("" if group == "core" else group, version, name)

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def is_built_in(self) -> bool:
        """Whether the group comes with Kubernetes and not from a CustomResourceDefinition."""
        return self.group in _BUILT_IN_GROUPS

    @property
    def namespaced(self) -> bool | None:
        """The scope, as far as it is known without the server."""
        if not self.is_built_in or (self.name not in _NAMESPACED and self.name not in _CLUSTER_WIDE):
            return None
        return self.name in _NAMESPACED

    @property
    def is_secret(self) -> bool:
        """Whether this is the core Secret."""
        return (self.group, self.name) == ("", "Secret")

    @property
    def is_definition(self) -> bool:
        """Whether this is CustomResourceDefinition."""
        return (self.group, self.name) == ("apiextensions.k8s.io", "CustomResourceDefinition")

    @property
    def is_awaited(self) -> bool:
        """Whether the official plugin waits for this kind to become ready without being told to."""
        return f"{self.group}/{self.name}" in _AWAITED

    @property
    def skips_deletion(self) -> bool:
        """Whether `pulumi.com/skipAwait` also ends the wait for the deletion."""
        return f"{self.group}/{self.name}" in _SKIPS_DELETION

    def replaced_on_change(self, *, mutable_secrets: bool, mutable_config_maps: bool) -> tuple[str, ...]:
        """Paths whose change replaces the object, as `.spec.selector`."""
        if self.is_secret and not mutable_secrets:
            return (*_IDENTITY, ".type", ".stringData", ".data")
        if (self.group, self.name) == ("", "ConfigMap") and not mutable_config_maps:
            return (*_IDENTITY, ".binaryData", ".data")
        return (*_IDENTITY, *_REPLACED_ON_CHANGE.get(f"{self.group}/{self.name}", ()))


IDENTITY = _IDENTITY


def kind_of_urn(urn: str) -> Kind:
    """The kind that a resource's type names, with `Patch` at the end for patch resources.

    Raises:
        ValueError: the type has no group and version, as those of charts and YAML components.
    """
    type_token = urn.split("::")[2].rsplit("$", maxsplit=1)[-1]
    _, module, name = type_token.split(":")
    if module.count("/") != 1 or not module.rpartition("/")[2].startswith("v"):
        raise ValueError(f"{type_token} is no single Kubernetes object")
    return Kind.of(module, name)


def is_patch(urn: str, kind: str) -> bool:
    """Whether a resource patches an object that others own; custom kinds may end in `Patch` too."""
    return urn.split("::")[2].rpartition(":")[2] == f"{kind}Patch"
