"""Whether a Secret is one that we deliver, and whether ESO wrote what it holds: one answer, from metadata alone.

The digest beside a Secret is a claim: ESO writes it onto an immutable Secret whose data it cannot change (0.20.4 and
2.x, `updateSecret` in pkg/controllers/externalsecret/externalsecret_controller.go), and so can anybody. ESO records no
resourceVersion of the Secret: `status.syncedResourceVersion` hashes the ExternalSecret's own generation, labels and
annotations, and `reconcile.external-secrets.io/data-hash` is written together with the digest. What does tell is who
the API server saw writing which field last (metadata.managedFields,
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha3_224
from typing import Any, cast

from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.eso import read_external_secrets
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, MANAGED_LABEL, PULL_SECRET_KEY
from pullsecrets.kube.objects import (
    Object,
    annotations_of,
    collection,
    condition,
    controller_of,
    labels_of,
    managed_fields,
    metadata_of,
    status_of,
)
from pullsecrets.kube.selectors import by_name

_KEPT = "secret retained due to DeletionPolicy=Retain"
"""What a Ready ExternalSecret says when the store held nothing and the Secret was left as it was."""
_MANAGER = "externalsecrets.external-secrets.io/"
_MANAGER_LENGTH = 63


class Fault(StrEnum):
    """Why ESO does not keep a Secret up to date; each must be put right before a rotation can arrive there."""

    FOREIGN = "it is not the one that ESO delivers"
    UNMANAGED = f"it has lost the label {MANAGED_LABEL}, without which ESO does not look after it"
    IMMUTABLE = "its field `immutable` is set, so that ESO writes its metadata and not its data"


@dataclass(frozen=True)
class Delivery:
    """What one namespace has of a registry: its ExternalSecret and its Secret, as metadata or more."""

    registry: str
    external_secret: Object | None
    secret: Object | None

    @property
    def fanned_out(self) -> bool:
        """Whether the ExternalSecret is the one that the registry's ClusterExternalSecret made.

        ESO leaves an ExternalSecret of that name alone that others made, and never removes it.
        """
        return self.external_secret is not None and fanned_out(self.external_secret, self.registry)

    @property
    def delivered(self) -> bool:
        """Whether the Secret is the one that our fan-out delivers.

        One whose owner is gone counts as well: the garbage collector is on its way.
        """
        ours = self.external_secret is None or self.fanned_out
        return ours and self.secret is not None and self._owner is not None

    @property
    def fault(self) -> Fault | None:
        """What keeps ESO from writing the Secret; None for one that it keeps, and for none."""
        if self.secret is None:
            return None
        if not self.delivered:
            return Fault.FOREIGN
        if labels_of(self.secret).get(MANAGED_LABEL) != "true":
            return Fault.UNMANAGED
        return Fault.IMMUTABLE if self._immutable(self.secret) else None

    def fix(self, namespace: str) -> str:
        """Return the command that puts the fault right; empty without one."""
        name = self.registry
        owner = controller_of(self.secret)
        match self.fault:
            case Fault.FOREIGN if owner:
                kind = str(owner["kind"]).lower()
                return f"kubectl -n {namespace} delete {kind} {owner['name']}   # or give its Secret another name"
            case Fault.FOREIGN:
                return f"pull-secrets adopt {namespace} --registry {name}"
            case Fault.UNMANAGED:
                return f"kubectl -n {namespace} label --overwrite secret {name} {MANAGED_LABEL}=true"
            case Fault.IMMUTABLE:
                return f"kubectl -n {namespace} delete secret {name}   # ESO recreates it within seconds"
            case None:
                return ""

    @property
    def overwritten(self) -> str | None:
        """Who wrote the content after ESO; None when nobody did."""
        return next(_overwritten(self.secret, self.registry, self._refreshed), None) if self.secret else None

    @property
    def written(self) -> str:
        """When ESO last wrote the Secret, RFC 3339 by the clock of the API server; empty when it never did."""
        return _last_written(self.secret, self.registry)

    @property
    def digest(self) -> str | None:
        """The digest that stands beside the Secret."""
        return annotations_of(self.secret).get(CONTENT_DIGEST_ANNOTATION)

    def unproved(self, digest: str | None = None) -> str | None:
        """Say why it is not proved that the Secret holds what its digest claims; None when it is.

        Args:
            digest: of the content that is wanted; None for whatever the Secret claims.
        """
        return next(self._doubts(digest), None)

    @property
    def _owner(self) -> Object | None:
        """The reference to the ExternalSecret of the registry's name that controls the Secret."""
        owner = controller_of(self.secret)
        named = owner is not None and metadata_of(self.secret).get("name") == self.registry == owner["name"]
        return owner if owner and named and _is_esos(owner, "ExternalSecret") else None

    @property
    def _refreshed(self) -> str:
        """When ESO last compared the Secret with what it reads; empty when it never did."""
        return status_of(self.external_secret).get("refreshTime", "")

    def _immutable(self, secret: Object) -> bool:
        """Tell whether the field `immutable` keeps ESO from writing, for all that is known.

        That it is false stands in managedFields as well: so it is where ESO wrote the Secret in a later second, and
        said that all went well.
        """
        since = max((time for _, time, fields in _written(secret) if "f:immutable" in fields), default=None)
        if since is None:
            return False
        synced = self.external_secret is not None and not_synced(self.external_secret) is None
        return not (synced and self._settled and self.written > since)

    @property
    def _settled(self) -> bool:
        """Whether ESO told how it went after it last wrote the Secret."""
        fields = managed_fields(self.external_secret)
        told = max((str(field.get("time", "")) for field in fields if field.get("subresource") == "status"), default="")
        return told >= self.written > ""

    def _doubts(self, digest: str | None) -> Iterator[str]:
        if self.external_secret is None:
            yield "no ExternalSecret: ESO has not fanned out to it"
            return
        if not self.fanned_out:
            yield f"another owner created the ExternalSecret {self.registry} there, and ESO leaves it alone"
            return
        if problem := not_synced(self.external_secret):
            yield problem
        if self.secret is None:
            yield "there is no Secret"
            return
        if self.fault:
            yield f"Secret {self.registry}: {self.fault}"
        if (self._owner or {}).get("uid") != metadata_of(self.external_secret).get("uid"):
            yield f"Secret {self.registry}: it belongs to an ExternalSecret that is gone"
        if digest is not None and self.digest != digest:
            yield f"synced last at {self._refreshed or 'an unknown time'}, with other content"
        if self.overwritten:
            yield f"Secret {self.registry}: {self.overwritten}"


