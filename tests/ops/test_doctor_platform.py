"""`doctor` on faults of Vault, the store and ESO, each made for real: it is named, and nothing is ranked above it."""

import base64
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from local.controlplane.waiting import NotYet, until
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.doctor.diagnosis import Diagnosis, Report, diagnose
from pullsecrets.doctor.model import Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube import marks
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.marks import LAST_APPLIED
from pullsecrets.manifests import builders
from tests.e2e.stack import Stack

pytestmark = pytest.mark.controlplane

ESO = "/apis/external-secrets.io/v1"
STORE = f"{ESO}/clustersecretstores/vault-ops"
FANOUT = f"{ESO}/clusterexternalsecrets/ops-app"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/external-secrets/networkpolicies"
OWN_POLICY = f"{POLICIES}/eso-allow-egress-to-vault"
REVIEWER = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/vault-ops-token-reviewer"
DEPLOYMENTS = "/apis/apps/v1/namespaces/external-secrets/deployments"
ROLE = "auth/kubernetes-ops/role/external-secrets-ops"
POLICY = "pull-secrets-ops-ops-app"
PATH = "ops/registries/ops-app"
EMPTY_PATH = "ops/registries/ops-web"
LABELLED = ("ops-auth-dev", "ops-both", "ops-order-dev", "ops-user-dev")
DEADLINE = 60

Fault = Callable[[Stack], AbstractContextManager[None]]


def token(stack: Stack, name: str) -> str:
    return (stack.plane.layout.openbao / f"{name}-token").read_text().strip()


def environment(stack: Stack) -> dict[str, str]:
    return {"KUBECONFIG": str(stack.operator), "VAULT_TOKEN": token(stack, "seeder")}


@contextmanager
def identity(stack: Stack, kubeconfig: Path, owner: str) -> Iterator[None]:
    """Be somebody, in this process: with the Vault token of an owner, or without one."""
    surroundings = {**stack.workspace.environment, "VAULT_TOKEN": token(stack, owner) if owner else ""}
    surroundings["KUBECONFIG"] = str(kubeconfig)
    with mock.patch.dict(os.environ, surroundings):
        yield


def configuration(stack: Stack) -> StackConfig:
    with identity(stack, stack.operator, "seeder"):
        return load_stack(stack.name, stack.workspace.root)


def look(
    stack: Stack, *, kubeconfig: Path | None = None, owner: str = "seeder", ahead: timedelta = timedelta(0)
) -> Report:
    """Diagnose in this process, as the on-call, now or later."""
    with identity(stack, kubeconfig or stack.operator, owner):
        config = load_stack(stack.name, stack.workspace.root)
        report = diagnose(Snapshot(config, stack.name, KubernetesClient(), now=datetime.now(UTC) + ahead))
    for item in report.all_diagnoses():
        stack.printed += [item.symptom, *item.causes, *item.evidence, *item.fix]
    stack.printed += [item.reason for item in report.unchecked]
    return report


def checks(report: Report) -> list[str]:
    return [item.check for item in report.diagnoses]


def until_healthy(stack: Stack) -> None:
    def check() -> None:
        report = look(stack)
        if report.diagnoses or report.unchecked:
            raise NotYet(f"{checks(report)}, {report.unchecked}")

    until(check, DEADLINE, "the stack is healthy again", every=0.5)


def store_ready(stack: Stack, status: str) -> None:
    """Wait until ESO has looked at the store."""

    def check() -> None:
        conditions = stack.get(STORE).get("status", {}).get("conditions", [])
        if [item["status"] for item in conditions if item["type"] == "Ready"] != [status]:
            raise NotYet(f"conditions {conditions}")

    until(check, DEADLINE, f"store with Ready={status}")


def settle(stack: Stack) -> None:
    """Have ESO look at the store again, if it happened to look while an earlier fault was there."""
    conditions = stack.get(STORE).get("status", {}).get("conditions", [])
    if {item["type"]: item["status"] for item in conditions}.get("Ready") != "True":
        stack.patch(STORE, {"metadata": {"annotations": {"apps.platform/revalidated-at": str(time.time_ns())}}})
        store_ready(stack, "True")


