"""`pull-secrets offboard`: removes a namespace from the delivery, without leftovers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.config import require_registry
from pullsecrets.errors import ExitCode
from pullsecrets.tenancy import offboard

TIMEOUT_SECONDS = 120.0


@options.expanded
def command(  # noqa: PLR0913 - each is an option
    namespace: Annotated[str, typer.Argument(help="Namespace to remove.")],
    stack: options.Stack,
    registry: Annotated[
        list[str] | None, typer.Option("--registry", "-r", help="Only this registry; repeatable. All by default.")
    ] = None,
    directory: options.Directory = Path(),
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for everything to go.")] = (
        TIMEOUT_SECONDS
    ),
    *,
    reach: options.Cluster,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the namespace too and wait until it is gone.")] = (
        False
    ),
    force: Annotated[bool, typer.Option("--force", help="Continue although Pods or workloads still pull with it.")] = (
        False
    ),
    change: options.Change,
) -> None:
    """Remove a namespace from the delivery: ServiceAccount entries, label, ExternalSecret, Secret and finalizer.

    Only our own entries, labels and finalizers are removed. What others keep there is listed and left. A namespace that
    hangs in Terminating on ESO's finalizer is released. If it is interrupted, run it again to finish.

    Exit code 1 when something still pulls with the Secret (see --force), when something stays, or when the stack file
    still declares the namespace, so that the next `pulumi up` would put everything back.

    Examples:

        pull-secrets offboard apps-old-dev --stack prod --dry-run

        pull-secrets offboard apps-old-dev --stack prod --registry registry-api --yes

        pull-secrets offboard apps-old-dev --stack prod --delete --yes
    """
    config = console.load(stack, directory)
    cluster = reach.connect(config)
    registries = [require_registry(config, name, stack, "--registry") for name in registry or ()]
    planned = offboard.plan(config, cluster, namespace, registries, delete=delete)
    if not change.json:
        _show(planned)
    if not change.dry_run and not planned.nothing_to_do:
        if not force:
            offboard.require_unused(planned)
        change.confirm(f"Remove namespace {namespace} from the delivery?")
        offboard.carry_out(config, cluster, planned, timeout, change.step)
    change.tell(wanted=not planned.nothing_to_do, **asdict(planned))
    if planned.declarations:
        raise typer.Exit(ExitCode.PROBLEM)


def _show(planned: offboard.OffboardPlan) -> None:
    if not planned.exists:
        console.output.print(f"namespace {planned.namespace} does not exist")
    state = " (Terminating)" if planned.terminating else ", which is deleted too" if planned.delete else ""
    console.output.print(f"namespace         {planned.namespace}{state}")
    for title, items in (
        ("labels", planned.labels),
        ("ServiceAccounts", planned.service_accounts),
        ("ExternalSecrets", planned.external_secrets),
        ("Secrets", planned.secrets),
        ("not ours, stay", planned.foreign_secrets),
        ("finalizers", planned.finalizers),
        ("others', stay", planned.other_finalizers),
        ("still use it", tuple(str(user) for user in planned.users)),
    ):
        if items:
            console.output.print(f"{title:<17} {', '.join(items)}", markup=False)
    console.print_declarations(planned.declarations)
