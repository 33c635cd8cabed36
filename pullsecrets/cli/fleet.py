"""`pull-secrets fleet`: the commands of one stack over many, several at a time and in waves."""

import io
import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pullsecrets.cli import console, credential, options
from pullsecrets.cli.verify import ending_on_terminate
from pullsecrets.delivery.deliver import DEFAULT_TIMEOUT
from pullsecrets.delivery.plan import Choices
from pullsecrets.errors import BadInputError
from pullsecrets.fleet import actions
from pullsecrets.fleet.credential import read_for, registries_of
from pullsecrets.fleet.journal import Journal
from pullsecrets.fleet.report import Format, Report
from pullsecrets.fleet.run import OnChange, Result, Run, Settings, State, WorkOf
from pullsecrets.fleet.stacks import FleetStack, find_stacks, select
from pullsecrets.fleet.surroundings import environments, require_apart
from pullsecrets.fleet.worker import Work
from pullsecrets.text import counted

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The commands of one stack over many: several at a time, in waves, with one report.",
)

SHOWN = 80
"""Characters of a summary that the table has."""

_STYLES = {
    State.RUNNING: "cyan",
    State.DONE: "green",
    State.BEFORE: "green",
    State.FAILED: "red",
    State.TIMED_OUT: "red",
    State.INTERRUPTED: "yellow",
}


FleetRegistry = Annotated[
    str, typer.Argument(help="Registry, with * for any characters; of each stack it must be one.")
]


@dataclass(frozen=True)
class Fleet:
    """Which stacks, how many at a time, and where the report goes."""

    directory: options.Directory = Path()
    select: options.Select = None
    parallel: Annotated[int, typer.Option("--parallel", "-p", min=1, help="Stacks at a time.")] = 4
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for each stack.")] = 1800
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="kubeconfig with each stack's context, in place of KUBECONFIG.")
    ] = None
    report_format: Annotated[Format | None, typer.Option("--format", help="Format of the report; text by default.")] = (
        None
    )
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the report, replaced in one step.")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False

    def __post_init__(self) -> None:
        """Refuse two forms for one report."""
        if self.json and self.report_format not in {None, Format.JSON}:
            raise BadInputError(f"--json and --format {self.report_format}: one report has one form; leave one out")

    @property
    def form(self) -> Format:
        """Format of the report."""
        return Format.JSON if self.json else self.report_format or Format.TEXT

    @property
    def quiet(self) -> bool:
        """Whether standard output is the report, for another program."""
        return self.form is not Format.TEXT and self.output is None

    def settings(self, *, stops: bool) -> Settings:
        """Return how the fleet is gone through."""
        return Settings(self.parallel, self.timeout, stops=stops)

    def stacks(self) -> list[FleetStack]:
        """Return the stacks that were selected."""
        return select(find_stacks(self.directory), self.select or ())


@dataclass(frozen=True)
class Changing:
    """What a command that changes something takes beside."""

    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FILE", help="Where it notes what is done; build/fleet-COMMAND.json."),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what an earlier run has done.")] = False
    skip_unready: Annotated[
        bool, typer.Option("--skip-unready", help="Leave out stacks that fail the check, and change the others.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check each stack and change nothing.")] = False
    yes: options.Yes = False


@commands.command("preview")
@options.expanded
def preview(*, fleet: Fleet) -> None:
    """Preview each stack with Pulumi.

    Examples:

        pull-secrets fleet preview --select 'prod-*'

        pull-secrets fleet preview --select region=eu --parallel 8 --format html --output previews.html
    """
    _read("preview", fleet, actions.preview)


@commands.command("up")
@options.expanded
def up(*, fleet: Fleet, changing: Changing) -> None:
    """Bring each stack up with Pulumi, wave after wave; a wave in which a stack fails is the last one.

    Before the first run each stack is checked: its context, the backend, its place there, and that no other run holds
    it. Nothing is changed unless all pass, or --skip-unready leaves the others out.

    Examples:

        pull-secrets fleet up --dry-run

        pull-secrets fleet up --select wave=1 --yes

        pull-secrets fleet up --yes --resume
    """
    _change(
        _Change("up", "up", "Run `pulumi up` on", lambda _: actions.check_run, lambda _: actions.up),
        fleet,
        changing,
        fleet.stacks(),
    )


@commands.command("refresh-check")
@options.expanded
def refresh_check(*, fleet: Fleet) -> None:
    """Look for drift in each stack: a preview that refreshes. Exit code 1 when there is any.

    Examples:

        pull-secrets fleet refresh-check --json
    """
    _read("refresh-check", fleet, actions.refresh_check)


@commands.command("audit")
@options.expanded
def audit(*, fleet: Fleet) -> None:
    """Report the coverage of each stack, as `pull-secrets audit` does. Exit code 1 when a row is not green.

    Examples:

        pull-secrets fleet audit --format html --output fleet.html
    """
    _read("audit", fleet, actions.audit)


