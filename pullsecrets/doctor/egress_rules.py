"""What NetworkPolicies let a Pod send, judged as the union that Kubernetes makes of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, cast

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
    rules = [rule for item in judging for rule in cast("list[Object]", item["spec"].get("egress") or [])]
    return [item for item in destinations if not _permitted(rules, item)]


def _is_egress(spec: Object) -> bool:
    types = cast("list[str]", spec.get("policyTypes") or [])
    # Without types a policy judges egress only if it has rules for it.
    return "Egress" in types if types else bool(spec.get("egress"))


def _permitted(rules: Iterable[Object], destination: Destination) -> bool:
    opened = [rule for rule in rules if _has_port(rule, destination)]
    if not destination.cidrs:
        return any(_has_peer(rule, destination, None) for rule in opened)
    return all(any(_has_peer(rule, destination, cidr) for rule in opened) for cidr in destination.cidrs)


def _has_port(rule: Object, destination: Destination) -> bool:
    ports = cast("list[Object]", rule.get("ports") or [])
    return not ports or any(_is_port(port, destination) for port in ports)


def _is_port(port: Object, destination: Destination) -> bool:
    if port.get("protocol", "TCP") != destination.protocol:
        return False
    number = port.get("port")
    # A port by name depends on the Pods behind it, which are not read.
    if number is None or isinstance(number, str):
        return True
    return int(number) <= destination.port <= int(port.get("endPort") or number)


def _has_peer(rule: Object, destination: Destination, cidr: str | None) -> bool:
    peers = cast("list[Object]", rule.get("to") or [])
    return not peers or any(_is_peer(peer, destination, cidr) for peer in peers)


def _is_peer(peer: Object, destination: Destination, cidr: str | None) -> bool:
    block = cast("Object | None", peer.get("ipBlock"))
    if cidr is not None:
        return block is not None and _contains(block, cidr)
    if destination.namespace_labels is None:
        return True
    # Labels of the Pods behind it are not known: a podSelector beside the namespace's is taken to fit.
    selector = cast("Object | None", peer.get("namespaceSelector"))
    return block is not None or selects(selector, destination.namespace_labels)


def _contains(block: Object, cidr: str) -> bool:
    wanted, permitted = ip_network(cidr), ip_network(block["cidr"], strict=False)
    if wanted.version != permitted.version or not _within(wanted, permitted):
        return False
    exceptions = (ip_network(item, strict=False) for item in cast("list[str]", block.get("except") or []))
    return not any(item.version == wanted.version and item.overlaps(wanted) for item in exceptions)


def _within(inner: Any, outer: Any) -> bool:
    return bool(inner.subnet_of(outer))


def described(rules: Iterable[Object]) -> str:
    """Return egress rules in one line, such as `10.0.0.0/8 TCP 8200; anywhere UDP 53, TCP 53`."""
    return "; ".join(f"{_peers(rule)} {_ports(rule)}" for rule in rules) or "nothing"


def _peers(rule: Object) -> str:
    peers = cast("list[Object]", rule.get("to") or [])
    return ", ".join(map(_peer, peers)) or "anywhere"


def _peer(peer: Object) -> str:
    block = cast("Object | None", peer.get("ipBlock"))
    if block is None:
        # Pods by their labels, in namespaces by theirs.
        return " in ".join(f"{key.removesuffix('Selector')}s {json.dumps(peer[key])}" for key in sorted(peer)[::-1])
    exceptions = cast("list[str]", block.get("except") or [])
    return f"{block['cidr']} except {', '.join(exceptions)}" if exceptions else str(block["cidr"])


def _ports(rule: Object) -> str:
    ports = cast("list[Object]", rule.get("ports") or [])
    return ", ".join(f"{item.get('protocol', 'TCP')} {_port(item)}" for item in ports) or "on any port"


def _port(item: Object) -> str:
    last = item.get("endPort")
    return f"{item.get('port', 'any')}{f'-{last}' if last else ''}"
