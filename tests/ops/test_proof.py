"""What proves a delivery, on a real control plane: a digest is a claim, and each way to make it lie is noticed."""

import base64
import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.controlplane.api import RequestRefused
from local.controlplane.rbac import MIGRATORS, OPERATORS, VERIFIERS
from local.controlplane.waiting import NotYet, until
from pullsecrets.errors import ExitCode
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, MANAGED_LABEL, VERIFY_POD_NAME
from tests.e2e.stack import Stack, namespace, secret
from tests.ops.test_rotate import (
    NAMESPACES,
    PATH,
    REGISTRY,
    current_version,
    eso_hangs,
    metadata,
    refusal,
    rotate,
    run,
)

pytestmark = pytest.mark.controlplane

HERE = "ops-both"
SECRET = secret(HERE, REGISTRY)
REFUSAL = "Secrets are frozen here until Monday"
OLD = base64.b64encode(b'{"auths": {}}').decode()
DEADLINE = 30


def bytes_of(stack: Stack, name: str = HERE) -> bytes:
    return base64.b64decode(stack.get(secret(name, REGISTRY))["data"][".dockerconfigjson"])


def holds_what_it_claims(stack: Stack) -> bool:
    found = stack.get(SECRET)
    content = base64.b64decode(found["data"][".dockerconfigjson"])
    return found["metadata"]["annotations"][CONTENT_DIGEST_ANNOTATION] == hashlib.sha256(content).hexdigest()[:16]


def edit(stack: Stack, change: Mapping[str, Any]) -> None:
    stack.patch(SECRET, change)


def remake(stack: Stack) -> None:
    """Delete the Secret as the advice says, and wait until ESO has made it anew."""
    before = stack.get(SECRET)["metadata"]["uid"]
    stack.admin.call("DELETE", SECRET)

    def check() -> None:
        found = stack.find(SECRET)
        if found is None or found["metadata"]["uid"] == before:
            raise NotYet("ESO has not made it anew")

    until(check, DEADLINE, "Secret made anew")


def row(stack: Stack) -> dict[str, Any]:
    rows = stack.audit()["rows"]
    return next(item for item in rows if (item["namespace"], item["registry"]) == (HERE, REGISTRY))


def refused(stack: Stack, password: str) -> str:
    code, cause = refusal(stack, "rotate", REGISTRY, "--from-file", "-", stdin=stack.credential(REGISTRY, password))
    assert code == ExitCode.BAD_INPUT
    return cause


@pytest.fixture
def good(stack: Stack) -> Iterator[Stack]:
    """A rotation that arrived everywhere; afterwards the Secret is ESO's again, whatever a test made of it."""
    assert rotate(stack, "proof-password")[0] == 0
    yield stack
    edit(stack, {"metadata": {"labels": {MANAGED_LABEL: "true"}}})
    remake(stack)
    assert rotate(stack, "proof-password")[0] == 0


def test_an_immutable_secret_gets_the_new_digest_and_keeps_the_old_bytes_and_nothing_calls_that_proved(
    good: Stack,
) -> None:
    before = bytes_of(good)
    edit(good, {"immutable": True})
    version = current_version(good)
    assert f"kubectl -n {HERE} delete secret {REGISTRY}" in refused(good, "refused-password")
    assert current_version(good) == version

    # `seed` asks no cluster. This is what rotate was green over.
    assert good.seed(REGISTRY, good.credential(REGISTRY, "seeded-password"), "--yes").returncode == 0
    good.force_sync(REGISTRY)
    until(lambda: require(not holds_what_it_claims(good)), DEADLINE, "ESO writes the digest alone")
    assert bytes_of(good) == before
    assert row(good)["green"] is False
    assert "secret-not-kept" in good.diagnoses()

    remake(good)
    code, done = rotate(good, "seeded-password")
    assert (code, done["namespaces"]) == (0, NAMESPACES)
    assert holds_what_it_claims(good)


