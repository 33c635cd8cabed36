"""What controllers and kubelets reported as events: the causes that no object's status holds."""

from collections.abc import Mapping
from typing import Any

from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.client import KubernetesApiError, last_seen
from pullsecrets.redaction import redact

LONGEST = 400
"""Characters of a message that are shown."""

Messages = Mapping[tuple[str, str], tuple[str, ...]]


def warnings(snapshot: Snapshot, kind: str, reason: str) -> Messages:
    """Return the warnings about objects of a kind by namespace and name, newest first.

    Whoever may not read events gets none: they are evidence, and no check depends on them.
    """

    def read() -> Messages:
        scope = f"/namespaces/{snapshot.only}" if snapshot.only else ""
        query = {"fieldSelector": f"involvedObject.kind={kind},reason={reason},type=Warning"}
        try:
            found = list(snapshot.cluster.items(f"/api/v1{scope}/events", query))
        except KubernetesApiError as error:
            if error.status == 403:
                return {}
            raise
        messages: dict[tuple[str, str], list[str]] = {}
        for event in sorted(found, key=last_seen, reverse=True):
            about = event["involvedObject"]
            messages.setdefault((about.get("namespace", ""), about["name"]), []).append(_line(event))
        return {place: tuple(dict.fromkeys(lines)) for place, lines in messages.items()}

    return snapshot.once(f"events/{kind}/{reason}", read)


def _line(event: Mapping[str, Any]) -> str:
    text = " ".join(redact(str(event.get("message", ""))).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
