"""The daily validation inside the cluster: `pull-secrets audit` as a CronJob that can list and change nothing."""

import json
from collections.abc import Sequence
from typing import Any

from pullsecrets.credential.vault_token import ROLE_VARIABLE, TOKEN_FILE_VARIABLE
from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import builders
from pullsecrets.manifests.command_pod import STACK_FOLDER, CommandPod, account_objects, template
from pullsecrets.manifests.monitoring import MonitoringSpec
from pullsecrets.manifests.rbac import auditor_roles

TOKEN_FOLDER = "/var/run/secrets/pull-secrets"  # noqa: S105 - a folder
TOKEN_SECONDS = 600
"""The shortest life that the API server gives a token."""
DEADLINE_SECONDS = 600
KEPT_SECONDS = 7 * 24 * 3600
RETRIED_EXIT_CODE = 4
"""A server was unreachable. Whatever else went wrong would go wrong again."""


def metadata_policy(mount: str, paths: Sequence[str]) -> str:
    """Return the Vault policy that reads what is known of the registries' paths and no credential."""
    rules = {f"{mount}/metadata/{path}": {"capabilities": ["read"]} for path in paths}
    return json.dumps({"path": rules}, indent=2, sort_keys=True)


def reviewer_binding(spec: MonitoringSpec) -> KubernetesObject:
    """Return the binding that lets Vault review the validation's token with that same token, as it does ESO's."""
    reviewer = builders.ReviewerSpec(f"{spec.audit.name}-token-reviewer", spec.namespace, spec.audit.name)
    return builders.token_reviewer_binding(reviewer)


def stack_config_map(spec: MonitoringSpec) -> KubernetesObject:
    """Return the ConfigMap with the stack's files."""
    metadata = {**_metadata(spec), "name": spec.config_map}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(spec.files)}


def cron_job(spec: MonitoringSpec) -> KubernetesObject:
    """Return the CronJob."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(spec),
        "spec": {
            "schedule": spec.schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": {"labels": dict(STANDARD_LABELS)}, "spec": _job(spec)},
        },
    }


def objects(spec: MonitoringSpec) -> list[KubernetesObject]:
    """Return everything that the validation has in the cluster, in the order in which it is needed."""
    review = [reviewer_binding(spec)] if spec.vault else []
    rights = auditor_roles(spec.audit, [registry.name for registry in spec.registries], spec.audit.name)
    return [*account_objects(spec.audit, rights), *review, stack_config_map(spec), cron_job(spec)]


def command(spec: MonitoringSpec) -> list[str]:
    """Return the words of the command that the validation runs."""
    push = ["--push", spec.pushgateway] if spec.pushgateway else []
    return ["pull-secrets", "audit", "--stack", spec.stack, "--directory", STACK_FOLDER, "--format", "text", *push]


def environment(spec: MonitoringSpec) -> dict[str, str]:
    """Return how the command logs in to Vault; nothing where it does not."""
    if spec.vault is None:
        return {}
    return {ROLE_VARIABLE: spec.vault.role, TOKEN_FILE_VARIABLE: f"{TOKEN_FOLDER}/vault"}


def _job(spec: MonitoringSpec) -> dict[str, Any]:
    retried = {"containerName": "audit", "operator": "NotIn", "values": [RETRIED_EXIT_CODE]}
    return {
        "backoffLimit": 2,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": retried}]},
        "template": template(_pod(spec)),
    }


def _pod(spec: MonitoringSpec) -> CommandPod:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if spec.vault:
        token = {"audience": spec.vault.audience, "expirationSeconds": TOKEN_SECONDS, "path": "vault"}
        volumes = [{"name": "vault-token", "projected": {"sources": [{"serviceAccountToken": token}]}}]
        mounts = [{"name": "vault-token", "mountPath": TOKEN_FOLDER, "readOnly": True}]
    return CommandPod(
        name=spec.audit.name,
        container="audit",
        image=spec.image,
        image_pull_secret=spec.image_pull_secret,
        words=command(spec),
        stack_files=spec.config_map,
        environment=environment(spec),
        volumes=volumes,
        mounts=mounts,
    )


def _metadata(spec: MonitoringSpec) -> dict[str, Any]:
    return {"name": spec.audit.name, "namespace": spec.namespace, "labels": dict(STANDARD_LABELS)}