def test_a_secret_that_lost_its_label_and_was_edited_is_refused_and_mended_by_the_advice(good: Stack) -> None:
    # A refresh that is still on its way from the last rotation would put the label back.
    with eso_hangs(good):
        edit(good, {"metadata": {"labels": {MANAGED_LABEL: None}}, "data": {".dockerconfigjson": OLD}})
        cause = refused(good, "proof-password")
        assert f"kubectl -n {HERE} label --overwrite secret {REGISTRY} {MANAGED_LABEL}=true" in cause
        assert row(good)["green"] is False
        assert "secret-not-kept" in good.diagnoses()
    edit(good, {"metadata": {"labels": {MANAGED_LABEL: "true"}}})
    until(lambda: require(holds_what_it_claims(good)), DEADLINE, "ESO has written it over")
    assert rotate(good, "proof-password")[0] == 0


def test_an_edit_that_eso_has_not_seen_is_no_proof_and_is_written_over_once_it_has(good: Stack) -> None:
    with eso_hangs(good):
        edit(good, {"data": {".dockerconfigjson": OLD}})
        code, found = rotate(good, "proof-password", "--timeout", "2")
        assert (code, list(found["missing"])) == (1, [HERE])
        assert "wrote its content at" in found["missing"][HERE]
        assert row(good)["green"] is False
    code, found = rotate(good, "proof-password")
    assert (code, found["missing"]) == (0, {})
    assert holds_what_it_claims(good)


def test_without_a_record_of_who_wrote_it_nothing_is_proved_by_metadata(good: Stack) -> None:
    edit(good, {"metadata": {"managedFields": [{}]}})
    code, found = rotate(good, "proof-password", "--timeout", "1")
    assert (code, list(found["missing"])) == (1, [HERE])
    assert "not recorded who wrote its data" in found["missing"][HERE]
    remake(good)
    assert rotate(good, "proof-password")[0] == 0


def test_bytes_are_compared_by_whoever_may_read_them(good: Stack) -> None:
    text = good.credential(REGISTRY, "proof-password")
    code, cause = refusal(good, "rotate", REGISTRY, "--from-file", "-", "--by-content", stdin=text)
    assert (code, "you may not get Secrets" in cause) == (ExitCode.BAD_INPUT, True)
    with as_one_of(good, OPERATORS, MIGRATORS):
        code, found = rotate(good, "proof-password", "--by-content")
        assert (code, found["namespaces"]) == (0, NAMESPACES)


def test_a_policy_that_refuses_the_secret_is_told_before_the_write_and_nothing_is_taken_back_for_it(
    good: Stack,
) -> None:
    with frozen(good):
        text = good.credential(REGISTRY, "past-a-policy")
        words = ("rotate", REGISTRY, "--from-file", "-", "--dry-run", "--json")
        # Who may patch Secrets has the server try it; who may not sees it once ESO was refused.
        with as_one_of(good, "system:masters"):
            assert REFUSAL in json.loads(run(good, *words, stdin=text).stdout)["foreseen"][HERE]
        planned = json.loads(run(good, *words, stdin=text).stdout)
        assert planned["foreseen"] == {}
        assert "you may not patch Secrets" in planned["unchecked"][0]
        code, found = rotate(good, "past-a-policy", "--timeout", "5", "--rollback-on-failure")
        assert (code, found["outcome"], list(found["missing"])) == (1, "failed", [HERE])
        assert "rolledBack" not in found
        assert REFUSAL in json.loads(run(good, *words, stdin=text).stdout)["foreseen"][HERE]


def test_what_vault_will_do_later_is_told_by_rotate_and_doctor_and_declared_by_the_program(good: Stack) -> None:
    kv = good.plane.vault("root").secrets.kv.v2
    kv.update_metadata(PATH, max_versions=10, delete_version_after="1h0m0s", cas_required=True, mount_point="secret")
    text = good.credential(REGISTRY, "proof-password")
    planned = run(good, "rotate", REGISTRY, "--from-file", "-", "--dry-run", "--json", stdin=text)
    assert "delete_version_after 1h0m0s (path)" in " ".join(json.loads(planned.stdout)["warnings"])
    assert "vault-drops-versions" in good.diagnoses()
    good.pulumi("refresh", "--yes", "--skip-preview")
    good.up()
    assert metadata(good)["delete_version_after"] == "0s"
    kv.configure(max_versions=0, delete_version_after="2h0m0s", mount_point="secret")
    try:
        planned = run(good, "rotate", REGISTRY, "--from-file", "-", "--dry-run", "--json", stdin=text)
        assert "delete_version_after 2h0m0s (mount)" in " ".join(json.loads(planned.stdout)["warnings"])
        assert "vault-drops-versions" in good.diagnoses()
    finally:
        kv.configure(max_versions=0, delete_version_after="0s", mount_point="secret")
    assert "vault-drops-versions" not in good.diagnoses()


