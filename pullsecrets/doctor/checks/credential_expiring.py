"""A registry's credential expires soon, or has expired, by the time that was given when it was seeded.

`pull-secrets seed` and `seal` record that time, in the path's metadata or beside the sealed Secret. Kubernetes and ESO
do not notice an expired credential: Secrets stay as they are, and each new pull is refused by the registry.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from pullsecrets.config import Registry
from pullsecrets.credential.sealed import EXPIRES_AT_ANNOTATION
from pullsecrets.credential.vault_entry import EXPIRES_AT_KEY
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import again_command, entry_path
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import ago

NAME = "credential-expiring"
NOTICE = timedelta(days=14)


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose credential has less than two weeks left."""
    for registry in snapshot.config.registries:
        expiry = snapshot.credential(registry).expires_at
        severity = judge(expiry, snapshot.now)
        if expiry and severity:
            yield _finding(snapshot, registry, expiry, severity)


def judge(expiry: datetime | None, now: datetime) -> Severity | None:
    """Return how urgent an expiry is; None without one or when it is far away."""
    if expiry is None or expiry - now > NOTICE:
        return None
    return Severity.CLUSTER if expiry <= now else Severity.WARNING


def _finding(snapshot: Snapshot, registry: Registry, expiry: datetime, severity: Severity) -> Finding:
    command, recorded = _renewal(snapshot, registry)
    when = f"{expiry:%Y-%m-%d %H:%M} UTC"
    expired = severity == Severity.CLUSTER
    what = f"expired {ago(snapshot.now - expiry)} ago" if expired else f"expires in {ago(expiry - snapshot.now)}"
    return Finding(
        check=NAME,
        severity=severity,
        symptom=(
            f"New Pods cannot pull from {', '.join(registry.hosts)}: unauthorized."
            if expired
            else f"Nothing yet; from {when} on new Pods cannot pull from {', '.join(registry.hosts)}."
        ),
        cause=f"The credential of registry {registry.name!r} {what} ({when}).",
        evidence=(f"{recorded} {expiry.isoformat()}",),
        fix=(command, again_command(snapshot)),
        prevention="Rotate on a schedule shorter than the credential's life, and alert on its expiry.",
        registry=registry.name,
    )


def _renewal(snapshot: Snapshot, registry: Registry) -> tuple[str, str]:
    """Return the command that renews a credential, and where its expiry is recorded."""
    options = f"{registry.name} --stack {snapshot.stack} --from-file new-dockerconfig.json"
    if registry.sealed:
        secret = f"Secret {snapshot.config.eso.namespace}/{registry.name}"
        return f"pull-secrets seal {options}", f"{secret}: annotation {EXPIRES_AT_ANNOTATION}"
    path = entry_path(snapshot, registry)
    return f"pull-secrets rotate {options}", f"Vault metadata of {path}: {EXPIRES_AT_KEY}"


CHECK = Check(NAME, "No credential expires within two weeks", find, explains=("pod-cannot-pull",))
