"""Rules between keys of a stack's configuration that no single key can break alone."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from pullsecrets import names
from pullsecrets.config.model import Guard, Registry, StackConfig
from pullsecrets.config.tenants import NamespaceTenant, expand


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where, what was found there (None: nothing), and what is allowed."""

    key: str
    found: str | None
    allowed: str

    def __str__(self) -> str:
        """Render as one line for a terminal."""
        if self.found is None:
            return f"{self.key}: missing; expected {self.allowed}"
        return f"{self.key}: found {self.found}; allowed: {self.allowed}"


def check(config: StackConfig) -> list[Problem]:
    """Return every rule that the configuration breaks, in the order of its keys."""
    problems = [*_sources(config), *_registries(config.registries), *_stores(config)]
    declared: list[tuple[str, NamespaceTenant]] = []
    for key, tenants in _declared_tenants(config):
        if isinstance(tenants, Problem):
            problems.append(tenants)
        else:
            declared.extend((key, tenant) for tenant in tenants)
    problems.extend(_repeated("tenants", [tenant.name for _, tenant in declared], "each namespace once"))
    for key, tenant in declared:
        problems.extend(_tenant(key, tenant, config))
    problems.extend(_guard(config.guard))
    problems.extend(_rollout(config))
    problems.extend(_monitoring(config))
    return problems


def _sources(config: StackConfig) -> Iterator[Problem]:
    if config.vault_registries and not config.has_vault:
        names_there = ", ".join(registry.name for registry in config.vault_registries)
        yield Problem("vault", None, f"address and egress of the server that holds {names_there}")
    for index, registry in enumerate(config.registries):
        if registry.sealed and not registry.relayed:
            allowed = "'fanout' with source: sealedSecret, which the controller unseals in one namespace only"
            yield Problem(f"registries[{index}].delivery", repr(registry.delivery), allowed)


def _guard(guard: Guard) -> Iterator[Problem]:
    if guard.mode == "deny" and not (guard.labelers.users or guard.labelers.groups):
        allowed = "at least the user or group that runs `pulumi up`, which puts the opt-in labels; or guard.mode: warn"
        yield Problem("guard.labelers", "nobody", allowed)


def _rollout(config: StackConfig) -> Iterator[Problem]:
    waves = config.rollout.waves
    yield from _repeated("rollout.waves", [wave.name for wave in waves], "one wave per name")
    services = [service for wave in waves for service in wave.services]
    yield from _repeated("rollout.waves", services, "each service in one wave")
    for index, wave in enumerate(waves):
        for service in wave.services:
            if service not in config.services:
                allowed = "services of tenants.matrices, which names the service's namespaces"
                yield Problem(f"rollout.waves[{index}].services", repr(service), allowed)


LONGEST_MONITORED_NAME = 33
"""A CronJob's name has at most 52 characters, of which `pull-secrets-` and `-audit` take 19
(https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#cron-job-limitations)."""


def _monitoring(config: StackConfig) -> Iterator[Problem]:
    monitoring = config.monitoring
    if not monitoring.enabled:
        return
    if monitoring.image is None:
        allowed = "the pinned image of this command line, which the daily validation runs, as the Dockerfile makes it"
        yield Problem("monitoring.image", None, allowed)
    if len(config.cluster.name) > LONGEST_MONITORED_NAME:
        allowed = f"at most {LONGEST_MONITORED_NAME} characters with monitoring, whose CronJob is named after it"
        yield Problem("cluster.name", repr(config.cluster.name), allowed)
    if monitoring.bind_watch and config.binding != "serviceAccounts":
        yield Problem("monitoring.bindWatch", "true", "false with binding: admission, which needs no ServiceAccounts")
    roles = [store.role for store in config.vault_stores]
    if monitoring.vault_role in roles:
        yield Problem(
            "monitoring.vaultRole", repr(monitoring.vault_role), f"a role other than ESO's: {', '.join(roles)}"
        )
    patterns = [pattern for registry in config.registries for pattern in registry.namespaces]
    if names.matches(monitoring.namespace, patterns):
        # Who makes Pods in it can run them as the validation's ServiceAccount.
        allowed = "a namespace that no registry may be delivered to: tenants could act as the validation there"
        yield Problem("monitoring.namespace", repr(monitoring.namespace), allowed)


