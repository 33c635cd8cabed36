"""The command line of the local control plane: `python -m local build|clean-cache|up|down|status|env|demo|bench`."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from local import paths, toolchain
from local.controlplane import ERRORS, ComponentStatus, ControlPlane
from local.controlplane.kwok import NODES
from local.controlplane.layout import NODE, REGISTRIES
from local.workspace import PulumiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
# Progress and errors go to standard error: standard output is for what another program reads.
_progress = Console(stderr=True, highlight=False, soft_wrap=True)

node = typer.Typer(help="A real kubelet with containerd, and registries with logins; needs Linux and root.")
app.add_typer(node, name="node", no_args_is_help=True)

# Where no terminal says how wide it is, a line per component.
_WIDE = 240


@contextmanager
def _messages() -> Iterator[None]:
    """Show expected errors as one message and exit with 1; Ctrl-C ends with 130."""
    try:
        yield
    except (*ERRORS, PulumiError) as error:
        _progress.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        _progress.print("interrupted: run the same command again to continue, or `make down` to end what was started")
        raise typer.Exit(130) from None


def _table_console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def _control_plane() -> ControlPlane:
    return ControlPlane(paths.state_home(), report=lambda line: _progress.print(line, markup=False))


@app.command()
def build(
    tools: Annotated[list[str] | None, typer.Argument(help="Tools to build; all when none is named.")] = None,
    *,
    tests: Annotated[bool, typer.Option("--tests", help="With what tests and lint alone need.")] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Print what the builds took and what they left.")] = False,
) -> None:
    """Build what the control plane runs, from the package registries; a no-op when it is there."""
    with _messages():
        toolchain.ensure(*(tools or ()), for_tests=tests)
        if timings:
            _table_console().print(toolchain.build_times())


@app.command()
def clean_cache() -> None:
    """Remove the built programs, and whatever interrupted builds have left, for every clone of this user."""
    with _messages():
        _progress.print(f"removed {toolchain.clean() / 1e6:.0f} MB in {paths.cache_home()}")


@app.command()
def up() -> None:
    """Start etcd, Kubernetes with simulated nodes, OpenBao and External Secrets Operator; a no-op when they run."""
    with _messages():
        _control_plane().up()


@app.command()
def down() -> None:
    """End everything that `up` started; the data stays for the next `up`."""
    with _messages():
        if not _control_plane().down():
            _progress.print("nothing was running")


@app.command()
def status() -> None:
    """Show each component; exit with 1 when one is not healthy."""
    with _messages():
        plane = _control_plane()
        components = plane.status()
        real = plane.node() is not None
    console = _show(components)
    _say_plugins(plane, console)
    if not real:
        console.print(f"Pods are on simulated nodes ({', '.join(NODES)}): nothing runs in them.")
    if not all(component.healthy for component in components):
        raise typer.Exit(1)


def _show(components: Sequence[ComponentStatus]) -> Console:
    """Print a line for each component; return where to."""
    table = Table("component", "version", "pid", "port", "healthy", box=None, pad_edge=False)
    # Paths are there to be copied: one that is cut off is of no use.
    table.add_column("log", overflow="fold")
    for component in components:
        ports = ", ".join(str(port) for port in component.ports.values())
        healthy = "yes" if component.healthy else f"no: {component.cause}"
        table.add_row(
            component.name, component.version, str(component.pid or "-"), ports or "-", healthy, str(component.log)
        )
    console = _table_console()
    console.print(table)
    return console


@node.command("up")
def node_up() -> None:
    """Start the registries and the real node; new Pods go there and to no simulated node. The rest must be up."""
    with _messages():
        toolchain.ensure("kubelet", "containerd", "registry")
        _control_plane().node_up()


@node.command("down")
def node_down() -> None:
    """End the real node and the registries and leave nothing of them; new Pods go to simulated nodes again."""
    with _messages():
        if not _control_plane().node_down():
            _progress.print("no real node was running")


@node.command("status")
def node_status() -> None:
    """Show the real node and its registries; exit with 1 when they do not run or are not healthy."""
    with _messages():
        plane = _control_plane()
        components = [component for component in plane.status() if component.name in (*REGISTRIES, NODE)]
        if not components:
            _progress.print("no real node runs: start one with `python -m local node up`")
            raise typer.Exit(1)
    _show(components)
    if not all(component.healthy for component in components):
        raise typer.Exit(1)


def _say_plugins(plane: ControlPlane, console: Console) -> None:
    for plugin in plane.plugins():
        console.print(f"Pulumi plugin {plugin}", markup=False, soft_wrap=True)


@app.command()
def env(
    person: Annotated[
        Literal["deployer", "operator", "auditor", "seeder", "admin"],
        typer.Option("--as", help="Whose rights the shell has."),
    ] = "deployer",
) -> None:
    """Print the command that puts a shell into the control plane's environment: eval "$(python -m local env)"."""
    file = paths.state_home() / "env"
    if not file.exists():
        _progress.print(f"error: no {file}: the control plane was never up, run `make up`", style="red", markup=False)
        raise typer.Exit(1)
    if person != "deployer":
        with _messages():
            file = _control_plane().shell_as(person)
    # The file's name and not its content, which holds a token.
    print(f". {shlex.quote(str(file))}")


