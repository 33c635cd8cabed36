"""Judging Vault policies and roles: which paths a text opens, with which capabilities, and who may log in."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from pullsecrets.data import mapping, sequence
from pullsecrets.policy import hcl
from pullsecrets.policy.model import Finding, Level, PolicyInfo, Resource, Settings, Severity, is_unknown, unknown

VAULT_ACCESS: Final = PolicyInfo(
    name="restrict-vault-access",
    title="Restrict access to the registries' paths in Vault",
    description="Vault policies only read the registries' paths, one by one, and roles name who may log in.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare a policy per registry with `VaultRegistryEntry` (capability `read`, the path written out), and the "
        "role with `VaultAccess` (ServiceAccounts and namespaces by name)."
    ),
    url="https://developer.hashicorp.com/vault/docs/concepts/policies",
    tags=("pull-secret", "vault"),
    settings={
        "prefixes": {
            "type": "array",
            "description": "KV v2 paths below which registry credentials are; `+` matches one segment.",
            "items": {
                "type": "object",
                "properties": {"mount": {"type": "string"}, "path": {"type": "string"}},
                "required": ["mount", "path"],
                "additionalProperties": False,
            },
            "default": [
                {"mount": "secret", "path": "ocp/+/registries"},
                {"mount": "secret", "path": "registry"},
            ],
        }
    },
)

_POLICY: Final = "vault:index/policy:Policy"
_ROLE: Final = "vault:kubernetes/authBackendRole:AuthBackendRole"

_KV_PARTS = ("data", "metadata", "delete", "undelete", "destroy", "subkeys")
_READ_ONLY = frozenset({"read", "list", "scan", "deny"})
_OLD_POLICIES: Final = {
    "deny": ("deny",),
    "read": ("read", "list"),
    "write": ("create", "read", "update", "delete", "list"),
    "sudo": ("create", "read", "update", "delete", "list", "sudo"),
}
"""What the capabilities were called before there were any; the server still reads it."""

_CONTROLS: Final = (
    "auth/+/role",
    "identity",
    "sys/auth",
    "sys/mounts",
    "sys/policies/acl",
    "sys/policy",
    "sys/remount",
)
"""Where whoever writes can give a token any policy, or any policy any path."""
_STORAGE: Final = ("sys/raw", "sys/storage")
"""Where reading alone opens everything that is stored."""


@dataclass(frozen=True)
class PathRule:
    """What a policy permits at a path, in which a last `*` stands for any rest and `+` for one segment."""

    path: str
    capabilities: frozenset[str]

    @property
    def has_wildcard(self) -> bool:
        """Whether it opens more than one path."""
        return self.path.endswith("*") or "+" in self.path.split("/")

    def overlaps(self, prefix: str) -> bool:
        """Tell whether it opens any path below a prefix."""
        parts, wanted, open_ended = self._parts(prefix)
        for index, want in enumerate(wanted):
            if index >= len(parts):
                return False
            part = parts[index]
            if open_ended and index == len(parts) - 1:
                return want == "+" or want.startswith(part)
            if part != want and "+" not in {part, want}:
                return False
        return True

    def is_inside(self, prefix: str) -> bool:
        """Tell whether all that it opens lies below a prefix."""
        parts, wanted, open_ended = self._parts(prefix)
        whole = parts[:-1] if open_ended else parts
        if len(whole) < len(wanted):
            return False
        return all(part == want or (want == "+" and part) for part, want in zip(whole, wanted, strict=False))

    def _parts(self, prefix: str) -> tuple[list[str], list[str], bool]:
        return self.path.removesuffix("*").split("/"), prefix.split("/"), self.path.endswith("*")


def is_access(token: str) -> bool:
    """Tell by a type token whether a resource is a policy or a role."""
    return token in {_POLICY, _ROLE}


def judge_vault_access(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find Vault policies that open more of the registries' paths than reading, and roles that anybody may use."""
    if resource.token == _POLICY:
        yield from _vault_policy(resource, settings)
    elif resource.token == _ROLE:
        yield from _vault_role(resource)


