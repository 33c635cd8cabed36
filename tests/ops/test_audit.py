"""`pull-secrets audit` on the real control plane: what stands beside coverage, who may see it, and each form of it."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, FINALIZER_PREFIX
from pullsecrets.manifests.rbac import auditor_roles
from tests.e2e.stack import DEADLINE, Stack, account, namespace, secret

pytestmark = pytest.mark.controlplane

OUTSIDE, LEFT, TENANT = "ops-audit-outside", "ops-audit-left", "ops-auth-dev"
CANARY = "canary-of-a-hand-made-secret"
NO_PODS = "auditors-without-pods"


@pytest.fixture(scope="module")
def strays(stack: Stack) -> Iterator[dict[str, Any]]:
    """One cluster with everything that an audit looks for, as people leave it, and what the audit says of it."""
    assert stack.audit("--wait", "60")["green"]
    for name in (OUTSIDE, LEFT):
        stack.make_namespace(name)
    hand_made = {"kind": "Secret", "type": "kubernetes.io/dockerconfigjson"}
    content = {"stringData": {".dockerconfigjson": json.dumps({"auths": {"app.registry.example.com": CANARY}})}}
    kubectl(stack, "apply", {**hand_made, **content, "metadata": {"name": "ops-app", "namespace": OUTSIDE}})
    kubectl(stack, "create", {**hand_made, **content, "metadata": {"name": "regcred", "namespace": TENANT}})
    kubectl(stack, "create", pod("web", "app.registry.example.com/team/web:1", "ops-app"))
    kubectl(stack, "create", pod("public", "docker.io/library/busybox:1", "ops-app"))
    leave_behind(stack)
    yield json.loads(audit(stack, "--json").stdout)
    stack.admin.call("DELETE", secret(TENANT, "regcred"))
    stack.patch(namespace(LEFT), {"metadata": {"finalizers": None}})
    stack.delete_namespace(OUTSIDE, LEFT)
    assert stack.audit()["warnings"] == 0


def leave_behind(stack: Stack) -> None:
    """What remains of a namespace whose label went while nobody looked after its finalizer, entry and copy."""
    stack.patch(namespace(LEFT), {"metadata": {"finalizers": [f"{FINALIZER_PREFIX}ops-app"]}})
    stack.patch(account(LEFT), {"imagePullSecrets": [{"name": "others"}, {"name": "ops-app"}]})
    annotations = {CONTENT_DIGEST_ANNOTATION: "0123456789abcdef"}
    copy = {"kind": "Secret", "metadata": {"name": "ops-web", "namespace": LEFT, "annotations": annotations}}
    kubectl(
        stack, "create", {**copy, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}
    )


def kubectl(stack: Stack, verb: str, item: dict[str, Any]) -> None:
    """As somebody does it who has no other tool."""
    binary = shutil.which("kubectl", path=stack.workspace.environment["PATH"])
    assert binary
    subprocess.run(
        [binary, "--kubeconfig", str(stack.plane.kubeconfig("admin")), verb, "-f", "-"],
        input=json.dumps({"apiVersion": "v1", **item}),
        env=stack.workspace.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def pod(name: str, image: str, reference: str) -> dict[str, Any]:
    """A Pod on no node: it stays Pending and shows all the same what it would pull."""
    containers = [{"name": "main", "image": image}]
    spec = {"containers": containers, "imagePullSecrets": [{"name": reference}]}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": OUTSIDE}, "spec": spec}


def audit(stack: Stack, *options: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as an auditor, or as who a kubeconfig says."""
    return stack.command("audit", *options, environment={"KUBECONFIG": str(kubeconfig or stack.auditor)})


