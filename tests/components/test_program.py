"""The program declares, for each stack file, what the stack's configuration asks for."""

import json
import os
from dataclasses import replace
from typing import Any, ClassVar

import pulumi
import pytest
from pulumi.runtime.mocks import MockResourceArgs

from pullsecrets.config import StackConfig, parse
from pullsecrets.kube.marks import STACK_ANNOTATION
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests import builders, guard
from pullsecrets.manifests.roles import Groups, stack_roles
from pullsecrets.manifests.stack import platform_objects
from pullsecrets.tenancy import preflight
from pullsecrets.tenancy.preflight import Environment, TokenReviews
from tests.components.program import VAULT, Declared, RecordingMocks, run_program, stack_file

REVIEWS = TokenReviews("https://api.example.com:6443", "CA")
ENVIRONMENT = Environment(REVIEWS, auth_mount_exists=False)
CES = "kubernetes:external-secrets.io/v1:ClusterExternalSecret"
STORE = "kubernetes:external-secrets.io/v1:ClusterSecretStore"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
VAULT_ROLE = "vault:kubernetes/authBackendRole:AuthBackendRole"
NAMESPACE = "kubernetes:core/v1:Namespace"
OPT_IN = "pulumi-python:dynamic/pullsecrets:NamespaceOptIn"
BINDING = "pulumi-python:dynamic/pullsecrets:ImagePullSecretBinding"
BINDINGS = f"{BINDING}s"
POLICY = "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy"
POD_POLICY = "kubernetes:admissionregistration.k8s.io/v1:MutatingAdmissionPolicy"
KV_METADATA = "pulumi-python:dynamic/pullsecrets:KvMetadata"


@pytest.fixture(params=["dev", "prod"])
def stack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def declared(stack: str, monkeypatch: pytest.MonkeyPatch) -> Declared:
    return run_program(stack_file(stack), ENVIRONMENT, monkeypatch, stack)


@pytest.fixture
def config(stack: str) -> StackConfig:
    return parse(stack_file(stack), stack)