@app.command()
def demo() -> None:
    """Run the main job: bring up, seed, `pulumi up`, prove delivery, roll 24 services out in waves, and rotate."""
    # Slow to import, and `up` and `status` do not need it.
    from local.demo import Demo, StepFailedError  # noqa: PLC0415 - as said above

    console = Console(highlight=False, soft_wrap=True)
    with _messages():
        toolchain.ensure()
        plane = _control_plane()
        plane.up()
        _say_plugins(plane, console)
        try:
            Demo(plane, console).run()
        except StepFailedError as error:
            _progress.print(f"error: {error}", style="red", markup=False)
            raise typer.Exit(1) from error


@app.command()
def bench(  # noqa: PLR0913 - each is an option
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Tenants; repeat for several.")] = None,
    stacks: Annotated[int, typer.Option(help="Stacks of the fleet that answer, at most 18.", max=18)] = 18,
    kills: Annotated[int, typer.Option(help="Runs to kill at random points; each must converge on a rerun.")] = 20,
    *,
    audit: Annotated[bool, typer.Option("--audit", help="Measure the audit of namespaces instead.")] = False,
    fleet: Annotated[bool, typer.Option("--fleet", help="Measure many stacks against one instead.")] = False,
    gitops: Annotated[bool, typer.Option("--gitops", help="Measure the check of a GitOps repository instead.")] = False,
    lint: Annotated[bool, typer.Option("--lint", help="Measure the lint of files instead.")] = False,
    peer: Annotated[
        bool, typer.Option("--peer", help="Measure kubectl and Terraform on the same tenants too.")
    ] = False,
    rotation: Annotated[bool, typer.Option("--rotation", help="Measure rotations instead.")] = False,
) -> None:
    """Measure create, preview, add, destroy and delivery for a number of tenants; reports and asserts nothing."""
    from local.audit_bench import NAMESPACES, AuditBenchmark  # noqa: PLC0415 - as below
    from local.bench import SIZES, Benchmark  # noqa: PLC0415 - slow to import, and `up` and `status` do not need it
    from local.fleet_bench import NAMESPACES as IN_EACH  # noqa: PLC0415 - as above
    from local.fleet_bench import FleetBenchmark  # noqa: PLC0415 - as above
    from local.gitops_bench import GitOpsBenchmark  # noqa: PLC0415 - as above
    from local.lint_bench import LintBenchmark  # noqa: PLC0415 - as above
    from local.peer_bench import PeerBenchmark  # noqa: PLC0415 - as above
    from local.rotation_bench import RotationBenchmark  # noqa: PLC0415 - as above

    with _messages():
        if lint:
            LintBenchmark(paths.state_home() / "lint-bench", Console(highlight=False)).run()
            return
        if gitops:
            GitOpsBenchmark(paths.state_home() / "gitops-bench", Console(highlight=False)).run()
            return
        plane = _control_plane()
        plane.up()
        console = Console(highlight=False)
        if rotation:
            RotationBenchmark(plane, console).run(sizes or SIZES)
            return
        if peer:
            PeerBenchmark(plane, console).run(sizes or SIZES)
            return
        if fleet:
            for size in sizes or [IN_EACH]:
                FleetBenchmark(plane, console).run(size, stacks)
            return
        if audit:
            for size in sizes or [NAMESPACES]:
                AuditBenchmark(plane, console).run(size)
            return
        Benchmark(plane, console).run(sizes or SIZES, kills)


if __name__ == "__main__":
    app()
