"""Where OpenShift's nodes pull a registry's images from instead, and whose login opens that."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.credential.keys import opens_on
from pullsecrets.data import mapping
from pullsecrets.doctor.platform import permitted_items
from pullsecrets.doctor.snapshot import Snapshot

_GROUP = "/apis/config.openshift.io"
_SETS = {
    f"{_GROUP}/v1/imagedigestmirrorsets": "imageDigestMirrors",
    f"{_GROUP}/v1/imagetagmirrorsets": "imageTagMirrors",
    "/apis/operator.openshift.io/v1alpha1/imagecontentsourcepolicies": "repositoryDigestMirrors",
}
"""Kinds that redirect pulls, and where they say it (openshift/api, config/v1 and operator/v1alpha1)."""


@dataclass(frozen=True)
class Mirror:
    """One source that nodes pull from mirrors."""

    kind: str
    """Such as `imagedigestmirrorsets`."""
    name: str
    source: str
    mirrors: tuple[str, ...]
    alone: bool
    """Whether the source is never asked."""

    def __str__(self) -> str:
        """Say it as evidence."""
        asked = "alone" if self.alone else "first"
        return f"{self.kind}/{self.name}: {self.source} is pulled {asked} from {', '.join(self.mirrors)}"


def mirrors_of(snapshot: Snapshot, registry: Registry) -> tuple[Mirror, ...]:
    """Return what redirects pulls from a registry; nothing where the cluster is none of OpenShift, or hides it."""
    if snapshot.config.cluster.platform != "openshift":
        return ()
    found = snapshot.once("mirrors", lambda: tuple(_read(snapshot)))
    return tuple(item for item in found if any(_covers(item.source, host) for host in registry.hosts))


def _read(snapshot: Snapshot) -> Iterator[Mirror]:
    for path, key in _SETS.items():
        for item in permitted_items(snapshot, path):
            for entry in cast("list[dict[str, Any]]", mapping(item.get("spec")).get(key) or []):
                yield Mirror(
                    path.rpartition("/")[2],
                    item["metadata"]["name"],
                    str(entry.get("source", "")),
                    tuple(map(str, entry.get("mirrors") or ())),
                    entry.get("mirrorSourcePolicy") == "NeverContactSource",
                )


def _covers(source: str, host: str) -> bool:
    """Tell whether a source is a host, what is below it, or a pattern such as `*.example.com` that takes it in.

    As `registries.conf` has it (containers-registries.conf(5), `prefix`).
    """
    named = source.partition("/")[0]
    return host.endswith(named[1:]) if named.startswith("*.") else named == host


def opened_by_namespace(snapshot: Snapshot, registry: Registry) -> bool:
    """Tell whether CRI-O's credential provider opens mirrors of a registry with the Secrets of a Pod's namespace.

    Its patterns are compared as the kubelet compares those of every provider (openshift/api,
    config/v1alpha1/types_crio_credential_provider_config.go).
    """
    if snapshot.config.cluster.platform != "openshift":
        return False
    path = f"{_GROUP}/v1alpha1/criocredentialproviderconfigs"
    items = snapshot.once("crio-credential-provider", lambda: permitted_items(snapshot, path))
    patterns = [str(pattern) for item in items for pattern in mapping(item.get("spec")).get("matchImages") or ()]
    return any(opens_on(pattern, host) for pattern in patterns for host in registry.hosts)


def mirror_login(snapshot: Snapshot, registry: Registry) -> str:
    """Name the login that opens mirrors of a registry; it is never ours to change."""
    if snapshot.config.cluster.platform != "openshift":
        return "the login that each node keeps for itself (CRI-O's `global_auth_file`)"
    cluster_wide = "the cluster pull-secret openshift-config/pull-secret"
    if opened_by_namespace(snapshot, registry):
        return f"{cluster_wide}, or what the namespace's Secrets hold for the mirror's own host"
    return f"{cluster_wide} (kube-system/additional-pull-secret of a hosted cluster)"
