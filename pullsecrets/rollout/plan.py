"""What a rollout does in which order: the waves of the stack file, as namespaces of one environment."""

from collections.abc import Collection
from dataclasses import dataclass

from pullsecrets.config import Registry, StackConfig
from pullsecrets.config.tenants import TenantMatrix
from pullsecrets.errors import BadInputError


@dataclass(frozen=True)
class Target:
    """One service in its namespace."""

    service: str
    namespace: str


@dataclass(frozen=True)
class Wave:
    """Services that are rolled out together."""

    name: str
    targets: tuple[Target, ...]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces of the wave, in its order."""
        return tuple(target.namespace for target in self.targets)


def plan(
    config: StackConfig, registry: Registry, environment: str | None = None, only: Collection[str] = ()
) -> tuple[Wave, ...]:
    """Return the waves of a registry's rollout in one environment.

    Args:
        registry: whose Secret the services pull with.
        environment: one of the tenants' matrices; needed only where there are several.
        only: names of waves; all by default.

    Raises:
        BadInputError: no waves or no such wave, no such environment, or services that no wave names: nothing would
            ever roll those out.
    """
    matrices = [matrix for matrix in config.tenants.matrices if registry.name in matrix.registries]
    environment = _environment(registry, matrices, environment)
    namespaces = {
        service: namespace
        for matrix in matrices
        for service, other, namespace in matrix.products()
        if other == environment
    }
    if not config.rollout.waves:
        raise BadInputError(
            f"rollout.waves: found none; allowed: waves that name the services of {registry.name!r}, the canary first"
        )
    unplaced = [service for service in namespaces if config.rollout.wave_of(service) is None]
    if unplaced:
        raise BadInputError(
            f"rollout.waves: found no wave for {', '.join(unplaced)} ({len(unplaced)} of {len(namespaces)} services), "
            "so they would never be rolled out; add them to a wave of the stack file"
        )
    waves = [
        Wave(wave.name, tuple(Target(name, namespaces[name]) for name in wave.services if name in namespaces))
        for wave in config.rollout.waves
    ]
    unknown = sorted(set(only) - {wave.name for wave in waves})
    if unknown:
        known = ", ".join(wave.name for wave in waves)
        raise BadInputError(f"--wave: found {unknown[0]!r}; allowed: {known}")
    return tuple(wave for wave in waves if wave.targets and (not only or wave.name in only))


def _environment(registry: Registry, matrices: Collection[TenantMatrix], chosen: str | None) -> str:
    known = list(dict.fromkeys(name for matrix in matrices for name in matrix.environments))
    if not known:
        raise BadInputError(
            f"tenants.matrices: found none with registry {registry.name!r}; a rollout goes through services times "
            "environments"
        )
    if chosen is None and len(known) == 1:
        return known[0]
    if chosen not in known:
        found = "nothing" if chosen is None else repr(chosen)
        raise BadInputError(f"--environment: found {found}; allowed: {', '.join(known)}")
    return chosen
