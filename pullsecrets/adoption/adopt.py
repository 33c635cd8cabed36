"""Adoption: replaces hand-made pull Secrets with delivered ones, without interrupting pulls.

A Secret of the registry's name is taken over in place: ESO becomes its owner and writes the content over (tried on
0.20.4). One whose type cannot become ours is replaced once the label is on, so that ESO makes the new one if we do not
live to. One of another name stays, beside ours, until no Pod names it; `cleanup` then removes it. Before anything
changes, each is kept in Vault. A run that was killed is finished by running it again: what is left to do is read from
the cluster.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from pullsecrets.adoption import backups
from pullsecrets.adoption.handmade import Entry, HandMade, Verdict, read_entries, read_hand_made
from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.vault import VaultClient
from pullsecrets.credential.vault_entry import seeded_digest
from pullsecrets.delivery.proof import wait_for_digest
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube import objects
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.editing import edit, update
from pullsecrets.kube.eso import GROUP, external_secret_path, force_sync
from pullsecrets.kube.marks import LAST_APPLIED, PULL_SECRET_TYPE
from pullsecrets.kube.objects import is_leaving, labels_of
from pullsecrets.manifests.guard import ADMISSION
from pullsecrets.tenancy import binding, offboard, opt_in
from pullsecrets.text import counted
from pullsecrets.workloads.pods import entries_by_account
from pullsecrets.workloads.references import list_users

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Terms:
    """What whoever adopts accepts."""

    other_login: bool = False
    gap: bool = False
    by_hand: tuple[str, ...] = ()
    """Field managers that count as a person, such as a script's."""


@dataclass(frozen=True)
class Seeded:
    """The registry's credential, as adoption compares and delivers it."""

    digest: str
    document: str = field(repr=False)
    entries: tuple[Entry, ...] = field(repr=False)


@dataclass(frozen=True)
class Found:
    """One hand-made Secret and the action on it."""

    secret: HandMade
    verdict: Verdict
    action: str
    service_accounts: tuple[str, ...]
    """ServiceAccounts that list it."""
    other_logins: Mapping[Entry, tuple[str, ...]]
    """Its entries that open the registry with another login than the seeded one, with the images in use."""
    opens_besides: Mapping[Entry, tuple[str, ...]]
    """Its entries that open what ours will not, with the images in use that they pull."""
    leaves_lists: bool
    """Whether its entries go once ours are there."""


@dataclass(frozen=True)
class Adoption:
    """What adopting one namespace would do."""

    namespace: str
    declared: bool
    """Whether the stack file has it for this registry."""
    found: tuple[Found, ...]
    service_accounts: tuple[str, ...]
    """ServiceAccounts that lack our entry."""
    problems: tuple[str, ...]
    """Why it is refused; empty when it is not."""
    complete: bool
    """Whether nothing is left to do here but `cleanup`."""

    @property
    def wanted(self) -> bool:
        """Whether carrying the plan out changes this namespace."""
        return bool(self.found) and not self.problems and not self.complete


@dataclass(frozen=True)
class Migration:
    """One registry of a stack, with the servers to work on."""

    config: StackConfig
    cluster: KubernetesClient
    vault: VaultClient
    registry: Registry


def read_seeded(where: Migration) -> Seeded:
    """Read the credential that the registry was seeded with, to compare it; it is never shown.

    Raises:
        BadInputError: when there is none whose digest is recorded.
    """
    registry = where.registry
    if registry.sealed:
        raise BadInputError(
            f"--registry: found {registry.name!r}, which has source: sealedSecret; allowed: a registry with source: "
            "vault, because hand-made credentials are compared with the one in Vault and kept there"
        )
    mount = where.config.vault.mount
    metadata = where.vault.read_metadata(mount, registry.path)
    digest = seeded_digest(metadata)
    if metadata is None or digest is None:
        raise BadInputError(
            f"Vault path {mount}/{registry.path}: found no credential that `pull-secrets seed` wrote; "
            f"run `pull-secrets seed {registry.name}` first"
        )
    document = str(where.vault.read_version(mount, registry.path, metadata.current_version)[registry.property])
    return Seeded(digest, document, read_entries(document.encode()) or ())


def plan(
    where: Migration, seeded: Seeded, namespaces: Sequence[str] = (), terms: Terms | None = None
) -> list[Adoption]:
    """Look at hand-made Secrets and say what would become of each; changes nothing.

    Args:
        where: the registry to adopt for; its cluster as an operator who may read Secrets.
        namespaces: only these; by default all in which the registry may stand and a hand-made Secret serves it.

    Raises:
        BadInputError: when a namespace does not exist, may not have the registry, or the fan-out is not there.
    """
    terms, registry, cluster = terms or Terms(), where.registry, where.cluster
    _require_fan_out(cluster, registry)
    live = {item["metadata"]["name"]: item for item in cluster.items("/api/v1/namespaces")}
    _require_allowed(registry, namespaces, live)
    chosen = set(namespaces) or {name for name, item in live.items() if _may_stand(registry, item)}
    by_namespace: dict[str, list[HandMade]] = {name: [] for name in namespaces}
    for item in read_hand_made(cluster, chosen, [registry], terms.by_hand):
        serves = item.trouble or (item.entries and item.compared(registry, seeded.entries) is not Verdict.NONE)
        if item.name == registry.name or serves:
            by_namespace.setdefault(item.namespace, []).append(item)
    accounts = entries_by_account(cluster.items("/api/v1/serviceaccounts"))
    images = _images(cluster, by_namespace)
    return [
        _adoption(where, seeded, terms, live[name], items, accounts.get(name, {}), images.get(name, set()))
        for name, items in sorted(by_namespace.items())
    ]


