"""`pull-secrets adopt`: replaces hand-made pull Secrets with delivered ones, and undoes that."""

from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.adoption import adopt, undo
from pullsecrets.adoption.adopt import Adoption, Migration, Terms
from pullsecrets.cli import console, options
from pullsecrets.config import require_registry
from pullsecrets.credential import vault_token
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.text import counted

TIMEOUT_SECONDS = 120.0


@options.expanded
def command(  # noqa: PLR0913 - each is an option
    stack: options.Stack,
    registry: Annotated[str, typer.Option("--registry", "-r", help="Registry whose delivery replaces them.")],
    namespace: Annotated[
        list[str] | None,
        typer.Argument(help="Only these namespaces; all that hold a hand-made Secret for it by default."),
    ] = None,
    directory: options.Directory = Path(),
    by_hand: options.ByHand = None,
    undo: Annotated[
        str | None, typer.Option("--undo", help="Undo the adoption of this namespace, from its backups.")
    ] = None,
    timeout: options.ProofTimeout = TIMEOUT_SECONDS,
    *,
    reach: options.Cluster,
    accept_other_login: Annotated[
        bool, typer.Option("--accept-other-login", help="Accept a hand-made login that differs from the seeded one.")
    ] = False,
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Accept that a Secret in use must be deleted and recreated.")
    ] = False,
    change: options.Change,
) -> None:
    """Replace hand-made pull Secrets with delivered ones, without interrupting pulls.

    Logins are compared with the seeded one, host by host. Each Secret is kept in Vault first, at
    PATH-backups/NAMESPACE/SECRET beside the registry's own path. One of the registry's name is taken over in place; one
    of another name stays until no Pod names it, and `cleanup` then removes it. If it is interrupted, run it again to
    finish.

    Exit code 1 when a namespace is refused; the others are adopted.

    Examples:

        pull-secrets adopt --registry registry-api --stack prod --dry-run

        pull-secrets adopt auth-production user-production --registry registry-api --stack prod --yes

        pull-secrets adopt --undo auth-production --registry registry-api --stack prod --yes
    """
    config = console.load(stack, directory)
    chosen = require_registry(config, registry, stack, "--registry")
    cluster = reach.connect(config)
    where = Migration(config, cluster, vault_token.open_vault(config), chosen)
    if undo:
        if namespace:
            raise BadInputError("--undo: does not take further namespaces")
        _undo(where, undo, timeout, change)
        return
    seeded = adopt.read_seeded(where)
    terms = Terms(accept_other_login, accept_gap, tuple(by_hand or ()))
    planned = adopt.plan(where, seeded, namespace or (), terms)
    wanted = [item for item in planned if item.wanted]
    if not change.json:
        _show(planned)
    if wanted and not change.dry_run:
        change.confirm(f"Adopt {counted(len(wanted), 'namespace')}?")
        adopt.carry_out(where, seeded, planned, timeout, change.step)
    change.tell(wanted=bool(wanted), namespaces=[_document(item) for item in planned])
    if any(item.problems for item in planned):
        raise typer.Exit(ExitCode.PROBLEM)


def _undo(where: Migration, namespace: str, timeout: float, change: options.Change) -> None:
    planned = undo.plan(where, namespace)
    declarations = planned.offboarding.declarations
    if not change.json:
        for item in planned.backups:
            console.output.print(
                f"restores          Secret {namespace}/{item.secret} from {item.path} version {item.version}"
            )
        console.print_declarations(declarations)
    if not change.dry_run:
        change.confirm(f"Bring namespace {namespace} back?")
        undo.carry_out(where, planned, timeout, change.step)
    kept = [{"secret": item.secret, "path": item.path, "version": item.version} for item in planned.backups]
    change.tell(backups=kept, declarations=declarations)
    if declarations:
        raise typer.Exit(ExitCode.PROBLEM)


def _document(item: Adoption) -> dict[str, object]:
    secrets = [
        {
            "name": found.secret.name,
            "type": found.secret.type,
            "origin": found.secret.origin,
            "hosts": found.secret.hosts,
            "verdict": found.verdict,
            "action": found.action,
            "service_accounts": found.service_accounts,
        }
        for found in item.found
    ]
    return {
        "namespace": item.namespace,
        "declared": item.declared,
        "complete": item.complete,
        "problems": item.problems,
        "service_accounts": item.service_accounts,
        "secrets": secrets,
    }


def _show(planned: list[Adoption]) -> None:
    if not planned:
        console.output.print("no namespace holds a hand-made pull Secret for it")
        return
    table = console.table("Hand-made pull Secrets", ("namespace", "Secret", "origin", "compared", "action"))
    for item in planned:
        for found in item.found:
            secret = found.secret
            table.add_row(item.namespace, secret.name, secret.origin, found.verdict, found.action)
        if not item.found:
            table.add_row(item.namespace, "", "", "", "nothing hand-made to adopt")
    console.output.print(table)
    for item in planned:
        for problem in item.problems:
            console.output.print(f"[red]refused:[/] {problem}")
        if item.found and not item.declared:
            console.output.print(f"[yellow]not declared:[/] add {item.namespace} to tenants with adopt: true")
