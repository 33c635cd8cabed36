"""Pods on the real node: what becomes of one, and of one after another while something is done to their credential."""

import itertools
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.node.node import RealNode
from local.controlplane.waiting import NotYet, until
from tests.node.messages import seen, shape

APP = "app-registry.apps.sub.comptech-lab.com"
API = "registry-api.tanhdev.com"
SECONDS = 180
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Outcome:
    """What became of a Pod.

    Attributes:
        namespace: of the Pod.
        name: of the Pod.
        reason: why its container waits, as the kubelet has it; empty when it has pulled.
        message: the kubelet's own words.
    """

    namespace: str
    name: str
    reason: str = ""
    message: str = ""

    @property
    def pulled(self) -> bool:
        """Whether the image was pulled."""
        return not self.reason


@dataclass
class Pods:
    """Pods that are made one by one and deleted together."""

    api: KubernetesApi
    node: RealNode
    made: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def make(
        self,
        namespace: str,
        image: str,
        pull_secrets: Sequence[str] = (),
        *,
        policy: str = "Always",
        service_account: str = "default",
    ) -> str:
        """Make a Pod with one container; return its name.

        Args:
            namespace: where.
            image: of the container.
            pull_secrets: a list of its own; the ServiceAccount's otherwise.
            policy: when its image is pulled.
            service_account: whose.
        """
        name = f"pull-{secrets.token_hex(3)}-{next(_numbers)}"
        spec: dict[str, Any] = {
            "serviceAccountName": service_account,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "pull", "image": image, "imagePullPolicy": policy}],
        }
        if pull_secrets:
            spec["imagePullSecrets"] = [{"name": secret} for secret in pull_secrets]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        pods = f"/api/v1/namespaces/{namespace}/pods"
        if not pull_secrets:
            # Admission copies the account's list from a cache of its own, which may be behind.
            account = self.api.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}")
            listed = account.get("imagePullSecrets", [])
            until(lambda: _admitted(self.api, pods, pod, listed), SECONDS, f"{namespace}: Pods get the account's list")
        self.api.call("POST", pods, pod)
        self.made.append((namespace, name))
        return name

    def outcome(self, namespace: str, name: str, *, not_before: Collection[str] = ()) -> Outcome:
        """Wait until a Pod has pulled or cannot; return which.

        Args:
            namespace: of the Pod.
            name: of the Pod.
            not_before: reasons to wait over, for a Pod whose kubelet tries again.
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"

        def check() -> Outcome:
            pod = self.api.call("GET", path)
            found = _outcome(pod, not_before)
            if shape(found.message) == seen("no credentials"):
                _require_read(self.api, pod)
            return found

        return until(check, SECONDS, f"{namespace}/{name} settled")

    def pull(self, namespace: str, image: str, pull_secrets: Sequence[str] = (), *, policy: str = "Always") -> Outcome:
        """Make a Pod and wait until it has pulled or cannot."""
        return self.outcome(namespace, self.make(namespace, image, pull_secrets, policy=policy))

    def fresh(self, host: str, repository: str = "team/auth") -> str:
        """Push an image that no node has had; return how Pods name it."""
        image = f"{host}/{repository}:{secrets.token_hex(3)}-{next(_numbers)}"
        self.node.push(image)
        return image

    def delete(self) -> None:
        """Delete the Pods."""
        for namespace, name in self.made:
            _delete(self.api, namespace, name)
        self.made.clear()


class Pulls:
    """A new Pod after the other in some namespaces, each with an image that no node has had, while the block runs."""

    def __init__(self, api: KubernetesApi, node: RealNode, host: str, namespaces: Sequence[str]) -> None:
        self.outcomes: list[Outcome] = []
        self._pods = Pods(api, node)
        self._host = host
        self._namespaces = namespaces
        self._ended = threading.Event()
        self._errors: list[BaseException] = []

    @property
    def failures(self) -> list[Outcome]:
        """Those that could not pull."""
        return [outcome for outcome in self.outcomes if not outcome.pulled]

    def further(self, count: int = 1) -> list[Outcome]:
        """Wait until each namespace has so many outcomes of Pods that were made from now on; return these."""
        first = next(_numbers)

        def check() -> list[Outcome]:
            if self._errors:
                raise self._errors[0]
            later = [item for item in self.outcomes if int(item.name.rpartition("-")[2]) > first]
            counts = {name: sum(item.namespace == name for item in later) for name in self._namespaces}
            if min(counts.values()) < count:
                raise NotYet(f"further Pods: {counts}")
            return later

        return until(check, SECONDS * count, f"{count} further Pods in each of {', '.join(self._namespaces)}")

    @contextmanager
    def running(self) -> Iterator["Pulls"]:
        """Make Pods for the block; then wait for those under way."""
        threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in self._namespaces]
        for thread in threads:
            thread.start()
        try:
            self.further()
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(SECONDS)
        if self._errors:
            raise self._errors[0]

    def _run(self, namespace: str) -> None:
        try:
            while not self._ended.is_set():
                pods = Pods(self._pods.api, self._pods.node)
                image = pods.fresh(self._host, f"{namespace}/continuous")
                outcome = pods.pull(namespace, image, policy="IfNotPresent")
                self.outcomes.append(outcome)
                pods.delete()
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            self._errors.append(error)


def _outcome(pod: dict[str, Any], not_before: Collection[str]) -> Outcome:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for container in pod["status"].get("containerStatuses") or ():
        waiting = container["state"].get("waiting")
        if waiting is None:
            return Outcome(namespace, name)
        if waiting["reason"] not in {"ContainerCreating", "PodInitializing", *not_before}:
            return Outcome(namespace, name, waiting["reason"], waiting.get("message", ""))
    raise NotYet(f"phase {pod['status'].get('phase')}")


def _admitted(api: KubernetesApi, pods: str, pod: dict[str, Any], listed: list[dict[str, str]]) -> None:
    made = api.call("POST", f"{pods}?dryRun=All", pod)
    if any(item not in made["spec"].get("imagePullSecrets", []) for item in listed):
        raise NotYet(f"{made['spec'].get('imagePullSecrets')}")


def _require_read(api: KubernetesApi, pod: dict[str, Any]) -> None:
    """Wait over a pull that went without a login because the kubelet had not read a Secret that is there.

    It waits one second for one that no other Pod of its node names (pkg/kubelet/util/manager/watch_based_manager.go),
    which is too short on a busy machine; it tries again by itself.
    """
    name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))
    events = api.call("GET", f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid={uid}")["items"]
    reasons = {event["reason"] for event in events}
    if "Failed" not in reasons:
        raise NotYet(f"no event of the failed pull of {name}")
    if "FailedToRetrieveImagePullSecret" in reasons:
        there = {
            item["metadata"]["name"] for item in api.call("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]
        }
        if {item["name"] for item in pod["spec"]["imagePullSecrets"]} <= there:
            raise NotYet(f"the kubelet did not read the Secrets of {name} within a second")


def _delete(api: KubernetesApi, namespace: str, name: str) -> None:
    try:
        api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0")
    except RequestRefused as refused:
        if refused.status != 404:
            raise
