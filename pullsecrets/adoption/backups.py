"""Backups in Vault of the Secrets that `adopt` and `cleanup` replace or delete, and their restore.

They stand at `<mount>/<path of the registry>-backups/<namespace>/<secret>`, which ESO's role cannot read. Nothing here
deletes one.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from pullsecrets import redaction
from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.document import content_digest
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.errors import ConflictError
from pullsecrets.kube.client import FIELD_MANAGER, KubernetesApiError, KubernetesClient
from pullsecrets.kube.objects import owners_of, secret_path

MANIFEST_KEY = "manifest"
ACCOUNTS_KEY = "serviceAccounts"
DIGEST_KEY = "digest"

_MADE_BY_THE_SERVER = ("creationTimestamp", "managedFields", "ownerReferences", "resourceVersion", "uid", "selfLink")


@dataclass(frozen=True)
class Backup:
    """One kept Secret, without its content."""

    registry: str
    namespace: str
    secret: str
    path: str
    version: int


@dataclass(frozen=True)
class Kept:
    """What a backup holds. Its representation shows no content."""

    manifest: dict[str, Any]
    service_accounts: tuple[str, ...]
    """ServiceAccounts that listed the Secret when it was kept."""

    def __repr__(self) -> str:
        """Show no content."""
        return f"Kept({self.manifest['metadata']['namespace']}/{self.manifest['metadata']['name']})"


def backup_path(registry: Registry, namespace: str, secret: str) -> str:
    """Return the KV path of a Secret's backup, below the mount."""
    return f"{registry.path}-backups/{namespace}/{secret}"


def save(
    vault: VaultClient,
    config: StackConfig,
    registry: Registry,
    secret: dict[str, Any],
    service_accounts: Sequence[str],
) -> Backup:
    """Keep a Secret as it is now, once: a second run with the same content writes nothing.

    The ServiceAccounts that an earlier backup names count on, also where the content is another one by now: a later
    run finds them changed already.

    Raises:
        ConflictError: when another client wrote the backup at the same time.
    """
    manifest = _manifest(secret)
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    path = backup_path(registry, namespace, name)
    mount, digest = config.vault.mount, _digest(manifest)
    known = vault.read_metadata(mount, path)
    version = known.current_version if known else 0
    if not _keeps(known, digest):
        text = json.dumps(manifest, sort_keys=True)
        redaction.register(text)
        listing = dict.fromkeys([*_listed_before(vault, mount, path, known), *service_accounts])
        data = {MANIFEST_KEY: text, ACCOUNTS_KEY: json.dumps(list(listing))}
        version = vault.write_with_cas(mount, path, data, version)
        saved = {"namespace": namespace, "secret": name, "registry": registry.name, "type": str(manifest["type"])}
        when = datetime.now(UTC).isoformat(timespec="seconds")
        vault.patch_metadata(mount, path, {**saved, DIGEST_KEY: f"{version}:{digest}", "saved-at": when})
    return Backup(registry.name, namespace, name, f"{mount}/{path}", version)


def _listed_before(vault: VaultClient, mount: str, path: str, known: EntryMetadata | None) -> list[str]:
    if known is None or not known.live:
        return []
    return cast("list[str]", json.loads(vault.read_version(mount, path, known.current_version)[ACCOUNTS_KEY]))


def find(vault: VaultClient, config: StackConfig, registries: Iterable[Registry], namespace: str) -> list[Backup]:
    """Return the backups of a namespace's Secrets, by metadata alone."""
    found: list[Backup] = []
    for registry in registries:
        for name in vault.list_names(config.vault.mount, f"{registry.path}-backups/{namespace}"):
            path = backup_path(registry, namespace, name)
            known = vault.read_metadata(config.vault.mount, path)
            if known and known.live:
                where = f"{config.vault.mount}/{path}"
                found.append(Backup(registry.name, namespace, name, where, known.current_version))
    return found


