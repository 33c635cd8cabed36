"""The way of one credential into one namespace, step by step, and where it breaks."""

from collections.abc import Iterator
from dataclasses import dataclass

from pullsecrets.config import Registry
from pullsecrets.coverage.rows import Coverage, State, Step
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube.selectors import written


@dataclass(frozen=True)
class Chain:
    """Every step of one registry's credential into one namespace, in the order in which they need each other."""

    namespace: str
    registry: str
    steps: tuple[Step, ...]

    @property
    def breaks_at(self) -> str | None:
        """Name of the first step that is broken; None when none is."""
        return next((step.name for step in self.steps if step.state == State.BROKEN), None)


def require_namespace(snapshot: Snapshot) -> None:
    """Refuse to explain a namespace that is neither in the cluster nor declared.

    Raises:
        BadInputError: naming it.
    """
    if snapshot.only is None:
        return
    declared = {tenant.name for tenant in snapshot.config.resolve_tenants()}
    try:
        known = snapshot.only in {*declared, *snapshot.namespaces}
    except PullSecretsError:
        # What keeps namespaces from being listed is for the checks to say.
        return
    if not known:
        raise BadInputError(
            f"namespace: found {snapshot.only!r}; allowed: one that is in the cluster or that stack {snapshot.stack!r} "
            "declares (`kubectl get namespaces`)"
        )


def chains_of(snapshot: Snapshot) -> tuple[Chain, ...]:
    """Return the chains of the namespace that a snapshot is of; none where it is of the whole stack."""
    if snapshot.only is None:
        return ()
    try:
        return chains(snapshot, snapshot.only)
    except PullSecretsError:
        # The checks that need the same reading say why they could not look.
        return ()


def chains(snapshot: Snapshot, namespace: str) -> tuple[Chain, ...]:
    """Return the chain of each registry that a namespace should have, is labelled for, or pulls from.

    Empty when that is no registry of the stack.
    """
    rows = {row.registry: row for row in snapshot.coverage if row.namespace == namespace}
    pods = snapshot.inventory.pods_in(namespace)
    return tuple(
        Chain(namespace, registry.name, tuple(_steps(snapshot, registry, namespace, rows.get(registry.name))))
        for registry in snapshot.config.registries
        if registry.name in rows or any(pod.uses(registry) for pod in pods)
    )


def _steps(snapshot: Snapshot, registry: Registry, namespace: str, row: Coverage | None) -> Iterator[Step]:
    yield _label(snapshot, registry, namespace, row)
    if row:
        yield from list(row.steps())[1:]
    yield _pulls(snapshot, registry, namespace)


def _label(snapshot: Snapshot, registry: Registry, namespace: str, row: Coverage | None) -> Step:
    wanted = written(registry.selector, " ")
    if namespace not in snapshot.namespaces:
        return Step("label", State.BROKEN, f"namespace {namespace} does not exist")
    if row and row.labelled:
        return Step("label", State.GOOD, wanted)
    declared = "the stack declares it" if row and row.declared else "its Pods pull from the registry without opting in"
    return Step("label", State.BROKEN, f"{wanted} is not set, although {declared}")


def _pulls(snapshot: Snapshot, registry: Registry, namespace: str) -> Step:
    if snapshot.inventory.pods is None:
        return Step("Pods", State.UNKNOWN, "listing Pods is not permitted to you")
    pods = [pod for pod in snapshot.inventory.pods_in(namespace) if pod.uses(registry)]
    failing = [pod.name for pod in pods if pod.fails_on(registry.hosts)]
    if failing:
        return Step("Pods", State.BROKEN, f"{len(failing)} of {len(pods)} cannot pull: {', '.join(failing[:3])}")
    return Step("Pods", State.GOOD, f"{len(pods)} pull from {', '.join(registry.hosts)}")
