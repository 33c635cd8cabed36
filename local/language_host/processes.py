"""The processes that the host starts, what they write, and their end."""

import contextlib
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

# The engine gives the host 5 s to end, with all that it has started.
_GRACE_SECONDS = 2.0
_CHUNK = 65536


@dataclass(frozen=True)
class Output:
    """A piece of what a process wrote."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True)
class Exit:
    """The end of a process: its exit code, negative for the signal that ended it."""

    code: int


class Child:
    """A process that is ended, with a grace time, when its request is cancelled.

    It stays in the host's process group, so the engine's signals to the group reach it too.
    """

    def __init__(self, argv: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        """Starts it; `events` tells what it writes."""
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def stop(self) -> None:
        """Interrupts the process, and kills it if it does not end in the grace time. Harmless when it has ended."""
        if self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # Nobody reads the events of a request that was cancelled: without this a dead process would stay on record.
            self._process.wait()

    def events(self) -> Iterator[Output | Exit]:
        """What the process writes, as it writes it, and at last its end."""
        pieces: queue.SimpleQueue[Output | None] = queue.SimpleQueue()
        for name, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr)):
            assert pipe is not None  # noqa: S101 - both are pipes
            threading.Thread(target=_pump, args=(name, pipe, pieces), daemon=True).start()
        open_pipes = 2
        while open_pipes:
            piece = pieces.get()
            if piece is None:
                open_pipes -= 1
            else:
                yield piece
        yield Exit(self._process.wait())


def _pump(name: Literal["stdout", "stderr"], pipe: IO[bytes], pieces: "queue.SimpleQueue[Output | None]") -> None:
    with pipe:
        while data := pipe.read1(_CHUNK):  # type: ignore[attr-defined]
            pieces.put(Output(name, data))
    pieces.put(None)
