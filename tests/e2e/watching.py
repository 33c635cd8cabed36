"""Sees every moment in which Pods of a namespace could not have pulled: from watches, so that none is missed."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.objects import entries_of
from tests.e2e.stack import DEADLINE, Stack, secret

SECRETS = "/api/v1/secrets"
ACCOUNTS = "/api/v1/serviceaccounts"
PULL_SECRET = "kubernetes.io/dockerconfigjson"
SECONDS = 900


@dataclass
class Seen:
    """What happened to the pull Secrets and ServiceAccounts of some namespaces, in the order in which it did."""

    namespaces: frozenset[str]
    secrets: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    entries: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What each namespace's ServiceAccount `default` lists."""
    named: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What Pods name that run since the beginning: a Pod's list is as its ServiceAccount's was at admission."""
    starting: set[str] = field(default_factory=set[str])
    """Namespaces in which a Pod that started could not have pulled for a moment."""
    running: set[str] = field(default_factory=set[str])
    """Namespaces in which a Pod that runs could not have pulled again for a moment."""

    @property
    def lapsed(self) -> set[str]:
        """Namespaces in which some Pod could not have pulled."""
        return self.starting | self.running

    def take(self, item: dict[str, Any], *, deleted: bool = False) -> None:
        """Take in an object as it is now."""
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        if item.get("type") == PULL_SECRET:
            (self.secrets.discard if deleted else self.secrets.add)((namespace, name))
        elif name == "default":
            self.entries[namespace] = [] if deleted else entries_of(item)

    def judge(self) -> None:
        """Note the namespaces in which nothing is to be pulled with at this moment."""
        for namespace in self.namespaces:
            there = {name for where, name in self.secrets if where == namespace}
            for names, lapsed in ((self.entries, self.starting), (self.named, self.running)):
                if not there & set(names.get(namespace, ())):
                    lapsed.add(namespace)


@contextmanager
def watching(stack: Stack, *namespaces: str) -> Iterator[Seen]:
    """Yield what is seen of namespaces; complete when the block has ended."""
    client = stack.client(stack.plane.kubeconfig("admin"))
    seen = Seen(frozenset(namespaces))
    versions: dict[str, str] = {}
    for path in (SECRETS, ACCOUNTS):
        found, versions[path] = client.snapshot(path)
        for item in found:
            # A list of a kind leaves the kind of its items out, and the metadata is what tells them apart.
            seen.take(item)
    seen.named = dict(seen.entries)
    seen.judge()
    assert not seen.starting, f"{seen.starting} cannot pull before anything was changed"
    events: list[dict[str, Any]] = []
    # Of its own, since other tests watch the same cluster at the same time.
    marker = f"seen-everything-{secrets.token_hex(4)}"
    threads = [
        threading.Thread(target=_record, args=(client, path, version, marker, events), daemon=True)
        for path, version in versions.items()
    ]
    for thread in threads:
        thread.start()
    yield seen
    _end(stack, marker)
    for thread in threads:
        thread.join()
    # One etcd counts the writes of both kinds, so their versions say what came first.
    for event in sorted(events, key=lambda event: int(event["object"]["metadata"]["resourceVersion"])):
        if event["object"]["metadata"]["namespace"] in seen.namespaces:
            seen.take(event["object"], deleted=event["type"] == "DELETED")
            seen.judge()


def _record(client: KubernetesClient, path: str, version: str, marker: str, events: list[dict[str, Any]]) -> None:
    for event in client.watch(path, {"resourceVersion": version}, SECONDS):
        if event["object"]["metadata"]["name"] == marker:
            return
        events.append(event)


def _end(stack: Stack, marker: str) -> None:
    """Make an object of each kind with the marker as name, after which a watch has seen all that came before."""
    for kind in ("Secret", "ServiceAccount"):
        metadata = {"name": marker, "namespace": "default"}
        path = f"/api/v1/namespaces/default/{kind.lower()}s"
        stack.admin.call("POST", path, {"apiVersion": "v1", "kind": kind, "metadata": metadata})
        stack.admin.call("DELETE", f"{path}/{marker}")


def settled(stack: Stack) -> None:
    """Wait until ESO has acted on everything that is declared: a Secret that would go has gone by then."""
    config = stack.config()
    forced = {registry.name: stack.force_sync(registry.name) for registry in config.registries}

    def acted(where: str, registry: str) -> None:
        source = stack.get(f"/apis/external-secrets.io/v1/namespaces/{where}/externalsecrets/{registry}")
        owners = [owner["uid"] for owner in stack.get(secret(where, registry))["metadata"]["ownerReferences"]]
        seen = source["metadata"].get("annotations", {}).get("external-secrets.io/force-sync")
        if seen != forced[registry] or source["metadata"]["uid"] not in owners:
            raise NotYet(f"{registry} in {where} is not what is declared now")

    for tenant in config.resolve_tenants():
        for registry in tenant.registries:
            until(lambda where=tenant.name, registry=registry: acted(where, registry), DEADLINE, "ESO has acted")