def test_hand_made_copies_and_old_names_are_shown_with_their_origin(strays: dict[str, Any]) -> None:
    found = {(item["namespace"], item["name"]): item for item in strays["unmanaged_secrets"]}
    assert found.keys() == {(OUTSIDE, "ops-app"), (TENANT, "regcred")}
    copy, old = found[OUTSIDE, "ops-app"], found[TENANT, "regcred"]
    assert (copy["origin"], copy["registry"], copy["exposed"], copy["pods"]) == ("kubectl apply", "ops-app", True, 2)
    assert (old["origin"], old["registry"], old["exposed"], old["pods"]) == ("kubectl create", None, False, 0)


def test_leftovers_are_shown_with_the_command_that_removes_them(strays: dict[str, Any]) -> None:
    found = {(item["kind"], item["registry"]): item for item in strays["orphans"]}
    assert found.keys() == {("Secret", "ops-web"), ("ServiceAccount entry", "ops-app"), ("finalizer", "ops-app")}
    assert {item["namespace"] for item in found.values()} == {LEFT}
    assert found["Secret", "ops-web"]["fix"] == f"kubectl delete secret ops-web --namespace {LEFT}"
    assert found["finalizer", "ops-app"]["fix"] == f"pull-secrets offboard {LEFT} --stack ops"


def test_pods_that_pull_without_opting_in_are_shown(strays: dict[str, Any]) -> None:
    (use,) = strays["undeclared_uses"]
    assert (use["namespace"], use["registry"], use["pods"], use["example"]) == (OUTSIDE, "ops-app", 1, "web")


def test_it_costs_few_requests_and_shows_them(strays: dict[str, Any]) -> None:
    assert 0 < strays["requests"] <= 20


@pytest.mark.usefixtures("strays")
def test_warnings_alone_pass_unless_strict_and_no_form_shows_a_credential(stack: Stack, tmp_path: Path) -> None:
    text = audit(stack, "--strict")
    assert text.returncode == 1, text.stderr
    assert "Pods of 1 namespace use a registry without opting in" in text.stdout
    printed = [text.stdout, text.stderr]
    for form in ("html", "csv", "openmetrics"):
        file = tmp_path / form
        done = audit(stack, "--format", form, "--output", str(file))
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        printed.append(file.read_text(encoding="utf-8"))
    assert all(CANARY not in text and password not in text for text in printed for password in stack.passwords.values())
    assert list(tmp_path.glob(".*")) == []
    assert {row["namespace"] for row in csv.DictReader(io.StringIO(printed[3]))} >= {TENANT, "ops-both"}
    families = {family.name: family for family in text_string_to_metric_families(printed[4])}
    assert families["pull_secrets_unmanaged_secrets"].samples[0].value == 2


@pytest.mark.usefixtures("strays")
def test_an_auditor_who_may_not_list_pods_is_told_what_is_missing(stack: Stack) -> None:
    for item in auditor_roles(NO_PODS, ["ops-app", "ops-web"]):
        item["metadata"]["name"] = NO_PODS
        if "roleRef" in item:
            item["roleRef"]["name"] = NO_PODS
        for rule in item.get("rules", []):
            rule["resources"] = [name for name in rule["resources"] if name != "pods"]
            # Secrets of other names are what a surveyor lists.
            rule.pop("resourceNames", None)
        stack.admin.apply(item)
    kubeconfig = stack.plane.kubeconfig_for("auditor-without-pods", [NO_PODS])

    def listed() -> subprocess.CompletedProcess[str]:
        # The authorizer learns of a new role a moment after it was made.
        done = audit(stack, "--json", kubeconfig=kubeconfig)
        if done.returncode:
            raise NotYet(done.stderr)
        return done

    found = json.loads(until(listed, DEADLINE, "an audit without Pods", every=0.5).stdout)
    for kind in ("clusterrolebindings", "clusterroles"):
        stack.admin.call("DELETE", f"/apis/rbac.authorization.k8s.io/v1/{kind}/{NO_PODS}")
    assert found["green"]
    assert "Pods could not be read" in found["notes"][0]
    assert found["undeclared_uses"] == []
    assert found["unmanaged_secrets"][0]["pods"] is None
    assert found["unmanaged_secrets"], "what does not need Pods is still found"
