"""Judging Vault policies and roles: which paths a text opens, with which capabilities, and who may log in."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pullsecrets.data import mapping, sequence
from pullsecrets.policy.model import Finding, Resource, Settings, is_unknown, unknown
from pullsecrets.policy.tenant_delivery import VAULT_ACCESS

_KV_PARTS = ("data", "metadata", "delete", "undelete", "destroy", "subkeys")
_READ_ONLY = frozenset({"read", "list", "deny"})
_COMMENTS = re.compile(r"/\*.*?\*/|(?m:^\s*(#|//).*$)", re.DOTALL)
_STANZA = re.compile(r'path\s+"([^"]*)"\s*\{')
_CAPABILITIES = re.compile(r"capabilities\s*=\s*\[([^\]]*)\]")
_QUOTED = re.compile(r'"([^"]*)"')


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


def judge_vault_access(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find Vault policies that open more of the registries' paths than reading, and roles that anybody may use."""
    if resource.token == "vault:index/policy:Policy":  # noqa: S105 - a type token
        yield from _vault_policy(resource, settings)
    elif resource.token == "vault:kubernetes/authBackendRole:AuthBackendRole":  # noqa: S105 - a type token
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
    """Return the rules of a policy in JSON or HCL, None when it cannot be read."""
    try:
        content: Any = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return _parse_hcl(text)
    paths = mapping(content).get("path")
    blocks = [mapping(paths)] if not sequence(paths) else [mapping(item) for item in sequence(paths)]
    return [
        PathRule(path, frozenset(str(item) for item in sequence(mapping(rule).get("capabilities"))) or frozenset("?"))
        for block in blocks
        for path, rule in block.items()
    ]


def _parse_hcl(text: str) -> list[PathRule] | None:
    rest = _COMMENTS.sub("", text)
    rules: list[PathRule] = []
    while found := _STANZA.search(rest):
        end = _closing_brace(rest, found.end())
        if rest[: found.start()].strip() or end is None:
            return None
        rules.append(PathRule(found.group(1), frozenset(_capabilities(rest[found.end() : end]))))
        rest = rest[end + 1 :]
    return None if rest.strip() else rules


def _capabilities(body: str) -> Iterator[str]:
    listed = _CAPABILITIES.findall(body)
    if not listed:
        # The old form, `policy = "write"`, and anything else: more than reading until shown otherwise.
        yield "?"
    for part in listed:
        yield from _QUOTED.findall(part)


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return None
