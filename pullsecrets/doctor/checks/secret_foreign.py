"""A pull Secret of the registry's name exists and does not belong to the ExternalSecret.

Where another controller owns it, ESO refuses to touch it and every sync fails. Where nobody owns it, ESO takes it over
as soon as it syncs, and taking the label off later deletes it: adopt it knowingly. One that carries our digest and has
no owner is ours all the same: restores leave ownerReferences out. The safe fix has ESO sync, which takes it over again.
"""

from collections.abc import Iterator

from pullsecrets.coverage.audit import Coverage
from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import Object, adoption, fix_command, force_sync, is_foreign, origin_of, owner_of, rows

NAME = "secret-foreign"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield Secrets that the ExternalSecret of their name does not own.

    Without the label nothing is to be delivered there: that is `namespace-not-labelled`, which looks at the Secret too.
    """
    for row in rows(snapshot):
        secret = snapshot.secrets[row.registry].get(row.namespace)
        if secret is None or not (row.labelled and row.typed):
            continue
        if is_foreign(snapshot, row.registry, row.namespace):
            yield _finding(snapshot, row, secret)


def _finding(snapshot: Snapshot, row: Coverage, secret: Object) -> Finding:
    owner = owner_of(secret)
    where = f"{row.namespace}/{row.registry}"
    restored = owner is None and row.digest is not None
    if owner:
        kind, name = owner
        cause = f"{kind} {name} owns the Secret of that name, and ESO writes no Secret of another controller."
        fix = (f"kubectl -n {row.namespace} delete {kind.lower()} {name}   # or give its Secret another name",)
    elif restored:
        cause = "It is the delivered Secret without its owner, as a restore leaves it; ESO takes it over when it syncs."
        fix = (fix_command(snapshot, row.namespace),)
    else:
        cause = "Somebody made the Secret by hand: ESO takes it over when it syncs, and unlabelling then deletes it."
        fix = (adoption(snapshot, snapshot.config.registry(row.registry), row.namespace),)
    return Finding(
        check=NAME,
        # One that nobody owns serves Pods until ESO takes it over.
        severity=Severity.TENANT if owner else Severity.WARNING,
        symptom=f"Secret {row.registry} in {row.namespace} does not hold what was seeded, and rotation passes it by.",
        cause=cause,
        evidence=(
            f"Secret {where}: {origin_of(secret)}, made {secret['metadata']['creationTimestamp']}",
            f"ExternalSecret {where}: {row.reason}",
        ),
        fix=fix,
        prevention=f"Leave the name {row.registry} to ESO; `pull-secrets audit` lists hand-made Secrets.",
        namespace=row.namespace,
        registry=row.registry,
        remedy=force_sync(snapshot.config.registry(row.registry), (row.namespace,)) if restored else None,
    )


CHECK = Check(NAME, "Pull Secrets belong to their ExternalSecret", find, explains=("external-secret-failing",))
