"""What the control plane applies and writes: RBAC of the deployers, flags and CRDs of the operator, Vault policies."""

import pytest

from local.controlplane.eso import ChartError, crd_manifests, merge_flags
from local.controlplane.openbao import POLICIES, policy_document


def test_later_flags_replace_earlier_ones_of_the_same_name():
    merged = merge_flags(["--concurrent=1", "--loglevel=info"], ["--metrics-addr=127.0.0.1:1"], ["--concurrent=50"])
    assert merged == ("--concurrent=50", "--loglevel=info", "--metrics-addr=127.0.0.1:1")


def test_a_switch_without_a_value_is_a_flag():
    assert merge_flags(["--enable=false"], ["--enable"]) == ("--enable",)


@pytest.mark.parametrize("flag", ["concurrent=5", "-c", ""])
def test_what_is_no_flag_is_refused(flag):
    with pytest.raises(ValueError, match="no flag of External Secrets Operator"):
        merge_flags([flag])


@pytest.fixture
def module(tmp_path):
    bases = tmp_path / "config" / "crds" / "bases"
    bases.mkdir(parents=True)
    (bases / "kustomization.yaml").write_text("resources: []\n")
    return tmp_path


def write_crd(module, name, content="spec:\n  group: external-secrets.io\n"):
    (module / "config" / "crds" / "bases" / name).write_text(content)


def test_crds_are_named_after_their_files(module):
    write_crd(module, "external-secrets.io_externalsecrets.yaml")
    write_crd(module, "generators.external-secrets.io_uuids.yaml")
    assert set(crd_manifests(module)) == {"externalsecrets.external-secrets.io", "uuids.generators.external-secrets.io"}


def test_a_crd_that_wants_a_conversion_webhook_is_refused(module):
    write_crd(module, "external-secrets.io_externalsecrets.yaml", "spec:\n  conversion:\n    strategy: Webhook\n")
    with pytest.raises(ChartError, match=r"externalsecrets\.yaml has spec\.conversion"):
        crd_manifests(module)


def test_a_module_without_crds_is_refused(module):
    with pytest.raises(ChartError, match="make build"):
        crd_manifests(module)


def test_the_platform_token_cannot_touch_a_credential():
    assert not any(path.startswith("secret/data") or path in {"*", "secret/*"} for path in POLICIES["platform"])


def test_no_token_can_destroy_a_credential():
    for policy in POLICIES.values():
        assert all("delete" not in policy[path] for path in policy if path.startswith("secret/"))


def test_the_seeder_writes_credentials_and_removes_versions_alone():
    seeder = POLICIES["seeder"]
    assert set(seeder) == {"secret/config", "secret/data/*", "secret/destroy/*", "secret/metadata/*"}
    assert seeder["secret/config"] == ["read"], "what the mount drops later is told, never set"
    assert seeder["secret/destroy/*"] == ["update"], "what rotate --destroy-previous asks for"
    assert all("delete" not in capabilities for capabilities in seeder.values())


def test_a_policy_lists_its_paths_with_their_capabilities():
    assert policy_document({"a/*": ["read", "list"], "b": ["update"]}).splitlines() == [
        'path "a/*" {',
        '  capabilities = ["read", "list"]',
        "}",
        'path "b" {',
        '  capabilities = ["update"]',
        "}",
    ]
