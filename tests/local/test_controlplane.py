"""The local control plane on its real programs, in a state folder of its own beside the one that `make up` uses."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import hvac.exceptions
import psutil
import pytest

from local import paths, toolchain
from local.controlplane import COMPONENTS, ControlPlane, NotYet, until
from local.controlplane.api import HttpClient, RequestRefused
from local.controlplane.pki import KeyPair
from local.controlplane.processes import Processes
from local.controlplane.rbac import STORES
from tests.ops import workloads

pytestmark = pytest.mark.controlplane

PATH = "ocp/dev/registries/app-registry-pull"
LABEL = "controlplane.test/tenant"
# One of the names that deployers may give to such a binding.
BINDING = f"{STORES[0]}-token-reviewer"
OPERATOR = "/apis/apps/v1/namespaces/external-secrets/deployments/external-secrets"
PRIVATE = "app.registry.example.com/team/app:1"


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


def test_one_component_can_be_stopped_and_started(plane):
    assert plane.stop("openbao")
    assert not healthy(plane)["openbao"]
    plane.start("openbao")
    assert healthy(plane)["openbao"]
    assert plane.vault("platform").is_authenticated()


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


def test_the_operator_that_is_stopped_has_no_pod(plane):
    def replicas():
        found = plane.admin().call("GET", OPERATOR)
        return found["spec"]["replicas"], found["status"].get("readyReplicas", 0)

    plane.stop("external-secrets")
    assert replicas() == (0, 0)
    plane.start("external-secrets")
    assert replicas() == (1, 1)


def test_pods_on_the_simulated_nodes_get_ready_or_cannot_pull(plane):
    admin, where = plane.admin(), "pods"
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": where}})
    until(lambda: account_of(plane, where), 10, "default ServiceAccount")
    named = workloads.deployment(where, "named", PRIVATE, 2, ["any"])
    public = workloads.daemon_set(where, "public", "quay.io/team/app:1")
    bare = workloads.pod(where, "bare", PRIVATE)
    # OpenShift puts it on every ServiceAccount, and it opens only the cluster's own registry.
    openshift = workloads.stateful_set(where, "openshift", PRIVATE, 1, ["default-dockercfg-abc"])
    budget = workloads.disruption_budget(where, "named", 2)
    workloads.create(admin, named, public, bare, openshift, budget)
    ready = workloads.until_ready(admin, named, 2)
    workloads.until_ready(admin, public, 3)
    workloads.until_pull_fails(admin, openshift)
    workloads.until_pods(admin, bare, lambda pods: workloads.state(pods[0]) == "ImagePullBackOff", "back off")
    assert 'Failed to pull image "app.registry.example.com/team/app:1"' in " ".join(
        event["message"] for event in admin.call("GET", f"/api/v1/namespaces/{where}/events")["items"]
    )
    name = ready[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": where, "name": name}}
    with pytest.raises(RequestRefused, match="disruption budget"):
        admin.call("POST", f"/api/v1/namespaces/{where}/pods/{name}/eviction", eviction)
    workloads.delete(admin, budget, named, public, bare, openshift)
    kubectl(plane, "pulumi", "delete", "namespace", where, "--wait=false")


# Nothing else builds it, and the first build takes minutes.
@pytest.mark.timeout(1200)
def test_sealed_secrets_is_started_on_demand_and_unseals(plane, tmp_path):
    toolchain.ensure("sealed-secrets")
    assert "sealed-secrets" not in healthy(plane)
    plane.start("sealed-secrets")
    assert healthy(plane)["sealed-secrets"]
    ports = next(component.ports for component in plane.status() if component.name == "sealed-secrets")
    certificate = tmp_path / "cert.pem"
    address = f"http://127.0.0.1:{ports['sealed-secrets']}"
    certificate.write_bytes(HttpClient(address).expect_ok("/v1/cert.pem"))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sealed", "namespace": "default"},
        "stringData": {"password": "generated"},
    }
    seal = [toolchain.binary("kubeseal"), f"--cert={certificate}"]
    sealed = subprocess.run(seal, input=json.dumps(secret), capture_output=True, text=True, check=True, timeout=30)
    assert "generated" not in sealed.stdout
    code, output = kubectl(plane, "admin", "apply", "--server-side", "-f", "-", stdin=sealed.stdout)
    assert code == 0, output

    def unsealed():
        found = plane.admin().call("GET", "/apis/bitnami.com/v1alpha1/namespaces/default/sealedsecrets/sealed")
        conditions = (found.get("status") or {}).get("conditions")
        if not conditions or conditions[0]["status"] != "True":
            raise NotYet(f"conditions {conditions}")
        return plane.admin().call("GET", "/api/v1/namespaces/default/secrets/sealed")

    found = until(unsealed, 30, "unsealed")
    assert base64.b64decode(found["data"]["password"]) == b"generated"
    plane.admin().call("DELETE", "/apis/bitnami.com/v1alpha1/namespaces/default/sealedsecrets/sealed")
    assert plane.stop("sealed-secrets")
    assert "sealed-secrets" not in healthy(plane)


def account_of(plane, namespace):
    if get(plane, f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is None:
        raise NotYet("not there")


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


def test_two_control_planes_run_at_once(plane, tmp_path):
    other = ControlPlane(tmp_path / "other")
    try:
        plane.down()
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(plane.up), pool.submit(other.up)]:
                done.result()
        assert healthy(plane) == healthy(other) == dict.fromkeys(COMPONENTS, True)
        assert not set(pids(plane).values()) & set(pids(other).values())
        assert other.vault("platform").url != plane.vault("platform").url
    finally:
        other.down()
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


def test_the_platform_token_serves_what_the_terraform_provider_does(plane):
    platform = plane.vault("platform")
    platform.sys.enable_auth_method("kubernetes", path="kubernetes-test")
    platform.sys.tune_auth_method("kubernetes-test", default_lease_ttl="1h")
    platform.sys.create_or_update_acl_policy("pull-secrets-test", 'path "secret/data/x" { capabilities = ["read"] }')
    assert set(platform.lookup_token()["data"]["policies"]) == {"default", "platform"}
    platform.adapter.delete("/v1/sys/policies/acl/pull-secrets-test")
    platform.sys.disable_auth_method("kubernetes-test")
    with pytest.raises(hvac.exceptions.Forbidden):
        # The program tells the provider to work without a child of its token.
        platform.auth.token.create(ttl="20m")


def test_the_audit_log_holds_no_credential(plane):
    seeder = plane.vault("seeder")
    seeder.secrets.kv.v2.create_or_update_secret("audited", {"a": "very-secret-value"}, mount_point="secret")
    log = (plane.layout.logs / "openbao-audit.log").read_text()
    assert "secret/data/audited" in log
    assert "very-secret-value" not in log
    assert seeder.token not in log


def vault_access(plane):
    """Let the operator read one path, as the program does: Kubernetes auth, a role, a policy."""
    platform = plane.vault("platform")
    if "kubernetes/" not in platform.sys.list_auth_methods()["data"]:
        platform.sys.enable_auth_method("kubernetes")
    authority = (plane.layout.pki / "kubernetes" / "ca.crt").read_text()
    cluster = json.loads(plane.kubeconfig("pulumi").read_text())["clusters"][0]["cluster"]
    config = {"kubernetes_host": cluster["server"], "kubernetes_ca_cert": authority, "disable_local_ca_jwt": True}
    platform.write_data("auth/kubernetes/config", data=config)
    platform.sys.create_or_update_acl_policy(
        "pull-secrets-test", f'path "secret/data/{PATH}" {{ capabilities = ["read"] }}'
    )
    role = {
        "bound_service_account_names": ["external-secrets"],
        "bound_service_account_namespaces": ["external-secrets"],
        "audience": "vault",
        "token_policies": ["pull-secrets-test"],
        "token_ttl": "10m",
    }
    platform.write_data("auth/kubernetes/role/external-secrets", data=role)


def store(plane):
    account = {
        "name": "external-secrets",
        "namespace": "external-secrets",
        # The second lets the token review itself, so OpenBao needs no reviewer token of its own.
        "audiences": ["vault", "https://kubernetes.default.svc"],
    }
    vault = {
        "server": plane.vault("platform").url,
        "path": "secret",
        "version": "v2",
        "caBundle": base64.b64encode(plane.layout.openbao_authority.read_bytes()).decode(),
        "auth": {"kubernetes": {"mountPath": "kubernetes", "role": "external-secrets", "serviceAccountRef": account}},
    }
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ClusterSecretStore",
        "metadata": {"name": "controlplane-test"},
        "spec": {"provider": {"vault": vault}},
    }


def cluster_external_secret():
    template = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "{{ .dockerconfigjson }}"}}
    secret = {
        "refreshInterval": "1h0m0s",
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "controlplane-test"},
        "target": {"name": "pull", "creationPolicy": "Owner", "template": template},
        "data": [{"secretKey": "dockerconfigjson", "remoteRef": {"key": PATH, "property": "dockerconfigjson"}}],
    }
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ClusterExternalSecret",
        "metadata": {"name": "controlplane-test"},
        "spec": {
            "externalSecretName": "pull",
            "refreshTime": "1h0m0s",
            "namespaceSelectors": [{"matchLabels": {LABEL: "true"}}],
            "externalSecretSpec": secret,
        },
    }


def test_a_seeded_credential_reaches_a_labelled_namespace_and_leaves_with_the_declaration(plane):
    content = json.dumps({"auths": {"registry.example.com": {"auth": base64.b64encode(b"bot:generated").decode()}}})
    plane.vault("seeder").secrets.kv.v2.create_or_update_secret(
        PATH, {"dockerconfigjson": content}, mount_point="secret"
    )
    vault_access(plane)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "labelled", "labels": {LABEL: "true"}}}
    apply(plane, "pulumi", binding("system:auth-delegator"), store(plane), namespace, cluster_external_secret())

    def delivered():
        secret = get(plane, "/api/v1/namespaces/labelled/secrets/pull")
        if secret is None:
            raise NotYet("no Secret")
        return secret

    secret = until(delivered, 30, "Secret delivered")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert base64.b64decode(secret["data"][".dockerconfigjson"]).decode() == content

    kubectl(
        plane, "pulumi", "delete", "clusterexternalsecret/controlplane-test", "clustersecretstore/controlplane-test"
    )

    def withdrawn():
        if get(plane, "/api/v1/namespaces/labelled/secrets/pull") is not None:
            raise NotYet("the Secret is still there")

    until(withdrawn, 30, "Secret withdrawn")
    kubectl(plane, "pulumi", "delete", "namespace/labelled", f"clusterrolebinding/{BINDING}")
    assert get(plane, "/api/v1/namespaces/labelled") is None
