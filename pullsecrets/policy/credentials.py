"""Finds plaintext credentials in a resource or an object, without ever returning one."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pullsecrets.credential.kubelet import UnreadableError, decode_auth
from pullsecrets.data import LARGEST_TEXT, Path, Unknown, Values, every_text, is_open, mapping, shown, texts, walk
from pullsecrets.guard.targets import describe
from pullsecrets.kube.marks import LOGIN_KEYS
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.policy.model import (
    Finding,
    Level,
    PolicyInfo,
    Resource,
    Settings,
    Severity,
    every_object,
    kubernetes_object,
)

CREDENTIALS: Final = PolicyInfo(
    name="disallow-inline-credentials",
    title="Disallow credentials in resources",
    description="No resource holds a credential: what Pulumi declares lands in its state, and YAML in a repository.",
    level=Level.MANDATORY,
    severity=Severity.CRITICAL,
    remediation=(
        "Write the credential to Vault with `pull-secrets seed` and let External Secrets Operator deliver it. A "
        "credential that was committed or is in state is no longer secret: revoke it where it was issued."
    ),
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
    tags=("external-secrets", "kubernetes", "pull-secret", "vault"),
)

SECRETS: Final = replace(
    CREDENTIALS,
    name="disallow-inline-secrets",
    title="Disallow content in Secrets",
    description="A Secret whose content is declared has it in state, or in the repository, whatever it is for.",
    level=Level.ADVISORY,
    severity=Severity.MEDIUM,
    remediation="Keep the content in Vault or another store, and have External Secrets Operator deliver it.",
)

_VAULT_VALUES = frozenset({"vault:generic/secret:Secret", "vault:kv/secret:Secret", "vault:kv/secretV2:SecretV2"})
_VAULT_VALUE_FIELDS = ("data", "dataJson", "dataJsonWo")
_VAULT_TOKENS = {
    "pulumi:providers:vault": "token",
    "vault:kubernetes/authBackendConfig:AuthBackendConfig": "tokenReviewerJwt",
}

_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{24,}={0,2}\s*")
_LOGIN = re.compile(r'"(?:auth|password|identitytoken|registrytoken)"\s*:\s*"(?!\s*\{\{)[^"]+"')
_HOST = re.compile(r"(?:https?://)?[\w-]+(?:\.[\w-]+)*[.:][\w-]+(?:/.*)?|(?:https?://)?localhost(?:/.*)?")
_REGISTRY_LOGIN = "a registry login"
_MOST_LAYERS = 4
_LOGIN_KEYS = frozenset({"auth", "auths", "password"})
_LOGIN_FIELDS = ("auth", "password", "identitytoken", "registrytoken")
_FORMS = {
    "a Vault token": re.compile(r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a URL with a password": re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@{}$]+:[^/\s@{}$]+@[\w.-]"),
}


def judge_credentials(item: Values, _settings: Settings) -> Iterator[Finding]:
    """Find credentials that stand in an object as they are."""
    subject = describe(item)
    fix = "put it into Vault with `pull-secrets seed` and have it delivered; change it where it was issued"
    if (group_of(item), kind_of(item)) == ("", "Secret") and is_pull_secret(item) and has_content(item):
        key = "stringData" if item.get("stringData") else "data"
        yield Finding(f"{subject} contains the credential", fix, (key,))
        return
    for path, kind in inline_credentials(item):
        yield Finding(f"{subject} holds {kind} at {shown(path)}", fix, path)


def judge_secrets(item: Values, _settings: Settings) -> Iterator[Finding]:
    """Find Secrets with content that are no pull Secrets: theirs to keep who declare them."""
    if (group_of(item), kind_of(item)) == ("", "Secret") and has_content(item) and not is_pull_secret(item):
        fix = "keep the content in a store, and have External Secrets Operator deliver it"
        yield Finding(
            f"{describe(item)} contains what it is for", fix, ("stringData" if item.get("stringData") else "data",)
        )


def judge_credentials_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find credentials that stand in a resource as they are, values of Vault's KV store among them."""
    subject = f"{resource.token} {resource.name}"
    is_value = resource.token in _VAULT_VALUES or (
        resource.token == "vault:generic/endpoint:Endpoint"  # noqa: S105 - a type token
        and "/data/" in f"/{resource.props.get('path')}/"
    )
    writes_value = is_value and any(resource.props.get(field) for field in _VAULT_VALUE_FIELDS)
    if writes_value:
        problem = f"{subject} writes a value into Vault, and even a write-only field lands in state"
        yield Finding(problem, "write it with `pull-secrets seed`, and declare the path with VaultRegistryEntry")
        return
    key = _VAULT_TOKENS.get(resource.token)
    if key and resource.props.get(key):
        fix = "leave it out: VAULT_TOKEN gives the provider its token, and the client's own token is reviewed"
        yield Finding(f"{subject} holds a token as its {key}", fix, (key,))
    for item in every_object(resource):
        yield from judge_credentials(item, settings)
    if kubernetes_object(resource) is None and resource.package != "pulumi":
        yield from (
            Finding(f"{subject} holds {kind} at {shown(path)}", "put it into Vault with `pull-secrets seed`", path)
            for path, kind in inline_credentials(resource.props)
        )


