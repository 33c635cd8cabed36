"""`PullSecretMonitoring`: alert rules, a dashboard and the daily validation of one stack's pull Secrets."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_vault as vault
from pulumi_kubernetes.batch.v1 import CronJob
from pulumi_kubernetes.rbac.v1 import ClusterRole, ClusterRoleBinding

from pullsecrets.components import _objects
from pullsecrets.durations import parse_duration
from pullsecrets.manifests import audit_job, bind_watch
from pullsecrets.manifests.alerts import prometheus_rule
from pullsecrets.manifests.dashboard import dashboard_config_map
from pullsecrets.manifests.monitoring import MonitoringSpec


class AuditAccessArgs(TypedDict):
    """How the daily validation reads Vault's metadata."""

    mount: pulumi.Input[str]
    """KV mount."""
    paths: pulumi.Input[list[pulumi.Input[str]]]
    """KV paths of the registries, below the mount."""
    policy: pulumi.Input[str]
    """Name of the Vault policy that reads what is known of these paths, and no credential."""
    auth_mount: pulumi.Input[str]
    """Vault's Kubernetes auth mount for this cluster."""
    role: pulumi.Input[str]
    """Role that the validation logs in to."""
    audience: pulumi.Input[str]
    """Audience of its token: the API server's, so that the token can review itself."""
    token_ttl: pulumi.Input[str]
    """Life of a Vault token, such as `10m`."""


class PullSecretMonitoringArgs(TypedDict):
    """Arguments of `PullSecretMonitoring`."""

    name: pulumi.Input[str]
    """Name of the PrometheusRule, and first part of all other names: `pull-secrets-<cluster>`."""
    namespace: pulumi.Input[str]
    """Namespace of all objects; no tenant's."""
    cluster: pulumi.Input[str]
    """The cluster's name, by which its metrics are told from other clusters'."""
    registries: pulumi.Input[list[pulumi.Input[dict[str, Any]]]]
    """For each registry its `name`, `hosts`, `namespaces` (patterns) and `refresh`."""
    stores: pulumi.Input[list[pulumi.Input[str]]]
    """ClusterSecretStores that must be ready."""
    coverage_target: pulumi.Input[float]
    """Share of the namespaces that must be green, such as 1.0."""
    expiry_notice: pulumi.Input[str]
    """How long before its end a credential is warned of, such as `336h`."""
    rule_labels: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Labels by which a Prometheus selects its rules."""
    dashboard_labels: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Labels by which Grafana's sidecar finds dashboards."""
    dashboard_folder: NotRequired[pulumi.Input[str | None]]
    """Grafana's folder; None for the default one."""
    stack: pulumi.Input[str]
    """Stack that the validation audits."""
    files: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Files by name from which the validation reads the stack; they hold no credential."""
    image: pulumi.Input[str]
    """Pinned image of the `pull-secrets` command line."""
    schedule: pulumi.Input[str]
    """Cron schedule of the validation in UTC, at least once a day."""
    image_pull_secret: NotRequired[pulumi.Input[str | None]]
    """Secret in the namespace with the login for the image; None where it needs none."""
    pushgateway: NotRequired[pulumi.Input[str | None]]
    """URL of the Pushgateway that takes the audit's metrics; None judges the validation by its Jobs alone."""
    bound_accounts: NotRequired[list[pulumi.Input[str]]]
    """ServiceAccounts that tenants declare, where a Deployment shall run `pull-secrets bind --watch` for them."""
    vault: NotRequired[AuditAccessArgs]
    """Access to Vault's metadata; left out where no registry is read from Vault."""


