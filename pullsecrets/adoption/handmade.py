"""Pull Secrets that this project did not deliver: which ones there are, who manages them, and which hosts they open.

Their content is read, by `adopt` and `cleanup` alone, and turned into digests at once.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, cast

from pullsecrets import redaction
from pullsecrets.config import Registry
from pullsecrets.coverage.strays import guess_origin
from pullsecrets.credential import keys, kubelet
from pullsecrets.kube.client import FIELD_MANAGER, KubernetesApiError, KubernetesClient
from pullsecrets.kube.marks import LOGIN_KEYS, OLD_PULL_SECRET_TYPE, PULL_SECRET_KEY, PULL_SECRET_TYPE
from pullsecrets.kube.objects import secret_path
from pullsecrets.kube.ownership import read_deliveries

_BY_HAND = frozenset(
    {
        "kubectl create",
        "kubectl apply",
        "kubectl apply --server-side",
        "kubectl edit",
        "kubectl replace",
        "oc create",
        "a web console",
        "copy of a Secret that we delivered",
        f"field manager {FIELD_MANAGER}",
    }
)


class Verdict(StrEnum):
    """How a hand-made login compares with the seeded one."""

    SAME = "same login"
    OTHER = "other login"
    UNREADABLE = "unreadable"
    NONE = "no login for the registry's hosts"


@dataclass(frozen=True)
class Entry:
    """One login of a Secret, without its content."""

    key: str = field(repr=False)
    digest: str
    """Of user and password."""

    @property
    def host(self) -> str:
        """The registry that it is for, with wildcards."""
        return keys.host_of(self.key)

    def __str__(self) -> str:
        """Return the key, without a user and password in it."""
        return keys.shown(self.key)

    def opens_on(self, host: str) -> bool:
        """Tell whether the kubelet uses it for some image of a registry."""
        return keys.opens_on(self.key, host)

    def opens(self, image: str) -> bool:
        """Tell whether the kubelet uses it for an image."""
        return keys.opens(self.key, image)


@dataclass(frozen=True)
class HandMade:
    """An unmanaged Secret, without its content."""

    namespace: str
    name: str
    type: str
    origin: str
    managed: bool
    """Whether a controller or tool keeps it, so that it would come back, or be fought over."""
    immutable: bool
    entries: tuple[Entry, ...] | None = field(repr=False)
    """Its logins; None where the kubelet cannot read them, or we may not."""
    trouble: str | None
    """Why we may not read it; None when we may."""
    found: dict[str, Any] = field(repr=False)
    """The Secret itself; never to be shown."""

    @property
    def serves(self) -> bool:
        """Whether the kubelet pulls with it: it looks at Secrets of two types only."""
        return self.type in LOGIN_KEYS

    @property
    def in_place(self) -> bool:
        """Whether its content can be replaced without deleting it."""
        return self.type == PULL_SECRET_TYPE and not self.immutable

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that it opens, with the wildcards in them; empty where it cannot be read."""
        return tuple(sorted({entry.host for entry in self.entries or ()}))

    def compared(self, registry: Registry, seeded: Iterable[Entry]) -> Verdict:
        """Compare each login that opens an image of the registry with the seeded one."""
        if self.entries is None:
            return Verdict.UNREADABLE
        if not any(entry.opens_on(host) for entry in self.entries for host in registry.hosts):
            return Verdict.NONE
        return Verdict.OTHER if self.other_logins(registry, seeded) else Verdict.SAME

    def other_logins(
        self, registry: Registry, seeded: Iterable[Entry], images: Iterable[str] = ()
    ) -> dict[Entry, tuple[str, ...]]:
        """Return the entries, such as one for a path, that open the registry with another login than the seeded one.

        Each comes with the images in use that it is tried for.
        """
        known = {(entry.host, entry.digest) for entry in seeded}
        images = sorted(set(images))
        return {
            entry: tuple(image for image in images if entry.opens(image))
            for entry in self.entries or ()
            if any(entry.opens_on(host) and (host, entry.digest) not in known for host in registry.hosts)
        }

    def opens_besides(
        self, registry: Registry, seeded: Collection[Entry], images: Iterable[str]
    ) -> dict[Entry, tuple[str, ...]]:
        """Return the entries that open what the registry's Secret will not, with the images in use that they pull.

        One for a rejected host counts where an image in use names that host.

        Args:
            seeded: what that Secret holds.
            images: what the namespace's Pods and workloads pull.
        """
        besides: dict[Entry, tuple[str, ...]] = {}
        hosts = (*registry.hosts, *registry.rejected_hosts)
        images = sorted(set(images))
        for entry in self.entries or ():
            pulled = tuple(image for image in images if entry.opens(image) and not _opened(seeded, image))
            if pulled or entry.host not in hosts:
                besides[entry] = pulled
        return besides


