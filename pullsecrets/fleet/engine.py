"""Pulumi's runs of one stack, through its Automation API; no other module of the library knows Pulumi."""

import json
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from pullsecrets.errors import BadInputError, ExitCode, PullSecretsError
from pullsecrets.fleet.backend import locked, refusal
from pullsecrets.fleet.stacks import FleetStack
from pullsecrets.fleet.worker import Done, Say, surviving_interrupts
from pullsecrets.text import counted

if TYPE_CHECKING:
    from pulumi.automation import Stack
    from pulumi.automation.events import EngineEvent

SAME = "same"
_PLANNED = {"create": "to create", "update": "to update", "delete": "to delete", "replace": "to replace"}
_DONE = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced"}
_EVERY_SECONDS = 1.0
_LABEL = re.compile(r"^ (code: -?\d+|stdout:|stderr:)")
"""What the Automation API puts before the parts of what a failed command printed."""
_DRIFT = "no changes were expected"


def require_ready(stack: FleetStack) -> None:
    """Check, before anything is changed, that the backend lets us in, has the stack and that no other run holds it.

    A lock is seen in a file backend. In the others the engine finds it when it begins, before it changes anything.

    Raises:
        BadInputError: when the stack is not in the backend, or Pulumi cannot be run here.
        ConflictError: when another run holds it.
        PullSecretsError: when the backend refuses the login or does not answer.
    """
    with _refusals(stack):
        workspace = _open(stack).workspace
        backend = str(workspace.who_am_i().url or "")
        # Of the name alone: it asks the backend for the stack and decrypts nothing.
        workspace.pulumi_command.run(
            ["stack", "--stack", stack.name, "--show-name"], workspace.work_dir, workspace.env_vars
        )
    _require_unlocked(stack, backend)


def preview(stack: FleetStack, say: Say, *, refresh: bool = False) -> Done:
    """Preview a stack; with `refresh` look for drift instead, which is a problem.

    Raises:
        PullSecretsError: when the preview fails.
    """
    seen = _Seen(say)
    with _refusals(stack, seen):
        try:
            _open(stack).preview(refresh=refresh, expect_no_changes=refresh, color="never", on_event=seen)
        except _engine_error() as error:
            if not (refresh and _DRIFT in str(error)):
                raise
            return seen.done(ExitCode.PROBLEM, "drift: ")
    return seen.done()


def up(stack: FleetStack, say: Say) -> Done:
    """Bring a stack up.

    Raises:
        ConflictError: when another run holds the stack; nothing was changed.
        PullSecretsError: when the run fails.
    """
    seen = _Seen(say)
    with _refusals(stack, seen):
        _open(stack).up(color="never", show_secrets=False, suppress_outputs=True, on_event=seen)
    return seen.done(verbs=_DONE)


class _Seen:
    """What a run's events tell: how far it is, what it changes, what went wrong."""

    def __init__(self, say: Say) -> None:
        self.changes: dict[str, int] = {}
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._say = say
        self._resources = 0
        self._next = 0.0

    def __call__(self, event: "EngineEvent") -> None:
        if event.summary_event:
            self.changes = {
                str(getattr(kind, "value", kind)): number
                for kind, number in (event.summary_event.resource_changes or {}).items()
            }
        said = event.diagnostic_event
        if said and said.severity in {"error", "warning"} and not said.ephemeral:
            text = " ".join(said.message.split())
            into = self.errors if said.severity == "error" else self.warnings
            if text and text not in into:
                into.append(text)
        if event.res_outputs_event:
            self._resources += 1
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _EVERY_SECONDS
                self._say(f"{counted(self._resources, 'resource')} so far")

    def done(self, code: ExitCode = ExitCode.DONE, prefix: str = "", verbs: Mapping[str, str] = _PLANNED) -> Done:
        """Return how the run ended."""
        changed = {kind: number for kind, number in self.changes.items() if kind != SAME and number}
        parts = [f"{number} {verbs.get(kind, kind)}" for kind, number in sorted(changed.items())]
        summary = prefix + (", ".join(parts) or "no change")
        return Done(code, summary, tuple(self.warnings), {"changes": dict(self.changes), "warnings": self.warnings})


def _automation() -> Any:
    try:
        # Slow to import, and of an extra: only what runs Pulumi needs it.
        from pulumi import automation  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"Pulumi's Automation API needs the module {error.name}; install the extra: uv add 'pull-secrets[pulumi]'"
        ) from None
    return automation


def _engine_error() -> type[Exception]:
    return _automation().errors.CommandError


def _open(stack: FleetStack) -> "Stack":
    automation = _automation()

    class Workspace(automation.LocalWorkspace):
        """The project's folder, in which several stacks run at a time."""

        def select_stack(self, stack_name: str) -> None:
            """Leave the folder's selected stack as it is: it is the person's, and one for all runs."""

        def stack_outputs(self, stack_name: str) -> dict[str, Any]:
            """Ask for no outputs: nobody reads them, and they would be asked for in plain text."""
            del stack_name
            return {}

    try:
        workspace = Workspace(work_dir=str(stack.path.parent))
    except FileNotFoundError:
        raise BadInputError("`pulumi` is not on PATH; install it (https://www.pulumi.com/docs/install/)") from None
    return automation.Stack.select(stack.name, workspace)


@contextmanager
def _refusals(stack: FleetStack, seen: "_Seen | None" = None) -> Generator[None]:
    """Say what a run that failed means."""
    errors = _automation().errors
    try:
        with surviving_interrupts():
            yield
    except errors.StackNotFoundError:
        raise BadInputError(
            f"the backend has no stack {stack.name}; make it with `pulumi stack init {stack.name}`"
        ) from None
    except errors.CommandError as error:
        # Of what a program says the first is the cause, and what follows says that it ended because of that.
        told = seen.errors[0] if seen and seen.errors else _last_words(str(error))
        raise refusal(str(error), stack.name) or PullSecretsError(told) from None


def _last_words(printed: str) -> str:
    """Return what `pulumi` printed of a failure: its lines that say `error:`, or the last one."""
    lines = [_LABEL.sub("", line).strip() for line in printed.splitlines()]
    errors = [line for line in lines if "error: " in line]
    last = [line for line in lines if line][-1:]
    return "; ".join(errors[:3] or last) or "pulumi failed and said nothing"


def _require_unlocked(stack: FleetStack, backend: str) -> None:
    parts = urlsplit(backend)
    if parts.scheme != "file":
        return
    root = Path(url2pathname(parts.path)).expanduser()
    project = yaml.safe_load((stack.path.parent / "Pulumi.yaml").read_text(encoding="utf-8"))["name"]
    for file in (root / ".pulumi" / "locks").glob(f"*/{project}/{stack.name}/*.json"):
        held = json.loads(file.read_text(encoding="utf-8"))
        by = f"{held.get('username')}@{held.get('hostname')} (pid {held.get('pid')}) at {held.get('timestamp')}"
        raise locked(stack.name, by)