class PullSecretMonitoring(pulumi.ComponentResource):
    """Declares the PrometheusRule, the Grafana dashboard and the CronJob that runs `pull-secrets audit`.

    The validation lists and changes nothing. Its ServiceAccount has an auditor's rules; in Vault it reads the metadata
    of the registries' paths and no credential.
    """

    cronjob_name: pulumi.Output[str]
    """Name of the CronJob, known once it is there."""

    def __init__(self, name: str, args: PullSecretMonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare rules, dashboard and validation.

        Args:
            args: what is watched, and how.
            opts: resource options; children inherit the Kubernetes and Vault providers. Let it depend on what makes
                Vault's auth mount.
        """
        super().__init__("pullsecrets:index:PullSecretMonitoring", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        rule = _objects.build(prometheus_rule, MonitoringSpec, args)
        _objects.declare_custom(f"{name}-rules", "monitoring.coreos.com/v1/PrometheusRule", rule, child)
        board = _objects.build(dashboard_config_map, MonitoringSpec, args)
        kubernetes.core.v1.ConfigMap(
            f"{name}-dashboard", metadata=board.apply(_objects.owned), data=board["data"], opts=child
        )
        needed = [*self._declare_account(name, args), *self._declare_vault_access(name, args)]
        files = _objects.build(audit_job.stack_config_map, MonitoringSpec, args)
        needed.append(
            kubernetes.core.v1.ConfigMap(
                f"{name}-stack", metadata=files.apply(_objects.owned), data=files["data"], opts=child
            )
        )
        job = _objects.build(audit_job.cron_job, MonitoringSpec, args)
        declared = CronJob(
            f"{name}-audit",
            metadata=job.apply(_objects.owned),
            spec=job["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=needed),
        )
        if args.get("bound_accounts") is not None:
            self._declare_bind_watch(name, args, pulumi.ResourceOptions(parent=self, depends_on=needed))
        self.cronjob_name = pulumi.Output.all(args["name"], declared.id).apply(lambda known: f"{known[0]}-audit")
        self.register_outputs({"cronjob_name": self.cronjob_name})

    def _declare_bind_watch(self, name: str, args: PullSecretMonitoringArgs, opts: pulumi.ResourceOptions) -> None:
        made = _objects.build(bind_watch.objects, MonitoringSpec, args)
        deployment = made[3]
        needed = _objects.declare_account(f"{name}-bind", made, ClusterRole, ClusterRoleBinding, opts)
        # A Pod that does not start must not keep tenants waiting.
        unawaited = deployment.apply(lambda item: _objects.owned(item, {"pulumi.com/skipAwait": "true"}))
        kubernetes.apps.v1.Deployment(
            f"{name}-bind",
            metadata=unawaited,
            spec=deployment["spec"],
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=needed)),
        )

    def _declare_account(self, name: str, args: PullSecretMonitoringArgs) -> list[pulumi.Resource]:
        child = pulumi.ResourceOptions(parent=self)
        made = _objects.build(audit_job.objects, MonitoringSpec, args)
        found = _objects.declare_account(f"{name}-audit", made, ClusterRole, ClusterRoleBinding, child)
        if args.get("vault") is not None:
            review = _objects.build(audit_job.reviewer_binding, MonitoringSpec, args)
            found.append(_objects.declare_binding(f"{name}-audit-reviewer", review, ClusterRoleBinding, child))
        return found

    def _declare_vault_access(self, name: str, args: PullSecretMonitoringArgs) -> list[pulumi.Resource]:
        access = args.get("vault")
        if access is None:
            return []
        child = pulumi.ResourceOptions(parent=self)
        rules = pulumi.Output.all(access["mount"], access["paths"]).apply(
            lambda known: audit_job.metadata_policy(*known)
        )
        policy = vault.Policy(f"{name}-audit-policy", name=access["policy"], policy=rules, opts=child)
        seconds = pulumi.Output.from_input(access["token_ttl"]).apply(
            lambda text: int(parse_duration(text).total_seconds())
        )
        account = pulumi.Output.from_input(args["name"]).apply(lambda text: f"{text}-audit")
        role = vault.kubernetes.AuthBackendRole(
            f"{name}-audit-role",
            backend=access["auth_mount"],
            role_name=access["role"],
            bound_service_account_names=[account],
            bound_service_account_namespaces=[args["namespace"]],
            audience=access["audience"],
            token_policies=[policy.name],
            token_ttl=seconds,
            token_max_ttl=seconds,
            opts=child,
        )
        return [role]