def recreate(stack: Stack, path: str, item: Mapping[str, Any]) -> None:
    """Make a deleted object as it was, where it is not there again already."""
    if stack.find(path):
        return
    names = ("name", "namespace", "labels", "annotations")
    metadata = {key: item["metadata"][key] for key in names if key in item["metadata"]}
    stack.admin.call("POST", path.rpartition("/")[0], {**item, "metadata": metadata})


@contextmanager
def vault_stopped(stack: Stack) -> Iterator[None]:
    stack.plane.stop("openbao")
    try:
        yield
    finally:
        stack.plane.start("openbao")


@contextmanager
def vault_sealed(stack: Stack) -> Iterator[None]:
    stack.plane.vault("root").sys.seal()
    try:
        yield
    finally:
        stack.plane.start("openbao")


@contextmanager
def store_changed(stack: Stack, provider: Mapping[str, Any]) -> Iterator[None]:
    """Edit the store, as somebody would by hand, until ESO has noticed."""
    before = stack.get(STORE)["spec"]["provider"]["vault"]
    stack.patch(STORE, {"spec": {"provider": {"vault": provider}}})
    try:
        store_ready(stack, "False")
        yield
    finally:
        stack.patch(STORE, {"spec": {"provider": {"vault": before}}})
        store_ready(stack, "True")


def another_mount(stack: Stack) -> AbstractContextManager[None]:
    return store_changed(stack, {"auth": {"kubernetes": {"mountPath": "kubernetes-gone"}}})


def another_ca(stack: Stack) -> AbstractContextManager[None]:
    other = (stack.plane.layout.pki / "kubernetes" / "ca.crt").read_bytes()
    return store_changed(stack, {"caBundle": base64.b64encode(other).decode()})


@contextmanager
def role_changed(stack: Stack, change: Mapping[str, Any] | None) -> Iterator[None]:
    """Change the role behind the stack's back; None removes it."""
    root = stack.plane.vault("root")
    found = root.read(ROLE)
    assert isinstance(found, dict)
    before = found["data"]
    if change is None:
        root.delete(ROLE)
    else:
        root.write_data(ROLE, data={**before, **change})
    try:
        yield
    finally:
        root.write_data(ROLE, data=before)


def role_removed(stack: Stack) -> AbstractContextManager[None]:
    return role_changed(stack, None)


def role_of_another_account(stack: Stack) -> AbstractContextManager[None]:
    return role_changed(stack, {"bound_service_account_names": ["somebody"]})


def role_of_another_audience(stack: Stack) -> AbstractContextManager[None]:
    return role_changed(stack, {"audience": "another"})


def role_without_the_policy(stack: Stack) -> AbstractContextManager[None]:
    return role_changed(stack, {"token_policies": ["pull-secrets-ops-ops-web"]})


@contextmanager
def reviewer_removed(stack: Stack) -> Iterator[None]:
    before = stack.get(REVIEWER)
    stack.admin.call("DELETE", REVIEWER)
    try:
        yield
    finally:
        recreate(stack, REVIEWER, before)


@contextmanager
def policy_removed(stack: Stack) -> Iterator[None]:
    root = stack.plane.vault("root")
    root.sys.delete_policy(POLICY)
    try:
        yield
    finally:
        root.sys.create_or_update_acl_policy(POLICY, builders.vault_read_policy("secret", PATH))


@contextmanager
def version_deleted(stack: Stack) -> Iterator[None]:
    kv = stack.plane.vault("root").secrets.kv.v2
    kv.delete_latest_version_of_secret(PATH)
    version = kv.read_secret_metadata(PATH)["data"]["current_version"]
    try:
        yield
    finally:
        kv.undelete_secret_versions(PATH, [version])