def fanned_out(external_secret: Object, registry: str) -> bool:
    """Tell whether an ExternalSecret is the one that a registry's ClusterExternalSecret made."""
    owner = controller_of(external_secret)
    return owner is not None and _is_esos(owner, "ClusterExternalSecret") and owner["name"] == registry


def read_deliveries(cluster: KubernetesClient, registry: str, namespace: str | None = None) -> dict[str, Delivery]:
    """Return by namespace what there is of a registry: ExternalSecrets with their status, Secrets by metadata alone.

    Args:
        registry: name of the registry, and so of both objects.
        namespace: look in this one alone; None for all.
    """
    # First the Secrets: a status that is read later is of the Secret, or of a newer one.
    items = cluster.items(collection("v1", "Secret", namespace), by_name(registry), metadata_only=True)
    secrets = {str(item["metadata"]["namespace"]): item for item in items}
    external = read_external_secrets(cluster, registry, namespace)
    names = sorted(external.keys() | secrets.keys())
    return {name: Delivery(registry, external.get(name), secrets.get(name)) for name in names}


def content_fields(field: Object) -> dict[str, Any]:
    """Return the part of an entry of managedFields that tells who wrote the content of a Secret, and when."""
    fields = cast("Object", field.get("fieldsV1") or {})
    kept = {key: fields[key] for key in ("f:data", "f:immutable") if key in fields}
    if _writes_digest(fields):
        kept["f:metadata"] = {"f:annotations": {_DIGEST_FIELD: {}}}
    told = {key: field[key] for key in ("manager", "time", "subresource") if key in field}
    return {**told, "fieldsV1": kept}


def field_manager(external_secret: str) -> str:
    """Return the field manager under which ESO writes the Secret of an ExternalSecret (`fqdnFor` in its source)."""
    name = f"{_MANAGER}{external_secret}"
    if len(name) <= _MANAGER_LENGTH:
        return name
    return f"{_MANAGER}sha3/{sha3_224(external_secret.encode()).hexdigest()}"


_DIGEST_FIELD = f"f:{CONTENT_DIGEST_ANNOTATION}"
_DATA_FIELD = f"f:{PULL_SECRET_KEY}"


def _is_esos(owner: Object, kind: str) -> bool:
    return owner["kind"] == kind and str(owner.get("apiVersion", "")).startswith("external-secrets.io/")


def not_synced(external_secret: Object) -> str | None:
    """Say what an ExternalSecret tells of its last sync when that did not write its Secret; None when it did."""
    ready = condition(external_secret, "Ready")
    if ready is None:
        return "not reconciled yet"
    if ready["status"] != "True":
        return ready.get("message") or ready.get("reason") or "not Ready"
    return "ESO found nothing at the path and left the Secret as it was" if ready.get("message") == _KEPT else None


def _overwritten(secret: Object, registry: str, refreshed: str) -> Iterator[str]:
    """Say whether somebody wrote the content after ESO last did, or last compared it with what it reads.

    Times are RFC 3339 in UTC, so that later ones sort later. They are whole seconds: who wrote in the same one as ESO
    may have written after it, until ESO compares again.
    """
    written = list(_written(secret))
    ours, latest = field_manager(registry), _last_written(secret, registry)
    if not any(_writes_data(fields) for _, _, fields in written):
        yield "it is not recorded who wrote its data (metadata.managedFields)"
    for manager, time, fields in written:
        content = _writes_data(fields) or _writes_digest(fields)
        if content and manager != ours and time >= max(latest, refreshed):
            yield f"{manager or 'somebody'} wrote its content at {time}, and ESO has not compared it since"


def _last_written(secret: Object | None, registry: str) -> str:
    ours = field_manager(registry)
    return max((time for manager, time, _ in _written(secret) if manager == ours), default="")


def _written(item: Object | None) -> Iterator[tuple[str, str, Object]]:
    """Yield who wrote to an object, when, and which fields it still holds of it."""
    for field in managed_fields(item):
        yield str(field.get("manager", "")), str(field.get("time", "")), cast("Object", field.get("fieldsV1") or {})


def last_writer(item: Object, field: str) -> str | None:
    """Return who wrote a top-level field last and when, as `argocd-controller at 2026-01-01T00:00:00Z`; None if nobody.

    Args:
        item: with its managedFields.
        field: such as `imagePullSecrets`.
    """
    writers = [(time, manager) for manager, time, fields in _written(item) if f"f:{field}" in fields]
    return f"{max(writers)[1] or 'somebody'} at {max(writers)[0]}" if writers else None


def _writes_data(fields: Object) -> bool:
    return _DATA_FIELD in fields.get("f:data", {})


def _writes_digest(fields: Object) -> bool:
    return _DIGEST_FIELD in fields.get("f:metadata", {}).get("f:annotations", {})
