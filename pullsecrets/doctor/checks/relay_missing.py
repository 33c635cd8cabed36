"""What fills a relayed registry's one Secret in ESO's namespace is not there, so every namespace's copy has no source.

ESO owns the Secret that it made, so it went with its ExternalSecret; the namespaces keep their copies until then.
"""

from collections.abc import Iterator

from pullsecrets.config import Registry
from pullsecrets.credential.sealed import sealed_secret_path
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import NOT_SYNCED, again_command, up_command
from pullsecrets.doctor.sealing import sealed_secret
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube.eso import external_secret_path

NAME = "relay-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the relayed registries whose ExternalSecret or SealedSecret in ESO's namespace is gone."""
    for registry in snapshot.config.registries:
        if not registry.relayed or _exists(snapshot, registry):
            continue
        kind, path = _source(snapshot, registry)
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom="ExternalSecrets of every namespace fail or go stale: the Secret that they read is not renewed.",
            cause=f"{kind} {registry.name!r} in namespace {snapshot.config.eso.namespace!r} does not exist.",
            evidence=(f"GET {path}: not found",),
            fix=(up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack's deployers delete what part-of=pull-secrets labels in ESO's namespace.",
            registry=registry.name,
        )


def _exists(snapshot: Snapshot, registry: Registry) -> bool:
    if registry.sealed:
        return sealed_secret(snapshot, registry) is not None
    return snapshot.config.eso.namespace in snapshot.external_secrets[registry.name]


def _source(snapshot: Snapshot, registry: Registry) -> tuple[str, str]:
    if registry.sealed:
        return "SealedSecret", sealed_secret_path(snapshot.config, registry)
    return "ExternalSecret", external_secret_path(snapshot.config.eso.namespace, registry.name)


CHECK = Check(NAME, "What fills each relayed registry's Secret exists", find, explains=NOT_SYNCED)
