"""The stacks of a project as one list: found by their files, selected by words, and kept from sharing what they own."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pullsecrets import names
from pullsecrets.config import StackConfig
from pullsecrets.config.load import load_stacks
from pullsecrets.errors import BadInputError
from pullsecrets.kube import selectors
from pullsecrets.kube.objects import kind_of, metadata_of
from pullsecrets.manifests.stack import stack_objects
from pullsecrets.text import listed

WAVE = "wave"
"""Label by which `select` knows the wave; `fleet.labels` may not have it."""


@dataclass(frozen=True)
class FleetStack:
    """One stack of the project; where its file does not parse, everything that stands in it is empty or 0."""

    name: str
    path: Path
    config: StackConfig | None
    problem: str = ""
    """Why the file does not parse; empty for one that does."""

    @property
    def cluster(self) -> str:
        """Name of its cluster."""
        return self.config.cluster.name if self.config else ""

    @property
    def context(self) -> str:
        """Context of the kubeconfig that the stack names; empty for the current one."""
        return (self.config and self.config.cluster.context) or ""

    @property
    def wave(self) -> int:
        """Its wave, from 1."""
        return self.config.fleet.wave if self.config else 0

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of `fleet.labels`."""
        return self.config.fleet.labels if self.config else {}

    @property
    def registries(self) -> tuple[str, ...]:
        """Names of its registries."""
        return tuple(registry.name for registry in self.config.registries) if self.config else ()

    @property
    def tenants(self) -> int:
        """How many tenant namespaces it declares."""
        return len(self.config.resolve_tenants()) if self.config else 0

    @property
    def selectable(self) -> dict[str, str]:
        """What a selector is judged against: the labels, and the wave."""
        return {**self.labels, WAVE: str(self.wave)}


def find_stacks(directory: Path) -> list[FleetStack]:
    """Return the stack of every `Pulumi.<name>.yaml` beside `Pulumi.yaml`, by wave and name.

    A file that does not parse is among them, with its problem and behind all others: its wave is unknown.

    Raises:
        BadInputError: when the project's own file cannot be read, or there is no stack file.
    """
    found = [
        FleetStack(name, directory / f"Pulumi.{name}.yaml", None, str(read))
        if isinstance(read, BadInputError)
        else FleetStack(name, directory / f"Pulumi.{name}.yaml", read)
        for name, read in load_stacks(directory).items()
    ]
    if not found:
        raise BadInputError(f"{directory}: no stack; expected a file Pulumi.<stack>.yaml for each cluster")
    return sorted(found, key=lambda stack: (bool(stack.problem), stack.wave, stack.name))


def select(stacks: Sequence[FleetStack], words: Iterable[str]) -> list[FleetStack]:
    """Return the stacks that the words of `--select` pick, in their order; all of them without a word.

    A word is a name, in which `*` stands for any characters, or a requirement on labels as kubectl's `--selector` has
    it; the wave counts as a label. Words may be joined by commas. A stack is picked when one of the names matches, or
    there is none, and all requirements hold. A file that does not parse is picked by its name alone, and whatever is
    required of its labels: nobody knows them, and left out in silence it would be missing.

    Raises:
        BadInputError: when a word names nothing, or together they pick nothing, with what there is.
    """
    patterns: list[str] = []
    requirements: list[dict[str, Any]] = []
    for word in (part for text in words for part in selectors.parts(text)):
        required = _requirement(word, stacks)
        if required:
            requirements.append(required)
        elif not any(names.matches(stack.name, [word]) for stack in stacks):
            raise BadInputError(f"--select {word}: no stack of that name; {_there_are(stacks)}")
        else:
            patterns.append(word)
    picked = [
        stack
        for stack in stacks
        if (not patterns or names.matches(stack.name, patterns))
        and (stack.problem or selectors.selects({"matchExpressions": requirements}, stack.selectable))
    ]
    if not picked:
        raise BadInputError(f"--select {' '.join(words)}: picks no stack; {_there_are(stacks)}")
    return picked


def _requirement(word: str, stacks: Iterable[FleetStack]) -> dict[str, Any] | None:
    """Return what a word requires; None for a name. A key or value that no stack has is a mistake, `!=` included."""
    try:
        required = selectors.requirement(word)
    except BadInputError as error:
        raise BadInputError(f"--select: {error}; or a name, in which * matches any characters") from None
    if required is None:
        return None
    known: defaultdict[str, set[str]] = defaultdict(set)
    for stack in stacks:
        for key, value in stack.selectable.items() if not stack.problem else ():
            known[key].add(value)
    key = required["key"]
    if key not in known:
        raise BadInputError(f"--select {word}: no stack has label {key!r}; there are: {', '.join(sorted(known))}")
    if unknown := [value for value in required.get("values", []) if value not in known[key]]:
        there = ", ".join(sorted(known[key], key=lambda value: (len(value), value) if key == WAVE else (0, value)))
        raise BadInputError(f"--select {word}: no stack has {key}={unknown[0]}; there are: {there}")
    return required


def _there_are(stacks: Iterable[FleetStack]) -> str:
    return f"there are: {', '.join(stack.name for stack in stacks)}"


def require_distinct(stacks: Iterable[FleetStack]) -> None:
    """Refuse stacks that would undo each other's work on one cluster or in one Vault.

    Two stacks have one cluster when they name the same context, both name none, or call their clusters the same. There
    they may not declare the same object, tenants' namespaces included. In one Vault they may not declare the same auth
    mount. For stacks that are run from one machine: a pipeline's jobs each have a kubeconfig of their own.

    Raises:
        BadInputError: with each two stacks and what both declare.
    """
    read = [stack for stack in stacks if stack.config]
    objects = {stack.name: _objects(stack) for stack in read}
    problems: list[str] = []
    for one, other in combinations(read, 2):
        both, where = objects[one.name] & objects[other.name], _shared_cluster(one, other)
        if both and where:
            problems.append(f"{one.name} and {other.name}: {where}, and both declare {listed(sorted(both))}")
        problems += [f"{one.name} and {other.name}: both declare {mount}" for mount in _mounts(one) & _mounts(other)]
    if problems:
        fix = "give each its own cluster.context and cluster.name, or names of its own to what it declares"
        raise BadInputError("\n".join([f"two stacks declare the same; {fix}", *(f"  {line}" for line in problems)]))


def _shared_cluster(one: FleetStack, other: FleetStack) -> str:
    """Say by what two stacks have one cluster; empty for two clusters."""
    if one.context == other.context:
        return f"both have cluster.context {one.context}" if one.context else "neither has a cluster.context"
    return f"both have cluster.name {one.cluster}" if one.cluster == other.cluster else ""


def _objects(stack: FleetStack) -> set[str]:
    """Name everything that a stack declares in its cluster."""
    declared = stack_objects(stack.config, stack.name) if stack.config else []
    named = ((kind_of(item), metadata_of(item)) for item in declared)
    return {f"{kind} {'/'.join(filter(None, (of.get('namespace'), of['name'])))}" for kind, of in named}


def _mounts(stack: FleetStack) -> set[str]:
    """Name the auth mount that a stack declares, in its Vault."""
    if stack.config is None or not stack.config.has_vault or not stack.config.vault.auth.create:
        return set()
    return {f"vault.auth.mount {stack.config.vault.auth.mount} at {stack.config.vault.address}"}