def kubernetes_object(inputs: dict[str, Any]) -> dict[str, Any]:
    """The object as it is sent, without what only the program adds."""
    metadata = dict(inputs["metadata"])
    added = {STACK_ANNOTATION, "pulumi.com/waitFor", "pulumi.com/skipAwait"}
    annotations = {key: value for key, value in metadata.pop("annotations", {}).items() if key not in added}
    return {**inputs, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


def test_without_an_egress_section_esos_network_access_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    content = stack_file("dev")
    del content["vault"]["egress"]
    declared = run_program(content, ENVIRONMENT, monkeypatch, "dev")
    assert not declared.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
    assert declared.of_type(STORE)
    items = [item for _, item in platform_objects(parse(content, "dev"), "dev")]
    assert "NetworkPolicy" not in {item["kind"] for item in items}
    rules = [rule for item in stack_roles(parse(content, "dev"), Groups()) for rule in item.get("rules", ())]
    assert not [rule for rule in rules if "networkpolicies" in rule["resources"] and "patch" in rule["verbs"]]


def test_every_tenant_of_the_stack_file_is_declared_once(declared: Declared, config: StackConfig) -> None:
    opted_in = [item.inputs["namespace"] for item in declared.of_type(OPT_IN).values()]
    assert sorted(opted_in) == [tenant.name for tenant in config.resolve_tenants()]
    created = [item for item in declared.of_type(OPT_IN).values() if item.inputs.get("owner")]
    assert len(created) == 24


def test_the_program_declares_the_objects_that_render_writes(declared: Declared, config: StackConfig) -> None:
    fanouts = {name: kubernetes_object(item.inputs) for name, item in declared.of_type(CES).items()}
    specs = [builders.PullSecretSpec.of(config, registry) for registry in config.registries]
    # Durations alone are spelt as ESO writes them back.
    assert fanouts == {
        f"{spec.name}-fanout": builders.cluster_external_secret(replace(spec, refresh="1h0m0s")) for spec in specs
    }
    stores = {name: kubernetes_object(item.inputs) for name, item in declared.of_type(STORE).items()}
    assert stores == {
        f"{store.name}-store": builders.cluster_secret_store(builders.StoreSpec.of(config, store))
        for store in config.vault_stores
    }
    policy = declared.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")["eso-egress-policy"]
    assert kubernetes_object(policy.inputs) == builders.egress(builders.EgressSpec.of(config))
    opted_in = [item.inputs for item in declared.of_type(OPT_IN).values()]
    namespaces = [builders.namespace(item["namespace"], item["labels"], item["annotations"]) for item in opted_in]
    written = [builders.tenant_namespace(tenant) for tenant in config.resolve_tenants()]
    assert sorted(namespaces, key=str) == sorted(written, key=str)


def test_every_created_object_says_which_stack_owns_it(declared: Declared, stack: str) -> None:
    for token in (CES, STORE, POLICY, f"{POLICY}Binding", "kubernetes:networking.k8s.io/v1:NetworkPolicy"):
        for item in declared.of_type(token).values():
            assert item.inputs["metadata"]["annotations"][STACK_ANNOTATION] == f"pull-secrets/{stack}"


def test_the_preflight_looks_at_every_object_that_the_program_makes(declared: Declared, config: StackConfig) -> None:
    made = [
        item.inputs
        for item in declared.resources
        if item.typ.startswith("kubernetes:") and item.typ != NAMESPACE and "metadata" in item.inputs
    ]
    assert {path_of(item) for item in made} == set(preflight.object_paths(config, "dev"))
    assert f"{RBAC}/clusterrolebindings/vault-platform-token-reviewer" in preflight.object_paths(config, "dev")


def test_a_created_namespace_says_which_stack_owns_it_and_an_adopted_one_does_not(
    declared: Declared, config: StackConfig, stack: str
) -> None:
    owners = {item.inputs["namespace"]: item.inputs.get("owner") for item in declared.of_type(OPT_IN).values()}
    tenants = config.resolve_tenants()
    assert owners == {tenant.name: None if tenant.adopt else f"pull-secrets/{stack}" for tenant in tenants}


def test_an_adopted_namespace_gets_our_labels_and_nothing_else(declared: Declared) -> None:
    opted_in = {item.inputs["namespace"]: item.inputs for item in declared.of_type(OPT_IN).values()}
    assert opted_in["apps-platform-liberty-hello-dev"]["labels"] == {"apps.platform/tenant": "true"}


def test_the_store_is_awaited_and_the_fan_out_is_not(declared: Declared) -> None:
    for store in declared.of_type(STORE).values():
        assert store.inputs["metadata"]["annotations"]["pulumi.com/waitFor"] == "condition=Ready"
    for item in declared.of_type(CES).values():
        assert "pulumi.com/waitFor" not in item.inputs["metadata"]["annotations"]


def bindings(declared: Declared) -> dict[str, Any]:
    """What each namespace has of the one binding."""
    (found,) = declared.of_type(BINDINGS).values()
    return found.inputs["namespaces"]


def test_each_tenant_binds_exactly_its_registries(declared: Declared, config: StackConfig) -> None:
    found = bindings(declared)
    assert found.keys() == {tenant.name for tenant in config.resolve_tenants()}
    for tenant in config.resolve_tenants():
        assert found[tenant.name]["secrets"] == list(tenant.registries)
        assert found[tenant.name]["service_accounts"] == ["default"]


def test_a_tenant_costs_one_resource(declared: Declared, config: StackConfig) -> None:
    for tenant in config.resolve_tenants():
        assert [item.name for item in declared.resources if tenant.name in item.name] == [f"{tenant.name}-labels"]


def test_vault_policies_read_one_path_each_and_nothing_else(declared: Declared, config: StackConfig) -> None:
    policies = declared.of_type("vault:index/policy:Policy")
    for registry in config.registries:
        rules = json.loads(policies[f"{registry.name}-policy"].inputs["policy"])["path"]
        assert rules == {
            f"secret/data/{registry.path}": {"capabilities": ["read"]},
            f"secret/metadata/{registry.path}": {"capabilities": ["read"]},
        }


def test_each_role_admits_only_esos_service_account(declared: Declared) -> None:
    for role in declared.of_type(VAULT_ROLE).values():
        assert role.inputs["boundServiceAccountNames"] == ["external-secrets"]
        assert role.inputs["boundServiceAccountNamespaces"] == ["external-secrets"]
        assert role.inputs["audience"] == "vault"
        assert role.inputs["tokenTtl"] == 600


def test_one_label_opens_one_store_whose_role_reads_one_path(declared: Declared, config: StackConfig) -> None:
    roles = {item.inputs["roleName"]: item.inputs["tokenPolicies"] for item in declared.of_type(VAULT_ROLE).values()}
    stores = {item.inputs["metadata"]["name"]: item.inputs["spec"] for item in declared.of_type(STORE).values()}
    for registry in config.registries:
        read_through = declared.of_type(CES)[f"{registry.name}-fanout"].inputs["spec"]["externalSecretSpec"]
        spec = stores.pop(read_through["secretStoreRef"]["name"])
        assert spec["conditions"] == [{"namespaceSelector": {"matchLabels": registry.selector}}]
        role = spec["provider"]["vault"]["auth"]["kubernetes"]["role"]
        assert roles.pop(role) == [f"pull-secrets-{config.cluster.name}-{registry.name}"]
    assert (roles, stores) == ({}, {})


def test_the_first_store_and_its_role_keep_their_names(declared: Declared, config: StackConfig) -> None:
    first = declared.of_type(CES)["app-registry-pull-fanout"].inputs["spec"]["externalSecretSpec"]
    assert first["secretStoreRef"]["name"] == config.eso.store == "vault-platform"
    role = declared.of_type(VAULT_ROLE)["vault-access-role"]
    assert role.inputs["roleName"] == config.vault.auth.role


def test_nothing_that_is_declared_comes_from_the_environment(declared: Declared) -> None:
    assert os.environ["VAULT_ADDR"] == VAULT
    assert not [item.name for item in declared.resources if VAULT in json.dumps(item.inputs)]


def test_no_resource_holds_a_token_or_a_credential(declared: Declared) -> None:
    (provider,) = declared.of_type("pulumi:providers:vault").values()
    assert "token" not in provider.inputs
    (config,) = declared.of_type("vault:kubernetes/authBackendConfig:AuthBackendConfig").values()
    assert "tokenReviewerJwt" not in config.inputs
    assert "vault:kv/secretV2:SecretV2" not in declared.types()
    assert "kubernetes:core/v1:Secret" not in declared.types()
    assert "kubernetes:core/v1:ServiceAccountPatch" not in declared.types()


def test_the_metadata_names_registry_owner_hosts_and_cluster(declared: Declared, config: StackConfig) -> None:
    entries = declared.of_type(KV_METADATA)
    for registry in config.registries:
        inputs = entries[f"{registry.name}-metadata"].inputs
        assert inputs["custom"] == {
            "owner": registry.owner,
            "hosts": ",".join(registry.hosts),
            "registry": registry.name,
            "cluster": config.cluster.name,
        }


def test_the_guard_is_what_render_writes(declared: Declared, config: StackConfig) -> None:
    found = [*declared.of_type(POLICY).values(), *declared.of_type(f"{POLICY}Binding").values()]
    written = {(item["kind"], item["metadata"]["name"]): item for item in guard.stack_objects(config)}
    assert {
        (item.inputs["kind"], item.inputs["metadata"]["name"]): kubernetes_object(item.inputs) for item in found
    } == (written)
    assert "pullsecrets:index:ClusterPullSecretGuard" in declared.types()


def test_the_guard_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = run_program({**stack_file("dev"), "guard": {"mode": "off"}}, ENVIRONMENT, monkeypatch)
    assert not {POLICY, "pullsecrets:index:ClusterPullSecretGuard"} & declared.types()


def test_pods_get_their_entries_by_admission_or_by_service_account_and_never_both(
    monkeypatch: pytest.MonkeyPatch, declared: Declared
) -> None:
    assert all(item["service_accounts"] for item in bindings(declared).values())
    assert POD_POLICY not in declared.types()
    by_admission = run_program({**stack_file("dev"), "binding": "admission"}, ENVIRONMENT, monkeypatch)
    assert not any(item["service_accounts"] for item in bindings(by_admission).values())
    found = {item.inputs["metadata"]["name"] for item in by_admission.of_type(POD_POLICY).values()}
    assert found == {"pull-secrets-dev-app-registry-pull", "pull-secrets-dev-registry-api-tanhdev"}
    bound = {item.inputs["spec"]["policyName"] for item in by_admission.of_type(f"{POD_POLICY}Binding").values()}
    assert bound == found


def test_an_unpopulated_path_is_warned_of_with_path_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment(REVIEWS, False, ("app-registry-pull",))
    declared = run_program(stack_file("dev"), environment, monkeypatch, "dev")
    (warning,) = [text for text in declared.warnings if "holds no credential" in text]
    assert "secret/ocp/dev/registries/app-registry-pull" in warning
    assert "pull-secrets seed app-registry-pull --stack dev" in warning
    assert declared.of_type(CES), "desired state is still declared"


def test_what_the_kubeconfig_stands_in_for_is_told_in_the_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = replace(REVIEWS, warnings=("vault.auth.kubernetesHost is not declared",))
    declared = run_program(stack_file("dev"), replace(ENVIRONMENT, reviews=reviews), monkeypatch, "dev")
    assert "vault.auth.kubernetesHost is not declared" in declared.warnings
    (written,) = declared.of_type("vault:kubernetes/authBackendConfig:AuthBackendConfig").values()
    assert (written.inputs["kubernetesHost"], written.inputs["kubernetesCaCert"]) == (REVIEWS.host, REVIEWS.ca_cert)


def test_a_misspelt_key_stops_the_program_before_it_declares_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**stack_file("dev"), "registrys": []}
    with pytest.raises(pulumi.RunError, match=r"registrys: found an unknown key; .*did you mean 'registries'"):
        run_program(config, ENVIRONMENT, monkeypatch)


