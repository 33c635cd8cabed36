"""The local control plane on its real programs, in a state folder of its own beside the one that `make up` uses."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import hvac.exceptions
import psutil
import pytest

from local import paths, toolchain
from local.controlplane import COMPONENTS, ControlPlane, NotYet, until
from local.controlplane.api import HttpClient, RequestRefused
from local.controlplane.pki import KeyPair
from local.controlplane.processes import Processes
from local.controlplane.rbac import STORES

pytestmark = pytest.mark.controlplane

PATH = "ocp/dev/registries/app-registry-pull"
# One of the names that deployers may give to such a binding.
BINDING = f"{STORES[0]}-token-reviewer"
OPERATOR = "/apis/apps/v1/namespaces/external-secrets/deployments/external-secrets"


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    plane = ControlPlane(tmp_path_factory.mktemp("controlplane") / "state")
    try:
        plane.up()
        yield plane
    finally:
        plane.down()
        assert left_behind(plane) == {}


@pytest.fixture(autouse=True)
def whole(plane):
    """Leave it whole for the next test, whatever this one broke."""
    yield
    plane.up()


def left_behind(plane):
    """Return what `down` did not end."""
    return Processes(plane.layout.run, plane.layout.logs).strays()


def runs(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def pids(plane):
    return {component.name: component.pid for component in plane.status()}


def healthy(plane):
    return {component.name: component.healthy for component in plane.status()}


def kubectl(plane, identity, *arguments, stdin=None):
    """Run kubectl as an identity; return its exit code and its output."""
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig(identity))}
    command = [toolchain.binary("kubectl"), *arguments]
    done = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def allowed(plane, identity, *question):
    return kubectl(plane, identity, "auth", "can-i", *question)[0] == 0


def apply(plane, identity, *objects):
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    code, output = kubectl(plane, identity, "apply", "--server-side", "-f", "-", stdin=document)
    assert code == 0, output


def get(plane, path):
    try:
        return plane.admin().call("GET", path)
    except RequestRefused as refused:
        if refused.status == 404:
            return None
        raise


@pytest.mark.parametrize(
    ("person", "removes_definitions", "reads_secrets", "writes_credentials"),
    [
        ("deployer", False, False, False),
        ("operator", False, True, True),
        ("auditor", False, True, False),
        ("seeder", False, False, True),
        ("admin", True, True, True),
    ],
)
def test_a_shell_has_the_rights_of_its_job(plane, person, removes_definitions, reads_secrets, writes_credentials):
    questions = (
        f". {plane.shell_as(person)}; kubectl auth can-i delete customresourcedefinitions; "
        "kubectl auth can-i list secrets -A; "
        f"bao token capabilities secret/data/{PATH}"
    )
    done = subprocess.run(["sh", "-c", questions], capture_output=True, text=True, check=False, timeout=60)
    *may, capabilities = done.stdout.splitlines()
    assert may == ["yes" if answer else "no" for answer in (removes_definitions, reads_secrets)]
    assert bool({"create", "root"} & set(capabilities.split(", "))) is writes_credentials


def test_everything_is_healthy_and_status_says_so(plane):
    assert healthy(plane) == dict.fromkeys(COMPONENTS, True)
    for component in plane.status():
        assert component.log.exists()
        assert component.version[0].isdigit()


def test_up_again_changes_nothing(plane):
    before = pids(plane)
    plane.up()
    assert pids(plane) == before


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_killed_component_is_reported_and_the_next_up_brings_it_back(plane, name):
    before = pids(plane)
    psutil.Process(before[name]).kill()

    def reported():
        state = next(component for component in plane.status() if component.name == name)
        if state.cause != "not running":
            raise NotYet(f"status says {state.cause!r}")

    until(reported, 10, f"{name} reported")
    plane.up()
    assert healthy(plane) == dict.fromkeys(COMPONENTS, True)
    assert {other: pid for other, pid in pids(plane).items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def test_the_operator_runs_with_other_flags_until_the_next_up(plane):
    def flags():
        return psutil.Process(pids(plane)["external-secrets"]).cmdline()[1:]

    def shown():
        found = plane.admin().call("GET", OPERATOR)
        assert found["status"].get("readyReplicas", 0) == found["spec"]["replicas"]
        return found["spec"]["template"]["spec"]["containers"][0]

    assert "--concurrent=1" in flags()
    assert flags() == shown()["args"]
    assert shown()["image"].endswith(f":v{toolchain.version('external-secrets')}")
    plane.restart_eso(["--concurrent=7", "--experimental-enable-vault-token-cache"])
    assert {"--concurrent=7", "--experimental-enable-vault-token-cache", "--loglevel=info"} <= set(flags())
    assert flags() == shown()["args"]
    plane.up()
    assert "--concurrent=1" in flags()
    assert flags() == shown()["args"]


def test_kwok_and_the_scheduler_are_no_administrators(plane):
    assert allowed(plane, "kwok", "patch", "pods", "--subresource=status", "--all-namespaces")
    assert allowed(plane, "kube-scheduler", "create", "pods", "--subresource=binding", "--all-namespaces")
    for identity in ("kwok", "kube-scheduler"):
        assert not allowed(plane, identity, "get", "secrets", "--all-namespaces")
        assert not allowed(plane, identity, "create", "pods", "--all-namespaces")


def test_data_identities_and_ports_survive_down_and_up(plane):
    apply(plane, "pulumi", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "stays"}})
    plane.vault("seeder").secrets.kv.v2.create_or_update_secret("stays", {"a": "b"}, mount_point="secret")
    controller = plane.kubeconfig_for("system:serviceaccount:argocd:controller").stem
    ports = {component.name: component.ports for component in plane.status()}
    assert set(plane.down()) == set(COMPONENTS)
    assert left_behind(plane) == {}
    plane.up()
    assert {component.name: component.ports for component in plane.status()} == ports
    assert get(plane, "/api/v1/namespaces/stays") is not None
    found = plane.vault("seeder").secrets.kv.v2.read_secret_version(
        "stays", mount_point="secret", raise_on_deleted_version=True
    )
    assert found["data"]["data"] == {"a": "b"}
    assert "system:serviceaccount:argocd:controller" in kubectl(plane, controller, "auth", "whoami")[1]
    kubectl(plane, "pulumi", "delete", "namespace", "stays", "--wait=false")


def test_ports_that_somebody_took_meanwhile_are_replaced_everywhere(plane):
    taken = [port for component in plane.status() for port in component.ports.values()]
    plane.down()
    listeners = [socket.create_server(("127.0.0.1", port)) for port in taken]
    try:
        plane.up()
    finally:
        for listener in listeners:
            listener.close()
    assert not {port for component in plane.status() for port in component.ports.values()} & set(taken)
    assert "pulumi" in kubectl(plane, "pulumi", "auth", "whoami")[1]
    environment = json.loads(plane.layout.environment[1].read_text())
    assert environment["VAULT_ADDR"] == plane.vault("platform").url
    assert plane.vault("platform").is_authenticated()


def test_an_up_that_is_killed_leaves_nothing_that_the_next_one_cannot_use(plane):
    plane.down()
    command = [sys.executable, "-m", "local", "up"]
    environment = {**os.environ, "LOCAL_STATE": str(plane.layout.state)}
    killed = subprocess.Popen(command, cwd=paths.repository(), env=environment)

    def api_server_starts():
        if pids(plane)["kube-apiserver"] is None:
            raise NotYet("not started")

    until(api_server_starts, 30, "kube-apiserver started", every=0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    plane.up()
    assert healthy(plane) == dict.fromkeys(COMPONENTS, True)
    assert left_behind(plane) == {}


def test_processes_whose_records_are_gone_are_ended_by_down(plane):
    before = [psutil.Process(pid) for pid in pids(plane).values()]
    for name in COMPONENTS:
        (plane.layout.run / f"{name}.json").unlink()
    assert sorted(plane.down()) == sorted(COMPONENTS)
    assert not any(runs(process) for process in before)


def test_an_up_after_the_state_was_removed_ends_what_still_runs_and_starts_from_nothing(plane):
    before = [psutil.Process(pid) for pid in pids(plane).values()]
    shutil.rmtree(plane.layout.state)
    plane.up()
    assert not any(runs(process) for process in before)
    assert healthy(plane) == dict.fromkeys(COMPONENTS, True)


def test_every_listener_is_on_the_loopback_address(plane):
    for name, pid in pids(plane).items():
        listening = [c.laddr for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening, name
        assert {address.ip for address in listening} == {"127.0.0.1"}, name


def test_pulumi_is_no_administrator(plane):
    assert allowed(plane, "pulumi", "create", "namespaces")
    assert allowed(plane, "pulumi", "patch", "serviceaccounts", "--all-namespaces")
    assert allowed(plane, "pulumi", "create", "networkpolicies", "-n", "external-secrets")
    assert not allowed(plane, "pulumi", "create", "networkpolicies", "-n", "default")
    assert not allowed(plane, "pulumi", "get", "secrets", "--all-namespaces")
    assert not allowed(plane, "pulumi", "create", "pods", "-n", "default")
    assert not allowed(plane, "pulumi", "impersonate", "users")
    assert "system:masters" not in kubectl(plane, "pulumi", "auth", "whoami")[1]


def binding(role):
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": BINDING},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "external-secrets", "namespace": "external-secrets"}],
    }


def test_pulumi_cannot_make_itself_an_administrator(plane):
    document = json.dumps(binding("cluster-admin"))
    code, output = kubectl(plane, "pulumi", "create", "-f", "-", stdin=document)
    assert code != 0
    assert "attempting to grant RBAC permissions not currently held" in output


def test_etcd_accepts_nobody_but_the_api_server(plane):
    address = next(c.ports["etcd-client"] for c in plane.status() if c.name == "etcd")
    pki = plane.layout.pki
    with pytest.raises(NotYet, match=r"certificate required|CERTIFICATE_REQUIRED|alert"):
        HttpClient(f"https://127.0.0.1:{address}", pki / "etcd" / "ca.crt").expect_ok("/health")
    for identity in ("pulumi", "admin"):
        clients = pki / "kubernetes" / "clients"
        pair = KeyPair(clients / f"{identity}.crt", clients / f"{identity}.key")
        with pytest.raises(NotYet, match=r"alert|certificate|EOF"):
            HttpClient(f"https://127.0.0.1:{address}", pki / "etcd" / "ca.crt", pair).expect_ok("/health")


def test_the_operator_is_its_service_account_and_no_administrator(plane):
    assert (
        "system:serviceaccount:external-secrets:external-secrets"
        in kubectl(plane, "external-secrets", "auth", "whoami")[1]
    )
    assert allowed(plane, "external-secrets", "create", "secrets", "--all-namespaces")
    assert not allowed(plane, "external-secrets", "create", "clusterrolebindings")
    assert not allowed(plane, "external-secrets", "delete", "namespaces")
    assert set(psutil.Process(pids(plane)["external-secrets"]).environ()) == {"KUBECONFIG", "PULL_SECRETS_COMPONENT"}


def test_the_platform_token_declares_paths_and_cannot_read_them(plane):
    platform, seeder = plane.vault("platform"), plane.vault("seeder")
    platform.secrets.kv.v2.update_metadata(
        "declared", cas_required=True, custom_metadata={"owner": "x"}, mount_point="secret"
    )
    seeder.secrets.kv.v2.create_or_update_secret("declared", {"a": "b"}, cas=0, mount_point="secret")
    for refused in (
        lambda: platform.secrets.kv.v2.read_secret_version(
            "declared", mount_point="secret", raise_on_deleted_version=True
        ),
        lambda: platform.secrets.kv.v2.create_or_update_secret("declared", {}, cas=1, mount_point="secret"),
        lambda: platform.sys.create_or_update_acl_policy("seeder", 'path "*" { capabilities = ["sudo"] }'),
        lambda: seeder.secrets.kv.v2.delete_latest_version_of_secret("declared", mount_point="secret"),
        lambda: seeder.secrets.kv.v2.delete_metadata_and_all_versions("declared", mount_point="secret"),
        lambda: platform.secrets.kv.v2.delete_metadata_and_all_versions("declared", mount_point="secret"),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            refused()


def test_the_audit_log_holds_no_credential(plane):
    seeder = plane.vault("seeder")
    seeder.secrets.kv.v2.create_or_update_secret("audited", {"a": "very-secret-value"}, mount_point="secret")
    log = (plane.layout.logs / "openbao-audit.log").read_text()
    assert "secret/data/audited" in log
    assert "very-secret-value" not in log
    assert seeder.token not in log
