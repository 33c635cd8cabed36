"""Pack `workload-pull-secrets`: workloads of tenants refer to the pull Secret of each registry that they pull from."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from pullsecrets.data import UNKNOWN, Path, Values, dig, sequence, shown
from pullsecrets.guard.targets import describe, own_namespace
from pullsecrets.image import image_host, written_host
from pullsecrets.kube.podspec import KNOWN, PodKind, PodSpec, PodTable, pod_specs, pod_table
from pullsecrets.policy.model import (
    Finding,
    Level,
    PolicyInfo,
    Resource,
    Settings,
    Severity,
    every_object,
    is_unknown,
    kubernetes_object,
)
from pullsecrets.policy.registries import REGISTRIES, OtherName, known_registries, other_name

_URL_OF_KEYS = "https://kubernetes.io/docs/concepts/containers/images/#config-json"

_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    **REGISTRIES,
    "workloads": {
        "type": "array",
        "description": "Further kinds that create Pods.",
        "items": {
            "type": "object",
            "properties": {
                "group": {"type": "string", "description": "API group."},
                "kind": {"type": "string", "description": "Kind."},
                "path": {"type": "string", "description": "What has `imagePullSecrets`, such as `spec.template.spec`."},
                "images": {
                    "type": "array",
                    "description": "Paths of images beside those of its containers.",
                    "items": {"type": "string"},
                },
            },
            "required": ["group", "kind", "path"],
            "additionalProperties": False,
        },
        "default": [],
    },
}

_policy = partial(PolicyInfo, url=_URL_OF_KEYS, tags=("kubernetes", "pull-secret", "workloads"), settings=_SETTINGS)

REFERENCES: Final[PolicyInfo] = _policy(
    name="add-image-pull-secrets",
    title="Add the registry's pull Secret to workloads",
    description="A tenant's workload that pulls from a registry refers to that registry's pull Secret.",
    level=Level.REMEDIATE,
    severity=Severity.MEDIUM,
    remediation=(
        "Add the entry to `imagePullSecrets` of the Pod template, beside the existing ones. In a preview or update "
        "the policy adds it itself."
    ),
    url="https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/",
)

HOSTS: Final[PolicyInfo] = _policy(
    name="disallow-noncanonical-image-hosts",
    title="Disallow other names of a registry in images",
    description="Images name a registry by its canonical host: the kubelet finds a login by that exact name only.",
    level=Level.MANDATORY,
    severity=Severity.MEDIUM,
    remediation="Write the registry's canonical host into the image reference.",
)

SIMILAR_HOSTS: Final[PolicyInfo] = _policy(
    name="disallow-similar-image-hosts",
    title="Disallow hosts in images that may be another name of a registry",
    description="A host of a registry's domain may be that registry, and the kubelet finds no login for it.",
    level=Level.ADVISORY,
    severity=Severity.LOW,
    remediation=(
        "If it is the same registry, write its canonical host into the image reference and name the other in "
        "`rejectedHosts`. If it is another registry, declare it, or leave it."
    ),
)


def table_of(settings: Settings) -> PodTable:
    """Return the kinds that have Pods made: those that are known, and those of the setting `workloads`."""
    rows = [
        PodKind(
            f"{row['group']}/any" if row["group"] else "v1",
            row["kind"],
            tuple(row["path"].split(".")),
            tuple(tuple(image.split(".")) for image in row.get("images") or ()),
        )
        for row in settings.get("workloads") or ()
    ]
    return pod_table(rows) if rows else KNOWN


def missing_references(item: Values, settings: Settings, namespace: Any = UNKNOWN) -> list[tuple[PodSpec, str]]:
    """Return the pull Secrets that Pods of a tenant's workload need and do not refer to, and which Pods those are."""
    place = own_namespace(item, namespace)
    pods = pod_specs(item, table_of(settings)) if isinstance(place, str) else []
    return [(pod, name) for pod in pods for name in _missing(item, pod, settings, str(place))]


def _missing(item: Values, pod: PodSpec, settings: Settings, namespace: str) -> list[str]:
    entries = dig(item, (*pod.path, "imagePullSecrets"))
    if is_unknown(entries):
        return []
    present = [dig(entry, ("name",)) for entry in sequence(entries)]
    hosts = {written_host(image) for _, image in pod.images(item)}
    return [
        registry.name
        for registry in known_registries(REFERENCES, settings)
        if registry.permits(namespace) and hosts & set(registry.hosts) and registry.name not in present
    ]


def judge_references(item: Values, settings: Settings, namespace: Any = UNKNOWN) -> Iterator[Finding]:
    """Find workloads that pull from a registry without a reference to its pull Secret."""
    for pod, name in missing_references(item, settings, namespace):
        problem = f"{describe(item)} pulls from the registry of {name} and does not refer to that Secret"
        yield Finding(problem, f"add {{name: {name}}} to {shown((*pod.path, 'imagePullSecrets'))}", pod.path)


def add_references(resource: Resource, settings: Settings, props: Values) -> bool:
    """Append the missing entries in a resource's own properties; what is there, and what is secret, stays as it is."""
    item = kubernetes_object(resource)
    missing = missing_references(item, settings, resource.namespace) if item else []
    for pod, name in missing:
        holder: Any = props
        for part in pod.path:
            if isinstance(part, str) and holder.get(part) is None:
                holder[part] = {}
            holder = holder[part]
        holder["imagePullSecrets"] = [*(holder.get("imagePullSecrets") or ()), {"name": name}]
    return bool(missing)


def judge_hosts(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find images that name a registry by a host that no login is for."""
    for path, subject, host, found in _other_names(item, HOSTS, settings):
        if found.certain:
            problem = f"{subject} names the registry of {found.registry.name} by {host}, which no login is for"
            yield Finding(problem, f"write {' or '.join(found.registry.hosts)} into the image", path)


def judge_similar_hosts(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find images from a host that may be another name of a registry."""
    for path, subject, host, found in _other_names(item, SIMILAR_HOSTS, settings):
        if not found.certain:
            problem = f"{subject} comes from {host}, of the same domain as the registry of {found.registry.name}"
            yield Finding(problem, f"if it is that registry, write {' or '.join(found.registry.hosts)}", path)


def _other_names(item: Values, policy: PolicyInfo, settings: Settings) -> Iterator[tuple[Path, str, str, OtherName]]:
    """Yield where an image stands that may name a registry otherwise, what it is called, its host and what that is."""
    registries = known_registries(policy, settings)
    for path, image in (found for pod in pod_specs(item, table_of(settings)) for found in pod.images(item)):
        # What stands before an @ in a host would be user and password.
        host = written_host(image).rpartition("@")[2]
        found = other_name(registries, host)
        if found:
            name = dig(item, (*path[:-1], "name"))
            container = f"container {name}" if isinstance(name, str) else shown(path[:-1])
            # Only what the kubelet takes is known to be nothing but a reference.
            reference = f"image {image}" if image_host(image) else "an image that the kubelet refuses"
            yield path, f"{describe(item)}: {reference} of {container}", host, found


def judge_references_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find workload resources without the reference; in a deployment the remediation comes first."""
    for item in every_object(resource):
        yield from judge_references(item, settings, resource.namespace)
