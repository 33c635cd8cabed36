"""`pull-secrets rollback`: restores an earlier version of a registry's credential, with proof of delivery."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pullsecrets.cli import console, credential, delivering, options
from pullsecrets.credential import history, vault_token
from pullsecrets.credential.history import RollbackPlan
from pullsecrets.delivery import prechecks
from pullsecrets.delivery.deliver import DEFAULT_TIMEOUT, roll_back
from pullsecrets.errors import ExitCode


@options.expanded
def command(
    registry: options.RegistryArgument,
    stack: options.Stack,
    directory: options.Directory = Path(),
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Version to restore; by default the last one that differs.")
    ] = None,
    timeout: options.ProofTimeout = DEFAULT_TIMEOUT,
    *,
    reach: options.Cluster,
    change: options.Change,
) -> None:
    """Restore an earlier version of a credential, and prove its delivery in every namespace.

    The old content is written byte for byte, guarded by check-and-set; no version is deleted. Without --to it is the
    newest earlier version that differs from the current one. Running the command again finishes an interrupted
    rollback and never undoes it: to go forward again, name the version with --to.

    Examples:

        pull-secrets rollback app-registry-pull --stack prod --dry-run

        pull-secrets rollback app-registry-pull --stack prod --to 7 --yes
    """
    config = console.load(stack, directory)
    chosen = credential.registry_of(config, registry, stack)
    cluster = reach.connect(config)
    prechecks.require_in_vault(chosen)
    vault = vault_token.open_vault(config)
    target = prechecks.Target(config, chosen, cluster, vault)
    planned = history.plan(vault, config, chosen, to)
    if not change.json:
        _show(planned)
    elif change.dry_run:
        console.print_json({**_document(planned), "outcome": "planned"})
    # After the versions, which a person wants to see even when ESO is down.
    installation = prechecks.prepare(target)
    if change.dry_run:
        if not change.json:
            console.output.print("dry run: nothing was written")
        return
    if not planned.unchanged:
        change.confirm(f"Write version {planned.source} of {planned.path} over version {planned.version}?")
    with delivering.progress(quiet=change.json) as on_progress:
        delivered = roll_back(target, planned, installation, timeout, on_progress)
    if change.json:
        outcome = "unchanged" if planned.unchanged else "restored"
        console.print_json({**_document(planned), **delivered.document(), "outcome": outcome})
    else:
        delivering.show(delivered, chosen.name)
    if delivered.missing:
        raise typer.Exit(ExitCode.PROBLEM)


def _document(planned: RollbackPlan) -> dict[str, object]:
    versions = [
        {
            "version": item.version,
            "created": item.created,
            "state": item.state,
            "digest": planned.digests.get(item.version),
        }
        for item in planned.versions
    ]
    return {
        "path": planned.path,
        "versions": versions,
        "version": planned.version,
        "restoredFrom": planned.source,
        "digest": planned.digest,
        "hosts": list(planned.hosts),
        "users": list(planned.users),
    }


def _show(planned: RollbackPlan) -> None:
    table = Table("version", "created", "state", "digest", "", title=planned.path, header_style="bold")
    for item in planned.versions:
        marks = {planned.source: "wanted", planned.version: "current"}
        table.add_row(
            str(item.version),
            item.created.partition(".")[0],
            item.state,
            planned.digests.get(item.version, ""),
            marks.get(item.version, ""),
        )
    console.output.print(table)
    console.output.print(f"hosts  {', '.join(planned.hosts)}")
    console.output.print(f"user   {', '.join(planned.users)}", markup=False)
    if planned.unchanged:
        text = f"version {planned.version} holds the content of version {planned.source} already: nothing to write"
    else:
        text = f"version {planned.source} is to be written as version {planned.version + 1}"
    console.output.print(text)
