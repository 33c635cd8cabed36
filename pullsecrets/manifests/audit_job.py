"""The daily validation inside the cluster: `pull-secrets audit` as a CronJob that can list and change nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pullsecrets.config.model import StackConfig
from pullsecrets.credential.vault_token import ROLE_VARIABLE, TOKEN_FILE_VARIABLE
from pullsecrets.kube.marks import STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import builders
from pullsecrets.manifests.alerts import object_name
from pullsecrets.manifests.command_pod import STACK_FOLDER, CommandPod, template
from pullsecrets.manifests.rbac import ServiceAccount, auditor_roles

TOKEN_FOLDER = "/var/run/secrets/pull-secrets"  # noqa: S105 - a folder
TOKEN_SECONDS = 600
"""The shortest life that the API server gives a token."""
DEADLINE_SECONDS = 600
KEPT_SECONDS = 7 * 24 * 3600
RETRIED_EXIT_CODE = 4
"""A server was unreachable. Whatever else went wrong would go wrong again."""
_AUDITED: Final = {
    **dict.fromkeys(("cluster", "vault_section", "eso", "registries", "tenants", "binding"), True),
    "monitoring": {"namespace": True, "image_pull_secret": True},
}
"""What of a stack's configuration an audit reads; of monitoring, what it tells itself by."""


@dataclass(frozen=True)
class AuditJobSpec:
    """What the daily validation is made of; arguments of the `PullSecretMonitoring` component."""

    name: str
    namespace: str
    cluster: str
    stack: str
    registries: Sequence[str]
    """Names of the registries, whose Secrets it may list."""
    files: Mapping[str, str]
    """The stack's files by name, as `stack_files` makes them."""
    image: str
    schedule: str
    image_pull_secret: str | None = None
    pushgateway: str | None = None
    vault_role: str | None = None
    """Vault role to log in to; None where no registry is read from Vault."""
    vault_audience: str = ""

    @classmethod
    def of(cls, config: StackConfig, stack: str) -> Self:
        """Take the values from a stack's configuration that has monitoring on."""
        monitoring = config.monitoring
        return cls(
            name=account(config).name,
            namespace=monitoring.namespace,
            cluster=config.cluster.name,
            stack=stack,
            registries=[registry.name for registry in config.registries],
            files=stack_files(config, stack),
            # The rules of the configuration have asked for it.
            image=str(monitoring.image),
            schedule=monitoring.schedule,
            image_pull_secret=monitoring.image_pull_secret,
            pushgateway=monitoring.pushgateway,
            vault_role=monitoring.vault_role if config.has_vault else None,
            vault_audience=config.vault.auth.api_audience if config.has_vault else "",
        )

    @property
    def stack_files(self) -> str:
        """Name of the ConfigMap with the stack's files."""
        return f"{self.name}-stack"

    @property
    def account(self) -> ServiceAccount:
        """The ServiceAccount that it runs under."""
        return ServiceAccount(self.namespace, self.name)


@dataclass(frozen=True)
class AuditAccessSpec:
    """What the validation's access to Vault is made of."""

    mount: str
    paths: Sequence[str]
    policy: str
    auth_mount: str
    role: str
    audience: str
    """The API server's: Vault reviews the token that logs in with that very token, and a projected token has one."""
    token_ttl: str

    @classmethod
    def of(cls, config: StackConfig) -> Self:
        """Take the values from a stack's configuration that reads Vault."""
        vault = config.vault
        return cls(
            mount=vault.mount,
            paths=[registry.path for registry in config.vault_registries],
            # No registry's policy has such a name: there is no dot in theirs.
            policy=f"pull-secrets-audit.{config.cluster.name}",
            auth_mount=vault.auth.mount,
            role=config.monitoring.vault_role,
            audience=vault.auth.api_audience,
            token_ttl=vault.auth.token_ttl,
        )


def account(config: StackConfig, job: str = "audit") -> ServiceAccount:
    """Return the ServiceAccount that a stack's validation runs under, or another job of the stack's in the cluster."""
    return ServiceAccount(config.monitoring.namespace, f"{object_name(config)}-{job}")


def metadata_policy(mount: str, paths: Sequence[str]) -> str:
    """Return the Vault policy that reads what is known of the registries' paths and no credential."""
    rules = {f"{mount}/metadata/{path}": {"capabilities": ["read"]} for path in paths}
    return json.dumps({"path": rules}, indent=2, sort_keys=True)


