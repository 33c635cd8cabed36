"""`pull-secrets verify`: a short-lived Pod in each namespace pulls an image through the delivered Secret."""

import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from pullsecrets.cli import console, options
from pullsecrets.delivery import verify
from pullsecrets.delivery.verify import Node, Pull, Trial
from pullsecrets.errors import ExitCode
from pullsecrets.files import as_yaml
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.text import counted


@options.expanded
def command(  # noqa: PLR0913 - each is an option
    image: Annotated[
        str, typer.Option("--image", help="Image to pull, of a host of one of the stack's registries, with its tag.")
    ],
    stack: options.Stack,
    namespaces: Annotated[
        list[str] | None, typer.Argument(help="Where; by default every namespace with the registry's opt-in label.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", help="Registry of the stack, where several have the image's host.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for each pull.")] = verify.DEFAULT_TIMEOUT,
    directory: options.Directory = Path(),
    *,
    reach: options.Cluster,
    each_node: Annotated[
        bool, typer.Option("--each-node", help="Pull on each schedulable node, one after the other.")
    ] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Pull an image through the delivered Secret in each namespace, and report the result.

    The Pod names the delivered Secret alone, pulls always, meets the restricted Pod security standard, starts nothing
    of the image and is removed at the end, after Ctrl-C too; killed, it ends by its deadline, and the next run removes
    it. What a node's own credentials open is pulled as well. `--dry-run` prints the Pod of the first namespace. Where
    it pulled, an operator's run marks the namespace, from which `audit` knows that Pods can pull.

    Exit code 1 when one of the pulls fails. Run it before an old login is revoked.

    Examples:

        pull-secrets verify --stack prod --image registry-api.tanhdev.com/team/auth:1.0

        pull-secrets verify auth-production --stack prod --image registry-api.tanhdev.com/team/auth:1.0 --each-node
    """
    config = console.load(stack, directory)
    trial = Trial(config, verify.registry_of_image(config, image, registry), image, timeout)
    carry_out(reach.connect(config), trial, namespaces or (), each_node=each_node, dry_run=dry_run, json=json)


def carry_out(
    cluster: KubernetesClient,
    trial: Trial,
    namespaces: Sequence[str] = (),
    *,
    each_node: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Pull in each namespace and print how that went; in a dry run print the Pod.

    Raises:
        typer.Exit: when a pull failed.
    """
    chosen = verify.require_namespaces(cluster, trial, namespaces)
    nodes = verify.list_nodes(cluster) if each_node else []
    if dry_run:
        pod = trial.pod(chosen[0], nodes[0] if nodes else None)
        if json:
            console.print_json({"namespaces": chosen, "nodes": [asdict(item) for item in nodes], "pod": pod})
        else:
            sys.stdout.write(as_yaml(pod, "---\n"))
        return
    with ending_on_terminate():
        pulls = verify.run(cluster, trial, chosen, nodes, None if json else _show_pull)
    if json:
        console.print_json(
            {"image": trial.image, "registry": trial.registry.name, "pulls": [asdict(item) for item in pulls]}
        )
    else:
        _show_end(pulls, chosen, nodes)
    if verify.failures(pulls):
        raise typer.Exit(ExitCode.PROBLEM)


@contextmanager
def ending_on_terminate() -> Generator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that it removes what it made."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_pull(pull: Pull) -> None:
    mark = "[green]✓[/]" if pull.pulled else "[red]✗[/]"
    console.output.print(f"{mark} {pull.namespace}{f' on {pull.node}' if pull.node else ''}")


def _show_end(pulls: Sequence[Pull], namespaces: Sequence[str], nodes: Sequence[Node]) -> None:
    table = Table("namespace", "node", "pull", "seconds", "digest", "the kubelet says", header_style="bold")
    for item in pulls:
        where = f"{item.node or ''}{f' ({item.architecture})' if item.architecture else ''}"
        took = "" if item.seconds is None else f"{item.seconds:.2f}"
        table.add_row(
            item.namespace, where, "pulled" if item.pulled else "failed", took, (item.digest or "")[:19], item.message
        )
    console.output.print(table)
    pulled = sum(item.pulled for item in pulls)
    on_nodes = f" on {counted(len(nodes), 'node')}" if nodes else ""
    console.output.print(
        f"{pulled} of {len(pulls)} pulls in {counted(len(namespaces), 'namespace')}{on_nodes} went well"
    )
    if unrecorded := {item.namespace for item in pulls if item.pulled and not item.recorded}:
        console.output.print(
            f"not recorded for `pull-secrets audit` in {counted(len(unrecorded), 'namespace')}: that takes the "
            "operator's role beside the verifier's, a pull on every node, and a Secret that stays as it is meanwhile"
        )
