"""The way back from an adoption: kept Secrets return with the entries for them, and delivery to the namespace ends."""

from dataclasses import dataclass, replace
from typing import Any, cast

from pullsecrets.adoption import backups
from pullsecrets.adoption.adopt import Migration, OnStep
from pullsecrets.errors import BadInputError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.editing import update
from pullsecrets.kube.marks import PULL_SECRET_TYPE
from pullsecrets.kube.objects import namespace_path, secret_path
from pullsecrets.tenancy import binding, offboard
from pullsecrets.text import counted


@dataclass(frozen=True)
class Undo:
    """What going back would do in one namespace."""

    namespace: str
    backups: tuple[backups.Backup, ...]
    offboarding: offboard.OffboardPlan


def plan(where: Migration, namespace: str) -> Undo:
    """Look at what was kept of a namespace; changes nothing.

    Raises:
        BadInputError: when nothing was kept, or the namespace does not exist.
    """
    kept = backups.find(where.vault, where.config, [where.registry], namespace)
    if not kept:
        folder = f"{where.config.vault.mount}/{where.registry.path}-backups/{namespace}"
        raise BadInputError(f"--undo: found no backup of namespace {namespace!r} in Vault below {folder}")
    offboarding = offboard.plan(where.config, where.cluster, namespace, [where.registry])
    if not offboarding.exists or offboarding.terminating:
        raise BadInputError(f"--undo: namespace {namespace!r} does not exist or is being deleted")
    return Undo(namespace, tuple(kept), offboarding)


def carry_out(where: Migration, planned: Undo, timeout: float, on_step: OnStep) -> None:
    """Bring the kept Secrets and the entries for them back, and take the namespace out of the delivery.

    The Secret of the registry's name gets the namespace as a second owner first: the garbage collector then lets it
    stand when ESO's object goes, and its old content is written over the new one without a moment between.

    Raises:
        ConflictError: when a Secret of a kept name was recreated with other content.
    """
    cluster, name = where.cluster, where.registry.name
    kept = [backups.read(where.vault, where.config, item) for item in planned.backups]
    same = next((item for item in kept if item.manifest["metadata"]["name"] == name), None)
    for item in kept:
        if item is not same:
            backups.restore(cluster, item)
            _append(cluster, planned.namespace, item)
    on_step(f"back: {counted(len(kept) - (same is not None), 'Secret')} of other names")
    in_place = same is not None and same.manifest["type"] == PULL_SECRET_TYPE
    if in_place:
        _hold(cluster, planned.namespace, name)
    staying = same.service_accounts if same else ()
    leaving = tuple(account for account in planned.offboarding.service_accounts if account not in staying)
    offboarding = replace(planned.offboarding, service_accounts=leaving)
    offboard.carry_out(where.config, cluster, offboarding, timeout, on_step)
    if same:
        _put_back(cluster, same, in_place=in_place)
        _append(cluster, planned.namespace, same)
        on_step(f"back: Secret {name}, as it was kept")


def _append(cluster: KubernetesClient, namespace: str, kept: backups.Kept) -> None:
    live = {item["metadata"]["name"] for item in cluster.items(f"/api/v1/namespaces/{namespace}/serviceaccounts")}
    accounts = [name for name in kept.service_accounts if name in live]
    binding.bind(cluster, namespace, accounts, [kept.manifest["metadata"]["name"]])


def _hold(cluster: KubernetesClient, namespace: str, name: str) -> None:
    """Make the namespace a second owner of the Secret: the garbage collector deletes only what has no owner left."""
    owner = cluster.get(namespace_path(namespace))["metadata"]
    anchor = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": owner["uid"]}

    def add(secret: dict[str, Any]) -> bool:
        owners = cast("list[dict[str, Any]]", secret["metadata"].setdefault("ownerReferences", []))
        if any(item["uid"] == owner["uid"] for item in owners):
            return False
        owners.append(anchor)
        return True

    update(cluster, secret_path(namespace, name), add)


def _put_back(cluster: KubernetesClient, kept: backups.Kept, *, in_place: bool) -> None:
    metadata = kept.manifest["metadata"]
    path = secret_path(metadata["namespace"], metadata["name"])
    live = cluster.find(path)
    if live is None or not in_place:
        backups.restore(cluster, kept)
        return

    def write(secret: dict[str, Any]) -> bool:
        if backups.is_as_kept(secret, kept):
            return False
        version = secret["metadata"]["resourceVersion"]
        secret.clear()
        secret.update({**kept.manifest, "metadata": {**metadata, "resourceVersion": version}})
        return True

    update(cluster, path, write)
