"""`pull-secrets seed`: writes a registry's pull credential to Vault."""

import sys
from dataclasses import asdict
from pathlib import Path

import typer

from pullsecrets.cli import console, credential, options
from pullsecrets.credential import vault_entry, vault_token
from pullsecrets.errors import BadInputError


@options.expanded
def command(
    registry: options.RegistryArgument,
    stack: options.Stack,
    directory: options.Directory = Path(),
    *,
    given: options.NewCredential,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Write a registry's pull credential to Vault.

    The credential is checked before anything is written: it must have a login for every canonical host of the
    registry and for no other. The write is guarded by check-and-set: if another write came in between,
    nothing changes and the exit code is 3.

    Examples:

        pull-secrets seed app-registry-pull --stack prod --from-file ./dockerconfig.json --expires-in 90d

        pull-secrets seed app-registry-pull --stack prod --from-docker-config auto --verify-login

        pull-secrets seed app-registry-pull --stack prod --username platform-bot

        vault-agent-output | pull-secrets seed app-registry-pull --stack prod --from-file - --yes
    """
    source = given.source()
    config = console.load(stack, directory)
    chosen = credential.registry_of(config, registry, stack)
    expires = given.expiry()
    content = credential.read(given, chosen)
    vault = vault_token.open_vault(config)
    planned = vault_entry.plan(vault, config, chosen, content, expires)
    outcome = _outcome(planned, dry_run=dry_run)
    if not json:
        show(planned)
    version = planned.version
    if outcome in {"written", "recorded"}:
        confirm_write(planned, yes=yes, piped=source.takes_standard_input)
        version = vault_entry.write(vault, config, chosen, content, planned)
    if json:
        console.print_json({**asdict(planned), "outcome": outcome, "version": version})
    else:
        console.output.print(_sentence(outcome, version))


def _outcome(planned: vault_entry.SeedPlan, *, dry_run: bool) -> str:
    if planned.unchanged:
        return "unchanged"
    if dry_run:
        return "planned"
    return "recorded" if planned.stored else "written"


def show(planned: vault_entry.SeedPlan) -> None:
    """Print what would be written where, without the credential."""
    stored = planned.stored_digest or ("not recorded" if planned.version else "nothing")
    lines = [
        f"path    {planned.path} (version {planned.version})",
        f"hosts   {', '.join(planned.hosts)}",
        f"user    {', '.join(planned.users)}",
        f"digest  {stored} -> {planned.new_digest}",
    ]
    if planned.new_expiry:
        lines.append(f"expires {planned.stored_expiry or 'not recorded'} -> {planned.new_expiry}")
    elif planned.drops_expiry:
        lines.append(f"expires {planned.stored_expiry} -> not recorded; add --expires-at or --expires-in to record one")
    for line in lines:
        console.output.print(line, markup=False)


def confirm_write(planned: vault_entry.SeedPlan, *, yes: bool, piped: bool) -> None:
    """Ask before a version is written over another.

    Raises:
        BadInputError: when the answer is no, or there is no terminal to confirm on.
    """
    if yes or planned.version == 0:
        return
    if piped or not sys.stdin.isatty():
        raise BadInputError(
            f"{planned.path} holds version {planned.version} already; add --yes to write a new version over it"
        )
    if not typer.confirm(f"Write a new version over version {planned.version}?", err=True):
        raise BadInputError("not confirmed; nothing was changed")


def _sentence(outcome: str, version: int) -> str:
    return {
        "unchanged": f"unchanged: version {version} is this credential already",
        "planned": "dry run: nothing was written",
        "recorded": f"version {version} is this credential already; its expiry was updated",
        "written": f"[green]written[/] as version {version}",
    }[outcome]