@contextmanager
def version_destroyed(stack: Stack) -> Iterator[None]:
    kv = stack.plane.vault("root").secrets.kv.v2
    kv.destroy_secret_versions(PATH, [kv.read_secret_metadata(PATH)["data"]["current_version"]])
    try:
        yield
    finally:
        stack.seed("ops-app", None, "--yes")


@contextmanager
def path_removed(stack: Stack) -> Iterator[None]:
    kv = stack.plane.vault("root").secrets.kv.v2
    before = kv.read_secret_metadata(EMPTY_PATH)["data"]
    kv.delete_metadata_and_all_versions(EMPTY_PATH)
    try:
        yield
    finally:
        declared = {key: before["custom_metadata"][key] for key in ("owner", "hosts", "cluster")}
        settings = {key: before[key] for key in ("max_versions", "cas_required")}
        kv.update_metadata(EMPTY_PATH, custom_metadata=declared, **settings)
        stack.seed("ops-web", None, "--yes")


@contextmanager
def conditions_changed(stack: Stack) -> Iterator[None]:
    before = stack.get(STORE)["spec"]["conditions"]
    stack.patch(STORE, {"spec": {"conditions": [{"namespaces": ["somewhere-else"]}]}})
    try:
        yield
    finally:
        stack.patch(STORE, {"spec": {"conditions": before}})


@contextmanager
def two_installations(stack: Stack) -> Iterator[None]:
    """A second Deployment of ESO's controller, which runs nowhere."""
    image = "registry.example.com/external-secrets:v0.20.4"
    labels = {"app.kubernetes.io/name": "external-secrets", "app.kubernetes.io/instance": "second"}
    container = {"name": "external-secrets", "image": image}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    second = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "second", "namespace": "external-secrets", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    stack.admin.apply(second)
    try:
        yield
    finally:
        stack.admin.call("DELETE", f"{DEPLOYMENTS}/second")
        stack.gone(f"{DEPLOYMENTS}/second")


@contextmanager
def refresh_stopped(stack: Stack) -> Iterator[None]:
    stack.patch(FANOUT, {"spec": {"externalSecretSpec": {"refreshPolicy": "OnChange"}}})
    try:
        yield
    finally:
        stack.patch(FANOUT, {"spec": {"externalSecretSpec": {"refreshPolicy": None}}})


@contextmanager
def old_manifest(stack: Stack) -> Iterator[None]:
    applied = json.dumps({"apiVersion": "external-secrets.io/v1beta1", "kind": "ClusterExternalSecret"})
    stack.patch(FANOUT, {"metadata": {"annotations": {LAST_APPLIED: applied}}})
    try:
        yield
    finally:
        stack.patch(FANOUT, {"metadata": {"annotations": {LAST_APPLIED: None}}})


@contextmanager
def expires_soon(stack: Stack) -> Iterator[None]:
    config = configuration(stack)
    with identity(stack, stack.operator, "seeder"):
        vault = Snapshot(config, stack.name, KubernetesClient()).vault
        when = datetime.now(UTC) + timedelta(days=3)
        vault.patch_metadata("secret", PATH, {"expires-at": when.isoformat(timespec="seconds")})
        try:
            yield
        finally:
            vault.patch_metadata("secret", PATH, {"expires-at": None})


