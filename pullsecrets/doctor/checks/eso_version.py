"""Which External Secrets Operator it is: of which version, with which parts on, and with which rights."""

from collections.abc import Iterator

from pullsecrets.doctor.checks.eso import ESO_GROUP, served_versions
from pullsecrets.doctor.model import Finding, Phase, Severity, check
from pullsecrets.doctor.platform import (
    ESO_STOPS,
    STORE_STOPS,
    STORE_UNUSABLE,
    again_command,
    readiness,
    revalidate_command,
    sole,
    stores,
    warnings,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube import eso_versions
from pullsecrets.kube.eso_versions import RED_HAT
from pullsecrets.kube.objects import managed_fields
from pullsecrets.text import listed


@check(
    "External Secrets Operator serves v1 (0.17 or newer)",
    explains=("eso-v1beta1-manifests", *STORE_UNUSABLE),
    phase=Phase.ALWAYS,
)
def eso_outdated(snapshot: Snapshot) -> Iterator[Finding]:
    """External Secrets Operator is older than 0.17, or the cluster does not serve `external-secrets.io/v1`.

    Everything that the stack declares is `external-secrets.io/v1`, which ESO serves and stores from 0.17 on.
    """
    versions = served_versions(snapshot)
    old = [item for item in snapshot.installations if item.version and item.version < eso_versions.OLDEST]
    unserved = bool(versions) and "v1" not in versions
    if not old and not unserved:
        return
    reasons = [f"controller {item} is older than v0.17" for item in old]
    if unserved:
        reasons.append(f"the API server serves {ESO_GROUP} {', '.join(versions)} and not v1")
    yield Finding(
        severity=Severity.CLUSTER,
        symptom="ExternalSecrets of version v1 cannot be made, or are not reconciled.",
        cause=f"External Secrets Operator is too old: {'; '.join(reasons)}.",
        evidence=(
            *(f"Deployment {item.namespace}/{item.name}: version {item}" for item in old),
            f"GET /apis/{ESO_GROUP}: {', '.join(versions) or 'not served'}",
        ),
        fix=(
            "# read ESO's notes on every minor version between; definitions first, then the controller:",
            _upgrade(snapshot),
            again_command(snapshot),
        ),
        prevention="Upgrade ESO with the cluster: from 0.20 on one annotation refreshes every namespace at once.",
    )


def _upgrade(snapshot: Snapshot, *settings: str) -> str:
    """Return the command that brings another version, or other settings, to where the stack's ESO was installed."""
    namespace = snapshot.config.eso.namespace
    if snapshot.config.eso.distribution == RED_HAT:
        ships = ", ".join(
            f"{operator} has ESO {version}" for operator, version in eso_versions.RED_HAT_VERSIONS.items()
        )
        return f"kubectl get subscriptions.operators.coreos.com -A   # raise the channel: {ships}, later ones newer"
    chosen = f" --reuse-values --set {','.join(settings)}" if settings else ""
    return f"helm upgrade external-secrets external-secrets/external-secrets -n {namespace}{chosen}"


@check("ESO is no newer than what the stack's objects were tried with", phase=Phase.ALWAYS)
def eso_untried(snapshot: Snapshot) -> Iterator[Finding]:
    """External Secrets Operator is of a minor version that this release of pull-secrets was not tried with.

    Nothing is known to be wrong. A dry run against the API server shows whether its definitions accept what the stack
    declares.
    """
    newest = eso_versions.NEWEST_TRIED
    for item in snapshot.installations:
        if item.version is None or item.version[:2] <= newest[:2]:
            continue
        folder = f"rendered/clusters/{snapshot.config.cluster.name}"
        yield Finding(
            severity=Severity.WARNING,
            symptom="Nothing yet: ESO may read an object otherwise than it was meant.",
            cause=f"Controller {item} is newer than {eso_versions.told(newest)}, the newest that was tried.",
            evidence=(f"Deployment {item.namespace}/{item.name}: version {item}",),
            fix=(
                f"pull-secrets render --stack {snapshot.stack} --out rendered",
                f"kubectl apply --server-side --dry-run=server --validate=strict --force-conflicts -k {folder}",
                "# if all of it is accepted, continue; and upgrade pull-secrets when a release has tried this version",
            ),
            prevention="Upgrade ESO and pull-secrets together, on a cluster for trying first.",
        )


ARGO_CD = "argocd-controller"
"""The field manager of its server-side apply."""


@check("What Argo CD applies is spelled for the version of ESO that is installed")
def eso_version_undeclared(snapshot: Snapshot) -> Iterator[Finding]:
    """`eso.version` in the stack file is not the version that is installed, and its definitions differ where it matters.

    ESO 2.3 to 2.6 add a default to each reference that Argo CD shows as a permanent difference unless the object says it
    too, and older ones refuse it. Found where Argo CD applies the ClusterExternalSecrets.
    """
    declared = snapshot.config.eso.version
    applied = [
        name
        for name, fanout in snapshot.fanouts.items()
        if any(field.get("manager") == ARGO_CD for field in managed_fields(fanout or {"metadata": {}}))
    ]
    for item in snapshot.installations:
        if not applied or item.version is None:
            continue
        if not eso_versions.spelled_for_another(eso_versions.parse_version(declared or ""), item.version):
            continue
        installed = eso_versions.told(item.version).removeprefix("v")
        yield Finding(
            severity=Severity.WARNING,
            symptom="Argo CD shows ClusterExternalSecrets as permanently OutOfSync, or cannot apply them.",
            cause=f"They are spelled for eso.version {declared or 'before 2.3.0'}, and {installed} is installed.",
            evidence=(
                f"Deployment {item.namespace}/{item.name}: version {item}",
                f"applied by {ARGO_CD}: ClusterExternalSecret {listed(applied)}",
            ),
            fix=(
                f"pulumi config set --path pull-secrets:eso.version {installed} --stack {snapshot.stack}",
                f"pull-secrets render --stack {snapshot.stack} --out <your GitOps repository>",
                again_command(snapshot),
            ),
            prevention="Change eso.version in the commit that upgrades ESO.",
        )


@check(
    "ESO works on cluster-wide stores and fan-outs, in every namespace",
    explains=("eso-not-reconciling", *STORE_UNUSABLE),
    phase=Phase.ALWAYS,
)
def eso_switched_off(snapshot: Snapshot) -> Iterator[Finding]:
    """External Secrets Operator runs, with the parts switched off that a stack needs, or scoped to one namespace.

    The chart's `processClusterStore`, `processClusterExternalSecret`, `scopedNamespace` and `scopedRBAC`, and
    `appConfig.operatingNamespace` of Red Hat's `ExternalSecretsConfig`. What is switched off also has no rights.
    """
    off = [(item, dict(eso_versions.switched_off(item.flags))) for item in snapshot.installations]
    if not all(settings for _, settings in off):
        return
    for item, settings in off:
        undone = _upgrade(snapshot, *settings.values())
        if snapshot.config.eso.distribution == RED_HAT:
            patch = '[{"op": "remove", "path": "/spec/appConfig/operatingNamespace"}]'
            undone = f"kubectl patch externalsecretsconfig cluster --type json --patch '{patch}'"
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=ESO_STOPS,
            cause=f"Controller {item} leaves out what the stack declares: {', '.join(settings)}.",
            evidence=(f"Deployment {item.namespace}/{item.name}: {' '.join(settings)}",),
            fix=(undone, again_command(snapshot)),
            prevention="Install the ESO that serves tenants with its cluster-wide parts on; scope only further ones.",
        )