def read_hand_made(
    cluster: KubernetesClient,
    namespaces: Collection[str],
    registries: Iterable[Registry],
    by_hand: Collection[str] = (),
) -> list[HandMade]:
    """Return the pull Secrets of some namespaces that our fan-out does not deliver, with their content read.

    Args:
        cluster: the cluster, as a user who may read Secrets.
        registries: Secrets of these names are looked at whatever their type.
        by_hand: field managers that count as a person too, such as a script's.
    """
    names = {registry.name for registry in registries}
    delivered = {
        (namespace, name)
        for name in names
        for namespace, found in read_deliveries(cluster, name).items()
        if found.delivered
    }
    queries = [
        f"type={PULL_SECRET_TYPE}",
        *(f"metadata.name={name},type!={PULL_SECRET_TYPE}" for name in sorted(names)),
    ]
    wanted = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item
        for query in queries
        for item in cluster.items("/api/v1/secrets", {"fieldSelector": query}, metadata_only=True)
        if item["metadata"]["namespace"] in namespaces
        and (item["metadata"]["namespace"], item["metadata"]["name"]) not in delivered
    }
    origins = {key: guess_origin(item) for key, item in wanted.items()}
    with ThreadPoolExecutor(max_workers=8) as pool:
        contents = dict(zip(wanted, pool.map(partial(_read, cluster), wanted), strict=True))
    accepted = {*_BY_HAND, *(f"field manager {name}" for name in by_hand)}
    return [
        _hand_made(wanted[key]["metadata"], content, origins[key], managed=origins[key] not in accepted)
        for key, content in sorted(contents.items())
        if content is not None
    ]


def read_entries(document: bytes, *, old: bool = False) -> tuple[Entry, ...] | None:
    """Return the logins of a document as the kubelet reads them; None when it reads none.

    An entry without user and password is no login: container runtimes refuse it.

    Args:
        document: content of `.dockerconfigjson`, or of `.dockercfg`.
        old: whether it is the older form, which has no `auths` around the hosts.
    """
    try:
        logins = kubelet.read_logins(document, old=old)
    except kubelet.UnreadableError:
        return None
    return tuple(
        Entry(key, hashlib.sha256(":".join(login).encode("utf-8", "surrogateescape")).hexdigest())
        for key, login in logins.items()
        if any(login)
    )


def _opened(entries: Iterable[Entry], image: str) -> bool:
    return bool(keys.lookup(((entry.key, entry) for entry in entries), image))


def _read(cluster: KubernetesClient, key: tuple[str, str]) -> dict[str, Any] | KubernetesApiError | None:
    try:
        return cluster.find(secret_path(*key))
    except KubernetesApiError as error:
        if error.status != 403:
            raise
        return error


def _hand_made(
    metadata: Mapping[str, Any], found: dict[str, Any] | KubernetesApiError, origin: str, *, managed: bool
) -> HandMade:
    trouble, entries = None, None
    if isinstance(found, KubernetesApiError):
        trouble = "you may not read it; run as one of the migrators (`pull-secrets roles`)"
        found = {"type": "", "metadata": metadata}
    else:
        data = cast("dict[str, str]", found.get("data") or {})
        redaction.register(*data.values())
        document = _decoded(data.get(LOGIN_KEYS.get(found["type"], PULL_SECRET_KEY), ""))
        entries = None if document is None else read_entries(document, old=found["type"] == OLD_PULL_SECRET_TYPE)
    return HandMade(
        namespace=metadata["namespace"],
        name=metadata["name"],
        type=found["type"],
        origin=origin,
        managed=managed,
        immutable=bool(found.get("immutable")),
        entries=entries,
        trouble=trouble,
        found=found,
    )


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
