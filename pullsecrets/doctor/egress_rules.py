"""What NetworkPolicies let a Pod send, judged as the union that Kubernetes makes of them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import Any, cast

from pullsecrets.data import sequence
from pullsecrets.kube.selectors import selects

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Destination:
    """Something that a Pod must be able to reach."""

    name: str
    protocol: str
    port: int
    cidrs: Sequence[str] = ()
    """Address blocks that must be permitted whole; without them any peer will do."""
    namespace_labels: Mapping[str, str] | None = None
    """Labels of the namespace it runs in, where it runs in the cluster."""

    def __str__(self) -> str:
        """Name, protocol and port, for messages."""
        return f"{self.name} ({self.protocol} {self.port})"


def isolating(policies: Iterable[Object], labels: Mapping[str, str]) -> list[Object]:
    """Return the policies that judge a Pod's egress; where there are none everything is permitted."""
    return [item for item in policies if _is_egress(item["spec"]) and selects(item["spec"]["podSelector"], labels)]


def denied(
    policies: Iterable[Object], labels: Mapping[str, str], destinations: Iterable[Destination]
) -> list[Destination]:
    """Return the destinations that a Pod with these labels cannot reach."""
    judging = isolating(policies, labels)
    if not judging:
        return []
    rules = [rule for item in judging for rule in sequence(item["spec"].get("egress"))]
    return [item for item in destinations if not _permitted(rules, item)]


def _is_egress(spec: Object) -> bool:
    types = sequence(spec.get("policyTypes"))
    # Without types a policy judges egress only if it has rules for it.
    return "Egress" in types if types else bool(spec.get("egress"))


def _permitted(rules: Iterable[Object], destination: Destination) -> bool:
    opened = [rule for rule in rules if _admits(rule.get("ports"), partial(_is_port, destination))]
    return all(
        any(_admits(rule.get("to"), partial(_is_peer, destination, cidr)) for rule in opened)
        for cidr in destination.cidrs or (None,)
    )


def _admits(parts: Any, fits: Callable[[Object], bool]) -> bool:
    """Tell whether one of a rule's ports, or peers, fits; a rule without any admits every one."""
    return not parts or any(map(fits, sequence(parts)))


def _is_port(destination: Destination, port: Object) -> bool:
    if port.get("protocol", "TCP") != destination.protocol:
        return False
    number = port.get("port")
    # A port by name depends on the Pods behind it, which are not read.
    if number is None or isinstance(number, str):
        return True
    return int(number) <= destination.port <= int(port.get("endPort") or number)


def _is_peer(destination: Destination, cidr: str | None, peer: Object) -> bool:
    block = peer.get("ipBlock")
    if cidr is not None:
        return block is not None and _contains(block, cidr)
    if destination.namespace_labels is None:
        return True
    # Labels of the Pods behind it are not known: a podSelector beside the namespace's is taken to fit.
    return block is not None or selects(peer.get("namespaceSelector"), destination.namespace_labels)


def _contains(block: Object, cidr: str) -> bool:
    wanted, permitted = (cast("Any", ip_network(text, strict=False)) for text in (cidr, block["cidr"]))
    if wanted.version != permitted.version or not wanted.subnet_of(permitted):
        return False
    exceptions = (ip_network(item, strict=False) for item in sequence(block.get("except")))
    return not any(item.version == wanted.version and item.overlaps(wanted) for item in exceptions)


def described(rules: Iterable[Object]) -> str:
    """Return egress rules in one line, such as `10.0.0.0/8 TCP 8200; anywhere UDP 53, TCP 53`."""
    return "; ".join(map(_described, rules)) or "nothing"


def _described(rule: Object) -> str:
    peers = ", ".join(map(_peer, sequence(rule.get("to")))) or "anywhere"
    ports = ", ".join(map(_port, sequence(rule.get("ports")))) or "on any port"
    return f"{peers} {ports}"


def _peer(peer: Object) -> str:
    block = peer.get("ipBlock")
    if block is None:
        # Pods by their labels, in namespaces by theirs.
        return " in ".join(f"{key.removesuffix('Selector')}s {json.dumps(peer[key])}" for key in sorted(peer)[::-1])
    exceptions = sequence(block.get("except"))
    return f"{block['cidr']} except {', '.join(exceptions)}" if exceptions else str(block["cidr"])


def _port(item: Object) -> str:
    last = item.get("endPort")
    return f"{item.get('protocol', 'TCP')} {item.get('port', 'any')}{f'-{last}' if last else ''}"