def inline_credentials(value: Any) -> Iterator[tuple[Path, str]]:
    """Yield where a credential stands inside a value and what kind of credential it is."""
    # At a glance first: next to nothing holds one.
    if not any(text in _LOGIN_KEYS or _could_hold(text) for text in every_text(value)):
        return
    for path, found in walk(value):
        if isinstance(found, str):
            if kind := _inside(found):
                yield path, kind
        elif content := mapping(found):
            if path[-1:] != ("auths",) and _holds_login(content):
                yield path, _REGISTRY_LOGIN
            yield from (((*path, key), kind) for key in content if (kind := _inside(key)))


def _inside(text: str) -> str | None:
    """Return what kind of credential a text holds, or is a wrapping of."""
    if not _could_hold(text):
        return None
    return next((kind for layer in _layers(text[:LARGEST_TEXT]) if (kind := _kind(layer))), None)


def _could_hold(text: str) -> bool:
    """Tell at a glance whether a text could hold, or be the wrapping of, any kind of credential."""
    return (
        any(letters in text for letters in ("auths", "hv", "PRIVATE KEY", "://"))
        or text.lstrip()[:1] in {"{", "[", '"'}
        or _BASE64.fullmatch(text) is not None
    )


def _kind(text: str) -> str | None:
    content = _json(text)
    # A template is no JSON yet.
    in_template = content is None and "auths" in text and _LOGIN.search(text)
    if in_template or any(_holds_login(found) for _, found in walk(content)):
        return _REGISTRY_LOGIN
    return next((kind for kind, form in _FORMS.items() if form.search(text)), None)


def _layers(text: str, depth: int = _MOST_LAYERS) -> Iterator[str]:
    """Yield a text and the texts that it is a wrapping of: base64, and JSON with texts inside."""
    yield text
    if depth:
        for inner in (*_decoded(text), *(inner for _, inner in texts(_json(text)) if inner != text)):
            yield from _layers(inner, depth - 1)


def _json(text: str) -> Any:
    """Return what a JSON object, list or string holds; None for any other text."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _holds_login(value: Any) -> bool:
    """Tell whether a value is a dockerconfigjson, or the older form, which has no `auths` around its hosts."""
    content = mapping(value)
    if any(_is_literal(login, key) for login in mapping(content.get("auths")).values() for key in _LOGIN_FIELDS):
        return True
    entries = content.items()
    return any(isinstance(entry, Mapping) and _HOST.fullmatch(str(key)) and _is_login(entry) for key, entry in entries)


def _is_login(entry: Any) -> bool:
    if _is_literal(entry, "username") and _is_literal(entry, "password"):
        return True
    try:
        return _is_literal(entry, "auth") and bool(decode_auth(mapping(entry)["auth"]).password)
    except UnreadableError:
        return False


def _is_literal(login: Any, key: str) -> bool:
    value = mapping(login).get(key)
    return isinstance(value, str) and bool(value) and not is_open(value)


def _decoded(text: str) -> Iterator[str]:
    if _BASE64.fullmatch(text) is None:
        return
    try:
        yield base64.b64decode(text).decode()
    except (binascii.Error, ValueError):
        return


def is_pull_secret(item: Values) -> bool:
    """Tell whether a Secret holds registry logins by its type or its keys, or could; what others hold is not judged."""
    stored = (item.get("data"), item.get("stringData"))
    if any(isinstance(value, Unknown) for value in (item.get("type"), *stored)) or str(item.get("type")) in LOGIN_KEYS:
        return True
    return any(key in LOGIN_KEYS.values() for field in stored for key in mapping(field))


def has_content(item: Values) -> bool:
    """Tell whether a Secret contains the credential, known or not; what SOPS has encrypted is none."""
    fields = [item.get("data"), item.get("stringData")]
    if any(isinstance(field, Unknown) for field in fields):
        return True
    values = [value for field in fields for value in mapping(field).values()]
    return any(value and not (isinstance(value, str) and value.startswith("ENC[")) for value in values)
