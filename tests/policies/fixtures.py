"""The fixtures next to the policies: a base and a change each, told apart by stack so that many are judged in one run.

One file a policy, with `good` and `bad` fixtures by name. A fixture is one resource, or a list of them:

    base, change      a resource of `bases`, and a JSON merge patch (RFC 7386) of its inputs
    type, inputs      a resource of its own
    name              its name, `subject` unless said otherwise
    provider          a merge patch of its provider's name and props
    parent            name of the resource that it is a child of
    component         whether no provider serves it
    protect           the resource option

`<unknown>` stands for a text that a preview does not know yet, `<unknown object>` and `<unknown list>` for such values.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pulumi_policy.proxy import UNKNOWN_ARRAY_VALUE, UNKNOWN_OBJECT_VALUE, UNKNOWN_STRING_VALUE

from tests.policies.engine import POLICIES

_UNKNOWN = {
    "<unknown>": UNKNOWN_STRING_VALUE,
    "<unknown list>": UNKNOWN_ARRAY_VALUE,
    "<unknown object>": UNKNOWN_OBJECT_VALUE,
}
_PROVIDERS: dict[str, dict[str, Any]] = {
    "kubernetes": {"name": "cluster", "props": {"context": "dev"}},
    "vault": {
        "name": "vault",
        "props": {"address": "https://vault.example.com:8200", "skipChildToken": "true"},
    },
}


@dataclass(frozen=True)
class Fixture:
    """Some resources, good or bad by one policy."""

    file: Path
    good: bool
    name: str
    entries: list[dict[str, Any]]

    @property
    def pack(self) -> str:
        """Folder of the pack."""
        return self.file.relative_to(POLICIES).parts[0]

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return self.file.stem.replace("_", "-")

    @property
    def stack(self) -> str:
        """Name under which it is judged."""
        return f"{self.policy}.{'good' if self.good else 'bad'}.{self.name}"

    def resources(self) -> list[dict[str, Any]]:
        """Its resources as a state file holds them, in a stack of their own."""
        root = {"urn": self._urn("pulumi:pulumi:Stack", "pull-secrets-fixture"), "type": "pulumi:pulumi:Stack"}
        made = {root["urn"]: {**root, "custom": False}}
        urns = {entry.get("name", "subject"): self._urn_of(entry) for entry in self.entries}
        for entry in self.entries:
            for resource in self._state_of(entry, urns.get(entry.get("parent"), root["urn"])):
                made.setdefault(resource["urn"], resource)
        return list(made.values())

    def _state_of(self, entry: dict[str, Any], parent: str) -> Iterator[dict[str, Any]]:
        inputs = entry["inputs"]
        found = {"urn": self._urn_of(entry), "type": entry["type"], "parent": parent, "inputs": inputs}
        if entry.get("protect"):
            found["protect"] = True
        if entry.get("component"):
            yield {**found, "custom": False}
            return
        package = entry["type"].partition(":")[0]
        if package in _PROVIDERS:
            chosen = _merged(_PROVIDERS[package], entry.get("provider", {}))
            provider = _custom(self._urn(f"pulumi:providers:{package}", chosen["name"]), chosen["props"])
            yield provider
            found["provider"] = f"{provider['urn']}::{provider['id']}"
        yield {**_custom(found["urn"], inputs), **found}

    def _urn_of(self, entry: dict[str, Any]) -> str:
        parents = [other["type"] for other in self.entries if other.get("name") == entry.get("parent", "")]
        return self._urn("$".join([*parents, entry["type"]]), entry.get("name", "subject"))

    def _urn(self, token: str, name: str) -> str:
        return f"urn:pulumi:{self.stack}::pull-secrets::{token}::{name}"


def _custom(urn: str, inputs: Any) -> dict[str, Any]:
    _, _, token, name = urn.split("::")
    return {"urn": urn, "type": token, "custom": True, "id": name, "inputs": inputs, "outputs": inputs}


def _merged(value: Any, change: Any) -> Any:
    """Apply a JSON merge patch."""
    if not isinstance(change, dict):
        return change
    kept = {key: item for key, item in value.items() if change.get(key, item) is not None} if value else {}
    return kept | {key: _merged(kept.get(key), item) for key, item in change.items() if item is not None}


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return _UNKNOWN.get(value, value) if isinstance(value, str) else value


def _entry(given: dict[str, Any], bases: dict[str, Any]) -> dict[str, Any]:
    base = bases.get(given.get("base", ""), given)
    inputs = _merged(base["inputs"], given.get("change", {}))
    return {**given, "type": base["type"], "inputs": _known(inputs)}


def fixtures(pack: str) -> list[Fixture]:
    """Every fixture of a pack."""
    return [found for file in sorted((POLICIES / pack / "fixtures").glob("*.yaml")) for found in _of(file)]


def _of(file: Path) -> Iterator[Fixture]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for verdict in ("good", "bad"):
        for name, given in content[verdict].items():
            entries = given if isinstance(given, list) else [given]
            yield Fixture(file, verdict == "good", name, [_entry(one, content.get("bases", {})) for one in entries])


def state(resources: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A state file of resources, as `pulumi stack export` writes it."""
    manifest = {"time": "2026-01-01T00:00:00Z", "magic": "", "version": "v3.258.0"}
    return {"version": 3, "deployment": {"manifest": manifest, "resources": list(resources)}}


def write_state(file: Path, resources: Iterable[dict[str, Any]]) -> Path:
    """Write a state file."""
    file.write_text(json.dumps(state(resources)), encoding="utf-8")
    return file
