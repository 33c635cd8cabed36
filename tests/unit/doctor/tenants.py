"""A cluster with tenants as its lists answer, healthy until a test breaks it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pullsecrets.config import StackConfig, parse
from pullsecrets.credential.vault import EntryMetadata, MountSettings, VaultClient
from pullsecrets.credential.vault_entry import DIGEST_KEY, SEEDED_AT_KEY, SEEDED_HOSTS_KEY, VERSION_KEY
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.marks import FINALIZER_PREFIX
from tests.unit import delivered
from tests.unit.cluster import FakeCluster

Object = dict[str, Any]

APP = "app"
HOST = "app.registry.example.com"
REJECTED = "registry.example.com"
LABEL = {"example.com/app": "true"}
FINALIZER = f"{FINALIZER_PREFIX}{APP}"
DIGEST = "0123456789abcdef"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANTS = ("team-a", "team-b")
BUILDER = "builder"
"""Declared in the last tenant."""

_PULL_SECRET = "kubernetes.io/dockerconfigjson"
_TEMPLATES = {
    "ReplicaSet": "/apis/apps/v1/replicasets",
    "StatefulSet": "/apis/apps/v1/statefulsets",
    "DaemonSet": "/apis/apps/v1/daemonsets",
    "Job": "/apis/batch/v1/jobs",
    "ReplicationController": "/api/v1/replicationcontrollers",
}


def ago(duration: timedelta) -> str:
    """A time before the one that findings are judged by, as the API server writes it."""
    return (NOW - duration).isoformat(timespec="seconds").replace("+00:00", "Z")


def stack_config(binding: str = "serviceAccounts", delivery: str = "direct") -> StackConfig:
    """One registry and two tenants."""
    return parse(
        {
            "cluster": {"name": "test"},
            "vault": {"address": "https://vault.example.com:8200", "egress": {"cidrs": ["10.0.0.0/8"]}},
            "registries": [
                {
                    "name": APP,
                    "hosts": [HOST],
                    "rejectedHosts": [REJECTED],
                    "path": "registries/app",
                    "selector": LABEL,
                    "namespaces": ["team-*"],
                    "delivery": delivery,
                }
            ],
            "tenants": {
                "namespaces": [
                    {"name": TENANTS[0], "registries": [APP]},
                    {"name": TENANTS[1], "registries": [APP], "serviceAccounts": [BUILDER]},
                ]
            },
            "binding": binding,
        },
        "Pulumi.test.yaml",
    )


class FakeVault(VaultClient):
    """Knows the metadata of one path."""

    def __init__(self, metadata: EntryMetadata | None) -> None:
        self.metadata = metadata
        self.mount: MountSettings | None = None
        self.seconds_left: int | None = None

    def read_metadata(self, mount: str, path: str) -> EntryMetadata | None:
        assert (mount, path) == ("secret", "registries/app")
        return self.metadata

    def mount_settings(self, mount: str) -> MountSettings | None:
        assert mount == "secret"
        return self.mount

    def token_seconds(self) -> int | None:
        return self.seconds_left


@dataclass
class World:
    """Objects by namespace; tests change them in place."""

    binding: str = "serviceAccounts"
    delivery: str = "direct"
    namespaces: dict[str, Object] = field(default_factory=dict[str, Object])
    accounts: dict[tuple[str, str], Object] = field(default_factory=dict[tuple[str, str], Object])
    external_secrets: dict[str, Object] = field(default_factory=dict[str, Object])
    secrets: dict[str, Object] = field(default_factory=dict[str, Object])
    pods: list[Object] = field(default_factory=list[Object])
    templates: dict[tuple[str, str, str], Object] = field(default_factory=dict[tuple[str, str, str], Object])
    """What makes Pods, by kind, namespace and name."""
    events: list[Object] = field(default_factory=list[Object])
    policies: list[Object] = field(default_factory=list[Object])
    failed: list[Object] = field(default_factory=list[Object])
    custom: dict[str, str] = field(default_factory=dict[str, str])

    def cluster(self) -> FakeCluster:
        """The cluster as it is now."""
        fanout = {"metadata": {"name": APP}, "status": {"failedNamespaces": self.failed}}
        eso = "/apis/external-secrets.io/v1"
        return FakeCluster(
            ("/apis/admissionregistration.k8s.io/v1", {"resources": [{"kind": "MutatingAdmissionPolicy"}]}),
            lists={
                "/api/v1/namespaces": list(self.namespaces.values()),
                "/api/v1/serviceaccounts": list(self.accounts.values()),
                f"{eso}/externalsecrets": list(self.external_secrets.values()),
                f"{eso}/clusterexternalsecrets": [fanout],
                "/api/v1/secrets": list(self.secrets.values()),
                "/api/v1/pods": self.pods,
                "/api/v1/events": self.events,
                "/apis/apps/v1/deployments": [],
                **{path: self._made_by(kind) for kind, path in _TEMPLATES.items()},
                "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings": self.policies,
            },
        )

    def vault(self) -> FakeVault:
        """Vault as it is now."""
        metadata = EntryMetadata(
            current_version=3, live=True, cas_required=True, max_versions=10, custom=dict(self.custom)
        )
        return FakeVault(metadata)

    def snapshot(self, only: str | None = None) -> Snapshot:
        """What doctor looks at."""
        return Snapshot(
            stack_config(self.binding, self.delivery), "test", self.cluster(), self.vault(), now=NOW, only=only
        )

    def add_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """A namespace with its default ServiceAccount."""
        self.namespaces[name] = {"metadata": {"name": name, "labels": dict(labels or {})}}
        self.add_account(name, "default")

    def add_account(self, namespace: str, name: str, *entries: str) -> None:
        """A ServiceAccount with a list."""
        self.accounts[namespace, name] = {
            "metadata": {"namespace": namespace, "name": name},
            "imagePullSecrets": [{"name": entry} for entry in entries],
        }

    def deliver(self, namespace: str, digest: str = DIGEST) -> None:
        """What ESO and the binding make of a labelled namespace."""
        self.namespaces[namespace]["metadata"]["finalizers"] = [FINALIZER]
        self.external_secrets[namespace] = {
            "metadata": {
                "namespace": namespace,
                "name": APP,
                "creationTimestamp": ago(timedelta(days=9)),
                "uid": delivered.UID,
                "ownerReferences": [delivered.owner("ClusterExternalSecret", APP)],
            },
            "status": {"conditions": [ready("True", "secret synced")], "refreshTime": ago(timedelta(minutes=20))},
        }
        self.secrets[namespace] = pull_secret(namespace, ("ExternalSecret", APP), digest)
        for (place, _), account in self.accounts.items():
            if place == namespace:
                account["imagePullSecrets"].append({"name": APP})

    def add_pod(self, namespace: str, name: str = "auth-5d9-x", **change: Any) -> Object:
        """A running Pod of a Deployment that names its ServiceAccount's entries, with parts of it changed.

        Args:
            namespace: where.
            name: its name.
            change: `references`, `account`, `image`, `owner` (kind and name, or None), `own`, the list that the Pod
                template of its owner brings, and `fails` and `says`, the waiting reason and its message.
        """
        account = change.get("account", "default")
        entries = [entry["name"] for entry in self.accounts[namespace, account]["imagePullSecrets"]]
        waiting: Object = {"running": {}}
        if change.get("fails"):
            waiting = {"waiting": {"reason": change["fails"], "message": change.get("says", "")}}
        kind, owner = change.get("owner", ("ReplicaSet", "auth-5d9")) or (None, None)
        pod: Object = {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "creationTimestamp": ago(timedelta(hours=1)),
                "ownerReferences": [{"kind": kind, "name": owner, "controller": True}] if kind else [],
            },
            "spec": {
                "serviceAccountName": account,
                "imagePullSecrets": [{"name": entry} for entry in change.get("references", entries)],
                "containers": [{"name": "main", "image": change.get("image", f"{HOST}/team/auth:1")}],
            },
            "status": {"containerStatuses": [{"name": "main", "state": waiting}]},
        }
        self.pods.append(pod)
        if kind and owner:
            template = {"spec": {"imagePullSecrets": [{"name": entry} for entry in change.get("own", ())]}}
            metadata = {"namespace": namespace, "name": owner}
            self.templates[kind, namespace, owner] = {"metadata": metadata, "spec": {"template": template}}
        return pod

    def _made_by(self, kind: str) -> list[Object]:
        return [item for (found, _, _), item in self.templates.items() if found == kind]

    def add_event(self, kind: str, namespace: str, name: str, reason: str, message: str) -> None:
        """A warning as a controller or kubelet leaves it."""
        self.events.append(
            {
                "metadata": {"namespace": namespace, "name": f"{name}.{len(self.events)}"},
                "involvedObject": {"kind": kind, "namespace": namespace, "name": name},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "lastTimestamp": ago(timedelta(seconds=100 - len(self.events))),
            }
        )


def ready(status: str, message: str) -> Object:
    """An ExternalSecret's condition."""
    return {"type": "Ready", "status": status, "message": message, "lastTransitionTime": ago(timedelta(hours=2))}