def _registries(registries: Iterable[Registry]) -> Iterator[Problem]:
    registries = tuple(registries)
    yield from _repeated("registries", [item.name for item in registries], "one registry per name")
    yield from _repeated("registries", [item.path for item in registries], "one registry per path")
    for index, registry in enumerate(registries):
        key = f"registries[{index}]"
        yield from _repeated(f"{key}.hosts", registry.hosts, "each host once")
        for host in sorted(set(registry.hosts) & set(registry.rejected_hosts)):
            yield Problem(f"{key}.hosts", repr(host), "hosts that rejectedHosts of the same registry does not name")


def _stores(config: StackConfig) -> Iterator[Problem]:
    """One label opens one registry: anyone who may use a store can read every path that its role reads."""
    relays = {config.relay_store(item): item.name for item in config.registries if item.relayed}
    readers: dict[str, Registry] = {}
    for index, registry in enumerate(config.registries):
        if registry.sealed:
            continue
        key, store = f"registries[{index}].store", config.store_of(registry)
        if store in relays:
            yield Problem(key, repr(store), f"a name other than that of the relay of registry {relays[store]!r}")
        other = readers.setdefault(store, registry)
        if (other.selector, other.relayed) != (registry.selector, registry.relayed):
            reason = f"who is granted {other.name!r} could read {registry.path} through it, and the other way round"
            allowed = f"a store of its own, or selector and delivery as {other.name!r} has them: {reason}"
            yield Problem(key, f"{store!r}, the store of registry {other.name!r}", allowed)


def _repeated(key: str, found: Iterable[str], allowed: str) -> Iterator[Problem]:
    for name, count in Counter(found).items():
        if count > 1:
            yield Problem(key, f"{name!r} {count} times", allowed)


def _declared_tenants(config: StackConfig) -> Iterator[tuple[str, tuple[NamespaceTenant, ...] | Problem]]:
    for index, tenant in enumerate(config.tenants.namespaces):
        yield f"tenants.namespaces[{index}]", (tenant,)
    for index, matrix in enumerate(config.tenants.matrices):
        key = f"tenants.matrices[{index}]"
        try:
            yield key, expand(matrix)
        except ValidationError as error:
            detail = error.errors(include_input=True)[0]
            yield key, Problem(f"{key}.pattern", repr(detail["input"]), detail["msg"].removeprefix("Value error, "))


def _tenant(key: str, tenant: NamespaceTenant, config: StackConfig) -> Iterator[Problem]:
    if names.is_platform_namespace(tenant.name) or tenant.name == config.eso.namespace:
        yield Problem(key, repr(tenant.name), "a namespace that does not belong to the cluster or to ESO itself")
        return
    registries = {registry.name: registry for registry in config.registries}
    unknown = [name for name in tenant.registries if name not in registries]
    for name in unknown:
        yield Problem(f"{key}.registries", repr(name), f"registries of this stack: {', '.join(registries)}")
    yield from _repeated(f"{key}.registries", tenant.registries, "each registry once")
    opt_in = {label for registry in config.registries for label in registry.selector}
    for label in sorted(opt_in & set(tenant.labels)):
        yield Problem(f"{key}.labels", repr(label), "labels that grant no registry; name the registry in registries")
    chosen = [registries[name] for name in tenant.registries if name in registries]
    for registry in chosen:
        if not names.matches(tenant.name, registry.namespaces):
            patterns = ", ".join(registry.namespaces)
            yield Problem(key, repr(tenant.name), f"namespaces that registry {registry.name!r} permits: {patterns}")
    if not unknown:
        yield from _delivery(key, tenant, chosen, config.registries)


def _delivery(
    key: str, tenant: NamespaceTenant, chosen: list[Registry], registries: Iterable[Registry]
) -> Iterator[Problem]:
    """The labels of a tenant must grant exactly the registries that it declares."""
    labels: dict[str, str] = {}
    for registry in chosen:
        for label, value in registry.selector.items():
            if labels.setdefault(label, value) != value:
                yield Problem(
                    f"{key}.registries",
                    f"{registry.name!r}, whose selector wants {label}={value} where another wants {labels[label]}",
                    "registries whose selectors a namespace can carry together",
                )
                return
    granted = {registry.name for registry in registries if registry.selects(labels)}
    for name in sorted(granted - set(tenant.registries)):
        yield Problem(
            f"{key}.registries",
            f"{list(tenant.registries)!r}, whose labels on {tenant.name!r} also grant {name!r}",
            f"a list with {name!r} in it, or a selector of its own for {name!r}",
        )
