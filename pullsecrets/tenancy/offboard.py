"""Offboarding: takes a namespace out of a registry's delivery in the order that leaves nothing behind.

Entries in ServiceAccounts go first: a Pod that is created from then on names no Secret that is about to vanish. Then
the label, whereupon ESO removes its ExternalSecret and the garbage collector the Secret; at last ESO's finalizer, which
ESO forgets (https://github.com/external-secrets/external-secrets/issues/6677). A namespace that is deleted keeps its
label, so that ESO takes the finalizer off itself. Every step looks at what is there, so a run that was killed is
finished by running it again.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pullsecrets.config import Registry, StackConfig
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube.client import FIELD_MANAGER, MERGE_PATCH, KubernetesApiError, KubernetesClient
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.kube.objects import conditions_of, finalizers_of, is_leaving, labels_of, namespace_path
from pullsecrets.kube.ownership import read_deliveries
from pullsecrets.kube.refusal import Refuser
from pullsecrets.manifests.guard import OPT_IN_SUFFIX
from pullsecrets.names import is_platform_namespace, matches
from pullsecrets.tenancy import binding
from pullsecrets.text import listed
from pullsecrets.workloads.references import User, list_users

OnStep = Callable[[str], None]

POLL_SECONDS = 0.3


class StillUsedError(PullSecretsError):
    """Pods would lose their pulls."""


class LeftBehindError(PullSecretsError):
    """Something stays that is not this command's to remove; what could be done was done."""


@dataclass(frozen=True)
class OffboardPlan:
    """What offboarding a namespace would do."""

    namespace: str
    exists: bool
    terminating: bool
    delete: bool
    registries: tuple[str, ...]
    labels: tuple[str, ...]
    """Keys of the opt-in labels that are taken off."""
    service_accounts: tuple[str, ...]
    """ServiceAccounts that list one of the Secrets."""
    external_secrets: tuple[str, ...]
    secrets: tuple[str, ...]
    """Secrets that go because an ExternalSecret of ours owns them."""
    foreign_secrets: tuple[str, ...]
    """Secrets of a registry's name that others made: they stay, and so do the entries for them."""
    finalizers: tuple[str, ...]
    """ESO's finalizers for these registries."""
    other_finalizers: tuple[str, ...]
    """Finalizers that stay because they are not known to be abandoned."""
    users: tuple[User, ...]
    """Pods and workloads that pull from one of the registries; all that there are when the namespace goes."""
    declarations: tuple[str, ...]
    """What the stack file still says of the namespace, and what to remove there."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether the namespace holds nothing of ours."""
        wanted = self.exists and (self.delete or self.terminating)
        return not wanted and not any(
            (self.labels, self.service_accounts, self.external_secrets, self.secrets, self.finalizers)
        )


def plan(
    config: StackConfig,
    cluster: KubernetesClient,
    namespace: str,
    registries: Sequence[Registry] = (),
    *,
    delete: bool = False,
) -> OffboardPlan:
    """Look at what a namespace holds of ours; changes nothing.

    Args:
        cluster: the cluster, as an operator.
        namespace: to be taken out.
        registries: only these; all of the stack by default.
        delete: whether the namespace is to be deleted too.

    Raises:
        BadInputError: when the namespace must not be deleted, or a label cannot go without another registry's.
    """
    chosen = tuple(registries) or config.registries
    _require_deletable(config, namespace, registries, delete=delete)
    found = cluster.find(namespace_path(namespace))
    declarations = tuple(declared_in(config, namespace, chosen))
    finalizers = finalizers_of(found)
    ours = [item for item in finalizers if item in {f"{FINALIZER_PREFIX}{registry.name}" for registry in chosen}]
    names = {registry.name for registry in chosen}
    users = list_users(cluster, namespace) if found else []
    external, secrets = _delivered(cluster, namespace, names) if found else ([], {})
    ours_there = {name for name, owned in secrets.items() if owned}
    ending = ours_there | (names - secrets.keys())
    return OffboardPlan(
        namespace=namespace,
        exists=found is not None,
        terminating=is_leaving(found),
        delete=delete,
        registries=tuple(registry.name for registry in chosen),
        labels=() if delete else removable_labels(config, chosen, labels_of(found)),
        service_accounts=tuple(u.name for u in users if u.kind == "ServiceAccount" and ending & {*u.pulls_with}),
        external_secrets=tuple(external),
        secrets=tuple(name for name, owned in sorted(secrets.items()) if owned),
        foreign_secrets=tuple(name for name, owned in sorted(secrets.items()) if not owned),
        finalizers=tuple(ours),
        other_finalizers=tuple(item for item in finalizers if item not in ours),
        users=tuple(user for user in users if _loses(user, chosen, ours_there, delete=delete)),
        declarations=declarations,
    )


