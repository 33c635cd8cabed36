"""Builds recipes a few at a time, each in its own process group, and leaves nothing half-written behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import psutil

from local import paths
from local.toolchain import golang, sources, store, timings
from local.toolchain.errors import BuildFailed
from local.toolchain.golang import Go
from local.toolchain.progress import BUSY, Display, Phase, Step
from local.toolchain.recipes import Recipe
from local.toolchain.timings import Timing

_TAIL_LINES: Final = 25
_POLL_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 5.0
_MOST_AT_ONCE: Final = 4
_URL: Final = re.compile(r"(https?://)[^\s/\"']+")

_CAUSES: Final = (
    (
        re.compile(r"no space left on device", re.IGNORECASE),
        "The disk of {cache} is full: make room (while they run the builds need some {gigabytes} GB)",
    ),
    (
        re.compile(r"permission denied|read-only file system|not a directory|file exists", re.IGNORECASE),
        "The cache folder {cache} cannot be written: make it writable, or name another with XDG_CACHE_HOME",
    ),
    (
        re.compile(
            r"dial tcp|no such host|connection (refused|reset)|i/o timeout|TLS handshake|\bEOF\b|403 Forbidden|"
            r"404 Not Found|\b5\d\d \w+|module lookup disabled|nothing was downloaded"
        ),
        "The Go module proxy was not reached or does not serve this module: check the network and `go env GOPROXY`",
    ),
    (
        re.compile(r"missing go\.sum entry|updates to go\.mod needed|checksum mismatch"),
        "go.mod and go.sum of the module do not fit together: restore both files from the repository",
    ),
    (re.compile(r"signal: killed"), "The compiler was killed, most often for lack of memory: close other programs"),
)
_NEEDED_GIGABYTES: Final = 15
_TRIAL_SECONDS: Final = 60.0
# Go itself waits forever for a proxy that holds a connection open and sends nothing.
_IDLE_SECONDS: Final = 120.0
_LOOKS_IN_IDLE_TIME: Final = 20


def advice(text: str) -> str:
    """Return what to do about a build that failed with this output."""
    known = next((known for pattern, known in _CAUSES if pattern.search(text)), "Read the log")
    return (
        known.format(cache=paths.cache_home(), gigabytes=_NEEDED_GIGABYTES)
        + ", then run `make build` again; it goes on from where this one stopped."
    )


def parallel_builds(processors: int | None = None) -> int:
    """Return how many builds run at once: one per processor, and few enough that linking them fits into memory."""
    return max(1, min(processors or os.cpu_count() or 1, _MOST_AT_ONCE))


class Build:
    """One recipe on its way into the cache: its lock, its staging folder, its log and the command that runs."""

    def __init__(
        self, recipe: Recipe, folder: Path, go: Go, variables: Mapping[str, str], idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        """Prepare to build `recipe` into `folder`, its final place, with `go` and its variables. Nothing starts yet.

        A download that gets no further for `idle_seconds` fails.
        """
        self.step = Step(recipe.title, store.log_file(recipe.name))
        self._recipe = recipe
        self._folder = folder
        self._go = go
        self._variables = variables
        self._lock: IO[str] | None = None
        self._staging: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._work: Iterator[list[str]] = iter(())
        self._cpu_seconds = 0.0
        self._idle_seconds = idle_seconds
        self._progress: tuple[int, int] = (0, 0)
        self._progressed = self._looked = time.monotonic()

    def start(self) -> None:
        """Start the work, unless another process is building this tool or has just finished it."""
        self._lock = store.try_lock(self._recipe.name)
        if self._lock is None:
            self.step.enter(Phase.LOCKED)
            return
        store.sweep(self._folder.parent)
        if self._folder.is_dir():
            self._finish()
            return
        self.step.enter(Phase.DOWNLOADING)
        self._staging = store.staging(self._folder.parent)
        self._temporary.mkdir()
        self.step.log.parent.mkdir(parents=True, exist_ok=True)
        self.step.log.write_bytes(b"")
        self._work = self._commands(self._staging)
        self._next()

    def poll(self) -> None:
        """Look whether the running command has ended, and go on if so. Raises BuildFailed if it failed, or hangs."""
        if self._process is None:
            return
        ended, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if not ended:
            if self.step.phase is Phase.DOWNLOADING:
                self._require_progress(self._process.pid)
            return
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._cpu_seconds += usage.ru_utime + usage.ru_stime
        failed = self._process.returncode != 0
        self._process = None
        if failed:
            raise self._failure(f"exit status {os.waitstatus_to_exitcode(status)}")
        self._next()

    def _require_progress(self, pid: int) -> None:
        """Fail where neither a byte has come nor Go has worked for a while."""
        now = time.monotonic()
        if now - self._looked < self._idle_seconds / _LOOKS_IN_IDLE_TIME:
            return
        self._looked = now
        spent = psutil.Process(pid).cpu_times()
        found = (store.size(golang.downloads().parent), round(spent.user + spent.system))
        if found != self._progress:
            self._progress, self._progressed = found, now
        elif now - self._progressed > self._idle_seconds:
            raise self._failure(f"nothing was downloaded for {self._idle_seconds:.0f} s")

    def _next(self) -> None:
        """Start the next command; without one, the tool is complete."""
        try:
            command = next(self._work, None)
        except sources.SourceChanged as error:
            raise self._failure(str(error)) from error
        if command is None:
            self._finish()
            return
        self._progressed = time.monotonic()
        with self.step.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._go.executable), *command],
                cwd=self._source,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this process alone, which then ends the compiler and everything that it started.
                process_group=0,
            )

    def _commands(self, staging: Path) -> Iterator[list[str]]:
        """Yield Go's commands one after the other; what is done between two of them stands between them."""
        recipe, source = self._recipe, self._source
        downloaded = store.size(golang.downloads())
        sources.lay(recipe, source)
        if wanted := sources.modules(recipe):
            yield ["mod", "download", *wanted]
            sources.complete(recipe, source, self._module_folder)
        if recipe.programs:
            # Loads every package and with it just the modules that the build needs; says nothing.
            yield ["list", "-deps", "-f", "{{with .Name}}{{end}}", *recipe.flags, *self._packages]
        downloaded = store.size(golang.downloads()) - downloaded
        self.step.enter(Phase.BUILDING)
        if recipe.programs:
            yield self._compile(staging / "bin")
        for program in recipe.programs:
            self._try(staging / "bin" / program.name)
        for copy in recipe.copies:
            found = sources.found(copy.module, self._module_folder(copy.module), copy.source)
            store.copy(found, staging / copy.target, executable=copy.executable)
        timings.write(staging, Timing(self._cpu_seconds, self.step.seconds, downloaded))
        for scratch in (source, self._temporary):
            shutil.rmtree(scratch)
        store.publish(staging, self._folder)

    def _try(self, program: Path) -> None:
        """Start a new program once. What it makes of `--help` is its own; one that is not whole does not get there."""
        with self.step.log.open("ab") as log:
            try:
                ended = subprocess.run(
                    [program, "--help"],
                    cwd=self._temporary,
                    env={"HOME": str(self._temporary), "PATH": os.environ.get("PATH", "")},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=_TRIAL_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise self._failure(f"{program.name} does not start ({error})") from error
        if ended.returncode < 0:
            raise self._failure(f"{program.name} does not start (signal {-ended.returncode})")

    def stop(self) -> None:
        """End the compiler if it runs, drop what it has written, and let go of the lock."""
        if self._process is not None:
            _end_group(self._process)
            self._process = None
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
        self._release()

    @property
    def _source(self) -> Path:
        """The folder that the recipe is built in."""
        assert self._staging is not None  # noqa: S101 - nothing runs before `start` has made it
        return self._staging / "source"

    @property
    def _temporary(self) -> Path:
        """The folder of Go's temporary files: in ours, so that those of a killed build are swept away with it."""
        return self._source.parent / "tmp"

    @property
    def _environment(self) -> dict[str, str]:
        return {**self._variables, "GOTMPDIR": str(self._temporary)}

    @property
    def _packages(self) -> list[str]:
        return [program.package for program in self._recipe.programs]

    def _finish(self) -> None:
        self._staging = None
        self.step.enter(Phase.BUILT)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _compile(self, destination: Path) -> list[str]:
        programs = self._recipe.programs
        variables = " ".join(f"-X {name}={value}" for name, value in self._recipe.variables)
        # One program gets the name that the recipe gives it; Go names several after their folders.
        output = str(destination / programs[0].name) if len(programs) == 1 else f"{destination}{os.sep}"
        return [
            "build",
            "-v",
            *self._recipe.flags,
            f"-ldflags=-s -w {variables}".rstrip(),
            "-o",
            output,
            *self._packages,
        ]

    def _module_folder(self, module: str) -> Path:
        asked = subprocess.run(
            [self._go.executable, "list", "-m", "-f", "{{.Dir}}", module],
            cwd=self._source,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode != 0 or not asked.stdout.strip():
            with self.step.log.open("a", encoding="utf-8") as log:
                log.write(asked.stderr)
            raise self._failure(f"the module {module} is not at hand")
        return Path(asked.stdout.strip())

    def _failure(self, cause: str) -> BuildFailed:
        text = self.step.log.read_text(encoding="utf-8", errors="replace")
        tail = "\n".join(f"  {line}" for line in _without_hosts(text).splitlines()[-_TAIL_LINES:])
        return BuildFailed(
            f"Building {self._recipe.title} failed: {cause}.\n{tail}\nWhole log: {self.step.log}\n"
            f"{advice(f'{text}{cause}')}"
        )


def _without_hosts(text: str) -> str:
    """Hide whose proxy the user builds through; the log file has it."""
    return _URL.sub(r"\1<host>", text)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a child and its children: asked first, so that Go removes its own temporary folder, then forced."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_GRACE_SECONDS)
    # The group outlives its leader while anything in it has not heeded the request.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Treat a polite kill and a closed terminal as Ctrl-C for the block, so that both end the compilers too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        del frame
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    missing: Mapping[Path, Recipe],
    go: Go,
    display: Display,
    at_once: int | None = None,
    pause: Callable[[float], None] = time.sleep,
    idle_seconds: float = _IDLE_SECONDS,
) -> None:
    """Build every recipe in `missing` (final folder to recipe), `at_once` at a time; see `Build` for the idle time.

    Raises BuildFailed for the first that fails. However it ends, no compiler is left running and no folder is left
    half-written; what Go has compiled so far stays in its cache and makes the next run short.
    """
    variables = golang.environment(go, os.environ)
    builds = [Build(recipe, folder, go, variables, idle_seconds) for folder, recipe in missing.items()]
    steps = [build.step for build in builds]
    with _termination_interrupts():
        try:
            while any(step.phase is not Phase.BUILT for step in steps):
                _advance(builds, at_once or parallel_builds())
                display.show(steps)
                pause(_POLL_SECONDS)
        finally:
            for build in builds:
                build.stop()
    display.show(steps)


def _advance(builds: Sequence[Build], at_once: int) -> None:
    """Look after the running builds, then start what there is room for: one download at a time, to tell whose it is."""
    for build in builds:
        build.poll()
    for build in builds:
        phases = [other.step.phase for other in builds]
        free = sum(phase in BUSY for phase in phases) < at_once and Phase.DOWNLOADING not in phases
        if free and build.step.phase in {Phase.QUEUED, Phase.LOCKED}:
            build.start()