def _vault_policy(resource: Resource, settings: Settings) -> Iterator[Finding]:
    subject, path, text = f"Vault policy {resource.name}", ("policy",), resource.props.get("policy")
    rules = parse_policy(text) if isinstance(text, str) else None
    if is_unknown(text):
        yield unknown(subject, path, "write the paths out as plain texts")
        return
    if rules is None:
        yield Finding(f"{subject} cannot be read as JSON or HCL", "write it in one of the two forms", path)
        return
    yield from _controls(subject, rules)
    prefixes = list(_api_prefixes(sequence(VAULT_ACCESS.setting(settings, "prefixes"))))
    for number, rule in enumerate(rules, start=1):
        if not any(rule.overlaps(prefix) for prefix in prefixes):
            continue
        if not rule.capabilities <= _READ_ONLY:
            problem = f"{subject}: path {number} permits more than reading where registry credentials are"
            yield Finding(problem, 'set its capabilities to ["read"]', path)
        if rule.has_wildcard and not any(rule.is_inside(prefix) for prefix in prefixes):
            problem = f"{subject}: path {number} has a wildcard that reaches beyond the registries' prefix"
            yield Finding(problem, "write the registry's path out", path)


def _controls(subject: str, rules: list[PathRule]) -> Iterator[Finding]:
    for number, rule in enumerate(rules, start=1):
        writes = not rule.capabilities <= _READ_ONLY
        reads = not rule.capabilities <= {"deny"}
        if (writes and any(map(rule.overlaps, _CONTROLS))) or (reads and any(map(rule.overlaps, _STORAGE))):
            problem = f"{subject}: path {number} opens what controls every other path"
            yield Finding(problem, "keep such rights with Vault's administrators", ("policy",))


def _api_prefixes(prefixes: Iterable[Any]) -> Iterator[str]:
    for prefix in map(mapping, prefixes):
        yield from (f"{prefix.get('mount')}/{part}/{prefix.get('path')}" for part in _KV_PARTS)


def _vault_role(resource: Resource) -> Iterator[Finding]:
    subject = f"Vault role {resource.name}"
    for key, what in (
        ("boundServiceAccountNames", "ServiceAccounts"),
        ("boundServiceAccountNamespaces", "namespaces"),
    ):
        value, fix = resource.props.get(key), f"name the {what} that may log in"
        listed = sequence(value)
        if is_unknown(value) or any(is_unknown(name) for name in listed):
            yield unknown(subject, (key,), fix)
        elif not listed or any("*" in str(name) for name in listed):
            yield Finding(f"{subject} does not name its {what}", fix, (key,))
    if resource.props.get("boundServiceAccountNamespaceSelector"):
        fix = "name the namespaces in boundServiceAccountNamespaces"
        yield Finding(f"{subject} takes namespaces by selector", fix, ("boundServiceAccountNamespaceSelector",))


def parse_policy(text: str) -> list[PathRule] | None:
    """Return the rules of a policy in JSON or HCL, None when it cannot be read.

    As the server reads it: the old `policy` counts beside `capabilities`, both where they stand more than once, and a
    path's leading slash is none of it.
    """
    try:
        items = _json_items(text) if text.lstrip().startswith("{") else hcl.parse(text)
    except (hcl.HclError, ValueError, RecursionError):
        return None
    rules: list[PathRule] = []
    for keys, value in items:
        if keys == ("name",) and isinstance(value, str):
            continue
        if len(keys) != len(("path", "name")) or keys[0] != "path" or not isinstance(value, list):
            return None
        capabilities = frozenset(_capabilities(cast("hcl.Items", value)))
        # A denial outweighs what stands beside it.
        rules.append(PathRule(keys[1].removeprefix("/"), capabilities & {"deny"} or capabilities))
    return rules


def _capabilities(fields: hcl.Items) -> Iterator[str]:
    stated = False
    for (key, *_), value in fields:
        if key == "policy":
            yield from _OLD_POLICIES.get(str(value), "?")
        elif key == "capabilities":
            yield from (str(item) for item in (cast("list[Any]", value) if isinstance(value, list) else [value]))
        stated = stated or key in {"policy", "capabilities"}
    if not stated:
        yield "?"


class _JsonObject(list[tuple[tuple[str, ...], Any]]):
    """An object of JSON as the items that the same object has in HCL; keys that repeat all count."""


def _json_items(text: str) -> hcl.Items:
    content = json.loads(text, object_pairs_hook=lambda pairs: _JsonObject(((key,), value) for key, value in pairs))
    items: hcl.Items = []
    for keys, value in cast("hcl.Items", content):
        blocks = [value] if isinstance(value, _JsonObject) or not isinstance(value, list) else cast("list[Any]", value)
        for block in blocks:
            if keys == ("path",) and isinstance(block, _JsonObject):
                items += [((*keys, *name), rule) for name, rule in block]
            else:
                items.append((keys, block))
    return items