@check("ESO may request the tokens that stores log in with", explains=STORE_UNUSABLE)
def eso_token_forbidden(snapshot: Snapshot) -> Iterator[Finding]:
    """The API server refuses External Secrets Operator a token of its ServiceAccount, so no store can log in to Vault.

    The chart's `rbac.serviceAccountTokenCreate: false` (since ESO 2.5) or `rbac.create: false` removes the right.
    """
    account = snapshot.config.eso.service_account
    for store in stores(snapshot):
        ready, message = readiness(store.item)
        if ready == "True":
            continue
        events = warnings(snapshot, "ClusterSecretStore", "InvalidProviderConfig").get(("", store.name), ())
        # `errGetKubeSATokenRequest` in the provider's auth.go, and behind it the API server's own words.
        refused = "cannot request Kubernetes service account token"
        told = next((text for text in (message, *events) if refused in text and "forbidden" in text), None)
        if told is None:
            continue
        bound = f"kubectl -n {snapshot.config.eso.namespace} create"
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=STORE_STOPS,
            cause=f"ESO may not request tokens of ServiceAccount {account}, with which the store logs in.",
            evidence=(f"ClusterSecretStore {store.name}: {told}",),
            fix=(
                f"{bound} role eso-token --verb=create --resource=serviceaccounts/token --resource-name={account}",
                f"{bound} rolebinding eso-token --role=eso-token --serviceaccount={snapshot.config.eso.namespace}:{account}",
                revalidate_command(store.name),
            ),
            prevention=f"Where {eso_versions.MAY_REQUEST_TOKENS} is false, keep this Role with ESO's installation.",
            registry=sole(store.registries),
        )
