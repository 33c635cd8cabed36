"""Starts, finds and ends the processes of the control plane, which outlive the command that started them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from local.controlplane.files import private_folder, write_private
from local.controlplane.waiting import DeadlineExceeded, NotYet, until

if TYPE_CHECKING:
    from collections.abc import Mapping

STOP_DEADLINE = 15.0
_KILL_DEADLINE = 5.0
_TAIL_LINES = 25
# In the environment of every process that is started: the folder of its record and its name.
_MARK = "PULL_SECRETS_COMPONENT"
# psutil derives the start time from the boot time, which shifts when the clock is set.
_START_TOLERANCE = 1.0

# Children of this very process by pid: ended ones stay zombies until they are polled. Kept for the life of the process,
# because they are meant to outlive it.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ComponentDied(Exception):  # noqa: N818 - says what happened
    """A process ended where it should run; the message holds the end of its log."""


class PortTaken(ComponentDied):
    """A process ended because something else listens on its port."""

    def __init__(self, component: str, message: str) -> None:
        """Keep the component's name, so that it can get other ports."""
        super().__init__(message)
        self.component = component


class StillRunning(Exception):  # noqa: N818 - says what happened
    """A process did not end, not even by SIGKILL."""


@dataclass(frozen=True)
class Command:
    """How a component is started.

    Attributes:
        name: the component.
        argv: the program (absolute path) and its arguments; no credentials, anybody on the machine can read them.
        environment: the whole environment, nothing is inherited.
        ports: its ports by listener.
        inputs: files whose content decides how it runs: a change of one means a restart.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    inputs: tuple[Path, ...] = ()

    def fingerprint(self) -> str:
        """Return a digest of everything that decides how the component runs."""
        digest = hashlib.sha256(json.dumps([self.argv, sorted(self.environment.items())]).encode())
        for file in self.inputs:
            digest.update(hashlib.sha256(file.read_bytes() if file.exists() else b"").digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Record:
    """What is kept on disk about a started process."""

    name: str
    argv: tuple[str, ...]
    fingerprint: str
    ports: dict[str, int]
    pid: int
    started: float


class Processes:
    """The processes of one state folder."""

    def __init__(self, run: Path, logs: Path) -> None:
        """Use these folders.

        Args:
            run: for the records, one `<component>.json` each.
            logs: for the logs, one `<component>.log` each; the log before stands beside it as `<component>.log.1`.
        """
        self._run = private_folder(run)
        self._logs = private_folder(logs)

    def log(self, name: str) -> Path:
        """Return where a component logs."""
        return self._logs / f"{name}.log"

    def record(self, name: str) -> Record | None:
        """Return what is known of a component's last start, or None."""
        try:
            kept = json.loads((self._run / f"{name}.json").read_text())
            return Record(**{**kept, "argv": tuple(kept["argv"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def find(self, name: str) -> psutil.Process | None:
        """Return the live process of a component, or None; never a stranger that got its pid later."""
        record = self.record(name)
        if record is None:
            return None
        try:
            process = psutil.Process(record.pid)
            return process if _is_alive(process) and self._is_same(process, record) else None
        except psutil.NoSuchProcess:
            return None

    def strays(self) -> dict[str, list[psutil.Process]]:
        """Return by component the live processes that were started from these folders and are in no record.

        They are left behind when the starting command is killed before it can write the record, or when somebody
        removes the state folder of a running control plane.
        """
        strays: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            mark = Path(_mark_of(process))
            if mark.parent == self._run and process != self.find(mark.name) and _is_alive(process):
                strays.setdefault(mark.name, []).append(process)
        return strays

    def runs_as(self, command: Command) -> bool:
        """Tell whether a component runs exactly as this command would start it."""
        record = self.record(command.name)
        return (
            record is not None and record.fingerprint == command.fingerprint() and self.find(command.name) is not None
        )

    def start(self, command: Command) -> None:
        """Start a component in a session of its own; it must not be running.

        Args:
            command: how to start it.

        Raises:
            ComponentDied: the program could not be executed.
        """
        log = self.log(command.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        environment = {**command.environment, _MARK: self._mark(command.name)}
        try:
            with log.open("wb") as output:
                log.chmod(0o600)
                child = subprocess.Popen(
                    command.argv, env=environment, cwd=self._run, stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise ComponentDied(f"{command.name}: cannot execute {command.argv[0]}: {error.strerror}") from error
        _children[child.pid] = child
        # The child has not been waited for, so it exists even if it has ended already.
        started = psutil.Process(child.pid).create_time()
        record = Record(
            command.name, command.argv, command.fingerprint(), dict(command.ports), pid=child.pid, started=started
        )
        write_private(self._run / f"{record.name}.json", json.dumps(asdict(record), indent=2) + "\n")

    def require_alive(self, name: str) -> None:
        """Raise `ComponentDied`, or `PortTaken`, with the end of the log when a component does not run."""
        if self.find(name) is not None:
            return
        tail = self.tail(name)
        message = f"{name} ended{self._exit_code(name)}. Its log ends with:\n{tail}\nThe whole log: {self.log(name)}"
        if "address already in use" in tail:
            raise PortTaken(name, message)
        raise ComponentDied(message)

    def stop(self, name: str, deadline: float = STOP_DEADLINE) -> bool:
        """End a component and its strays: SIGTERM, and SIGKILL when one has not ended by the deadline.

        Args:
            name: the component.
            deadline: seconds that it has for an orderly end.

        Returns:
            Whether anything was running.

        Raises:
            StillRunning: it survived SIGKILL.
        """
        recorded = self.find(name)
        running = [*([recorded] if recorded else []), *self.strays().get(name, [])]
        for process in running:
            _end(process, name, deadline)
        (self._run / f"{name}.json").unlink(missing_ok=True)
        return bool(running)

    def tail(self, name: str, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of a component's log."""
        try:
            with self.log(name).open(errors="replace") as file:
                return "".join(f"  {line}" for line in deque(file, maxlen=lines)).rstrip() or "  (the log is empty)"
        except OSError as error:
            return f"  (no log: {error.strerror})"

    def _mark(self, name: str) -> str:
        return f"{self._run}/{name}"

    def _is_same(self, process: psutil.Process, record: Record) -> bool:
        # The mark decides where the clock was set since: start times have moved then.
        moved = abs(process.create_time() - record.started) > _START_TOLERANCE
        return not moved or _mark_of(process) == self._mark(record.name)

    def _exit_code(self, name: str) -> str:
        record = self.record(name)
        child = _children.get(record.pid) if record else None
        return f" with exit code {child.returncode}" if child is not None and child.poll() is not None else ""


def _is_alive(process: psutil.Process) -> bool:
    child = _children.get(process.pid)
    if child is not None and child.poll() is None:
        return True
    try:
        if process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return True
    except psutil.NoSuchProcess:
        return False
    return _has_other_threads(process.pid)


def _has_other_threads(pid: int) -> bool:
    """Tell whether threads of a process outlive its first one, which then already looks like a zombie.

    Until they have ended too, the process holds its ports. Only Linux shows it so.
    """
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False


def _mark_of(process: psutil.Process) -> str:
    try:
        return process.environ().get(_MARK, "")
    except (psutil.Error, OSError):
        return ""  # Somebody else's process, or one that is ending.


def _end(process: psutil.Process, name: str, deadline: float) -> None:
    try:
        process.terminate()
        if not _ends_within(process, deadline):
            process.kill()
            if not _ends_within(process, _KILL_DEADLINE):
                raise StillRunning(f"{name} (pid {process.pid}) does not end, not even by SIGKILL: look at it with ps")
    except psutil.NoSuchProcess:
        pass  # It ended between the look and the signal.


def _ends_within(process: psutil.Process, deadline: float) -> bool:
    def ended() -> bool:
        if _is_alive(process):
            raise NotYet("it still runs")
        return True

    try:
        return until(ended, deadline, f"end of pid {process.pid}", every=0.02)
    except DeadlineExceeded:
        return False
