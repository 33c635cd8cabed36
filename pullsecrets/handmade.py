"""Pull Secrets that this project did not deliver: which ones there are, who manages them, and which hosts they open.

Their content is read, by `adopt` and `cleanup` alone, and turned into digests at once.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, cast

from pullsecrets import redaction
from pullsecrets.backups import secret_path
from pullsecrets.config import Registry
from pullsecrets.credential.document import DockerConfigError, load
from pullsecrets.errors import PullSecretsError
from pullsecrets.inventory import PULL_SECRET_TYPE
from pullsecrets.kube import FIELD_MANAGER, KubernetesApiError, KubernetesClient
from pullsecrets.ownership import read_deliveries
from pullsecrets.strays import guess_origin

OLD_PULL_SECRET_TYPE = "kubernetes.io/dockercfg"  # noqa: S105 - the type's name

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
_SCHEME_AND_PATH = re.compile(r"^(?:https?://)?(?P<host>[^/]*)", re.IGNORECASE)


class Verdict(StrEnum):
    """How a hand-made login compares with the seeded one."""

    SAME = "same login"
    OTHER = "other login"
    UNREADABLE = "unreadable"
    NONE = "no login for the registry's hosts"


@dataclass(frozen=True)
class HandMade:
    """A Secret of other origin, without its content."""

    namespace: str
    name: str
    type: str
    origin: str
    managed: bool
    """Whether a controller or tool keeps it, so that it would come back, or be fought over."""
    immutable: bool
    hosts: tuple[str, ...]
    """Hosts that it opens; empty where it cannot be read."""
    logins: Mapping[str, str | None] | None = field(repr=False)
    """Digest of user and password by host; None for a login, or for the whole, that cannot be read."""
    found: dict[str, Any] = field(repr=False)
    """The Secret itself; never to be shown."""

    @property
    def serves(self) -> bool:
        """Whether the kubelet pulls with it: it looks at Secrets of two types only."""
        return self.type in {PULL_SECRET_TYPE, OLD_PULL_SECRET_TYPE}

    @property
    def in_place(self) -> bool:
        """Whether its content can be replaced without deleting it."""
        return self.type == PULL_SECRET_TYPE and not self.immutable

    def compared(self, registry: Registry, seeded: Mapping[str, str | None]) -> Verdict:
        """Compare the logins of the registry's canonical hosts with the seeded ones."""
        if self.logins is None:
            return Verdict.UNREADABLE
        ours = {host: digest for host, digest in self.logins.items() if host in registry.hosts}
        if not ours:
            return Verdict.NONE
        if None in ours.values():
            return Verdict.UNREADABLE
        return Verdict.SAME if ours.items() <= seeded.items() else Verdict.OTHER

    def other_hosts(self, registry: Registry) -> tuple[str, ...]:
        """Return the hosts that it opens and the registry's Secret does not."""
        return tuple(host for host in self.hosts if host not in (*registry.hosts, *registry.rejected_hosts))


def read_hand_made(
    cluster: KubernetesClient,
    namespaces: Collection[str],
    registries: Iterable[Registry],
    by_hand: Collection[str] = (),
) -> list[HandMade]:
    """Return the pull Secrets of some namespaces that our fan-out does not deliver, with their content read.

    Args:
        cluster: the cluster, as somebody who may read Secrets.
        namespaces: to look in.
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
    origins = {key: guess_origin(item["metadata"]) for key, item in wanted.items()}
    with ThreadPoolExecutor(max_workers=8) as pool:
        contents = dict(zip(wanted, pool.map(partial(_read, cluster), wanted), strict=True))
    accepted = {*_BY_HAND, *(f"field manager {name}" for name in by_hand)}
    return [
        _hand_made(content, origins[key], managed=origins[key] not in accepted)
        for key, content in sorted(contents.items())
        if content is not None
    ]


def read_logins(document: str | bytes, *, old: bool = False) -> dict[str, str | None] | None:
    """Return the digest of each host's login, as leniently as the kubelet reads it; None when it is no such document.

    Args:
        document: content of `.dockerconfigjson`, or of `.dockercfg`.
        old: whether it is the older form, which has no `auths` around the hosts.
    """
    try:
        content = load(document)
    except DockerConfigError:
        return None
    auths = content if old else content.get("auths")
    if not isinstance(auths, dict):
        return None
    return {_host(host): _login_digest(entry) for host, entry in cast("dict[str, Any]", auths).items()}


def _read(cluster: KubernetesClient, key: tuple[str, str]) -> dict[str, Any] | None:
    try:
        return cluster.find(secret_path(*key))
    except KubernetesApiError as error:
        if error.status != 403:
            raise
        raise PullSecretsError(
            f"Secret {'/'.join(key)}: you may not read it; nothing was changed; run as somebody with the role "
            "pull-secrets-migrator (migrator_roles)"
        ) from None


def _hand_made(found: dict[str, Any], origin: str, *, managed: bool) -> HandMade:
    data = cast("dict[str, str]", found.get("data") or {})
    redaction.register(*data.values())
    old = found["type"] == OLD_PULL_SECRET_TYPE
    document = _decoded(data.get(".dockercfg" if old else ".dockerconfigjson", ""))
    logins = None if document is None else read_logins(document, old=old)
    return HandMade(
        namespace=found["metadata"]["namespace"],
        name=found["metadata"]["name"],
        type=found["type"],
        origin=origin,
        managed=managed,
        immutable=bool(found.get("immutable")),
        hosts=tuple(sorted(logins or ())),
        logins=logins,
        found=found,
    )


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _host(key: str) -> str:
    found = _SCHEME_AND_PATH.match(key)
    return (found["host"] if found else key).lower()


def _login_digest(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return None
    fields = {key: value for key, value in cast("dict[str, Any]", entry).items() if isinstance(value, str)}
    login = _user_and_password(fields)
    if login is None:
        return None
    redaction.register(login, login.partition(":")[2])
    return hashlib.sha256(login.encode()).hexdigest()


def _user_and_password(fields: Mapping[str, str]) -> str | None:
    if fields.get("auth"):
        decoded = _decoded(fields["auth"])
        text = decoded.decode("utf-8", "replace").rstrip("\0") if decoded else ""
        return text if ":" in text else None
    user, password = fields.get("username", ""), fields.get("password", "")
    return f"{user}:{password}" if user and password else None