@commands.command("doctor")
@options.expanded
def doctor(*, fleet: Fleet) -> None:
    """Diagnose each stack, as `pull-secrets doctor` does. Exit code 1 when there is a finding beyond a warning.

    Examples:

        pull-secrets fleet doctor --select 'prod-*'
    """
    _read("doctor", fleet, actions.doctor)


@commands.command("status")
@options.expanded
def status(*, fleet: Fleet) -> None:
    """Say of each stack which credential its registries have, until when, and how many namespaces hold it.

    Reads far less than an audit. Exit code 1 when a namespace lacks a credential, or nothing is recorded of one.

    Examples:

        pull-secrets fleet status
    """
    _read("status", fleet, actions.status)


@commands.command("rotate")
@options.expanded
def rotate(
    registry: FleetRegistry,
    *,
    fleet: Fleet,
    given: options.NewCredential,
    changing: Changing,
    proof_timeout: Annotated[
        float, typer.Option("--proof-timeout", min=0, help="Seconds to wait for the proof in a stack.")
    ] = DEFAULT_TIMEOUT,
    rollback_on_failure: Annotated[
        bool, typer.Option("--rollback-on-failure", help="Roll a stack back if no namespace of it receives it.")
    ] = False,
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Roll a stack back as well if a single namespace does not.")
    ] = False,
) -> None:
    """Write a new credential to the Vault of each stack and prove its delivery in every namespace, wave after wave.

    The credential is read once and checked for every stack before the first write: that its hosts are the registry's,
    that Vault is reachable and lets it be written, that the fan-out is there. Nothing is written unless all pass, or
    --skip-unready leaves the others out. With --username the login is stored for the hosts of each stack; a document
    must fit each of them as it is.

    Examples:

        pull-secrets fleet rotate app-registry-pull --from-file - --dry-run < new.json

        pull-secrets fleet rotate app-registry-pull --username robot --password-stdin --yes < password

        pull-secrets fleet rotate app-registry-pull --from-file ./new.json --yes --resume
    """
    stacks = fleet.stacks()
    choices = Choices(timeout=proof_timeout, take_back=rollback_on_failure, all_or_nothing=all_or_nothing)
    registries = registries_of(stacks, registry)
    source = None if all(item.sealed for item in registries.values()) else given.source()
    contents = read_for(source, registries, credential.ask_password) if source else {}
    for content in {item.digest: item for item in contents.values()}.values():
        credential.show_notes(content)
        if given.verify_login:
            credential.verify_login(content, given.registry_ca)
    expires = given.expiry()
    work = {
        name: actions.Rotate(item.name, choices, contents[name].to_json() if name in contents else None, expires)
        for name, item in registries.items()
    }
    digests = sorted({item.digest for item in contents.values()})
    change = _Change(
        "rotate",
        " ".join(("rotate", registry, *digests)),
        f"Write a new credential of {registry} to",
        lambda stack: work[stack.name],
        lambda stack: work[stack.name].carry_out,
    )
    _change(change, fleet, changing, stacks, piped=source is not None and source.takes_standard_input)


@commands.command("rollback")
@options.expanded
def rollback(
    registry: FleetRegistry,
    *,
    fleet: Fleet,
    changing: Changing,
    proof_timeout: Annotated[
        float, typer.Option("--proof-timeout", min=0, help="Seconds to wait for the proof in a stack.")
    ] = DEFAULT_TIMEOUT,
) -> None:
    """Restore the credential before the current one in each stack, and prove its delivery, wave after wave.

    To which version differs by stack: for a certain one use `pull-secrets rollback --to`.

    Examples:

        pull-secrets fleet rollback app-registry-pull --select wave=1 --yes
    """
    stacks = fleet.stacks()
    work = {name: actions.RollBack(item.name, proof_timeout) for name, item in registries_of(stacks, registry).items()}
    change = _Change(
        "rollback",
        f"rollback {registry}",
        f"Restore the credential before of {registry} in",
        lambda stack: work[stack.name],
        lambda stack: work[stack.name].carry_out,
    )
    _change(change, fleet, changing, stacks)


@dataclass(frozen=True)
class _Change:
    """A command that changes something."""

    command: str
    about: str
    """The command with what it is about, for `--resume`."""
    question: str
    check: WorkOf
    work: WorkOf


def _read(command: str, fleet: Fleet, work: Work) -> None:
    """Do what changes nothing with all stacks, whatever becomes of one."""
    stacks = fleet.stacks()
    began = time.monotonic()
    found = environments(stacks, os.environ, fleet.kubeconfig)
    require_apart(stacks, found)
    with _showing(fleet, command) as on_change, ending_on_terminate():
        run = Run(stacks, lambda _: work, fleet.settings(stops=False), found, on_change)
        run.go()
    _end(command, fleet, run, began)


