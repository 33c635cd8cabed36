"""What keeps ESO from logging in to Vault and from reading there."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations, islice
from urllib.parse import urlsplit

from pullsecrets.config import Registry
from pullsecrets.delivery.deliver import DEFAULT_TIMEOUT
from pullsecrets.doctor.model import Finding, Phase, Severity, check
from pullsecrets.doctor.platform import (
    NOT_SYNCED,
    STORE_STOPS,
    STORE_UNUSABLE,
    again_command,
    login_evidence,
    readiness,
    refusal_evidence,
    refused,
    revalidate_command,
    server_in,
    sole,
    store_evidence,
    up_command,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.store_access import BOUND_ELSEWHERE, Login, Refusal, StoreAccess
from pullsecrets.doctor.vault_server import Condition
from pullsecrets.errors import PullSecretsError
from pullsecrets.manifests.builders import ReviewerSpec, vault_policy_name


@check("Vault answers", explains=STORE_UNUSABLE, phase=Phase.ALWAYS)
def vault_unreachable(snapshot: Snapshot) -> Iterator[Finding]:
    """Vault does not answer at the address that the store names.

    Existing Secrets stay (`deletionPolicy: Retain`) and running Pods are not concerned, but no namespace receives a new or
    rotated credential. Vault is asked for its seal status, which needs no token, with the certificates that the store
    names. Doctor asks from where it runs: where the store stays Ready, check the connection from here to Vault first.
    """
    server = server_in(snapshot, Condition.UNREACHABLE)
    if server is None:
        return
    yield Finding(
        severity=Severity.CLUSTER,
        symptom=STORE_STOPS,
        cause=f"{server}.",
        evidence=(
            f"GET {server.endpoint.address}/v1/sys/seal-status: {server.message}",
            store_evidence(snapshot),
            *_doubt(snapshot),
        ),
        fix=(
            f"curl -sS --cacert vault-ca.pem {server.endpoint.address}/v1/sys/health   # from here and from a Pod",
            "# restore Vault, its load balancer or its DNS name; then force a reconcile:",
            revalidate_command(*(store.name for store in snapshot.config.vault_stores)),
            again_command(snapshot),
        ),
        prevention="Run Vault highly available, and alert on its health endpoint and on the store's condition Ready.",
    )


def _doubt(snapshot: Snapshot) -> tuple[str, ...]:
    if readiness(snapshot.store(snapshot.config.vault_stores[0].name))[0] != "True":
        return ()
    return (
        "the store is Ready as of ESO's last look, minutes ago at most: if it stays so, only the way from here fails",
    )


@check("Vault's certificate is trusted by the store", explains=STORE_UNUSABLE, phase=Phase.ALWAYS)
def vault_certificate_untrusted(snapshot: Snapshot) -> Iterator[Finding]:
    """Vault's certificate is not signed by what the store trusts, has expired, or is for another name.

    Judged with the store's own `caBundle`, or the system's certificates where it has none, as ESO does. A CA that was
    renewed without the stack's `vault.caBundle` is the usual cause.
    """
    server = server_in(snapshot, Condition.UNTRUSTED)
    if server is None:
        return
    parts = urlsplit(server.endpoint.address)
    where = f"{parts.hostname}:{parts.port or 443}"
    yield Finding(
        severity=Severity.CLUSTER,
        symptom=STORE_STOPS,
        cause=f"{server}.",
        evidence=(
            f"TLS to {server.endpoint.address}: {server.message}",
            f"trusted by: {server.endpoint.source}",
            store_evidence(snapshot),
        ),
        fix=(
            f"openssl s_client -connect {where} -showcerts </dev/null   # who signed it, and until when it is valid",
            f"pulumi config set --path pull-secrets:vault.caBundle --stack {snapshot.stack} < vault-ca.pem",
            up_command(snapshot),
            again_command(snapshot),
        ),
        prevention="Before a CA is renewed put old and new into vault.caBundle; alert on certificate expiry.",
    )


@check("Vault is unsealed", explains=STORE_UNUSABLE, phase=Phase.ALWAYS)
def vault_sealed(snapshot: Snapshot) -> Iterator[Finding]:
    """Vault runs and is sealed, or was never initialised, so that it refuses every request.

    It happens after each restart where no auto-unseal is configured. The seal status is readable without a token.
    """
    server = server_in(snapshot, Condition.SEALED) or server_in(snapshot, Condition.UNINITIALIZED)
    if server is None:
        return
    yield Finding(
        severity=Severity.CLUSTER,
        symptom=STORE_STOPS,
        cause=f"{server}.",
        evidence=(
            f"GET {server.endpoint.address}/v1/sys/seal-status: {server.message or 'not initialised'}",
            store_evidence(snapshot),
        ),
        fix=(
            f"vault operator unseal -address={server.endpoint.address}   # by each holder of a key",
            revalidate_command(*(store.name for store in snapshot.config.vault_stores)),
            again_command(snapshot),
        ),
        prevention="Configure auto-unseal (a cloud KMS, or another Vault's transit), and alert on the seal status.",
    )


SKEW_TOLERATED = timedelta(seconds=30)
"""Differences that only show in logs."""
SKEW_REFUSED = timedelta(seconds=150)
"""What Vault allows at most (clock_skew_leeway of JWT logins)."""
CLOCK_SERVERS = ("the API server", "Vault")


@check(
    "API server, Vault and this machine agree on the time",
    explains=("vault-login-refused", *STORE_UNUSABLE),
    phase=Phase.ALWAYS,
)
def clock_skew(snapshot: Snapshot) -> Iterator[Finding]:
    """The clocks of the API server, of Vault and of this machine differ.

    ServiceAccount tokens and certificates are valid between two times: a Vault whose clock is behind refuses tokens as not
    valid yet, one that is ahead refuses them as expired. Read from the `Date` header of both servers' answers.
    """
    server, here = snapshot.once("clock/cluster", snapshot.cluster.clock)
    offsets = {CLOCK_SERVERS[0]: server - here}
    if snapshot.config.has_vault and snapshot.vault_server.date:
        offsets[CLOCK_SERVERS[1]] = snapshot.vault_server.date - snapshot.vault_server.asked_at
    yield from judge_clocks(snapshot, offsets)


def judge_clocks(snapshot: Snapshot, offsets: dict[str, timedelta]) -> Iterator[Finding]:
    """Yield one finding when the servers differ from each other, or from here.

    Args:
        offsets: by server, how much its clock is ahead of this machine's.
    """
    clocks = {**offsets, "this machine": timedelta(0)}
    pairs = {(one, other): abs(clocks[one] - clocks[other]) for one, other in combinations(clocks, 2)}
    (one, other), apart = max(pairs.items(), key=lambda item: item[1])
    if apart <= SKEW_TOLERATED:
        return
    between_servers = pairs.get(CLOCK_SERVERS, timedelta(0))
    yield Finding(
        severity=Severity.CLUSTER if between_servers > SKEW_REFUSED else Severity.WARNING,
        symptom="Logins to Vault fail now and then with `token is expired` or `not valid yet`.",
        cause=f"The clocks of {one} and {other} are {apart.total_seconds():.0f} s apart.",
        evidence=tuple(
            f"{name}: {ahead.total_seconds():+.0f} s against this machine" for name, ahead in offsets.items()
        ),
        fix=("chronyc tracking   # on the nodes of the control plane, on Vault's, and here", again_command(snapshot)),
        prevention="Synchronise every machine with the same NTP servers, and alert on the offset.",
    )


@check("The Kubernetes auth mount of the cluster exists", explains=STORE_UNUSABLE)
def vault_auth_mount_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The Kubernetes auth mount that the store logs in at does not exist in Vault.

    Found by a login of doctor itself. Vault answers it with the same `permission denied` as a failed token review; a login
    to a role that does not exist distinguishes the two, because only an existing mount answers it.
    """
    for store, access in islice(refused(snapshot, {Refusal.MOUNT}), 1):
        mount = access.login.mount
        yield Finding(
            severity=Severity.CLUSTER,
            symptom="The stores stop being Ready, and no namespace receives a new or rotated credential.",
            cause=f"Vault has no Kubernetes auth mount {mount!r}: disabled, moved, or never made for this cluster.",
            evidence=refusal_evidence(snapshot, store, access),
            fix=("vault auth list", up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack manage the mount, and let no one disable auth mounts of clusters in use.",
        )


@check("The role that the store logs in to exists", explains=STORE_UNUSABLE)
def vault_role_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The role that the store logs in to does not exist at the auth mount.

    Found by a login of doctor itself, which Vault answers with `invalid role name`.
    """
    for store, access in refused(snapshot, {Refusal.ROLE}):
        found = access.login
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=STORE_STOPS,
            cause=f"Vault has no role {found.role!r} at auth mount {found.mount!r}.",
            evidence=refusal_evidence(snapshot, store, access),
            fix=(f"vault list auth/{found.mount}/role", up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack manage the roles: vault.auth.role names the first one that it declares.",
            registry=sole(store.registries),
        )


@check("The role is bound to ESO's ServiceAccount, namespace and audience", explains=STORE_UNUSABLE)
def vault_role_bound_elsewhere(snapshot: Snapshot) -> Iterator[Finding]:
    """The role exists and is bound to another ServiceAccount, another namespace or another audience than ESO's token.

    Found by a login of doctor itself with a token of ESO's ServiceAccount; Vault says which of the three does not fit. ESO
    moved to another namespace, or a role shared between clusters, are the usual causes.
    """
    for store, access in refused(snapshot, BOUND_ELSEWHERE):
        found = access.login
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=STORE_STOPS,
            cause=f"Vault's role {found.role!r} at {found.mount!r} {_difference(access.refusal, found)}.",
            evidence=refusal_evidence(snapshot, store, access),
            fix=(f"vault read auth/{found.mount}/role/{found.role}", up_command(snapshot), again_command(snapshot)),
            prevention="Give each cluster a mount and roles of its own, declared by its stack alone.",
            registry=sole(store.registries),
        )


def _difference(refusal: Refusal | None, found: Login) -> str:
    return {
        Refusal.ACCOUNT: f"is bound to another ServiceAccount than ESO's {found.service_account!r}",
        Refusal.NAMESPACE: f"is bound to another namespace than ESO's {found.namespace!r}",
        Refusal.AUDIENCE: f"is bound to none of the store's audiences ({', '.join(found.audiences) or 'none'})",
    }[refusal or Refusal.ACCOUNT]


@check("Vault can review ESO's token", explains=STORE_UNUSABLE)
def vault_login_refused(snapshot: Snapshot) -> Iterator[Finding]:
    """Vault has mount and role, and refuses the login nevertheless: most often it cannot review ESO's token.

    Vault asks the cluster's API server whether the token is good, with that same token. It needs the ClusterRoleBinding
    to `system:auth-delegator` that the stack declares, a `kubernetes_host` that Vault reaches, and the API server's CA.
    """
    binding = ReviewerSpec.of(snapshot.config).name
    for store, access in islice(refused(snapshot, {Refusal.REVIEW, Refusal.OTHER}), 1):
        found = access.login
        cause = f"Vault cannot review the token of ServiceAccount {found.account} with the cluster's API server."
        if access.refusal == Refusal.OTHER:
            cause = f"Vault refuses the login of ServiceAccount {found.account}: {access.message}."
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=STORE_STOPS,
            cause=cause,
            evidence=refusal_evidence(snapshot, store, access),
            fix=(
                f"kubectl get clusterrolebinding {binding} -o yaml   # to system:auth-delegator, for {found.account}",
                f"vault read auth/{found.mount}/config   # kubernetes_host and kubernetes_ca_cert of this cluster",
                up_command(snapshot),
                again_command(snapshot),
            ),
            prevention="Let only the stack manage the mount's configuration and the token reviewer's binding.",
        )


@check("ESO's token may read each registry's path", explains=NOT_SYNCED)
def vault_policy_denies(snapshot: Snapshot) -> Iterator[Finding]:
    """ESO's login works and its token may not read a registry's path (403).

    Three causes are distinguished: the role no longer grants the registry's policy; the policy was removed; the policy does
    not hold the path. Doctor logs in as ESO does and asks Vault what the token may do; the credential itself is not read.
    """
    for store in snapshot.config.vault_stores:
        access = snapshot.store_access(store)
        for registry in () if access.refusal else store.registries:
            if not access.readable[registry.name]:
                yield _policy_denied(snapshot, registry, access)


def _policy_denied(snapshot: Snapshot, registry: Registry, access: StoreAccess) -> Finding:
    path = f"{snapshot.config.vault.mount}/data/{registry.path}"
    policy = vault_policy_name(snapshot.config, registry)
    granted, login = ", ".join(access.policies), access.login
    return Finding(
        severity=Severity.CLUSTER,
        symptom=f"ExternalSecrets {registry.name} fail with 403 or `permission denied` although the store is Ready.",
        cause=_policy_cause(snapshot, path, policy, access),
        evidence=(
            f"{login_evidence(snapshot, login)}: policies {granted}",
            f"sys/capabilities-self: no `read` on {path}",
        ),
        fix=(
            f"vault policy read {policy}",
            f"vault read auth/{login.mount}/role/{login.role}   # token_policies",
            up_command(snapshot),
            again_command(snapshot),
        ),
        prevention="Let only the stack write policies named pull-secrets-*, and preview for drift on a schedule.",
        registry=registry.name,
    )


def _policy_cause(snapshot: Snapshot, path: str, policy: str, access: StoreAccess) -> str:
    if policy not in access.policies:
        return f"Vault's role {access.login.role!r} does not hand out policy {policy!r}, which reads {path}."
    try:
        text = snapshot.vault.read_policy(policy)
    except PullSecretsError:
        return f"Vault's policy {policy!r} was removed or does not hold {path} (your token may not read policies)."
    if text is None:
        return f"Vault's policy {policy!r} was removed; the role still names it."
    return f"Vault's policy {policy!r} does not let {path} be read."


@check("The caller's Vault token outlives a rotation", phase=Phase.ALWAYS)
def vault_token_ending(snapshot: Snapshot) -> Iterator[Finding]:
    """The caller's Vault token ends before a rotation would: what is written could be neither recorded nor rolled back.

    Judged by the time that `rotate` waits by default. Without a Vault token, or permission to look it up, the check is
    skipped.
    """
    if not snapshot.config.has_vault:
        return
    try:
        left = snapshot.vault.token_seconds()
    except PullSecretsError:
        return
    if left is not None and left < DEFAULT_TIMEOUT:
        yield Finding(
            severity=Severity.WARNING,
            symptom="A rotation that is begun now can end with permission denied, half way.",
            cause=f"Your Vault token ends in {left} s, and `rotate` waits up to {DEFAULT_TIMEOUT} s.",
            evidence=(f"Vault auth/token/lookup-self: ttl {left} s",),
            fix=("vault token renew   # or `vault login` again",),
            prevention="Log in before a rotation with a token that lives longer than its --timeout.",
        )
