"""Images name the registry by a host that the credential has no login for.

The kubelet looks a login up by the exact host in the image reference: `registry.example.com` is another one than
`registry.apps.example.com`, whatever both resolve to. Found on Pods whose image names a rejected host, and on Pods that
fail on another name of the registry.
"""

from collections.abc import Iterator, Sequence

from pullsecrets.config import Registry
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import carries, client, known, pod_evidence, pods_in, rows, staying, workload
from pullsecrets.image import written_host
from pullsecrets.policy.registries import KnownRegistry, other_name
from pullsecrets.text import listed
from pullsecrets.workloads.pods import PodPull

NAME = "image-host-not-in-credential"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield namespaces with images from another name of a registry."""
    for registry in snapshot.config.registries:
        concerned = {row.namespace for row in rows(snapshot) if row.registry == registry.name}
        for name, item in staying(snapshot):
            if name in concerned or carries(item, registry) or known(registry).permits(name):
                yield from _misnamed(snapshot, registry, name)


def _misnamed(snapshot: Snapshot, registry: Registry, namespace: str) -> Iterator[Finding]:
    registries = [known(other) for other in snapshot.config.registries]
    found = {pod: wrong for pod in pods_in(snapshot, namespace) if (wrong := _wrong_images(pod, registry, registries))}
    if not found:
        return
    failed = [pod for pod, wrong in found.items() if set(wrong) & set(pod.failed_images)]
    images = [image for wrong in found.values() for image in wrong]
    hosts = dict.fromkeys(written_host(image) for image in images)
    canonical = " or ".join(registry.hosts)
    yield Finding(
        check=NAME,
        severity=Severity.TENANT if failed else Severity.WARNING,
        symptom=f"Pods in {namespace} have no login for their image's host, although they have Secret {registry.name}.",
        cause=f"Their images name the registry as {', '.join(hosts)}, and the login is for {canonical}.",
        evidence=(
            *pod_evidence(list(found)),
            f"images: {listed(dict.fromkeys(images))}",
            f"stack {snapshot.stack}: hosts of {registry.name}: {canonical}",
        ),
        fix=tuple(dict.fromkeys(_edit(pod, registry) for pod in found)),
        prevention="Lint manifests with `pull-secrets lint`: disallow-noncanonical-image-hosts finds the wrong host.",
        namespace=namespace,
        registry=registry.name,
    )


def _wrong_images(pod: PodPull, registry: Registry, registries: Sequence[KnownRegistry]) -> tuple[str, ...]:
    """Return images from another name of the registry; one that is only alike counts when the pull of it fails."""
    return tuple(
        image
        for image in pod.images
        if (found := other_name(registries, written_host(image)))
        and found.registry.name == registry.name
        and (found.certain or image in pod.failed_images)
    )


def _edit(pod: PodPull, registry: Registry) -> str:
    hosts = " or ".join(registry.hosts)
    target = workload(pod) or (None if pod.owner else f"pod/{pod.name}")
    if target is None:
        return f"# Pod {pod.namespace}/{pod.name} of {pod.owner}: write {hosts} into the image in what it is made from"
    return f"{client(target)} -n {pod.namespace} edit {target}   # write {hosts} into the image"


CHECK = Check(NAME, "Images name registries as their credential does", find)
