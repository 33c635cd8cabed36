"""A manifest somewhere still says `external-secrets.io/v1beta1`, which ESO does not serve from 0.17 on.

The objects themselves live on as v1; the next sync of Argo CD, Flux or `kubectl apply` from that manifest fails. Seen
in the objects' `last-applied-configuration`, in their managed fields, and in the versions that the definitions keep.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pullsecrets.doctor.discovery import ESO_GROUP, served_versions
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import again_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.eso import GROUP
from pullsecrets.kube.marks import LAST_APPLIED
from pullsecrets.text import listed

NAME = "eso-v1beta1-manifests"
OLD = f"{ESO_GROUP}/v1beta1"
_KINDS = {"clustersecretstores": "ClusterSecretStore", "clusterexternalsecrets": "ClusterExternalSecret"}
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding for the objects that old manifests write, one for definitions that keep old objects."""
    if not served_versions(snapshot):
        return
    written = [
        f"{kind} {item['metadata']['name']} ({writer})"
        for plural, kind in _KINDS.items()
        for item in snapshot.cluster.items(f"{GROUP}/{plural}", metadata_only=True)
        if (writer := old_writer(item))
    ]
    if written:
        yield _finding(
            snapshot,
            cause=f"Manifests of {len(written)} objects still say {OLD}, which this cluster's ESO does not serve.",
            evidence=(f"last applied or managed as {OLD}: {listed(written)}",),
        )
    stored = [name for name in _definitions(snapshot) if name.endswith(f".{ESO_GROUP}")]
    if stored:
        yield _finding(
            snapshot,
            cause=f"Definitions still list v1beta1 among their stored versions: {listed(stored)}.",
            evidence=(f"status.storedVersions of {listed(stored)}: v1beta1",),
        )


def old_writer(item: Mapping[str, Any]) -> str | None:
    """Return who writes an object as v1beta1: a field manager, or `kubectl apply`; None when nobody does."""
    metadata = item["metadata"]
    annotations = cast("dict[str, str]", metadata.get("annotations") or {})
    if OLD in annotations.get(LAST_APPLIED, ""):
        return "last-applied-configuration"
    fields = cast("list[dict[str, Any]]", metadata.get("managedFields") or [])
    return next((f"manager {entry.get('manager', '')}" for entry in fields if entry.get("apiVersion") == OLD), None)


def _definitions(snapshot: Snapshot) -> list[str]:
    try:
        items = list(snapshot.cluster.items(_DEFINITIONS))
    except KubernetesApiError as error:
        if error.status == 403:
            return []
        raise
    return [item["metadata"]["name"] for item in items if "v1beta1" in _stored_versions(item)]


def _stored_versions(definition: Mapping[str, Any]) -> list[str]:
    status = cast("dict[str, Any]", definition.get("status") or {})
    return cast("list[str]", status.get("storedVersions") or [])


def _finding(snapshot: Snapshot, cause: str, evidence: tuple[str, ...]) -> Finding:
    return Finding(
        check=NAME,
        severity=Severity.WARNING,
        symptom="Argo CD, Flux or kubectl report `no matches for kind` on the next apply; until then nothing is seen.",
        cause=cause,
        evidence=evidence,
        fix=(
            f"grep -rl '{OLD}' <your GitOps repository>   # write external-secrets.io/v1 there, then sync",
            f"pull-secrets render --stack {snapshot.stack} --out <your GitOps repository>   # the stack's objects",
            again_command(snapshot),
        ),
        prevention="`pull-secrets lint` in the repository's pipeline.",
    )


CHECK = Check(NAME, "No manifest says external-secrets.io/v1beta1", find)