def test_a_simulated_node_proves_no_pull_and_no_pod_stays(good: Stack) -> None:
    # It waits so long for each of five Pods that pull nothing.
    options = ("verify", "--image", "app.registry.example.com/team/auth:1", "--timeout", "6")
    with as_one_of(good, OPERATORS):
        assert "the Pod was refused" in run(good, *options).stdout
    with as_one_of(good, OPERATORS, VERIFIERS):
        done = run(good, *options, HERE, "--json")
        (pull,) = json.loads(done.stdout)["pulls"]
        assert (done.exit_code, pull["pulled"]) == (1, False)
        assert "is it simulated" in pull["message"]
        done = run(good, *options, HERE, "--each-node", "--json")
        assert {item["node"] for item in json.loads(done.stdout)["pulls"]} == {f"kwok-node-{n}" for n in (1, 2, 3)}
        assert good.find(f"{namespace(HERE)}/pods/{VERIFY_POD_NAME}") is None


def test_a_verification_that_is_terminated_removes_its_pod(good: Stack) -> None:
    # No node takes it, so that it lasts.
    pods = f"{namespace(HERE)}/pods/{VERIFY_POD_NAME}"
    cordon(good, unschedulable=True)
    try:
        kubeconfig = good.plane.kubeconfig_for("verifier", [OPERATORS, VERIFIERS])
        command = ["verify", HERE, "--image", "app.registry.example.com/team/auth:1", "--stack", good.name]
        process = subprocess.Popen(
            [sys.executable, "-m", "pullsecrets", *command, "--directory", str(good.workspace.root)],
            env={**good.workspace.environment, "KUBECONFIG": str(kubeconfig)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            good.get(pods)
            process.terminate()
            assert process.wait(DEADLINE) != 0
            assert good.find(pods) is None
        finally:
            process.kill()
            process.wait()
    finally:
        cordon(good, unschedulable=False)


@contextmanager
def as_one_of(stack: Stack, *groups: str) -> Iterator[Path]:
    """Run commands as a member of other groups than the operator's."""
    before = stack.operator
    stack.operator = stack.plane.kubeconfig_for("-".join(groups), list(groups))
    try:
        yield stack.operator
    finally:
        stack.operator = before


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """A company's policy lets nobody change Secrets of one namespace."""
    group, name = "/apis/admissionregistration.k8s.io/v1", "freeze-secrets"
    matched = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": HERE}},
        "resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]}
        ],
    }
    rule = {"expression": "false", "message": REFUSAL}
    policy = {"matchConstraints": matched, "validations": [rule], "failurePolicy": "Fail"}
    objects = (
        ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", policy),
        (
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            {"policyName": name, "validationActions": ["Deny"]},
        ),
    )
    for kind, resource, spec in objects:
        body = {"apiVersion": group.removeprefix("/apis/"), "kind": kind, "metadata": {"name": name}, "spec": spec}
        stack.admin.call("POST", f"{group}/{resource}", body)
    try:
        until(lambda: require(refuses(stack)), DEADLINE, "the policy is in force")
        yield
    finally:
        for _, resource, _ in reversed(objects):
            stack.admin.call("DELETE", f"{group}/{resource}/{name}")
        until(lambda: require(not refuses(stack)), DEADLINE, "the policy is gone")


def refuses(stack: Stack) -> bool:
    try:
        edit(stack, {"metadata": {"annotations": {"tests.example.com/tried": secrets.token_hex(4)}}})
    except RequestRefused:
        return True
    return False


def cordon(stack: Stack, *, unschedulable: bool) -> None:
    for number in (1, 2, 3):
        stack.patch(f"/api/v1/nodes/kwok-node-{number}", {"spec": {"unschedulable": unschedulable}})


def require(condition: bool) -> None:
    if not condition:
        raise NotYet("it does not hold")