def _change(
    change: _Change, fleet: Fleet, changing: Changing, stacks: Sequence[FleetStack], *, piped: bool = False
) -> None:
    """Check all stacks, and change them wave after wave."""
    began = time.monotonic()
    found = environments(stacks, os.environ, fleet.kubeconfig)
    require_apart(stacks, found)
    journal = Journal(changing.state or fleet.directory / "build" / f"fleet-{change.command}.json", change.about)
    before = journal.done(stacks) if changing.resume else {}
    left = [stack for stack in stacks if stack.name not in before]
    with _showing(fleet, "check") as on_change, ending_on_terminate():
        check = Run(left, change.check, fleet.settings(stops=False), found, on_change)
        check.go()
    unready = {item.stack: item for item in check.failed() if _parses(item.stack, left)}
    if check.interrupted or changing.dry_run or (unready and not changing.skip_unready):
        if unready and not changing.dry_run:
            text = "nothing was changed; fix the cause, or leave these stacks out with --skip-unready"
            console.errors.print(f"{counted(len(unready), 'stack')} failed the check: {text}", soft_wrap=True)
        _end(f"{change.command} (check)", fleet, check, began)
        return
    _confirm(change, [stack for stack in left if stack.name not in unready and stack.config], changing, piped=piped)

    def note(result: Result) -> None:
        on_change(result)
        if result.good:
            journal.write(stacks, run.results)

    with _showing(fleet, change.command) as on_change, ending_on_terminate():
        run = Run(stacks, change.work, fleet.settings(stops=True), found, note)
        run.pass_over(before)
        for item in unready.values():
            run.leave_out(item)
        run.go()
    journal.write(stacks, run.results)
    _end(change.command, fleet, run, began)


def _parses(name: str, stacks: Sequence[FleetStack]) -> bool:
    return any(stack.name == name and stack.config for stack in stacks)


def _confirm(change: _Change, stacks: Sequence[FleetStack], changing: Changing, *, piped: bool) -> None:
    if piped and not changing.yes:
        raise BadInputError("standard input is the credential, so no question can be answered there; add --yes")
    if stacks:
        console.confirm(f"{change.question} {counted(len(stacks), 'stack')}?", yes=changing.yes)


@contextmanager
def _showing(fleet: Fleet, step: str) -> Generator[OnChange]:
    """Show how far each stack is: a live table on a terminal, a line for each that ends elsewhere."""
    seen: dict[str, Result] = {}
    if fleet.quiet:
        yield lambda _: None
    elif console.output.is_terminal:
        with Live(console=console.output, auto_refresh=False, transient=True) as live:

            def draw(result: Result) -> None:
                seen[result.stack] = result
                # What is done needs no row: of many stacks those that run would not be seen.
                done = sum(item.good for item in seen.values())
                left = [item for item in seen.values() if not item.good]
                live.update(_table(left, f"{step}: {counted(done, 'stack')} done"), refresh=True)

            yield draw
    else:

        def line(result: Result) -> None:
            if result.state is not State.RUNNING:
                text = f"{step} {_told(result) if result.good else f'{result.stack}: {result.state}'}"
                console.output.print(text, markup=False)

        yield line


def _told(item: Result) -> str:
    return f"{item.stack}: {item.state}{f': {item.summary}' if item.summary else ''}"


def _end(command: str, fleet: Fleet, run: Run, began: float) -> None:
    report = Report(command, list(run.results.values()), run.exit_code, time.monotonic() - began, datetime.now(UTC))
    if fleet.form is Format.TEXT and fleet.output is None:
        _show(report, console.output)
    else:
        text = _plain(report) if fleet.form is Format.TEXT else report.render(fleet.form)
        if fleet.output:
            console.write("--output", fleet.output, text)
        else:
            sys.stdout.write(text)
    if run.exit_code:
        raise typer.Exit(run.exit_code)


def _plain(report: Report) -> str:
    stream = io.StringIO()
    _show(report, console.piped(stream))
    return stream.getvalue()


def _show(report: Report, screen: Console) -> None:
    screen.print(_table(report.results, report.command))
    for item in report.results:
        if item.problems or not item.good:
            screen.print(_told(item), style=_STYLES.get(item.state, "dim"), markup=False, soft_wrap=True)
            for problem in item.problems:
                screen.print(f"  {problem}", markup=False, soft_wrap=True)
    screen.print(report.headline, style="red" if report.exit_code else "green", markup=False)


def _table(results: Sequence[Result], title: str) -> Table:
    table = Table(title=title, header_style="bold")
    for column in ("wave", "stack", "cluster", "state", "seconds", "summary"):
        table.add_column(column)
    for item in results:
        seconds = f"{item.seconds:.1f}" if item.seconds else ""
        # Whole where it needs looking at: below the table.
        cells = (str(item.wave or ""), item.stack, item.cluster, item.state, seconds, item.summary[:SHOWN])
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES.get(item.state, "dim"))
    return table
