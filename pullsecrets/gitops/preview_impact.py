"""What a preview means for tenants: who joins and leaves, which Secrets, what ESO may reach, what is deleted.

Read from the inputs of the resources that change. Of these only names and addresses are taken, all of which stand in
the stack file: labels, registries, ServiceAccounts and CIDR blocks.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pullsecrets.data import dig, mapping, walk
from pullsecrets.kube.bindings import MANY, ONE, Bound, read_bindings
from pullsecrets.text import counted, listed

_OPT_IN, _NOTHING = "NamespaceOptIn", Bound()
_NAMESPACE, _FANOUT, _EGRESS = "Namespace", "ClusterExternalSecret", "NetworkPolicy"
_WORDS = {"create": "joins", "delete": "leaves", "update": "changes", "replace": "changes"}
_VERBS = {"create": "is delivered from now on", "delete": "is not delivered any more", "replace": "is re-created"}


@dataclass(frozen=True)
class Changed:
    """A resource that changes: its operation, its own type without module, and its inputs before and after."""

    operation: str
    kind: str
    old: Mapping[str, Any] = field(default_factory=dict[str, Any])
    new: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What is declared, or was when it leaves."""
        return self.new or self.old


@dataclass(frozen=True)
class TenantRow:
    """One tenant whose part of the stack changes; lists show what comes with `+` and what goes with `-`."""

    change: str
    namespace: str
    labels: str
    registries: str
    origin: str
    service_accounts: str


def sentences(changed: Sequence[Changed], tenants: Iterable[TenantRow]) -> list[str]:
    """Return the impact, what matters to tenants first; the last says what is deleted, even when nothing is.

    Args:
        tenants: the rows of it, as `tenant_rows` returns them.
    """
    by_change = {word: [row.namespace for row in tenants if row.change == word] for word in _WORDS.values()}
    told = [
        f"{counted(len(names), 'tenant')} {word if len(names) == 1 else word.removesuffix('s')}: {listed(names)}"
        for word, names in by_change.items()
        if names
    ]
    return [*told, *_secrets(changed), *_egress(changed), _deleted(changed)]


def tenant_rows(changed: Iterable[Changed]) -> list[TenantRow]:
    """Return a row for each tenant of which anything changes, sorted by its name."""
    opted_in: dict[str, Changed] = {}
    bound: dict[str, tuple[Bound, Bound]] = defaultdict(lambda: (_NOTHING, _NOTHING))
    touched: set[str] = set()
    for item in changed:
        if item.kind == _OPT_IN:
            opted_in[str(item.inputs.get("namespace"))] = item
        elif item.kind in {ONE, MANY}:
            old, new = (read_bindings(side) if side else {} for side in (item.old, item.new))
            bound.update({name: (old.get(name, _NOTHING), new.get(name, _NOTHING)) for name in {**old, **new}})
            # A binding that comes or goes alone does so for all others, as from one version to the next.
            if item.operation == "update":
                lacking = mapping(item.new.get("lacking"))
                touched |= {name for name in {**old, **new} if old.get(name) != new.get(name) or name in lacking}
    return [_row(name, opted_in.get(name), *bound[name]) for name in sorted({*opted_in, *touched})]


def _row(namespace: str, opt_in: Changed | None, old: Bound, new: Bound) -> TenantRow:
    labels, registries, origin = "", "", ""
    if opt_in:
        labels = _difference(*(_pairs(side.get("labels")) for side in (opt_in.old, opt_in.new)))
        registries = _difference(*(_names(side.get("registries")) for side in (opt_in.old, opt_in.new)))
        origin = "created" if opt_in.inputs.get("owner") else "adopted"
    return TenantRow(
        change=_WORDS.get(opt_in.operation, "changes") if opt_in else "changes",
        namespace=namespace,
        labels=labels,
        registries=registries,
        origin=origin,
        service_accounts=_difference(old.service_accounts, new.service_accounts),
    )


def _secrets(changed: Iterable[Changed]) -> Iterator[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for item in changed:
        if item.kind == _FANOUT and (verb := _VERBS.get(item.operation)):
            names[verb].append(str(dig(item.inputs, ("metadata", "name"))))
    for verb, found in names.items():
        yield f"pull Secret {listed(sorted(found))} {verb}"


def _egress(changed: Iterable[Changed]) -> Iterator[str]:
    for item in changed:
        if item.kind == _EGRESS:
            difference = _difference(
                *([str(found) for path, found in walk(side) if path[-1:] == ("cidr",)] for side in (item.old, item.new))
            )
            yield f"ESO's egress changes{f': {difference}' if difference else ''}"


def _deleted(changed: Iterable[Changed]) -> str:
    deleted = [item for item in changed if item.operation == "delete"]
    if not deleted:
        return "nothing is deleted"
    namespaces = [
        str(item.old.get("namespace") or dig(item.old, ("metadata", "name")))
        for item in deleted
        if item.kind == _NAMESPACE or (item.kind == _OPT_IN and item.old.get("owner") and item.old.get("delete"))
    ]
    also = f", the namespaces {listed(sorted(namespaces))} with everything in them" if namespaces else ""
    return f"{counted(len(deleted), 'resource')} of the stack {'is' if len(deleted) == 1 else 'are'} deleted{also}"


def _difference(old: Sequence[str], new: Sequence[str]) -> str:
    """Return lists as sets: what comes with `+`, what goes with `-`; nothing when both hold the same."""
    gone, come = sorted({*old} - {*new}), sorted({*new} - {*old})
    return ", ".join([*(f"+{name}" for name in come), *(f"-{name}" for name in gone)])


def _pairs(labels: Any) -> list[str]:
    return [f"{key}={value}" for key, value in cast("dict[str, Any]", labels or {}).items()]


def _names(items: Any) -> list[str]:
    return [str(item) for item in cast("Iterable[Any]", items or ())]
