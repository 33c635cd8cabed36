"""Builds: complete or absent, one at a time per tool, ended with everything they started, and clear when they fail."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local.toolchain import builder, recipes, store
from local.toolchain.errors import BuildFailed
from local.toolchain.golang import Go
from local.toolchain.progress import BUSY, Phase, Step
from local.toolchain.recipes import Copy, Program, Recipe, Trim

RECIPE = Recipe("hello", "v1.0.0", (Program(".", "hello"),), copies=(Copy("local/data", "notes", "module/notes"),))

# Stands for Go: `list` names the folder of a module, `build` does what the recipe's module folder tells it to.
FAKE_GO = """#!/bin/sh
case "$1" in
  list) echo "$PWD/data"; exit;;
  env) printf '%s\\n' "$USERS_MODULES" "$GOPROXY"; exit;;
  mod) eval "$MOD_DOWNLOAD"; exit;;
esac
while [ "$1" != -o ]; do shift; done
output=$2
. ./behaviour
"""
PROGRAM = "#!/bin/sh\n"
SUCCEED = 'mkdir -p "$(dirname "$output")" && echo "#!/bin/sh" > "$output" && chmod +x "$output"'
HANG = 'mkdir -p "$(dirname "$output")"; echo half > "$output"; sleep 300 & echo $! > "$CHILD_FILE"; wait'


class Silent:
    """Shows nothing, and calls back with the steps."""

    def __init__(self, seen: Callable[[Sequence[Step]], object] = len) -> None:
        self._seen = seen

    def show(self, steps: Sequence[Step]) -> None:
        self._seen(steps)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake recipe's module folder; its file `behaviour` says what building does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CHILD_FILE", str(tmp_path / "child"))
    monkeypatch.setattr(recipes, "MODULES", tmp_path / "modules")
    folder = tmp_path / "modules" / "hello"
    (folder / "data" / "notes").mkdir(parents=True)
    (folder / "data" / "notes" / "a.txt").write_text("kept")
    (folder / "data" / "notes" / "a.txt").chmod(0o444)
    (folder / "behaviour").write_text(SUCCEED)
    return folder


@pytest.fixture
def go(tmp_path: Path) -> Go:
    executable = tmp_path / "go"
    executable.write_text(FAKE_GO)
    executable.chmod(0o755)
    return Go(executable, "go1.26.8", private=False)


@pytest.fixture
def folder(tmp_path: Path, module: Path) -> Path:
    """The tool's final place; asking for it asks for the module too."""
    assert module.is_dir()
    return tmp_path / "cache" / "pull-secrets-local" / "hello" / "v1.0.0-key"


def fast(_: float) -> None:
    time.sleep(0.01)


def build(folder: Path, go: Go, display: Silent | None = None) -> None:
    builder.run({folder: RECIPE}, go, display or Silent(), at_once=2, pause=fast)


def test_a_finished_build_has_its_program_and_its_copies(folder: Path, go: Go) -> None:
    build(folder, go)
    assert os.access(folder / "bin" / "hello", os.X_OK)
    copied = folder / "module" / "notes" / "a.txt"
    assert copied.read_text() == "kept"
    assert os.access(copied.parent, os.W_OK)
    assert list(folder.parent.iterdir()) == [folder]


def _ended(pid: int) -> bool:
    try:
        orphan = psutil.Process(pid)
        return orphan.status() == psutil.STATUS_ZOMBIE or orphan.wait(timeout=10) is None
    except psutil.NoSuchProcess:
        return True


def test_an_interrupted_build_leaves_no_tool_and_no_process(tmp_path: Path, module: Path, folder: Path, go: Go) -> None:
    (module / "behaviour").write_text(HANG)
    child = tmp_path / "child"

    def interrupt_once_it_runs(_: Sequence[Step]) -> None:
        if child.is_file() and child.read_text().strip():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder, go, Silent(interrupt_once_it_runs))
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []
    assert _ended(int(child.read_text()))

    (module / "behaviour").write_text(SUCCEED)
    build(folder, go)
    assert (folder / "bin" / "hello").is_file()


