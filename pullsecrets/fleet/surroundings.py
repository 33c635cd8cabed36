"""What each stack of a fleet finds around it: its variables, its kubeconfig context, its Vault."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pullsecrets.errors import BadInputError
from pullsecrets.fleet.stacks import FleetStack, require_distinct
from pullsecrets.text import listed

_OF_ONE_VAULT = ("VAULT_ADDR", "VAULT_TOKEN")


def environments(
    stacks: Iterable[FleetStack], environ: Mapping[str, str], kubeconfig: Path | None = None
) -> dict[str, dict[str, str]]:
    """Return the variables of each stack's process: those of this one, and over them those for that stack alone.

    `VAULT_TOKEN__PROD_EU` is the VAULT_TOKEN of stack `prod-eu`: two underscores, then the stack's name in capitals
    with an underscore for everything that is neither letter nor digit.

    Args:
        stacks: those that run.
        environ: the variables of this process.
        kubeconfig: in place of KUBECONFIG.
    """
    shared = {**environ, **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})}
    return {stack.name: {**shared, **_own(stack.name, environ)} for stack in stacks}


def require_apart(stacks: Sequence[FleetStack], found: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a fleet in which one stack would work on another's cluster, or ask another's Vault.

    Args:
        stacks: those that run.
        found: as `environments` gives it.

    Raises:
        BadInputError: naming the stacks.
    """
    read = [stack for stack in stacks if stack.config]
    by_kubeconfig: defaultdict[str, list[FleetStack]] = defaultdict(list)
    for stack in read:
        by_kubeconfig[found[stack.name].get("KUBECONFIG", "")].append(stack)
    for together in by_kubeconfig.values():
        require_distinct(together)
        unnamed = [stack for stack in together if not stack.context]
        if unnamed and len({stack.cluster for stack in together}) > 1:
            raise BadInputError(
                f"{listed(stack.name for stack in unnamed)}: cluster.context: missing, so the kubeconfig's current "
                f"context would stand for several clusters; name it in the stack file, or a kubeconfig of the stack's "
                f"own in {_variable('KUBECONFIG', unnamed[0].name)}"
            )
    for variable in _OF_ONE_VAULT:
        _require_one_vault(variable, read, found)


def _require_one_vault(variable: str, stacks: Iterable[FleetStack], found: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse to send what is one Vault's to several: a token above all."""
    addresses: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for stack in stacks:
        value = found[stack.name].get(variable)
        if value and stack.config and stack.config.has_vault:
            addresses[value].setdefault(stack.config.vault.address, stack.name)
    for several in addresses.values():
        if len(several) > 1:
            names = list(several.values())
            raise BadInputError(
                f"{variable}: found one for {listed(names)}, whose Vaults are {listed(several)}; allowed: one for each "
                f"Vault, such as {_variable(variable, names[0])}"
            )


def _own(stack: str, environ: Mapping[str, str]) -> dict[str, str]:
    suffix = _variable("", stack)
    return {name.removesuffix(suffix): value for name, value in environ.items() if name.endswith(suffix)}


def _variable(name: str, stack: str) -> str:
    return f"{name}__{re.sub(r'[^A-Z0-9]', '_', stack.upper())}"
