"""Pack `workload-pull-secrets`: workloads of tenants refer to the pull Secret of each registry that they pull from."""

from collections.abc import Iterator
from typing import Any, Final

from pullsecrets.data import UNKNOWN, Path, Values, dig, dig_all, sequence
from pullsecrets.guard.kinds import POD_SPECS
from pullsecrets.guard.targets import describe, group_of, kind_of, own_namespace
from pullsecrets.image import written_host
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
from pullsecrets.policy.registries import REGISTRIES, known_registries

_TAGS = ("kubernetes", "pull-secret", "workloads")
_URL = "https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/"

REFERENCES: Final = PolicyInfo(
    name="add-image-pull-secrets",
    title="Add the registry's pull Secret to workloads",
    description="A tenant's workload that pulls from a registry refers to that registry's pull Secret.",
    level=Level.REMEDIATE,
    severity=Severity.MEDIUM,
    remediation=(
        "Add the entry to `imagePullSecrets` of the Pod template, beside those that are there. In a preview or update "
        "the policy adds it itself."
    ),
    url=_URL,
    tags=_TAGS,
    settings=REGISTRIES,
)

HOSTS: Final = PolicyInfo(
    name="disallow-noncanonical-image-hosts",
    title="Disallow other names of a registry in images",
    description="Images name a registry by its canonical host: the kubelet finds a login by that exact name only.",
    level=Level.MANDATORY,
    severity=Severity.MEDIUM,
    remediation="Write the registry's canonical host into the image reference.",
    url="https://kubernetes.io/docs/concepts/containers/images/#config-json",
    tags=_TAGS,
    settings=REGISTRIES,
)


def pod_spec_of(item: Values) -> Path | None:
    """Return where a workload keeps the specification of its Pods, None for what is no workload."""
    return POD_SPECS.get((group_of(item), kind_of(item)))


def missing_references(item: Values, settings: Settings, namespace: Any = UNKNOWN) -> list[str]:
    """Return the pull Secrets that a workload of a tenant needs and does not refer to."""
    pod = pod_spec_of(item)
    place = own_namespace(item, namespace)
    if pod is None or not isinstance(place, str):
        return []
    entries = dig(item, (*pod, "imagePullSecrets"))
    if is_unknown(entries):
        return []
    present = [dig(entry, ("name",)) for entry in sequence(entries)]
    hosts = {written_host(image) for _, image in images_of(item, pod)}
    return [
        registry.name
        for registry in known_registries(REFERENCES, settings)
        if registry.permits(place) and hosts & set(registry.hosts) and registry.name not in present
    ]


def judge_references(item: Values, settings: Settings, namespace: Any = UNKNOWN) -> Iterator[Finding]:
    """Find workloads that pull from a registry without a reference to its pull Secret."""
    for name in missing_references(item, settings, namespace):
        pod = pod_spec_of(item) or ()
        problem = f"{describe(item)} pulls from the registry of {name} and does not refer to that Secret"
        yield Finding(problem, f"add {{name: {name}}} to {'.'.join(map(str, pod))}.imagePullSecrets", pod)


def add_references(resource: Resource, settings: Settings, props: Values) -> bool:
    """Append the missing entries in a resource's own properties; what is there, and what is secret, stays as it is."""
    item = kubernetes_object(resource)
    missing = missing_references(item, settings, resource.namespace) if item else []
    if not item or not missing:
        return False
    pod: Any = props
    for part in pod_spec_of(item) or ():
        pod = pod[part]
    pod["imagePullSecrets"] = [*(pod.get("imagePullSecrets") or ()), *({"name": name} for name in missing)]
    return True


def judge_hosts(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find images that name a registry by a host that no login is for."""
    pod = pod_spec_of(item)
    registries = known_registries(HOSTS, settings)
    for path, image in images_of(item, pod) if pod else ():
        for registry in registries:
            if registry.has_other_name(written_host(image)):
                problem = f"{describe(item)} names the registry of {registry.name} by a host that is not canonical"
                yield Finding(problem, f"write {' or '.join(registry.hosts)} into the image", path)


def judge_references_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find workload resources without the reference; in a deployment the remediation comes first."""
    for item in every_object(resource):
        yield from judge_references(item, settings, resource.namespace)


def judge_hosts_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find workload resources with images from another name of a registry."""
    for item in every_object(resource):
        yield from judge_hosts(item, settings)


def images_of(item: Values, pod: Path) -> Iterator[tuple[Path, str]]:
    """Yield the images of a workload's containers of every sort, and where each stands."""
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for path, image in dig_all(item, (*pod, kind, "*", "image")):
            if isinstance(image, str):
                yield path, image
