"""Cleanup: removes hand-made pull Secrets that nothing uses any more, once ours is there, and brings them back.

Each is kept in Vault before it goes. A Secret that a Pod, a workload, a build or a ServiceAccount names, one that a
controller keeps, and one that opens other registries than the stack delivers there stays and is named with the reason.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pullsecrets.adoption import backups
from pullsecrets.adoption.handmade import HandMade, read_hand_made
from pullsecrets.config import Registry, StackConfig
from pullsecrets.coverage.audit import concerned_namespaces
from pullsecrets.credential.vault import VaultClient
from pullsecrets.errors import BadInputError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.ownership import read_deliveries
from pullsecrets.workloads.references import User, list_users

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Legacy:
    """One hand-made pull Secret in a namespace that receives ours."""

    namespace: str
    name: str
    type: str
    origin: str
    hosts: tuple[str, ...]
    registry: str | None
    """The registry of the stack that replaces it; None when it opens none."""
    users: tuple[str, ...]
    """What still names it."""
    stays: str | None
    """Why it is left; None when it can go."""
    secret: HandMade = field(repr=False)


def plan(
    config: StackConfig,
    cluster: KubernetesClient,
    namespaces: Sequence[str] = (),
    by_hand: Collection[str] = (),
) -> list[Legacy]:
    """List the hand-made pull Secrets of tenant namespaces; changes nothing.

    Args:
        cluster: the cluster, as an operator who may read Secrets.
        namespaces: only these; by default all that are declared or carry an opt-in label.
        by_hand: field managers that count as a person, such as a script's.

    Raises:
        BadInputError: when a namespace is no tenant of the stack.
    """
    live = {item["metadata"]["name"]: item for item in cluster.items("/api/v1/namespaces", metadata_only=True)}
    tenants = {name for names in concerned_namespaces(config, live).values() for name in names}
    strangers = [name for name in namespaces if name not in tenants]
    if strangers:
        raise BadInputError(
            f"namespace {strangers[0]!r}: neither declared in the stack nor labelled for one of its registries; "
            "allowed: its tenants, because the delivered Secret must exist before others are removed"
        )
    chosen = set(namespaces) or tenants
    found = read_hand_made(cluster, chosen, config.registries, by_hand)
    delivered = _delivered(config, cluster)
    users = list_users(cluster, namespaces[0] if len(namespaces) == 1 else None) if found else []
    return [_legacy(config, item, users, delivered) for item in found]


def carry_out(
    config: StackConfig, cluster: KubernetesClient, vault: VaultClient, planned: Sequence[Legacy], on_step: OnStep
) -> None:
    """Keep and then delete each Secret that can go, unless something has come to name it meanwhile.

    Raises:
        ConflictError: when somebody changes a Secret or its backup at the same time.
    """
    for item in planned:
        if item.stays or item.registry is None:
            continue
        kept = backups.save(vault, config, config.registry(item.registry), item.secret.found, [])
        names = [str(user) for user in list_users(cluster, item.namespace) if user.names(item.name)]
        if names:
            on_step(f"left: Secret {item.namespace}/{item.name}, which {', '.join(names)} names by now")
            continue
        backups.delete(cluster, item.secret.found)
        on_step(f"removed: Secret {item.namespace}/{item.name}, kept at {kept.path} version {kept.version}")


def restore(
    config: StackConfig,
    cluster: KubernetesClient,
    vault: VaultClient,
    namespace: str,
    names: Collection[str],
    on_step: OnStep,
) -> None:
    """Make the kept Secrets of a namespace again; those that are there as they were kept are left alone.

    Args:
        cluster: the cluster, as an operator who may create Secrets.
        names: only these; all that ESO does not deliver by default.

    Raises:
        BadInputError: when nothing is kept under these names.
        ConflictError: when there is a Secret of that name with other content.
    """
    delivered = {registry.name for registry in config.registries}
    kept = [
        item
        for item in backups.find(vault, config, config.vault_registries, namespace)
        if (item.secret in names if names else item.secret not in delivered)
    ]
    missing = sorted({*names} - {item.secret for item in kept})
    if missing or not kept:
        raise BadInputError(
            f"--restore: found no backup of {', '.join(missing) or 'any Secret'} of namespace {namespace!r} in Vault; "
            "allowed: what `adopt` or `cleanup` has kept there"
        )
    for item in kept:
        changed = backups.restore(cluster, backups.read(vault, config, item))
        on_step(f"{'restored' if changed else 'is there already'}: Secret {namespace}/{item.secret}")


def _legacy(
    config: StackConfig, item: HandMade, users: Sequence[User], delivered: Mapping[str, Collection[str]]
) -> Legacy:
    registry = _replaced_by(config, item)
    naming = tuple(str(user) for user in users if user.namespace == item.namespace and user.names(item.name))
    return Legacy(
        namespace=item.namespace,
        name=item.name,
        type=item.type,
        origin=item.origin,
        hosts=item.hosts,
        registry=registry.name if registry else None,
        users=naming,
        stays=_reason(item, registry, naming, delivered, _lost(config, item, delivered)),
        secret=item,
    )


def _reason(
    item: HandMade,
    registry: Registry | None,
    naming: Sequence[str],
    delivered: Mapping[str, Collection[str]],
    lost: Sequence[str],
) -> str | None:
    if item.managed:
        return f"kept by {item.origin}: remove it there"
    if item.entries is None:
        return item.trouble or "cannot be read: inspect it, and delete it by hand"
    if registry is None:
        return "opens none of the stack's registries"
    if item.name == registry.name or item.namespace not in delivered[registry.name]:
        return f"Secret {registry.name} is not delivered there: `pull-secrets adopt` first"
    if lost:
        return f"also opens {', '.join(lost)}, which nothing would open any more"
    return "still named" if naming else None


def _lost(config: StackConfig, item: HandMade, delivered: Mapping[str, Collection[str]]) -> list[str]:
    """Return the hosts of a Secret that no registry delivered to its namespace opens."""
    there = [registry for registry in config.registries if item.namespace in delivered[registry.name]]
    opened = {host for registry in there for host in (*registry.hosts, *registry.rejected_hosts)}
    return [host for host in item.hosts if host not in opened]


def _replaced_by(config: StackConfig, item: HandMade) -> Registry | None:
    by_name = next((registry for registry in config.vault_registries if registry.name == item.name), None)
    opened = (
        registry for registry in config.vault_registries if {*registry.hosts, *registry.rejected_hosts} & {*item.hosts}
    )
    return by_name or next(opened, None)


def _delivered(config: StackConfig, cluster: KubernetesClient) -> dict[str, set[str]]:
    """Return for each registry the namespaces that hold the Secret which ESO delivers."""
    return {
        registry.name: {name for name, found in read_deliveries(cluster, registry.name).items() if found.delivered}
        for registry in config.registries
    }