def require_unused(planned: OffboardPlan) -> None:
    """Refuse to take the Secret away from what pulls with it.

    Raises:
        StillUsedError: naming what would lose its pulls.
    """
    lost = planned.labels or planned.secrets or planned.delete
    if planned.users and lost and not planned.terminating:
        what = "still run there" if planned.delete else f"still pull from or mount {', '.join(planned.registries)}"
        raise StillUsedError(
            f"namespace {planned.namespace!r}: {len(planned.users)} {what}: "
            f"{listed((str(user) for user in planned.users), 8)}; nothing was changed; move or delete them first, or "
            f"add --force, and "
            f"{'they are deleted too' if planned.delete else 'whatever needs a new pull afterwards fails'}"
        )


def carry_out(
    config: StackConfig, cluster: KubernetesClient, planned: OffboardPlan, timeout: float, on_step: OnStep
) -> None:
    """Do what was planned and wait until it shows.

    Raises:
        PullSecretsError: when something does not go within the time, naming why.
        LeftBehindError: when others' finalizers keep the namespace.
    """
    if not planned.exists or planned.nothing_to_do:
        return
    deadline = time.monotonic() + timeout
    if planned.delete or planned.terminating:
        _delete(cluster, planned, deadline, on_step)
        return
    selectors = {name: config.registry(name).selector for name in planned.registries}
    # The server judges a dry run too: a guard that would refuse the label must not find the entries gone already.
    _unlabel(cluster, planned, dry_run=True)
    ending = [name for name in planned.registries if name not in planned.foreign_secrets]
    binding.unbind(cluster, planned.namespace, planned.service_accounts, ending)
    on_step(f"entries taken out of {len(planned.service_accounts)} ServiceAccounts")
    _unlabel(cluster, planned)
    on_step(f"labels taken off: {', '.join(planned.labels) or 'there were none'}")
    _await_gone(cluster, planned, deadline)
    on_step("ExternalSecret and Secret are gone")
    binding.release_finalizers(cluster, planned.namespace, planned.registries)
    on_step(f"finalizers released: {', '.join(planned.finalizers) or 'there were none'}")
    _require_released(cluster, planned, selectors)


def declared_in(config: StackConfig, namespace: str, registries: Sequence[Registry]) -> Iterable[str]:
    """Yield what the stack file says of a namespace, each as the key and what to remove there."""
    names = {registry.name for registry in registries}
    for index, tenant in enumerate(config.tenants.namespaces):
        granted = [name for name in tenant.registries if name in names]
        if tenant.name == namespace and granted:
            whole = len(granted) == len(tenant.registries)
            what = f"the entry {namespace!r}" if whole else f"{', '.join(granted)} from its registries"
            yield f"tenants.namespaces[{index}]: remove {what}"
    for index, matrix in enumerate(config.tenants.matrices):
        if names.isdisjoint(matrix.registries):
            continue
        for service, environment, name in matrix.products():
            if name == namespace:
                others = f" (which also takes its other environments than {environment})"
                more = "" if len(matrix.environments) == 1 else others
                yield f"tenants.matrices[{index}].services: remove {service!r}{more}, or list its namespaces one by one"