def test_a_polite_kill_ends_the_compiler_too(tmp_path: Path, module: Path, folder: Path, go: Go) -> None:
    (module / "behaviour").write_text(HANG)
    child = tmp_path / "child"
    before = signal.getsignal(signal.SIGTERM)

    def terminate_once_it_runs(_: Sequence[Step]) -> None:
        if child.is_file() and child.read_text().strip():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        build(folder, go, Silent(terminate_once_it_runs))
    assert _ended(int(child.read_text()))
    assert list(folder.parent.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_killed_run_left_is_swept_away_by_the_next(folder: Path, go: Go) -> None:
    left = store.staging(folder.parent)
    (left / "bin").mkdir()
    (left / "bin" / "hello").write_text("half")
    build(folder, go)
    assert not left.exists()
    assert (folder / "bin" / "hello").read_text() == PROGRAM


def test_a_failed_build_names_tool_cause_log_and_remedy_but_no_host(module: Path, folder: Path, go: Go) -> None:
    (module / "behaviour").write_text("echo reading https://user@proxy.example/x/@v/list: 403 Forbidden; exit 7")
    with pytest.raises(BuildFailed) as failure:
        build(folder, go)
    message = str(failure.value)
    for part in ("hello v1.0.0", "exit status 7", "403 Forbidden", str(store.log_file("hello")), "go env GOPROXY"):
        assert part in message
    assert "proxy.example" not in message
    assert not folder.exists()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("write /x/y.a: no space left on device", "is full: make room"),
        ("go: mkdir /x: permission denied", "cannot be written: make it writable, or name another with XDG_CACHE_HOME"),
        ('Get "https://proxy.example/x/@v/v1.zip": EOF', "was not reached or does not serve this module"),
        ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "was not reached"),
        ("verifying m@v1: checksum mismatch", "restore both files from the repository"),
        ("compile: signal: killed", "lack of memory"),
        ("undefined: x", "Read the log"),
    ],
)
def test_a_known_cause_comes_with_its_remedy(module: Path, folder: Path, go: Go, output: str, advice: str) -> None:
    (module / "behaviour").write_text(f"echo '{output}'; exit 1")
    with pytest.raises(BuildFailed, match=advice):
        build(folder, go)


@pytest.mark.parametrize(
    ("content", "cause"),
    [('printf "\\177ELF"', "Exec format error"), ("printf '#!/bin/sh\\nkill -SEGV $$\\n'", "signal 11")],
)
def test_a_program_that_does_not_start_is_not_taken_for_built(
    module: Path, folder: Path, go: Go, content: str, cause: str
) -> None:
    written = f'mkdir -p "$(dirname "$output")" && {content} > "$output" && chmod +x "$output"'
    (module / "behaviour").write_text(written)
    with pytest.raises(BuildFailed, match=rf"hello does not start \(.*{cause}"):
        build(folder, go)
    assert not folder.exists()


DOWNLOADS = {
    # A byte now and then, or work of Go itself, is no hang.
    "hangs": ("sleep 300", "nothing was downloaded for"),
    "slow": (
        'mkdir -p "$GOMODCACHE/cache"; for i in $(seq 12); do echo >> "$GOMODCACHE/cache/m"; sleep 0.2; done',
        "",
    ),
}


@pytest.mark.parametrize(("download", "cause"), DOWNLOADS.values(), ids=DOWNLOADS)
def test_a_download_ends_where_nothing_comes_and_not_where_little_comes(
    monkeypatch: pytest.MonkeyPatch, folder: Path, go: Go, download: str, cause: str
) -> None:
    monkeypatch.setenv("MOD_DOWNLOAD", f"exec sh -c '{download}'")
    recipe = replace(RECIPE, embeds=(Copy("local/data", "notes/a.txt", "embedded.txt"),))

    def run() -> None:
        builder.run({folder: recipe}, go, Silent(), pause=fast, idle_seconds=2)

    if not cause:
        run()
        assert folder.is_dir()
        return
    began = time.monotonic()
    with pytest.raises(BuildFailed, match=rf"{cause} 2 s\.(?s:.*)check the network and `go env GOPROXY`"):
        run()
    assert time.monotonic() - began >= 2
    assert list(folder.parent.iterdir()) == []