@contextmanager
def egress_closed(stack: Stack) -> Iterator[None]:
    """A namespace that denies everything, without the stack's way out."""
    deny = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all", "namespace": "external-secrets"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }
    before = stack.get(OWN_POLICY)
    stack.admin.call("POST", POLICIES, deny)
    try:
        # Beside the stack's own policy it takes nothing away.
        assert "egress-denied" not in checks(look(stack))
        stack.admin.call("DELETE", OWN_POLICY)
        yield
    finally:
        stack.admin.call("DELETE", f"{POLICIES}/deny-all")
        recreate(stack, OWN_POLICY, before)


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "Vault is stopped": (vault_stopped, "vault-unreachable", "does not answer (connection refused)"),
    "Vault is sealed": (vault_sealed, "vault-sealed", "is sealed"),
    "the store trusts another CA": (another_ca, "vault-certificate-untrusted", "certificate verify failed"),
    "the store names another mount": (another_mount, "vault-auth-mount-missing", "kubernetes-gone"),
    "the role is removed": (role_removed, "vault-role-missing", "no role 'external-secrets-ops'"),
    "the role is another ServiceAccount's": (
        role_of_another_account,
        "vault-role-bound-elsewhere",
        "another ServiceAccount than ESO's 'external-secrets'",
    ),
    "the role is for another audience": (role_of_another_audience, "vault-role-bound-elsewhere", "audiences"),
    "tokens cannot be reviewed": (reviewer_removed, "vault-login-refused", "cannot review the token"),
    "the policy is removed": (policy_removed, "vault-policy-denies", f"policy '{POLICY}' was removed"),
    "the role hands out no policy": (
        role_without_the_policy,
        "vault-policy-denies",
        f"does not hand out policy '{POLICY}'",
    ),
    "the version is deleted": (version_deleted, "vault-version-deleted", "can be undeleted"),
    "the version is destroyed": (version_destroyed, "vault-version-destroyed", "its value is gone"),
    "the path is empty": (path_removed, "vault-path-unpopulated", EMPTY_PATH),
    "the store's conditions leave namespaces out": (conditions_changed, "store-denies-namespace", "'vault-ops'"),
    "ESO is installed twice": (two_installations, "eso-duplicated", "external-secrets/second (v0.20.4)"),
    "the refresh is stopped": (refresh_stopped, "refresh-held", "refreshPolicy: OnChange"),
    "a manifest says v1beta1": (old_manifest, "eso-v1beta1-manifests", "external-secrets.io/v1beta1"),
    "the credential expires soon": (expires_soon, "credential-expiring", "expires in"),
    "egress is closed": (egress_closed, "egress-denied", "'eso-allow-egress-to-vault' is not there"),
}