def carry_out(
    where: Migration,
    seeded: Seeded,
    adoptions: Sequence[Adoption],
    timeout: float,
    on_step: OnStep,
    wait: Callable[..., Collection[str]] = wait_for_digest,
) -> None:
    """Adopt the namespaces whose plan has no problems, and wait for the proof.

    Args:
        timeout: seconds to wait for the proof.

    Raises:
        PullSecretsError: when a namespace is not proved within the time; running again goes on from there.
    """
    chosen = [item for item in adoptions if item.wanted]
    for item in chosen:
        for found in item.found:
            backups.save(where.vault, where.config, where.registry, found.secret.found, found.service_accounts)
    on_step(f"kept in Vault: {counted(sum(len(item.found) for item in chosen), 'Secret')}")
    replaced = [item.namespace for item in chosen if _make_ready(where, seeded, item, on_step)]
    for item in chosen:
        _label(where.cluster, item.namespace, where.registry)
        on_step(f"labelled: {item.namespace}")
    sync = partial(force_sync, where.cluster, where.registry, None)
    # Where a namespace had the label before, ESO waits ever longer after failures.
    if failing := [name for name in replaced if where.cluster.find(external_secret_path(name, where.registry.name))]:
        sync(failing)
    names = [item.namespace for item in chosen]
    missing = wait(where.cluster, where.registry, seeded.digest, names, timeout, sync) if names else ()
    if missing:
        raise PullSecretsError(
            f"registry {where.registry.name!r}: not proved within {timeout:g} s in {', '.join(sorted(missing))}; the "
            f"existing Secrets still work; see `pull-secrets doctor {min(missing)}`, then run the command again"
        )
    on_step(f"proved: {counted(len(chosen), 'namespace')} with the seeded content")
    for item in chosen:
        binding.bind(where.cluster, item.namespace, item.service_accounts, [where.registry.name])
        for found in item.found:
            if found.leaves_lists:
                binding.unbind(where.cluster, item.namespace, found.service_accounts, [found.secret.name])
    on_step("ServiceAccounts name the delivered Secret")


def _make_ready(where: Migration, seeded: Seeded, item: Adoption, on_step: OnStep) -> bool:
    """Make a namespace ready for ESO's delivery; tell whether a Secret of the registry's name had to be replaced."""
    name = where.registry.name
    of_same_name = next((found.secret for found in item.found if found.secret.name == name), None)
    if of_same_name and of_same_name.in_place:
        # What `kubectl apply` copied of the content would stay in the annotation, for everyone who lists metadata.
        update(where.cluster, objects.secret_path(item.namespace, name), _forget_applied)
    if of_same_name:
        # The name is there already; of another one, a Pod must not name a Secret that does not exist yet.
        binding.bind(where.cluster, item.namespace, item.service_accounts, [name])
    if of_same_name is None or of_same_name.in_place:
        return False
    _replace(where, of_same_name, seeded)
    on_step(f"replaced: Secret {item.namespace}/{name}")
    return True


def _adoption(
    where: Migration,
    seeded: Seeded,
    terms: Terms,
    namespace: Mapping[str, Any],
    items: Sequence[HandMade],
    accounts: Mapping[str, list[str]],
    images: Collection[str],
) -> Adoption:
    name, registry = str(namespace["metadata"]["name"]), where.registry
    found = tuple(_judged(registry, seeded, item, terms, accounts, images) for item in items)
    tenant = next((item for item in where.config.resolve_tenants() if item.name == name), None)
    wanted = tenant.service_accounts if tenant else ("default",)
    listing = {account for item in found if not item.secret.managed for account in item.service_accounts}
    lacking = [n for n in sorted({*wanted, *listing} & {*accounts}) if registry.name not in accounts[n]]
    by_pods = where.config.binding == ADMISSION
    taken_over = any(item.secret.name == registry.name for item in found)
    leaving = any(item.leaves_lists and item.service_accounts for item in found)
    return Adoption(
        namespace=name,
        declared=tenant is not None and registry.name in tenant.registries,
        found=found,
        service_accounts=() if by_pods else tuple(lacking),
        problems=tuple(problem for item in found for problem in _problems(registry, item, terms)),
        complete=registry.selects(labels_of(namespace)) and not (taken_over or leaving or (lacking and not by_pods)),
    )


