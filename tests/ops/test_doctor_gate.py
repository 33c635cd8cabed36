"""`doctor` as a gate: before the first `up` with the deployers' own rights, and with what a pipeline keeps of it."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from local.controlplane.waiting import NotYet, until
from tests.e2e.stack import Stack
from tests.ops.test_doctor_platform import environment

pytestmark = pytest.mark.controlplane

POLICY = "no-stores-without-owner"
ADMISSION = "admissionregistration.k8s.io/v1"
DEADLINE = 60


def before(stack: Stack, **surroundings: str) -> tuple[int, dict[str, str]]:
    """Exit code, and the cause of each check that found something or could not look."""
    done = stack.command("doctor", "--pre", "--json", environment=surroundings)
    found = json.loads(done.stdout)
    causes = {item["check"]: item["causes"][0] for item in found["diagnoses"]}
    return done.returncode, {**causes, **{item["check"]: item["reason"] for item in found["unchecked"]}}


@pytest.fixture
def strict(stack: Stack) -> Iterator[None]:
    """Somebody's policy on the kinds that the stack declares."""
    spec = {
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["external-secrets.io"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["clustersecretstores"],
                }
            ]
        },
        "validations": [{"expression": "'owner' in object.metadata.?labels.orValue({})", "message": "needs an owner"}],
    }
    policy = {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": POLICY}}
    binding = {**policy, "kind": "ValidatingAdmissionPolicyBinding"}
    stack.admin.call("POST", f"/apis/{ADMISSION}/validatingadmissionpolicies", {**policy, "spec": spec})
    bound = {**binding, "spec": {"policyName": POLICY, "validationActions": ["Deny"]}}
    stack.admin.call("POST", f"/apis/{ADMISSION}/validatingadmissionpolicybindings", bound)
    yield
    for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        stack.admin.call("DELETE", f"/apis/{ADMISSION}/{plural}/{POLICY}")


def test_the_deployers_rights_are_enough_and_an_auditors_are_not(stack: Stack) -> None:
    assert before(stack) == (0, {})
    auditor = stack.plane.kubeconfig_as("auditor")
    code, found = before(stack, KUBECONFIG=str(auditor))
    assert code == 1
    assert "right" in found["right-missing"]
    assert "object-refused" not in found


@pytest.mark.usefixtures("strict")
def test_what_a_policy_of_others_would_refuse_is_known_beforehand(stack: Stack) -> None:
    def refused() -> str:
        # The API server takes a moment until a new policy is in force.
        code, found = before(stack)
        if "object-refused" not in found:
            raise NotYet(str(found))
        assert code == 1
        return found["object-refused"]

    assert f"admission policy '{POLICY}' answers 422" in until(refused, DEADLINE, "the policy in force", every=1)


def test_a_pipeline_keeps_a_report_and_a_ticket_of_it(stack: Stack, tmp_path: Path) -> None:
    junit, sarif, bundle = tmp_path / "doctor.xml", tmp_path / "doctor.sarif", tmp_path / "ticket.tar.gz"
    files = ("--junit", str(junit), "--sarif", str(sarif), "--bundle", str(bundle))
    done = stack.command(
        "doctor", "--wait", "60s", "--fail-on", "warning", "-v", *files, environment=environment(stack)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ vault-sealed" in done.stdout
    cases = fromstring(junit.read_text()).findall(".//testcase")  # noqa: S314 - written by the command
    assert len(cases) == len(json.loads(sarif.read_text())["runs"][0]["tool"]["driver"]["rules"]) > 40
    with tarfile.open(bundle) as archive:
        names = {Path(name).stem for name in archive.getnames()}
    assert names >= {"report", "stack", "secrets", "coverage"}
    held = b"".join(file.read_bytes() for file in (junit, sarif, bundle))
    assert not [password for password in stack.passwords.values() if password.encode() in held]


def test_options_that_name_nothing_are_bad_input(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "accepted.yaml").write_text("- {check: vault-sealed, until: 2027-01-01}\n")
    for words, said in (
        (("--only", "vault-seal"), "such as vault-sealed"),
        (("--wait", "soon"), "allowed: a duration"),
        (("--suppress", str(tmp_path / "accepted.yaml")), "every finding that is accepted has a reason"),
        (("--pre", "--fix"), "checks the whole stack"),
    ):
        done = stack.command("doctor", *words, environment=environment(stack))
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
