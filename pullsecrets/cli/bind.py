"""`pull-secrets bind`: appends pull Secrets to tenants' ServiceAccounts, also to those that appear later."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.errors import BadInputError
from pullsecrets.manifests import guard
from pullsecrets.tenancy import binding


@options.expanded
def command(
    stack: options.Stack,
    directory: options.Directory = Path(),
    *,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Keep running and bind each declared ServiceAccount as it appears, until interrupted."
        ),
    ] = False,
    cluster: options.Cluster,
) -> None:
    """Append pull Secrets to the ServiceAccounts that tenants declare.

    `pulumi up` does the same, and binds a ServiceAccount that is created later at its next run. This command needs no
    Pulumi: run it after a chart that creates its own ServiceAccount, or with --watch as the one process that waits for
    them. `monitoring.bindWatch` runs that in the cluster. It only appends, and takes nothing off.

    Examples:

        pull-secrets bind --stack prod

        pull-secrets bind --stack prod --watch
    """
    config = console.load(stack, directory)
    if config.binding == guard.ADMISSION:
        raise BadInputError(
            "binding: found 'admission', with which every new Pod gets the entries and no ServiceAccount needs them; "
            "allowed: binding: serviceAccounts"
        )
    client, wanted = cluster.connect(config), binding.wanted_entries(config)

    def rounds() -> Iterator[str]:
        while watch:
            yield from binding.bind_appearing(client, wanted)
        yield from binding.bind_existing(client, wanted)

    count = 0
    for count, place in enumerate(rounds(), start=1):  # noqa: B007 - the last one is the sum
        console.output.print(f"appended to ServiceAccount {place}", soft_wrap=True)
    console.output.print(f"{count} of {len(wanted)} declared ServiceAccounts lacked an entry")
