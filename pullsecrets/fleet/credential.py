"""One new credential for the registry of each stack: read once, and judged for all of them."""

from collections.abc import Callable, Mapping, Sequence

from pullsecrets import names
from pullsecrets.config import Registry
from pullsecrets.credential.document import DockerConfig, require_hosts
from pullsecrets.credential.sources import Source
from pullsecrets.errors import BadInputError
from pullsecrets.fleet.stacks import FleetStack


def registries_of(stacks: Sequence[FleetStack], name: str) -> dict[str, Registry]:
    """Return by stack, of those whose files parse, the registry of a name in which `*` matches any characters.

    Raises:
        BadInputError: naming the stacks in which it is not one.
    """
    found: dict[str, Registry] = {}
    problems: list[str] = []
    for stack in stacks:
        every = stack.config.registries if stack.config else ()
        matching = [registry for registry in every if names.matches(registry.name, [name])]
        if len(matching) == 1:
            found[stack.name] = matching[0]
        elif stack.config:
            there = ", ".join(registry.name for registry in matching or every)
            problems.append(f"{stack.name}: {'several' if matching else 'none'} of {there}")
    _require_none(f"registry: found {name!r}; allowed: what is one registry in each stack (--select)", problems)
    return found


def read_for(source: Source, registries: Mapping[str, Registry], ask: Callable[[], str]) -> dict[str, DockerConfig]:
    """Read a credential once, and return by stack what of it is to be stored there.

    A document is taken as it is, so it must fit each stack. Of a docker config, and of a user's login, each stack gets
    what is for its own hosts.

    Args:
        source: where it is.
        registries: by stack.
        ask: asks a person for the password without showing it.

    Raises:
        BadInputError: when it cannot be read, or naming each stack that it does not fit.
    """
    sealed = [name for name, registry in registries.items() if registry.sealed]
    _require_none(
        "not in each stack is the credential in Vault",
        [f"{name}: it is sealed; renew it with `pull-secrets seal`" for name in sealed],
    )
    whole = source.read(sorted({host for item in registries.values() for host in item.hosts}), ask)
    found: dict[str, DockerConfig] = {}
    problems: list[str] = []
    for name, registry in registries.items():
        own = {host: login for host, login in whole.logins.items() if source.file or host in registry.hosts}
        found[name] = DockerConfig(own, whole.notes)
        try:
            require_hosts(found[name], registry.hosts, registry.rejected_hosts, registry.name)
        except BadInputError as error:
            problems.append(f"{name}: {error}")
    _require_none("the credential does not fit each stack, and nothing was written; select those it fits", problems)
    return found


def _require_none(text: str, problems: Sequence[str]) -> None:
    if problems:
        raise BadInputError("\n".join([f"{text}:", *(f"  {line}" for line in problems)]))