def removable_labels(config: StackConfig, chosen: Sequence[Registry], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys to take off so that no chosen registry selects the namespace and every other still does.

    Raises:
        BadInputError: when a registry that is not chosen selects by the same labels.
    """
    selecting = [item for item in config.registries if item.selects(labels)]
    others = [item for item in selecting if item not in chosen]
    needed = {key for item in others for key in item.selector}
    for registry in (item for item in selecting if item in chosen):
        if registry.selector.keys() <= needed:
            raise BadInputError(
                f"--registry {registry.name}: its label {', '.join(registry.selector)} also grants "
                f"{', '.join(item.name for item in others)}; name those too, or give the registries separate labels"
            )
    # Labels of a registry that selects no more by all of its labels are ours as well.
    keys = {key for item in chosen for key, value in item.selector.items() if labels.get(key) == value}
    return tuple(sorted(keys - needed))


def _loses(user: User, chosen: Iterable[Registry], secrets: Collection[str], *, delete: bool) -> bool:
    """Tell whether something runs no more, or pulls or mounts what goes, as builders and scanners do."""
    if user.kind == "ServiceAccount":
        return False
    return delete or any(user.pulls_from(registry) for registry in chosen) or not {*secrets}.isdisjoint(user.reads)


def _require_deletable(config: StackConfig, namespace: str, registries: Sequence[Registry], *, delete: bool) -> None:
    if not delete:
        return
    if registries:
        raise BadInputError("--delete: removes every registry with the namespace; leave --registry out")
    tenant = next((item for item in config.resolve_tenants() if item.name == namespace), None)
    if tenant and tenant.adopt:
        raise BadInputError(
            f"--delete: namespace {namespace!r} is its owner's (adopt: true); leave --delete out, and its owner can "
            "delete it afterwards"
        )
    patterns = [pattern for registry in config.registries for pattern in registry.namespaces]
    if is_platform_namespace(namespace) or namespace == config.eso.namespace or not matches(namespace, patterns):
        raise BadInputError(
            f"--delete: found {namespace!r}; allowed: namespaces that a registry of the stack may be delivered to "
            f"({', '.join(dict.fromkeys(patterns))})"
        )


def _unlabel(cluster: KubernetesClient, planned: OffboardPlan, *, dry_run: bool = False) -> None:
    if not planned.labels:
        return
    query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
    body = {"metadata": {"labels": dict.fromkeys(planned.labels)}}
    try:
        cluster.request("PATCH", namespace_path(planned.namespace), query, body=body, content_type=MERGE_PATCH)
    except KubernetesApiError as error:
        if error.status != 404:
            raise guard_error(error, planned.namespace, planned.labels, "taken off") from None


def guard_error(error: KubernetesApiError, namespace: str, labels: Iterable[str], what: str) -> PullSecretsError:
    """Return a refusal of opt-in labels as an error that names the guard; any other refusal as it is.

    Args:
        what: what was to be done with them, such as `taken off`.
    """
    refusal = error.refusal
    if refusal is None or refusal.refuser != Refuser.POLICY or not refusal.name.endswith(OPT_IN_SUFFIX):
        return error
    return PullSecretsError(
        f"namespace {namespace!r}: the guard, ValidatingAdmissionPolicy {refusal.name!r}, does not let "
        f"{', '.join(labels)} be {what} by you; the namespace was left as it was; run as one of guard.labelers, or "
        "change tenants of the stack and run `pulumi up` as one of them. The server said: "
        f"{error.server_message}"
    )


def _await_gone(cluster: KubernetesClient, planned: OffboardPlan, deadline: float) -> None:
    names = set(planned.registries)
    while True:
        external, secrets = _delivered(cluster, planned.namespace, names)
        owned = [name for name, ours in secrets.items() if ours]
        if not external and not owned:
            return
        if time.monotonic() >= deadline:
            left = [*(f"ExternalSecret {name}" for name in external), *(f"Secret {name}" for name in owned)]
            cause = (
                f"ESO removes ExternalSecrets; does it run (`pull-secrets doctor {planned.namespace}`)?"
                if external
                else "the garbage collector removes Secrets; does kube-controller-manager run?"
            )
            raise PullSecretsError(
                f"namespace {planned.namespace!r}: still there: {', '.join(left)}; {cause} The label is off; run the "
                "command again to finish"
            )
        time.sleep(POLL_SECONDS)


def _delete(cluster: KubernetesClient, planned: OffboardPlan, deadline: float, on_step: OnStep) -> None:
    if not planned.terminating:
        try:
            cluster.request("DELETE", namespace_path(planned.namespace), {"propagationPolicy": "Foreground"})
        except KubernetesApiError as error:
            if error.status == 403:
                raise PullSecretsError(
                    f"namespace {planned.namespace!r}: you may not delete it ({error.server_message}); nothing was "
                    "changed; run as one of the offboarders (`pull-secrets roles`)"
                ) from None
            if error.status != 404:
                raise
        on_step("deletion of the namespace began")
    while found := cluster.find(namespace_path(planned.namespace)):
        if _content_is_gone(found):
            # Nothing of ESO's is in there any more, so its finalizer keeps nothing from being cleaned up.
            _release_forgotten(cluster, planned, found, on_step)
        if time.monotonic() >= deadline:
            raise LeftBehindError(_why_stuck(planned, found))
        time.sleep(POLL_SECONDS)
    on_step("the namespace is gone")


def _release_forgotten(
    cluster: KubernetesClient, planned: OffboardPlan, found: dict[str, Any], on_step: OnStep
) -> None:
    held = [name for name in planned.registries if f"{FINALIZER_PREFIX}{name}" in finalizers_of(found)]
    if held:
        binding.release_finalizers(cluster, planned.namespace, held)
        on_step(f"finalizers released: {', '.join(f'{FINALIZER_PREFIX}{name}' for name in held)}")


def _content_is_gone(namespace: dict[str, Any]) -> bool:
    state = {item["type"]: item["status"] for item in conditions_of(namespace)}
    # The namespace controller takes its own finalizer off when it found nothing more, and says so a moment before.
    finished = "kubernetes" not in cast("dict[str, Any]", namespace.get("spec") or {}).get("finalizers", [])
    return finished or state.get("NamespaceContentRemaining") == "False"


def _why_stuck(planned: OffboardPlan, found: dict[str, Any]) -> str:
    waits = [item["message"] for item in conditions_of(found) if item["status"] == "True"]
    others = [item for item in finalizers_of(found) if not item.startswith(FINALIZER_PREFIX)]
    unknown = [
        item
        for item in finalizers_of(found)
        if item.startswith(FINALIZER_PREFIX) and item.removeprefix(FINALIZER_PREFIX) not in planned.registries
    ]
    reasons = [
        *waits,
        *(f"finalizer {item} belongs to another controller and was left" for item in others),
        *(f"finalizer {item} is ESO's for no registry of this stack and was left" for item in unknown),
    ]
    return (
        f"namespace {planned.namespace!r} is still Terminating: "
        f"{'; '.join(reasons) or 'its content is being deleted'}; see to those controllers, then run the command again"
    )


def _require_released(cluster: KubernetesClient, planned: OffboardPlan, selectors: dict[str, dict[str, str]]) -> None:
    """Look once more: a label that somebody put back in between brings everything back."""
    found = cluster.find(namespace_path(planned.namespace))
    back = [name for name, selector in selectors.items() if selector.items() <= labels_of(found).items()]
    if back:
        raise PullSecretsError(
            f"namespace {planned.namespace!r}: another client set the label of {', '.join(back)} again; find out "
            "which (`kubectl get namespace -o yaml --show-managed-fields`), then run the command again"
        )


def _delivered(cluster: KubernetesClient, namespace: str, names: Iterable[str]) -> tuple[list[str], dict[str, bool]]:
    """Return the ExternalSecrets of these names that our fan-out made, and the Secrets; by metadata alone.

    Of each Secret: whether it is the one that we deliver. What somebody else's keeps is none of ours.
    """
    external: list[str] = []
    secrets: dict[str, bool] = {}
    for name in sorted(names):
        for found in read_deliveries(cluster, name, namespace).values():
            if found.fanned_out:
                external.append(name)
            if found.secret is not None:
                secrets[name] = found.delivered
    return external, secrets
