"""Monitoring on the real control plane: the validation runs as its ServiceAccount, and what it pushes arrives."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from local.controlplane import rbac
from local.controlplane.layout import EXTERNAL_SECRETS
from local.controlplane.waiting import NotYet, until
from pullsecrets.credential.vault_token import TOKEN_FILE_VARIABLE
from pullsecrets.credential.vault_transport import Endpoint
from pullsecrets.errors import BadInputError
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests.alerts import rule_file
from pullsecrets.manifests.dashboard import dashboard
from pullsecrets.manifests.monitoring import AuditAccessSpec, MonitoringSpec
from pullsecrets.manifests.rbac import monitoring_deployer_roles
from pullsecrets.manifests.stack import monitoring_objects
from pullsecrets.tenancy import preflight
from tests.e2e.stack import DEADLINE, Stack, namespace
from tests.ops.test_documents import platform_engineer, try_as
from tests.pages import Scenario
from tests.prometheus import RULES, rule_definition
from tests.unit.pushgateway import Pushgateway, pushgateway

pytestmark = pytest.mark.controlplane

NAMESPACE, ACCOUNT = "platform-monitoring", "pull-secrets-ops-audit"
BATCH = f"/apis/batch/v1/namespaces/{NAMESPACE}"
AUDIT = "labelSelector=app.kubernetes.io/name=pull-secrets-audit"
# Errors are counted from the first one on.
SELECTOR = re.compile(r"((?:externalsecret|clustersecretstore)_(?!sync_calls_error)\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)=~?\\?"([^"\\]*)\\?"')
EARLIER = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Pushgateway]:
    with pushgateway() as server:
        yield server


@pytest.fixture(scope="module")
def cluster_with_prometheus(stack: Stack) -> Iterator[Stack]:
    """The kind, a namespace that takes restricted Pods only, and the deployer's further roles."""
    config = {"enabled": True, "image": "registry.example.com/platform/pull-secrets:1", "namespace": NAMESPACE}
    stack.configure({"monitoring": config})
    with pytest.raises(BadInputError, match=r"PrometheusRule; install the Prometheus Operator") as raised:
        preflight.require_monitoring(stack.client(stack.plane.kubeconfig("pulumi")), stack.config())
    assert f"found no namespace '{NAMESPACE}'" in str(raised.value)
    stack.admin.apply_raw(RULES, json.dumps(rule_definition()).encode())
    stack.admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    restricted = {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    stack.patch(namespace(NAMESPACE), {"metadata": restricted})
    roles = monitoring_deployer_roles(rbac.DEPLOYERS, NAMESPACE, ["ops"], bind_watch=True)
    for item in roles:
        stack.admin.apply(item)

    def served() -> None:
        try:
            preflight.require_monitoring(stack.client(stack.plane.kubeconfig("pulumi")), stack.config())
        except BadInputError as error:
            raise NotYet(str(error)) from None

    until(served, DEADLINE, "PrometheusRule served")
    yield stack
    stack.delete_namespace(NAMESPACE)
    stack.admin.call("DELETE", RULES)
    for item in roles[:2]:
        kind, name = item["kind"].lower(), item["metadata"]["name"]
        stack.admin.call("DELETE", f"/apis/rbac.authorization.k8s.io/v1/{kind}s/{name}")
    stack.gone(RULES)


@pytest.fixture(scope="module")
def monitored(cluster_with_prometheus: Stack, gateway: Pushgateway) -> Iterator[Stack]:
    """The stack with monitoring on, deployed by the deployer."""
    stack = cluster_with_prometheus
    config = {
        "enabled": True,
        "namespace": NAMESPACE,
        "image": "registry.example.com/platform/pull-secrets:1.0.0",
        "schedule": f"{EARLIER.minute} {EARLIER.hour} * * *",
        "pushgateway": gateway.url,
        "bindWatch": True,
    }

    stack.up({"monitoring": config})
    yield stack
    if stack.config().monitoring.enabled:
        stack.up()


def test_the_page(cluster_with_prometheus: Stack, gateway: Pushgateway) -> None:
    stack = cluster_with_prometheus
    job = f"{BATCH}/jobs/validation-now"

    @contextmanager
    def begun() -> Iterator[None]:
        yield
        assert stack.get(job)["spec"]["template"]["spec"]["serviceAccountName"] == ACCOUNT

    values = {
        "PULL_SECRETS_STACK": stack.name,
        "MONITORING": NAMESPACE,
        "DEPLOYERS": rbac.DEPLOYERS,
        "ADMINISTRATORS": rbac.DEPLOYERS,
        "AUDITORS": rbac.AUDITORS,
        "OPERATORS": rbac.OPERATORS,
        "DIAGNOSTICIANS": rbac.DIAGNOSTICIANS,
        "ADMIN_KUBECONFIG": str(stack.plane.kubeconfig("admin")),
    }
    stack.configure()
    try:
        with platform_engineer(stack) as who:
            scenario = Scenario(
                values, {"The daily validation": begun}, extra={"monitoring": {"pushgateway": gateway.url}}
            )
            try_as(stack, who, "monitoring.md", scenario)
    finally:
        stack.up()
        for item in rbac.roles("external-secrets"):
            stack.admin.apply(item)
        (stack.workspace.root / "roles.yaml").unlink(missing_ok=True)
    assert stack.find(f"{BATCH}/cronjobs/{ACCOUNT}") is None


def run_validation(stack: Stack, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the CronJob's command as a Pod of it would: with its files, its tokens and nothing of ours."""
    pod = stack.get(f"{BATCH}/cronjobs/{ACCOUNT}")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for name, text in stack.get(_config_map(volumes["stack"]["configMap"]["name"]))["data"].items():
        (folder / name).write_text(text, encoding="utf-8")
    projected = volumes["vault-token"]["projected"]["sources"][0]["serviceAccountToken"]
    wanted = {"audiences": [projected["audience"]], "expirationSeconds": projected["expirationSeconds"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": wanted}
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{pod['serviceAccountName']}"
    token = folder / "vault"
    token.write_text(stack.admin.call("POST", f"{account}/token", body)["status"]["token"], encoding="utf-8")
    environment = {item["name"]: item["value"] for item in container["env"]}
    command, *arguments = [*container["command"], *container["args"]]
    (mount,) = [item["mountPath"] for item in container["volumeMounts"] if item["name"] == "stack"]
    return subprocess.run(
        [
            str(Path(sys.executable).parent / command),
            *(str(folder) if word == mount else word for word in arguments),
        ],
        env={
            **environment,
            TOKEN_FILE_VARIABLE: str(token),
            "KUBECONFIG": str(kubeconfig(stack)),
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _config_map(name: str) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"


def kubeconfig(stack: Stack) -> Path:
    return stack.plane.kubeconfig_for(f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}")


def test_the_validation_proves_every_namespace_and_its_metrics_arrive(
    monitored: Stack, gateway: Pushgateway, tmp_path: Path
) -> None:
    assert monitored.audit("--wait", "60")["green"]
    done = run_validation(monitored, tmp_path)
    monitored.printed += [done.stdout, done.stderr]
    assert done.returncode == 0, done.stderr
    assert "ops-auth-dev" in done.stdout
    found = gateway.groups["/metrics/job/pull-secrets/cluster/ops"]
    counts = {(labels["registry"], labels["state"]): value for labels, value in found["pull_secrets_namespaces"]}
    assert counts["ops-app", "green"] == counts["ops-app", "expected"] == counts["ops-app", "proved"] == 4
    assert found["pull_secrets_audit_complete"] == [({}, 1.0)]


def test_the_token_of_its_login_reads_no_credential_and_is_given_back(monitored: Stack, tmp_path: Path) -> None:
    assert run_validation(monitored, tmp_path).returncode == 0
    config = monitored.config()
    access = AuditAccessSpec.of(config)
    endpoint = Endpoint(config.vault.address, config.vault.ca_bundle)
    jwt = (tmp_path / "vault").read_text(encoding="utf-8")
    login = endpoint.request("POST", f"auth/{access.auth_mount}/login", {"role": access.role, "jwt": jwt})
    token = login.content["auth"]["client_token"]
    assert {"default", access.policy} == set(login.content["auth"]["policies"])
    for path in access.paths:
        assert endpoint.request("GET", f"{access.mount}/metadata/{path}", token=token).status == 200
        assert endpoint.request("GET", f"{access.mount}/data/{path}", token=token).status == 403
    endpoint.request("POST", "auth/token/revoke-self", token=token)
    root = (monitored.plane.layout.openbao / "root-token").read_text().strip()
    accessors = endpoint.request("LIST", "auth/token/accessors", token=root).content["data"]["keys"]
    held = [
        endpoint.request("POST", "auth/token/lookup-accessor", {"accessor": accessor}, root).content.get("data") or {}
        for accessor in accessors
    ]
    assert [item["path"] for item in held if access.policy in (item.get("policies") or ())] == []


def test_its_service_account_lists_and_does_nothing_else(monitored: Stack) -> None:
    client = monitored.client(kubeconfig(monitored))

    def may(verb: str, resource: str, group: str = "", subresource: str = "", name: str = "") -> bool:
        attributes = {"verb": verb, "resource": resource, "group": group, "subresource": subresource, "name": name}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        review = {**body, "spec": {"resourceAttributes": {**attributes, "namespace": "ops-auth-dev"}}}
        answer = client.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
        return bool(answer["status"]["allowed"])

    assert may("list", "secrets", name="ops-app"), "by the field selector metadata.name"
    assert may("list", "externalsecrets", "external-secrets.io")
    for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
        assert not may(verb, "secrets")
    assert not may("get", "secrets", name="ops-app")
    for verb in ("create", "update", "patch", "delete"):
        assert not any(may(verb, resource) for resource in ("namespaces", "serviceaccounts", "pods", "configmaps"))
    assert not may("create", "serviceaccounts", subresource="token")
    assert not may("create", "pods", subresource="exec")
    assert not may("get", "configmaps")


def _matches(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(re.fullmatch(value, labels.get(key, "")) for key, value in wanted.items())


def test_rules_and_dashboard_ask_for_series_that_the_operator_exports(monitored: Stack) -> None:
    (operator,) = [item for item in monitored.plane.status() if item.name == EXTERNAL_SECRETS]
    url = f"http://127.0.0.1:{operator.ports['external-secrets-metrics']}/metrics"
    spec = MonitoringSpec.of(monitored.config(), "ops")
    text = f"{json.dumps(rule_file(spec))}{dashboard(spec)['panels']}".replace("$registry", "ops-app")
    asked = [(name, dict(MATCHER.findall(matchers))) for name, matchers in set(SELECTOR.findall(text))]
    assert {name for name, _ in asked} >= {"externalsecret_status_condition", "clustersecretstore_status_condition"}
    # Since the operator was started last, it has told nothing of what was not due.
    for registry in monitored.passwords:
        monitored.force_sync(registry)

    def exported() -> None:
        families = text_string_to_metric_families(requests.get(url, timeout=10).text)
        samples = [sample for family in families for sample in family.samples]
        for name, wanted in asked:
            carried = [sample.labels for sample in samples if sample.name == name]
            if not any(
                all(re.fullmatch(value, labels.get(key, "")) for key, value in wanted.items()) for labels in carried
            ):
                raise NotYet(f"{name} with {wanted} is not exported, but with {carried[:2]}")

    until(exported, DEADLINE, "the operator's series")


def test_the_controllers_take_the_cronjob_and_its_pod_is_admitted_as_restricted(monitored: Stack) -> None:
    # As if it had run an hour ago: the time that its schedule names has come since.
    last = (EARLIER - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    monitored.patch(f"{BATCH}/cronjobs/{ACCOUNT}/status", {"status": {"lastScheduleTime": last}})

    def pod() -> dict[str, Any]:
        items = monitored.admin.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?{AUDIT}")["items"]
        if not items:
            events = monitored.admin.call("GET", f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
            raise NotYet(f"no Pod: {[item['message'] for item in events]}")
        return items[0]

    found = until(pod, DEADLINE, "a Pod of the CronJob")
    assert found["spec"]["serviceAccountName"] == ACCOUNT
    assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == ACCOUNT


def test_nothing_is_left_to_change_and_nothing_is_left_behind(monitored: Stack) -> None:
    monitored.pulumi("preview", "--expect-no-changes", "--diff")
    config = monitored.config()
    paths = [path_of(item) for item in monitoring_objects(config, monitored.name)]
    assert all(monitored.find(path) for path in paths)
    monitored.up()
    assert [path for path in paths if monitored.find(path)] == []
    access = AuditAccessSpec.of(config)
    endpoint = Endpoint(config.vault.address, config.vault.ca_bundle)
    token = monitored.workspace.environment["VAULT_TOKEN"]
    for path in (f"sys/policies/acl/{access.policy}", f"auth/{access.auth_mount}/role/{access.role}"):
        assert endpoint.request("GET", path, token=token).status == 404

    def jobs() -> None:
        found = monitored.admin.call("GET", f"{BATCH}/jobs")["items"]
        if found:
            raise NotYet(f"Jobs are there: {[item['metadata']['name'] for item in found]}")

    until(jobs, DEADLINE, "the CronJob's Jobs gone")