def stack_files(config: StackConfig, stack: str) -> dict[str, str]:
    """Return the files that a stack is read from in the cluster: what an audit needs of it and nothing else.

    Vault's address and certificates are written out, as they may have come from the environment. The kubeconfig's
    context is left out: in a Pod there is none. A stack file holds no credential.
    """
    known = config.model_dump(mode="json", by_alias=True, include=_AUDITED, exclude_defaults=True)
    known["cluster"].pop("context", None)
    values = {f"pull-secrets:{key}": value for key, value in known.items() if value}
    # JSON is YAML.
    return {
        "Pulumi.yaml": json.dumps({"name": "pull-secrets", "runtime": "python"}, indent=2) + "\n",
        f"Pulumi.{stack}.yaml": json.dumps({"config": values}, indent=2, sort_keys=True) + "\n",
    }


def service_account(spec: AuditJobSpec) -> KubernetesObject:
    """Return the ServiceAccount; its token is mounted by the Pod that wants it, and by no other."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(spec),
        "automountServiceAccountToken": False,
    }


def roles(spec: AuditJobSpec) -> list[KubernetesObject]:
    """Return the auditor's ClusterRole under the validation's name, and its binding."""
    role, binding = auditor_roles(spec.account, spec.registries, spec.name)
    return [_labelled(role), _labelled(binding)]


def reviewer_binding(spec: AuditJobSpec) -> KubernetesObject:
    """Return the binding that lets Vault review the validation's token with that same token, as it does ESO's."""
    reviewer = builders.ReviewerSpec(f"{spec.name}-token-reviewer", spec.namespace, spec.name)
    return builders.token_reviewer_binding(reviewer)


def stack_config_map(spec: AuditJobSpec) -> KubernetesObject:
    """Return the ConfigMap with the stack's files."""
    metadata = {**_metadata(spec), "name": spec.stack_files}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(spec.files)}


def cron_job(spec: AuditJobSpec) -> KubernetesObject:
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


def objects(spec: AuditJobSpec) -> list[KubernetesObject]:
    """Return everything that the validation has in the cluster, in the order in which it is needed."""
    review = [reviewer_binding(spec)] if spec.vault_role else []
    return [service_account(spec), *roles(spec), *review, stack_config_map(spec), cron_job(spec)]


def command(spec: AuditJobSpec) -> list[str]:
    """Return the words of the command that the validation runs."""
    push = ["--push", spec.pushgateway] if spec.pushgateway else []
    return ["pull-secrets", "audit", "--stack", spec.stack, "--directory", STACK_FOLDER, "--format", "text", *push]


def environment(spec: AuditJobSpec) -> dict[str, str]:
    """Return how the command logs in to Vault; nothing where it does not."""
    if spec.vault_role is None:
        return {}
    return {ROLE_VARIABLE: spec.vault_role, TOKEN_FILE_VARIABLE: f"{TOKEN_FOLDER}/vault"}


def _job(spec: AuditJobSpec) -> dict[str, Any]:
    retried = {"containerName": "audit", "operator": "NotIn", "values": [RETRIED_EXIT_CODE]}
    return {
        "backoffLimit": 2,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": retried}]},
        "template": template(_pod(spec)),
    }


def _pod(spec: AuditJobSpec) -> CommandPod:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if spec.vault_role:
        token = {"audience": spec.vault_audience, "expirationSeconds": TOKEN_SECONDS, "path": "vault"}
        volumes = [{"name": "vault-token", "projected": {"sources": [{"serviceAccountToken": token}]}}]
        mounts = [{"name": "vault-token", "mountPath": TOKEN_FOLDER, "readOnly": True}]
    return CommandPod(
        name=spec.name,
        container="audit",
        image=spec.image,
        image_pull_secret=spec.image_pull_secret,
        words=command(spec),
        stack_files=spec.stack_files,
        environment=environment(spec),
        volumes=volumes,
        mounts=mounts,
    )


def _metadata(spec: AuditJobSpec) -> dict[str, Any]:
    return {"name": spec.name, "namespace": spec.namespace, "labels": dict(STANDARD_LABELS)}


def _labelled(item: KubernetesObject) -> KubernetesObject:
    return {**item, "metadata": {**item["metadata"], "labels": dict(STANDARD_LABELS)}}