def test_red_hats_operator_gets_its_egress_through_its_own_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**stack_file("prod"), "eso": {"distribution": "redhat", "store": "vault-platform"}}
    declared = run_program(config, ENVIRONMENT, monkeypatch)
    assert "kubernetes:networking.k8s.io/v1:NetworkPolicy" not in declared.types()
    token = "kubernetes:operator.openshift.io/v1alpha1:ExternalSecretsConfigPatch"
    (patch,) = declared.of_type(token).values()
    (entry,) = patch.inputs["spec"]["controllerConfig"]["networkPolicies"]
    assert entry["name"] == "eso-allow-egress-to-vault"
    assert entry["componentName"] == "ExternalSecretsCoreController"


def test_an_existing_auth_mount_is_used_and_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    config = stack_file("prod")
    config["vault"] = {**config["vault"], "auth": {"mount": "kubernetes", "create": False}}
    declared = run_program(config, ENVIRONMENT, monkeypatch)
    assert "vault:index/authBackend:AuthBackend" not in declared.types()
    assert "vault:kubernetes/authBackendConfig:AuthBackendConfig" not in declared.types()
    assert {role.inputs["backend"] for role in declared.of_type(VAULT_ROLE).values()} == {"kubernetes"}


class TestHandOver:
    """State of earlier versions holds a namespace as a resource of the Kubernetes provider, and its binding apart."""

    BEFORE: ClassVar = [{"type": NAMESPACE, "outputs": {"metadata": {"name": "auth-dev"}}}]

    def test_the_former_resource_is_kept_for_one_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        declared = run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=self.BEFORE)
        assert declared.of_type(NAMESPACE).keys() == {"auth-dev-namespace"}

    def test_then_it_goes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        labels = {"type": OPT_IN, "outputs": {"namespace": "auth-dev", "owner": "pull-secrets/test"}}
        declared = run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=[*self.BEFORE, labels])
        assert NAMESPACE not in declared.types()

    def test_one_that_would_be_deleted_stops_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = [{"type": NAMESPACE, "outputs": {"metadata": {"name": "gone-dev"}}}]
        with pytest.raises(pulumi.RunError, match="gone-dev left the stack file, and this stack's state is of an earl"):
            run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=before)

    ONE: ClassVar = {"type": BINDING, "outputs": {"namespace": "auth-dev", "secrets": ["app-registry-pull"]}}

    def test_the_binding_of_one_namespace_is_kept_until_it_is_bound_with_all_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        declared = run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=[self.ONE])
        assert declared.of_type(BINDING).keys() == {"auth-dev-binding"}
        assert bindings(declared)["auth-dev"]
        together = {"type": BINDINGS, "outputs": {"namespaces": {"auth-dev": {"secrets": ["app-registry-pull"]}}}}
        declared = run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=[self.ONE, together])
        assert BINDING not in declared.types()

    def test_one_whose_tenant_leaves_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        left = {**self.ONE, "outputs": {"namespace": "left-dev"}}
        assert BINDING not in run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=[left]).types()