def _judged(
    registry: Registry,
    seeded: Seeded,
    item: HandMade,
    terms: Terms,
    accounts: Mapping[str, list[str]],
    images: Collection[str],
) -> Found:
    same_name = item.name == registry.name
    verdict = item.compared(registry, seeded.entries)
    besides = item.opens_besides(registry, seeded.entries, images)
    stays = bool(besides) or item.managed or item.trouble is not None
    if same_name:
        action = "taken over in place" if item.in_place else "replaced"
    else:
        action = "stays, and so do entries for it" if stays else "stays until no Pod names it"
    return Found(
        secret=item,
        verdict=verdict,
        action=action,
        service_accounts=tuple(account for account, entries in accounts.items() if item.name in entries),
        other_logins=item.other_logins(registry, seeded.entries, images),
        opens_besides=besides,
        leaves_lists=not same_name and not stays and (verdict is Verdict.SAME or terms.other_login),
    )


def _listed(entries: Mapping[Entry, Sequence[str]]) -> str:
    return ", ".join(f"{entry} ({', '.join(images)})" if images else str(entry) for entry, images in entries.items())


def _problems(registry: Registry, found: Found, terms: Terms) -> list[str]:
    item, where = found.secret, f"Secret {found.secret.namespace}/{found.secret.name}"
    same_name = item.name == registry.name
    problems: list[str] = []
    if item.trouble:
        return [f"{where}: {item.trouble}"]
    if same_name and item.managed:
        problems.append(f"{where} is kept by {item.origin}; remove it there first, or both would write it")
    if item.serves and found.verdict in {Verdict.OTHER, Verdict.UNREADABLE} and not terms.other_login:
        under = f" under {_listed(found.other_logins)}" if found.other_logins else ""
        problems.append(
            f"{where}: {found.verdict}{under}, compared with what {registry.name} was seeded with; seed that login, or "
            "add --accept-other-login"
        )
    if same_name and item.serves and found.opens_besides and not terms.other_login:
        problems.append(
            f"{where} also opens {_listed(found.opens_besides)}, which nothing would open any more; keep those in a "
            "Secret of another name, or add --accept-other-login"
        )
    if same_name and item.serves and not item.in_place and not terms.gap:
        kind = "is immutable" if item.immutable else f"has type {item.type}"
        problems.append(
            f"{where} {kind}, so it must be deleted and recreated; a pull between the two requests fails and is tried "
            "again by the kubelet; add --accept-gap"
        )
    return problems


def _may_stand(registry: Registry, namespace: Mapping[str, Any]) -> bool:
    return registry.permits(namespace["metadata"]["name"]) and not is_leaving(namespace)


def _require_fan_out(cluster: KubernetesClient, registry: Registry) -> None:
    if cluster.find(f"{GROUP}/clusterexternalsecrets/{registry.name}") is None:
        raise BadInputError(
            f"ClusterExternalSecret {registry.name!r}: not found in the cluster; run `pulumi up` first, so that "
            "it can deliver what is adopted"
        )


def _require_allowed(registry: Registry, namespaces: Sequence[str], live: Collection[str]) -> None:
    for name in namespaces:
        if name not in live:
            raise BadInputError(f"namespace {name!r}: not found in the cluster; allowed: a namespace that exists")
        if not registry.permits(name):
            raise BadInputError(
                f"namespace {name!r}: registry {registry.name!r} may be delivered to "
                f"{', '.join(registry.namespaces)} only"
            )


def _images(cluster: KubernetesClient, namespaces: Collection[str]) -> dict[str, set[str]]:
    """Return by namespace what its Pods and workloads pull."""
    found: dict[str, set[str]] = {}
    for user in list_users(cluster) if namespaces else ():
        if user.namespace in namespaces:
            found.setdefault(user.namespace, set()).update(user.images)
    return found


def _label(cluster: KubernetesClient, namespace: str, registry: Registry) -> None:
    try:
        opt_in.opt_in(cluster, namespace, registry.selector)
    except KubernetesApiError as error:
        raise offboard.guard_error(error, namespace, registry.selector, "put on") from None


def _forget_applied(secret: dict[str, Any]) -> bool:
    annotations = cast("dict[str, str]", secret["metadata"].get("annotations") or {})
    return annotations.pop(LAST_APPLIED, None) is not None


def _replace(where: Migration, old: HandMade, seeded: Seeded) -> None:
    """Delete a Secret that cannot become ours, and make ours at once; ESO takes it over."""
    cluster, registry = where.cluster, where.registry
    _delete(cluster, old)
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": registry.name, "namespace": old.namespace},
        "type": PULL_SECRET_TYPE,
        "stringData": {".dockerconfigjson": seeded.document},
    }
    backups.create(cluster, manifest)


def _delete(cluster: KubernetesClient, old: HandMade) -> None:
    """Delete a Secret as long as it holds what it held; ESO, which labels it meanwhile, changes its version only."""

    def delete(live: dict[str, Any]) -> None:
        if not backups.same_content(live, old.found):
            raise backups.changed(live)
        backups.delete_as_read(cluster, live)

    edit(cluster, objects.secret_path(old.namespace, old.name), delete)