def test_a_module_without_the_wanted_file_fails_with_its_name(module: Path, folder: Path, go: Go) -> None:
    (module / "data" / "notes" / "a.txt").unlink()
    (module / "data" / "notes").rmdir()
    with pytest.raises(BuildFailed, match="notes is not in the module local/data"):
        build(folder, go)
    assert not folder.exists()


def test_a_tool_that_another_process_is_building_is_waited_for_and_not_built_again(
    module: Path, folder: Path, go: Go
) -> None:
    (module / "behaviour").write_text("exit 9")
    held = store.try_lock("hello")
    assert held is not None
    phases: list[Phase] = []

    def the_other_process(steps: Sequence[Step]) -> None:
        phases.append(steps[0].phase)
        if not folder.exists():
            folder.mkdir(parents=True)
            held.close()

    build(folder, go, Silent(the_other_process))
    assert phases[0] is Phase.LOCKED
    assert phases[-1] is Phase.BUILT


def test_no_more_builds_run_at_once_than_allowed(tmp_path: Path, module: Path, folder: Path, go: Go) -> None:
    (module / "behaviour").write_text(f"{SUCCEED}; sleep 0.2")
    others = {}
    for name in ("one", "two", "three"):
        (tmp_path / "modules" / name).symlink_to(module)
        others[folder.parent.parent / name / "key"] = Recipe(name, "v1", (Program(".", name),))
    most: list[int] = []
    display = Silent(lambda steps: most.append(sum(step.phase in BUSY for step in steps)))
    builder.run(others, go, display, at_once=2, pause=fast)
    assert max(most) == 2
    assert all(place.is_dir() for place in others)


@pytest.mark.parametrize(("processors", "builds"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_builds_at_once_follow_the_processors(processors: int, builds: int) -> None:
    assert builder.parallel_builds(processors) == builds


EMBEDDING = replace(
    RECIPE,
    embeds=(Copy("local/data", "notes/a.txt", "embedded.txt"),),
    trims=(Trim("local/data", "notes/register.go", '"uses/(?!kept)', lines=2),),
)
REGISTER = 'import (\n\t_ "uses/kept"\n\t_ "uses/one"\n\t_ "uses/two"\n)\n'


@pytest.fixture
def register(module: Path) -> Path:
    """A file of the required module that the recipe leaves two lines of out."""
    file = module / "data" / "notes" / "register.go"
    file.write_text(REGISTER)
    file.chmod(0o444)
    return file


def test_a_recipe_is_built_beside_what_it_embeds_and_with_trimmed_copies_of_modules(
    module: Path, register: Path, folder: Path, go: Go
) -> None:
    (module / "go.mod").write_text("module local/hello\n")
    keep = 'mkdir -p "$output.seen" && cp -r embedded.txt go.mod trimmed "$output.seen"'
    (module / "behaviour").write_text(f"{SUCCEED}; {keep}")
    builder.run({folder: EMBEDDING}, go, Silent(), at_once=1, pause=fast)
    seen = folder / "bin" / "hello.seen"
    assert (seen / "embedded.txt").read_text() == "kept"
    assert (seen / "go.mod").read_text() == "module local/hello\n\nreplace local/data => ./trimmed/0\n"
    assert (seen / "trimmed/0/notes/register.go").read_text() == 'import (\n\t_ "uses/kept"\n)\n'
    assert register.read_text() == REGISTER
    assert sorted(path.name for path in folder.iterdir()) == ["bin", "build.json", "module"]
    assert not (module / "trimmed").exists()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda file: file.unlink(), "notes/register.go is not in the module local/data"),
        (lambda file: file.write_text(REGISTER.replace("two", "kept/two")), "has 1 lines to leave out and not 2"),
        (lambda file: file.write_text(REGISTER + REGISTER), "has 4 lines to leave out and not 2"),
    ],
)
def test_a_module_that_has_changed_is_not_built_whole_or_by_guess(
    register: Path, folder: Path, go: Go, change: Callable[[Path], object], cause: str
) -> None:
    register.chmod(0o644)
    change(register)
    with pytest.raises(BuildFailed, match=cause) as failure:
        builder.run({folder: EMBEDDING}, go, Silent(), at_once=1, pause=fast)
    assert "local/toolchain/recipes.py" in str(failure.value)
    assert not folder.exists()