class TestFailedBindings:
    """What could not be bound is in the binding's outputs."""

    def run(self, monkeypatch: pytest.MonkeyPatch, failed: dict[str, str]) -> None:
        given = RecordingMocks.new_resource

        def answered(mocks: RecordingMocks, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
            made, outs = given(mocks, args)
            return made, {**outs, **({"failed": failed} if args.typ == BINDINGS else {})}

        monkeypatch.setattr(RecordingMocks, "new_resource", answered)
        run_program(stack_file("dev"), ENVIRONMENT, monkeypatch)

    def test_it_ends_the_run_with_each_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(pulumi.RunError, match=r"^two\none\nnot bound: auth-dev, user-dev$"):
            self.run(monkeypatch, {"user-dev": "one", "auth-dev": "two"})

    def test_nothing_ends_no_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(monkeypatch, {})


def test_what_hurts_is_warned_of_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [{"type": OPT_IN, "outputs": {"namespace": "left-dev", "registries": ["app-registry-pull"]}}]
    declared = run_program(stack_file("dev"), ENVIRONMENT, monkeypatch, before=before)
    assert any("tenants that are removed" in text and "left-dev" in text for text in declared.warnings)
    assert any("is delivered to" in text for text in declared.infos)
    config = stack_file("dev")
    config["guard"] = {**config["guard"], "changes": "refuse"}
    with pytest.raises(pulumi.RunError, match=r"left-dev\nguard.changes is 'refuse'"):
        run_program(config, ENVIRONMENT, monkeypatch, before=before)