def read(vault: VaultClient, config: StackConfig, backup: Backup) -> Kept:
    """Return what a backup holds; never to be shown."""
    path = backup.path.removeprefix(f"{config.vault.mount}/")
    data = vault.read_version(config.vault.mount, path, backup.version)
    manifest = cast("dict[str, Any]", json.loads(data[MANIFEST_KEY]))
    redaction.register(*(str(value) for value in cast("dict[str, Any]", manifest.get("data") or {}).values()))
    return Kept(manifest, tuple(cast("list[str]", json.loads(data[ACCOUNTS_KEY]))))


def restore(cluster: KubernetesClient, kept: Kept) -> bool:
    """Make a Secret again as it was kept; return whether anything had to be done.

    Raises:
        ConflictError: when there is a Secret of that name with other content; it is never overwritten here.
    """
    metadata = kept.manifest["metadata"]
    path = secret_path(metadata["namespace"], metadata["name"])
    live = cluster.find(path)
    if live is None:
        create(cluster, kept.manifest)
        return True
    if not is_as_kept(live, kept):
        raise ConflictError(
            f"Secret {metadata['namespace']}/{metadata['name']}: there is one with other content; nothing was changed; "
            "if ESO delivers it use `pull-secrets adopt --undo`, else delete it first"
        )
    return False


def is_as_kept(live: dict[str, Any], kept: Kept) -> bool:
    """Tell whether a Secret holds what was kept and nobody owns it."""
    return _digest(live) == _digest(kept.manifest) and not owners_of(live)


def same_content(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two Secrets hold the same content under the same type."""
    return _digest(one) == _digest(other)


def create(cluster: KubernetesClient, manifest: dict[str, Any]) -> bool:
    """Create a Secret; return False when somebody was faster."""
    path = f"/api/v1/namespaces/{manifest['metadata']['namespace']}/secrets"
    try:
        cluster.request("POST", path, {"fieldManager": FIELD_MANAGER}, body=manifest)
    except KubernetesApiError as error:
        if error.reason != "AlreadyExists":
            raise
        return False
    return True


def delete(cluster: KubernetesClient, secret: dict[str, Any]) -> None:
    """Delete a Secret if it is still the one that was read; one that is gone is left gone.

    Raises:
        ConflictError: when somebody changed it since.
    """
    try:
        delete_as_read(cluster, secret)
    except KubernetesApiError as error:
        if error.status == 409 and error.refusal is None:
            raise changed(secret) from None
        if error.status != 404:
            raise


def delete_as_read(cluster: KubernetesClient, secret: dict[str, Any]) -> None:
    """Delete a Secret on the condition that it is still the one that was read.

    Raises:
        KubernetesApiError: when it is not, with 404 or 409; or any other refusal.
    """
    metadata = secret["metadata"]
    same = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": same}
    cluster.request("DELETE", secret_path(metadata["namespace"], metadata["name"]), body=options)


def changed(secret: dict[str, Any]) -> ConflictError:
    """Return the error for a Secret that is not any more what was read."""
    metadata = secret["metadata"]
    return ConflictError(
        f"Secret {metadata['namespace']}/{metadata['name']}: it was changed meanwhile and left as it is; run the "
        "command again"
    )


def _keeps(known: EntryMetadata | None, digest: str) -> bool:
    return known is not None and known.live and known.custom.get(DIGEST_KEY) == f"{known.current_version}:{digest}"


def _manifest(secret: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in secret["metadata"].items() if key not in _MADE_BY_THE_SERVER}
    redaction.register(*(str(value) for value in cast("dict[str, Any]", secret.get("data") or {}).values()))
    return {**secret, "apiVersion": "v1", "kind": "Secret", "metadata": metadata}


def _digest(secret: dict[str, Any]) -> str:
    content = {key: secret.get(key) for key in ("type", "data", "immutable")}
    return content_digest(json.dumps(content, sort_keys=True))
