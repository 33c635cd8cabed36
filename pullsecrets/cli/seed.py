"""`pull-secrets seed`: puts a registry's pull credential into Vault."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets import dockerconfig, preflight, seed
from pullsecrets.cli import console
from pullsecrets.config import Registry, StackConfig
from pullsecrets.errors import BadInputError

LARGEST_DOCUMENT = 1 << 20
"""Kubernetes refuses a Secret above 1 MiB."""


def command(
    registry: Annotated[str, typer.Argument(help="Registry of the stack, such as app-registry-pull.")],
    stack: console.Stack,
    from_file: Annotated[str, typer.Option("--from-file", "-f", help="dockerconfigjson file; - reads standard input.")],
    directory: console.Directory = Path(),
    *,
    dry_run: console.DryRun = False,
    yes: console.Yes = False,
    json: console.Json = False,
) -> None:
    """Put a registry's pull credential into its Vault path.

    The document is checked before anything is written: it must be a dockerconfigjson with a login for every canonical
    host of the registry and for no other. The write is guarded by check-and-set: if somebody else wrote in between,
    nothing changes and the exit code is 3.

    Examples:

        pull-secrets seed app-registry-pull --stack prod --from-file ./dockerconfig.json

        vault-agent-output | pull-secrets seed app-registry-pull --stack prod --from-file - --yes
    """
    config = console.load(stack, directory)
    chosen = _registry(config, registry, stack)
    credential = dockerconfig.parse(_read(from_file))
    vault = preflight.open_vault(config)
    planned = seed.plan(vault, config, chosen, credential)
    outcome = "unchanged" if planned.unchanged else "planned" if dry_run else "written"
    if not json:
        _show(planned)
    version = planned.version
    if outcome == "written":
        _confirm(planned, yes=yes, piped=from_file == "-")
        version = seed.write(vault, config, chosen, credential, planned)
    if json:
        console.print_json({**asdict(planned), "outcome": outcome, "version": version})
    else:
        console.output.print(_sentence(outcome, version))


def _registry(config: StackConfig, name: str, stack: str) -> Registry:
    try:
        return config.registry(name)
    except KeyError:
        known = ", ".join(registry.name for registry in config.registries)
        raise BadInputError(f"registry: found {name!r}; allowed in stack {stack!r}: {known}") from None


def _read(source: str) -> bytes:
    try:
        if source == "-":
            content = sys.stdin.buffer.read(LARGEST_DOCUMENT + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(LARGEST_DOCUMENT + 1)
    except OSError as error:
        raise BadInputError(f"--from-file {source}: {error.strerror}; name a dockerconfigjson file, or -") from None
    if len(content) > LARGEST_DOCUMENT:
        raise BadInputError(f"--from-file {source}: found more than 1 MiB; allowed: what fits into a Secret")
    return content


def _show(planned: seed.SeedPlan) -> None:
    stored = planned.stored_digest or ("not recorded" if planned.version else "nothing")
    console.output.print(f"path    {planned.path} (version {planned.version})")
    console.output.print(f"hosts   {', '.join(planned.hosts)}")
    console.output.print(f"user    {', '.join(planned.users)}", markup=False)
    console.output.print(f"digest  {stored} -> {planned.new_digest}")


def _confirm(planned: seed.SeedPlan, *, yes: bool, piped: bool) -> None:
    if yes or planned.version == 0:
        return
    if piped or not sys.stdin.isatty():
        raise BadInputError(
            f"{planned.path} holds version {planned.version} already; add --yes to write a new version over it"
        )
    if not typer.confirm(f"Write a new version over version {planned.version}?"):
        raise BadInputError("not confirmed; nothing was changed")


def _sentence(outcome: str, version: int) -> str:
    return {
        "unchanged": f"unchanged: version {version} is this credential already",
        "planned": "dry run: nothing was written",
        "written": f"[green]written[/] as version {version}",
    }[outcome]
