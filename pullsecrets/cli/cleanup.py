"""`pull-secrets cleanup`: removes hand-made pull Secrets that nothing uses any more, and restores them."""

from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.adoption import cleanup
from pullsecrets.adoption.cleanup import Legacy
from pullsecrets.cli import console, options
from pullsecrets.credential import vault_token
from pullsecrets.errors import BadInputError, ExitCode


@options.expanded
def command(  # noqa: PLR0913 - each is an option
    stack: options.Stack,
    namespace: Annotated[
        list[str] | None, typer.Argument(help="Only these namespaces; all tenants by default.")
    ] = None,
    directory: options.Directory = Path(),
    by_hand: options.ByHand = None,
    restore: Annotated[
        str | None, typer.Option("--restore", help="Restore the backups of this namespace instead.")
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="With --restore: only the Secret of this name; repeatable.")
    ] = None,
    *,
    reach: options.Cluster,
    change: options.Change,
) -> None:
    """Remove hand-made pull Secrets that nothing uses any more, and list the others with their users.

    Each is kept in Vault first, at PATH-backups/NAMESPACE/SECRET beside the registry's own path. A Secret that a
    controller keeps (Helm, Reflector, Argo CD, an owner) is listed and left.

    Exit code 1 while Secrets for the stack's registries are left.

    Examples:

        pull-secrets cleanup --stack prod --dry-run

        pull-secrets cleanup auth-production --stack prod --yes

        pull-secrets cleanup --stack prod --restore auth-production --secret old-regcred --yes
    """
    config = console.load(stack, directory)
    cluster = reach.connect(config)
    if secret and not restore:
        raise BadInputError("--secret: found no --restore; allowed: with --restore NAMESPACE")
    if restore:
        if namespace or change.dry_run:
            raise BadInputError("--restore: does not take further namespaces or --dry-run")
        change.confirm(f"Restore the backups of {restore}?")
        cleanup.restore(config, cluster, vault_token.open_vault(config), restore, secret or (), change.step)
        if change.json:
            console.print_json({"outcome": "restored", "steps": change.steps})
        return
    planned = cleanup.plan(config, cluster, namespace or (), by_hand or ())
    going = [item for item in planned if item.stays is None]
    if not change.json:
        _show(planned)
    if going and not change.dry_run:
        change.confirm(f"Remove {len(going)} Secrets?")
        cleanup.carry_out(config, cluster, vault_token.open_vault(config), planned, change.step)
    change.tell(wanted=bool(going), secrets=[_document(item) for item in planned])
    if any(item.stays and item.registry for item in planned):
        raise typer.Exit(ExitCode.PROBLEM)


def _document(item: Legacy) -> dict[str, object]:
    names = ("namespace", "name", "type", "origin", "hosts", "registry", "users", "stays")
    return {name: getattr(item, name) for name in names}


def _show(planned: list[Legacy]) -> None:
    if not planned:
        console.output.print("no hand-made pull Secret is left")
        return
    columns = ("namespace", "Secret", "origin", "opens", "named by", "action")
    table = console.table("Hand-made pull Secrets", columns)
    for item in planned:
        fate = f"stays: {item.stays}" if item.stays else f"removed; {item.registry} serves"
        table.add_row(item.namespace, item.name, item.origin, ", ".join(item.hosts), ", ".join(item.users), fate)
    console.output.print(table)