def pull_secret(namespace: str, owner: tuple[str, str] | None, digest: str | None) -> Object:
    """A Secret as its metadata and type tell it."""
    found = delivered.secret(namespace, digest, APP)
    found["metadata"] |= {
        "creationTimestamp": ago(timedelta(days=9)),
        "ownerReferences": [delivered.owner(*owner)] if owner else [],
    }
    if owner is None:
        found["metadata"]["managedFields"] = [delivered.written("kubectl-create", data=delivered.DATA)]
    return found


def healthy(binding: str = "serviceAccounts") -> World:
    """Two declared tenants and one by label, delivered, bound and with running Pods; and a namespace without either."""
    world = World(binding)
    world.custom = {
        DIGEST_KEY: DIGEST,
        VERSION_KEY: "3",
        SEEDED_AT_KEY: ago(timedelta(days=1)),
        SEEDED_HOSTS_KEY: HOST,
    }
    for name in TENANTS:
        world.add_namespace(name, LABEL)
    world.add_account(TENANTS[1], BUILDER, "default-dockercfg-1")
    world.add_namespace("team-label", LABEL)
    for name in (*TENANTS, "team-label"):
        world.deliver(name)
        world.add_pod(name)
    world.add_pod(TENANTS[1], "build-1-x", account=BUILDER, owner=("Job", "build-1"))
    world.add_namespace("kube-system")
    world.add_pod("kube-system", "coredns-1", image="registry.k8s.io/coredns:1")
    return world
