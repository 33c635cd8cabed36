"""The real node in the demo: logins at the registries, images for the workloads, and pulls as the registries saw them.

On a machine that cannot run a real node, the same workloads are on simulated nodes and nothing is pulled.
"""

import base64
import datetime as dt
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from local.controlplane import ControlPlane
from local.controlplane.node.machine import NodeUnsupported
from local.controlplane.node.node import RealNode
from local.demo.steps import UnexpectedError
from pullsecrets.config import StackConfig
from pullsecrets.delivery import verify
from pullsecrets.delivery.verify import Trial
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.podspec import DEPLOYMENT

_GROUPS = ("initContainers", "containers")
_SIDE_BY_SIDE = 16


def start_node(plane: ControlPlane) -> tuple[RealNode | None, str]:
    """Start the real node where this machine can run one; return it, and in a line which nodes the Pods are on."""
    try:
        return plane.node_up(), "Pods are on a real node: a kubelet pulls their images and runs them"
    except NodeUnsupported as cause:
        return None, f"Pods are on simulated nodes, nothing is pulled or run: {cause}"


def logins(document: str) -> Iterator[tuple[str, str, str]]:
    """Yield host, user and password of each entry of a dockerconfigjson document."""
    for host, entry in json.loads(document)["auths"].items():
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        yield host, user, password


def let_in(node: RealNode, document: str) -> list[tuple[str, str]]:
    """Let the logins of a credential in at their registries; return host and user of each."""
    found = list(logins(document))
    for host, user, password in found:
        node.add_user(host, user, password)
    return [(host, user) for host, user, _ in found]


def push_images(node: RealNode, objects: Sequence[Mapping[str, Any]], pushed: set[str]) -> int:
    """Push every image that workloads name, one of a kind each, unless it was pushed before; return how many."""
    images = {image: initial for item in objects for image, initial in _images(item)}
    missing = sorted(images.keys() - pushed)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        list(pool.map(lambda image: node.push(image, ends=images[image]), missing))
    pushed.update(missing)
    return len(missing)


def images_by_namespace(objects: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return what the workloads of each namespace pull."""
    found: dict[str, set[str]] = {}
    for item in objects:
        found.setdefault(item["metadata"]["namespace"], set()).update(image for image, _ in _images(item))
    return found


def _images(workload: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the images of a workload, and of each whether it is an init container's."""
    pod = DEPLOYMENT.spec(workload)
    return ((item["image"], group == "initContainers") for group in _GROUPS for item in pod.get(group) or ())


@dataclass(frozen=True)
class Seen:
    """What the registries of a namespace's images saw.

    Attributes:
        before: pulls that it let in with the login before the rotation.
        after: pulls that it let in with the new login, after the old one was revoked.
        refused: requests after that with the old one.
    """

    before: int
    after: int
    refused: int


def image_of(config: StackConfig, namespace: str) -> str:
    """Return the image that a namespace pulls anew: of its own registry, and of no other namespace."""
    tenant = next(tenant for tenant in config.resolve_tenants() if tenant.name == namespace)
    host = config.registry(tenant.registries[0]).hosts[0]
    return f"{host}/{namespace}/anew:1"


def pull_anew(cluster: KubernetesClient, config: StackConfig, node: RealNode, images: Mapping[str, str]) -> None:
    """Have each namespace pull its image, which no node has had yet, as `pull-secrets verify` does.

    Of a namespace its own image, so that the registry's count is by namespace; the command has one for all.

    Args:
        cluster: as a user who may verify, and record that for `audit`.
        config: of the stack.
        node: whose registries get the images.
        images: by namespace.

    Raises:
        UnexpectedError: one cannot pull; the message is the kubelet's.
    """

    def pull(namespace: str, image: str) -> list[verify.Pull]:
        node.push(image)
        return verify.run(cluster, Trial(config, verify.registry_of_image(config, image), image), [namespace])

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        pulls = [item for found in pool.map(pull, images, images.values()) for item in found]
    for namespace, message in verify.failures(pulls).items():
        raise UnexpectedError(f"a new Pod in {namespace} cannot pull: {message}")


def seen(
    node: RealNode, images: Mapping[str, Collection[str]], old: Collection[tuple[str, str]], since: dt.datetime
) -> dict[str, Seen]:
    """Return by namespace what the registries saw of its images.

    Args:
        node: whose registries.
        images: by namespace: those that none but its Pods pull.
        old: host and user of the logins before the rotation.
        since: when these were revoked.
    """
    found: dict[str, Seen] = {}
    pulls = node.pulls()
    for namespace, names in images.items():
        repositories = {image.rpartition(":")[0] for image in names}
        ours = [pull for pull in pulls if f"{pull.host}/{pull.repository}" in repositories]
        by_old = [pull for pull in ours if (pull.host, pull.user) in old]
        found[namespace] = Seen(
            before=sum(pull.succeeded for pull in by_old),
            after=sum(pull.succeeded and pull.at > since for pull in ours if pull not in by_old),
            refused=sum(pull.at > since for pull in by_old),
        )
    return found


def table(found: Mapping[str, Seen]) -> Table:
    """Return what the registries saw as a table."""
    shown = Table(title="Pulls, as the registries counted them", header_style="bold")
    for column in ("namespace", "with the login before", "with the new one, the old revoked", "refused"):
        shown.add_column(column, justify="left" if column == "namespace" else "right")
    for namespace, counts in found.items():
        shown.add_row(namespace, str(counts.before), str(counts.after), str(counts.refused))
    return shown
