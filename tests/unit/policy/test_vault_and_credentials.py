"""Vault policies open no more than reading, and no resource holds a credential."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.data import UNKNOWN
from pullsecrets.manifests import builders
from pullsecrets.policy import credentials, vault_access
from pullsecrets.policy.model import Finding, Resource

CANARY = "canary0secret"
LOGIN = json.dumps({"auths": {"registry.example.com": {"auth": base64.b64encode(f"a:{CANARY}".encode()).decode()}}})

OLD = json.dumps({"https://index.docker.io/v1/": {"auth": base64.b64encode(f"a:{CANARY}".encode()).decode()}})


def resource(token: str, /, **props: Any) -> Resource:
    return Resource(token, "subject", f"urn:pulumi:dev::project::{token}::subject", props)


def policy(text: Any) -> list[Finding]:
    return list(vault_access.judge_vault_access(resource("vault:index/policy:Policy", policy=text), {}))


def rules(**paths: list[str]) -> str:
    return json.dumps({"path": {path: {"capabilities": given} for path, given in paths.items()}})


@pytest.mark.parametrize(
    "path", ["ocp/dev/registries/app-registry-pull", "registry/api-tanhdev", "ocp/spoke-dc-v6/registries/a/b"]
)
def test_the_policy_that_this_project_writes_is_fine(path: str) -> None:
    assert policy(builders.vault_read_policy("secret", path)) == []


@pytest.mark.parametrize("capability", ["create", "update", "patch", "delete", "sudo"])
def test_more_than_reading_is_refused(capability: str) -> None:
    assert policy(rules(**{"secret/data/registry/a": ["read", capability]}))


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("secret/data/registry/*", False),
        ("secret/data/ocp/dev/registries/*", False),
        ("secret/data/ocp/+/registries/*", False),
        ("secret/data/registry*", True),
        ("secret/data/*", True),
        ("secret/*", True),
        ("*", True),
        ("secret/+/registry/a", True),
        ("+/data/registry/a", True),
        ("secret/data/ocp/*", True),
        ("secret/data/shop/*", False),
        ("secret/data/reg", False),
        ("other/data/registry/*", False),
    ],
)
def test_a_wildcard_stays_inside_the_registries_prefix(path: str, refused: bool) -> None:
    assert bool(policy(rules(**{path: ["read"]}))) is refused


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('path "secret/data/registry/a" {\n  capabilities = ["read"]\n}', 0),
        ('# why\npath "secret/data/registry/a" { capabilities = ["read"] } // end', 0),
        ('path "secret/data/registry/a" { capabilities = ["update"] }', 1),
        ('path "secret/data/registry/a" { policy = "write" }', 1),
        ('path "secret/data/*" { capabilities = ["read"] allowed_parameters = { "a" = [] } }', 1),
        ('path "database/creds/a" { capabilities = ["update"] }', 0),
        ('path "secret/data/registry/a" { capabilities = ["read"] } path "*" { capabilities = ["sudo"] }', 3),
        ('// why\npath "secret/data/registry/a" { "capabilities" = ["update"] }', 1),
        ('path "secret/data/registry/a" { /* } */ policy = "write" capabilities = ["read"] }', 1),
        ('path "/secret/data/registry/a" { capabilities = ["read"] capabilities = ["patch"] }', 1),
        ('"path" "secret/data/registry/a" { capabilities = ["deny", "update"] }', 0),
        ('name = "a" path "secret/data/registry\\u002fa" { capabilities = ["create"] }', 1),
        ('{"path": [{"/secret/data/registry/a": {"policy": "write"}}]}', 1),
        ('{"path": {"a": {"policy": "read"}, "secret/data/registry/a": {"capabilities": ["delete"]}}}', 1),
        ('path "sys/policies/acl/*" { capabilities = ["update"] }', 1),
        ('path "sys/raw/a" { capabilities = ["read"] }', 1),
        ('path "sys/health" { capabilities = ["read"] }', 0),
        ('path "secret/data/registry/a" { capabilities = [<<END\nread\nEND\n] }', 1),
        ("path " * 60 + "{" * 60, 1),
        ('{"path": 7}', 1),
        ("nonsense", 1),
        ('path "a" {', 1),
        ("", 0),
        (UNKNOWN, 1),
    ],
)
def test_policies_in_hcl_are_read_too(text: Any, count: int) -> None:
    assert len(policy(text)) == count


@given(st.text(max_size=60))
def test_any_policy_text_is_judged_without_an_error(text: str) -> None:
    policy(text)


def test_no_finding_shows_a_path() -> None:
    found = policy(rules(**{f"secret/data/registry/{CANARY}": ["sudo"]}))
    assert found
    assert CANARY not in "".join(map(str, found))


def role(**changes: Any) -> list[Finding]:
    props = {"boundServiceAccountNames": ["external-secrets"], "boundServiceAccountNamespaces": ["external-secrets"]}
    token = "vault:kubernetes/authBackendRole:AuthBackendRole"
    return list(vault_access.judge_vault_access(resource(token, **{**props, **changes}), {}))


def test_a_role_names_who_may_log_in() -> None:
    assert role() == []
    for key in ("boundServiceAccountNames", "boundServiceAccountNamespaces"):
        for value in (["*"], ["team-*"], [], None, UNKNOWN, [UNKNOWN]):
            assert len(role(**{key: value})) == 1, (key, value)
    assert role(boundServiceAccountNamespaceSelector="{}")


# Credentials.


@pytest.mark.parametrize(
    "text",
    [
        LOGIN,
        base64.b64encode(LOGIN.encode()).decode(),
        LOGIN.replace("{", "{{ x }}{", 1),
        '{"auths": {"{{ .host }}": {"password": "abc"}}}',
        OLD,
        base64.b64encode(OLD.encode()).decode(),
        json.dumps({"registry.example.com:5000": {"username": "a", "password": "abc"}}),
        json.dumps({"config": LOGIN}),
        json.dumps([json.dumps({"config": OLD})]),
        json.dumps(base64.b64encode(LOGIN.encode()).decode()),
        json.dumps(LOGIN),
        "hvs." + "A1b2C3d4E5f6G7h8I9j0K1",
        "-----BEGIN RSA " + "PRIVATE KEY-----\nabc",
        "https://bot:abc@registry.example.com/v2/",
    ],
)
def test_a_credential_is_found_wherever_it_stands(text: str) -> None:
    item = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"deep": [{"a": text}]}}
    (finding,) = credentials.judge_credentials(item, {})
    assert finding.path == ("spec", "deep", 0, "a")
    assert CANARY not in str(finding)
    assert "abc" not in str(finding)


@pytest.mark.parametrize(
    "text",
    [
        '{"auths": {"{{ .host }}": {"auth": "{{ .auth }}"}}}',
        '{"auths": {"registry.example.com": {}}}',
        "https://registry.example.com/v2/",
        "https://${USER}:${PASSWORD}@registry.example.com",
        "auths are kept elsewhere",
        '{"registry.example.com": {"auth": "{{ .auth }}"}}',
        '{"auths": {"registry.example.com": {"auth": "${AUTH}"}}}',
        '{"registry.example.com": {"auth": "oauth2"}}',
        '{"oauth": {"auth": "b2F1dGg6eHl6"}, "a.b": {"username": "a"}}',
        '"' * 4000,
        "-----BEGIN CERTIFICATE-----\nabc",
        "a" * 64,
    ],
)
def test_what_only_looks_like_one_is_not(text: str) -> None:
    assert list(credentials.inline_credentials({"a": text})) == []


def test_a_login_is_found_in_plain_fields_too() -> None:
    for logins in (json.loads(LOGIN), json.loads(OLD)):
        ((path, kind),) = credentials.inline_credentials({"spec": {"values": logins}})
        assert (path, kind) == (("spec", "values"), "a registry login")


@given(st.text(max_size=80))
def test_any_text_is_searched_without_an_error(text: str) -> None:
    list(credentials.inline_credentials({"a": text, "b": "auths" + text}))


def secret(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}, **fields}


@pytest.mark.parametrize("kind", [[1], {"a": "b"}, 7, None])
def test_a_type_that_is_no_text_is_judged_all_the_same(kind: Any) -> None:
    odd = secret(stringData={"a": "b"}, type=kind)
    assert len([*credentials.judge_credentials(odd, {}), *credentials.judge_secrets(odd, {})]) == 1


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"data": {"a": "Yg=="}}, True),
        ({"stringData": {"a": "b"}}, True),
        ({"stringData": UNKNOWN}, True),
        ({"stringData": {"a": UNKNOWN}}, True),
        ({"data": {}}, False),
        ({}, False),
        ({"stringData": {"a": "ENC[AES256_GCM,data:x]"}}, False),
    ],
)
def test_a_pull_secret_brings_no_content_along_and_any_other_is_reported(fields: dict[str, Any], refused: bool) -> None:
    pull_secret = secret(**fields, type="kubernetes.io/dockerconfigjson")
    assert bool(list(credentials.judge_credentials(pull_secret, {}))) is refused
    assert list(credentials.judge_secrets(pull_secret, {})) == []
    other = secret(**fields, type="Opaque")
    by_both = [*credentials.judge_credentials(other, {}), *credentials.judge_secrets(other, {})]
    assert len(by_both) == refused


@pytest.mark.parametrize(
    ("token", "props", "refused"),
    [
        ("vault:kv/secretV2:SecretV2", {"dataJsonWo": "a"}, True),
        ("vault:kv/secretV2:SecretV2", {"name": "a"}, False),
        ("vault:generic/endpoint:Endpoint", {"path": "secret/data/registry/a", "dataJson": "a"}, True),
        ("vault:generic/endpoint:Endpoint", {"path": "secret/metadata/registry/a", "dataJson": "a"}, False),
        ("pulumi:providers:vault", {"token": "a"}, True),
        ("pulumi:providers:vault", {"token": UNKNOWN}, True),
        ("pulumi:providers:vault", {"address": "https://vault.example.com"}, False),
        ("vault:kubernetes/authBackendConfig:AuthBackendConfig", {"tokenReviewerJwt": "a"}, True),
        ("vault:kubernetes/authBackendConfig:AuthBackendConfig", {"disableLocalCaJwt": True}, False),
        ("aws:ssm/parameter:Parameter", {"value": LOGIN}, True),
    ],
)
def test_resources_that_carry_a_credential_are_refused(token: str, props: dict[str, Any], refused: bool) -> None:
    found = list(credentials.judge_credentials_resource(resource(token, **props), {}))
    assert bool(found) is refused
    assert CANARY not in "".join(map(str, found))
