"""The daily validation: what it may do, what it is given, and that no credential is among it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pullsecrets.config import StackConfig, load_stack, parse
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests import audit_job, bind_watch
from pullsecrets.manifests.audit_job import metadata_policy
from pullsecrets.manifests.monitoring import AuditAccessSpec, MonitoringSpec, account, stack_files
from pullsecrets.manifests.rbac import auditor_roles
from pullsecrets.manifests.render import render
from pullsecrets.manifests.stack import monitoring_objects
from tests.components.program import stack_file

IMAGE = "registry.example.com/platform/pull-secrets:1.0.0"
MONITORING: dict[str, Any] = {"enabled": True, "image": IMAGE, "pushgateway": "http://pushgateway.example.com:9091"}


def monitored(**change: Any) -> StackConfig:
    return parse({**stack_file("dev"), "monitoring": {**MONITORING, **change}}, "dev")


def sealed() -> StackConfig:
    raw = copy.deepcopy(stack_file("dev"))
    raw["registries"] = [{**raw["registries"][0], "source": "sealedSecret", "delivery": "fanout"}]
    raw["tenants"].pop("matrices")
    raw.pop("rollout")
    return parse({**raw, "vault": {}, "monitoring": MONITORING}, "dev")


@pytest.fixture
def spec() -> MonitoringSpec:
    return MonitoringSpec.of(monitored(), "dev")


def pod(spec: MonitoringSpec) -> dict[str, Any]:
    return audit_job.cron_job(spec)["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_its_pods_pass_the_restricted_standard_and_write_nothing_but_scratch(spec: MonitoringSpec) -> None:
    found = pod(spec)
    # A user by number would be refused by OpenShift, whose namespaces have ranges of their own.
    assert found["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    (container,) = found["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys()
    writable = [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["tmp"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & found.keys()
    assert {kind for volume in found["volumes"] for kind in volume} == {"name", "configMap", "emptyDir", "projected"}


def test_jobs_never_pile_up_and_end_by_themselves(spec: MonitoringSpec) -> None:
    job = audit_job.cron_job(spec)["spec"]
    assert (job["concurrencyPolicy"], job["timeZone"], job["schedule"]) == ("Forbid", "Etc/UTC", "0 6 * * *")
    assert job["successfulJobsHistoryLimit"] <= job["failedJobsHistoryLimit"] <= 3
    template = job["jobTemplate"]["spec"]
    assert template["activeDeadlineSeconds"] < 900, "or the alert on a failed Job fires while one still runs"
    assert template["ttlSecondsAfterFinished"] > 0
    assert template["template"]["spec"]["restartPolicy"] == "Never", "podFailurePolicy asks for it"
    # Only an unreachable server is worth another try.
    (rule,) = template["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"containerName": "audit", "operator": "NotIn", "values": [4]}}


def test_it_runs_the_command_itself_and_no_shell(spec: MonitoringSpec) -> None:
    (container,) = pod(spec)["containers"]
    words = [*container["command"], *container["args"]]
    assert words == audit_job.command(spec)
    assert words[:2] == ["pull-secrets", "audit"]
    assert words[-2:] == ["--push", MONITORING["pushgateway"]]
    assert container["image"] == IMAGE
    assert "--push" not in audit_job.command(MonitoringSpec.of(monitored(pushgateway=None), "dev"))


def test_its_service_account_has_an_auditors_rules(spec: MonitoringSpec) -> None:
    account, role, binding, *_ = audit_job.objects(spec)
    assert role["rules"] == auditor_roles("anybody", [item.name for item in spec.registries])[0]["rules"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "pull-secrets-dev-audit"
    named = {"kind": "ServiceAccount", "name": "pull-secrets-dev-audit", "namespace": "monitoring"}
    assert binding["subjects"] == [named]
    assert account["automountServiceAccountToken"] is False


def test_its_vault_policy_reads_metadata_and_no_credential() -> None:
    access = AuditAccessSpec.of(monitored())
    rules = json.loads(metadata_policy(access.mount, access.paths))["path"]
    assert rules == {
        "secret/metadata/ocp/dev/registries/app-registry-pull": {"capabilities": ["read"]},
        "secret/metadata/registry/api-tanhdev": {"capabilities": ["read"]},
    }
    assert "." in access.policy, "so that no registry's policy has that name"


def test_the_token_that_logs_in_can_review_itself_and_lives_shortly(spec: MonitoringSpec) -> None:
    (projected,) = [volume["projected"] for volume in pod(spec)["volumes"] if "projected" in volume]
    (source,) = projected["sources"]
    assert source["serviceAccountToken"]["audience"] == AuditAccessSpec.of(monitored()).audience
    assert source["serviceAccountToken"]["expirationSeconds"] == 600
    named = {item["name"]: item["value"] for item in pod(spec)["containers"][0]["env"]}
    assert named == audit_job.environment(spec)
    mount = next(item for item in pod(spec)["containers"][0]["volumeMounts"] if item["name"] == "vault-token")
    assert named["VAULT_KUBERNETES_TOKEN_FILE"] == f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"


def test_without_vault_nothing_of_vault_is_there() -> None:
    spec = MonitoringSpec.of(sealed(), "dev")
    assert spec.vault is None
    assert pod(spec)["containers"][0]["env"] == []
    assert all("projected" not in volume for volume in pod(spec)["volumes"])
    kinds = [item["kind"] for item in audit_job.objects(spec)]
    assert kinds.count("ClusterRoleBinding") == 1
    assert "vault" not in spec.files["Pulumi.dev.yaml"].replace("vault-platform", "")


@pytest.mark.parametrize(
    "config",
    [monitored(), sealed(), monitored(namespace="watch", imagePullSecret="mine")],
    ids=["vault", "sealed", "own names"],
)
def test_the_stack_reads_back_as_the_audit_needs_it(config: StackConfig, tmp_path: Path) -> None:
    for name, text in stack_files(config, "dev").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    read = load_stack("dev", tmp_path)
    for part in ("cluster", "vault_section", "eso", "registries", "tenants", "binding"):
        assert getattr(read, part) == getattr(config, part), part
    # By these it tells itself from others that pull from a registry.
    assert account(read) == account(config)
    assert read.monitoring.image_pull_secret == config.monitoring.image_pull_secret


def test_the_stack_file_names_no_context_as_a_pod_has_none() -> None:
    raw = stack_file("dev")
    raw["cluster"] = {**raw["cluster"], "context": "kind-dev"}
    config = parse({**raw, "monitoring": MONITORING}, "dev")
    assert "kind-dev" not in stack_files(config, "dev")["Pulumi.dev.yaml"]


def test_what_binds_runs_beside_it_and_starts_anew_when_the_stack_changes() -> None:
    def deployment(config: StackConfig) -> dict[str, Any]:
        return bind_watch.objects(MonitoringSpec.of(config, "dev"))[-1]

    config = monitored(bindWatch=True)
    made = deployment(config)["spec"]
    (container,) = made["template"]["spec"]["containers"]
    audit = pod(MonitoringSpec.of(config, "dev"))["containers"][0]
    assert container["securityContext"] == audit["securityContext"]
    assert [*container["command"], *container["args"]][:2] == ["pull-secrets", "bind"]
    assert container["args"][-1] == "--watch"
    assert made["selector"]["matchLabels"].items() <= made["template"]["metadata"]["labels"].items()
    fewer = config.model_copy(update={"tenants": config.tenants.model_copy(update={"matrices": ()})})
    assert deployment(fewer)["spec"]["template"]["metadata"] != made["template"]["metadata"]
    assert {"ServiceAccount", "Deployment"} <= {item["kind"] for item in monitoring_objects(config, "dev")}


def test_render_writes_every_object_and_the_preflight_knows_where_it_is() -> None:
    config = monitored()
    files = render(config, "dev")
    yaml = YAML(typ="safe")
    written = [
        yaml.load(text)
        for path, text in files.items()
        if "monitoring" in path.parts and path.name != "kustomization.yaml"
    ]
    made = monitoring_objects(config, "dev")
    assert {(item["kind"], item["metadata"]["name"]) for item in written} == {
        (item["kind"], item["metadata"]["name"]) for item in made
    }
    assert all(item in made for item in written)
    assert len(written) == len(made) == 8
    rules = "/apis/monitoring.coreos.com/v1/namespaces/monitoring/prometheusrules/pull-secrets-dev"
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/pull-secrets-dev-audit"
    job = "/apis/batch/v1/namespaces/monitoring/cronjobs/pull-secrets-dev-audit"
    assert {rules, role, job} <= set(map(path_of, made))


def test_monitoring_that_is_off_adds_nothing() -> None:
    config = parse(stack_file("dev"), "dev")
    assert monitoring_objects(config, "dev") == []
    assert not any("monitoring" in path.parts for path in render(config, "dev"))
