"""Consoles, options and helpers that every command shares."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from pullsecrets.config import Registry, StackConfig, load_stack
from pullsecrets.credential.vault import way_from_here
from pullsecrets.errors import BadInputError
from pullsecrets.kube.kubeconfig import Reach

PIPED_WIDTH = 200


def piped(stream: TextIO | None = None) -> Console:
    """Return a console for what is no terminal, standard output by default: lines stay whole, tables fold."""
    return Console(file=stream, highlight=False, width=PIPED_WIDTH, soft_wrap=True)


output = Console(highlight=False) if sys.stdout.isatty() else piped()
errors = Console(stderr=True, highlight=False)

Stack = Annotated[
    str, typer.Option("--stack", "-s", envvar="PULL_SECRETS_STACK", help="Stack whose Pulumi.STACK.yaml to read.")
]
Directory = Annotated[
    Path, typer.Option("--directory", "-C", envvar="PULL_SECRETS_DIRECTORY", help="Folder that holds Pulumi.yaml.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing something.")]


_REACH = {
    "context": (
        str | None,
        typer.Option("--context", help="kubeconfig context; cluster.context of the stack by default."),
        None,
    ),
    "kubeconfig": (Path | None, typer.Option("--kubeconfig", help="kubeconfig file, in place of KUBECONFIG."), None),
    "impersonated": (
        str | None,
        typer.Option("--as", metavar="USER", help="User to impersonate, such as system:serviceaccount:NS:NAME."),
        None,
    ),
    "groups": (
        list[str] | None,
        typer.Option("--as-group", metavar="GROUP", help="Group to impersonate, with --as; may be repeated."),
        None,
    ),
}


def reaches_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command kubectl's options on the cluster and on who asks; it takes them all as `reach`."""

    @functools.wraps(command)
    def with_options(
        *args: Any,
        context: str | None = None,
        kubeconfig: Path | None = None,
        impersonated: str | None = None,
        groups: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        command(*args, reach=Reach(kubeconfig, context, impersonated, tuple(groups or ())), **kwargs)

    own = [item for item in inspect.signature(command).parameters.values() if item.name != "reach"]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, (kind, option, default) in _REACH.items()
    ]
    with_options.__dict__["__signature__"] = inspect.Signature([*own, *options])
    with_options.__annotations__ = {item.name: item.annotation for item in (*own, *options)}
    return with_options


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed, on standard error: standard output may be one JSON document.

    Raises:
        BadInputError: when the answer is no, or nobody is there to give one.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInputError("nobody is there to ask; nothing was changed; add --yes to go on, or --dry-run to look")
    if not typer.confirm(question, err=True):
        raise BadInputError("not confirmed; nothing was changed")


def print_step(text: str) -> None:
    """Say that a step is done."""
    output.print(f"[green]✓[/] {escape(text)}")


def print_declarations(declarations: Iterable[str]) -> None:
    """Say what of the stack file would put back what is taken away."""
    for declaration in declarations:
        text = f"the next `pulumi up` puts it back; in the stack file, {declaration}"
        output.print(f"[yellow]still declared:[/] {escape(text)}")


def load(stack: str, directory: Path) -> StackConfig:
    """Load a stack's configuration for a command, and say so where VAULT_ADDR leads to Vault by another way."""
    config = load_stack(stack, directory)
    if config.has_vault:
        declared = config.vault.address
        here, _ = way_from_here(declared, None)
        if here != declared:
            errors.print(f"Vault: asked at {escape(here)} (VAULT_ADDR); for the cluster the stack declares {declared}")
    return config


def registry_of(config: StackConfig, name: str, stack: str, option: str = "registry") -> Registry:
    """Return a registry of the stack.

    Raises:
        BadInputError: with the names that the stack has.
    """
    try:
        return config.registry(name)
    except KeyError:
        known = ", ".join(registry.name for registry in config.registries)
        raise BadInputError(f"{option}: found {name!r}; allowed in stack {stack!r}: {known}") from None


def print_json(document: Any) -> None:
    """Print one JSON document, unwrapped and without colour, for other programs."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