def test_a_healthy_stack_has_no_findings_and_exits_with_0(stack: Stack) -> None:
    until_healthy(stack)
    done = stack.command("doctor", environment=environment(stack))
    assert (done.returncode, "healthy" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_and_nothing_is_ranked_above_it(stack: Stack, fault: str) -> None:
    broken, name, words = FAULTS[fault]
    settle(stack)
    with broken(stack):
        report = look(stack, owner="platform" if "policy" in fault else "seeder")
    first = first_of(report)
    assert (first.check, words in " ".join(first.causes)) == (name, True), (checks(report), first.causes)
    assert all(item.fix and item.evidence and item.prevention for item in report.all_diagnoses())


def first_of(report: Report) -> Diagnosis:
    assert report.diagnoses, report.unchecked
    return report.diagnoses[0]


def test_the_stack_is_as_it_was(stack: Stack) -> None:
    """Each fault was put back, and what ESO noticed of it meanwhile is past."""
    settle(stack)
    for registry in stack.passwords:
        stack.force_sync(registry)
    until_healthy(stack)


def test_a_wrong_key_is_told_from_an_empty_path_once_eso_met_it(stack: Stack) -> None:
    kv = stack.plane.vault("root").secrets.kv.v2
    version = kv.read_secret_metadata(PATH)["data"]["current_version"]
    kv.create_or_update_secret(PATH, {"docker-config": stack.credential("ops-app")}, cas=version)
    try:
        stack.force_sync("ops-app")

        def met() -> Diagnosis:
            first = first_of(look(stack))
            if first.check != "vault-property-missing" or len(first.consequences[0].namespaces) < len(LABELLED):
                raise NotYet(f"{first.check}: {first.causes}")
            return first

        found = until(met, DEADLINE, "every ExternalSecret has failed on the key", every=0.5)
        assert "no key 'dockerconfigjson'" in found.causes[0]
        # ESO's failures in each namespace stand below it as one line, and not as causes.
        assert found.consequences[0].check == "external-secret-failing"
        assert found.consequences[0].namespaces == LABELLED
    finally:
        stack.seed("ops-app", None, "--yes")
        stack.force_sync("ops-app")
    until_healthy(stack)


def test_eso_stopped_or_stuck(stack: Stack) -> None:
    # Its Deployment says that all is well, and two hours later no refresh has happened.
    stuck = first_of(look(stack, ahead=timedelta(hours=2)))
    assert (stuck.check, stuck.severity) == ("eso-not-reconciling", Severity.CLUSTER)
    stack.plane.stop("external-secrets")
    try:
        assert first_of(look(stack)).check == "eso-not-running"
        done = stack.command("doctor", "ops-both", "--json", environment=environment(stack))
        report = json.loads(done.stdout)
        assert (done.returncode, report["diagnoses"][0]["check"]) == (1, "eso-not-running")
        assert [chain["registry"] for chain in report["chains"]] == ["ops-app", "ops-web"]
        assert all(chain["breaks_at"] is None for chain in report["chains"])
    finally:
        stack.plane.start("external-secrets")
    until_healthy(stack)


def test_fix_applies_what_is_safe_and_says_what_is_left(stack: Stack) -> None:
    with egress_closed(stack):
        shown = stack.command("doctor", "--fix", "--dry-run", environment=environment(stack))
        assert shown.returncode == 1
        assert "restore NetworkPolicy external-secrets/eso-allow-egress-to-vault" in shown.stdout
        assert stack.find(OWN_POLICY) is None
        unasked = stack.command("doctor", "--fix", environment=environment(stack))
        assert (unasked.returncode, stack.find(OWN_POLICY)) == (2, None)
        done = stack.command("doctor", "--fix", "--yes", "--json", environment=environment(stack))
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert [item["applied"] for item in report["fixes"]] == [True]
        assert report["diagnoses"] == []
        made_by = stack.get(OWN_POLICY)["metadata"]["annotations"][marks.STACK_ANNOTATION]
        assert made_by == builders.owner("pull-secrets", stack.name)


def test_who_may_not_look_is_told_so(stack: Stack) -> None:
    """Without a token of ESO's ServiceAccount its login cannot be tried: that is not the same as healthy."""
    auditor = stack.plane.kubeconfig_as("auditor")
    report = look(stack, kubeconfig=auditor)
    reasons = {item.check: item.reason for item in report.unchecked}
    assert "not permitted to you" in reasons["vault-role-missing"]
    assert not report.healthy
    # Where the store itself failed, its own words are what is left to go by.
    with another_mount(stack):
        assert "store-not-ready" in checks(look(stack, kubeconfig=auditor))


def test_without_a_vault_token_metadata_is_read_as_eso_reads_it(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where `vault login` leaves a token
    with version_deleted(stack):
        assert checks(look(stack, owner="")) == ["vault-version-deleted"]


def test_doctors_own_logins_are_revoked(stack: Stack) -> None:
    tokens = stack.plane.vault("root").auth.token

    def check() -> None:
        paths = [tokens.lookup_accessor(name)["data"]["path"] for name in tokens.list_accessors()["data"]["keys"]]
        if "auth/kubernetes-ops/login" in paths:  # one of ESO's may be in use at this moment
            raise NotYet(str(paths))

    until(check, DEADLINE, "no token of a login is left", every=0.5)


def test_a_namespace_that_nobody_knows_is_bad_input(stack: Stack) -> None:
    done = stack.command("doctor", "no-such-namespace", environment=environment(stack))
    assert (done.returncode, "no-such-namespace" in done.stderr) == (2, True)


def test_an_unreachable_cluster_is_no_diagnosis(stack: Stack, tmp_path: Path) -> None:
    config = json.loads(stack.operator.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(json.dumps(config))
    done = stack.command("doctor", environment={**environment(stack), "KUBECONFIG": str(nowhere)})
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "does not answer" in done.stderr


def test_no_finding_holds_a_credential(stack: Stack) -> None:
    printed = "\n".join(stack.printed)
    assert not [password for password in stack.passwords.values() if password in printed]
