"""Commands of the interpreter that begins with modules loaded do what those of the interpreter do."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.controlplane.waiting import NotYet, until
from tests import preloaded

TELLS = """
import json, os, sys
told = [sys.argv, sys.path[0], os.getcwd(), os.environ["ASKED"], sys.stdin.read(), "colorsys" in sys.modules]
print(json.dumps(told))
sys.exit(len(sys.argv))
"""
WAITS = """
import os, sys, time
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def python() -> str:
    return str(preloaded.environment("colorsys") / "bin" / "python")


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "ASKED": "yes"}
    return subprocess.run(
        command, cwd=folder, env=variables, input='{"a": 1}', capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["tells.py", "--option", "a word"],
        ["-u", "-P", "tells.py"],
        ["-m", "tells", "word"],
        ["-m", "json.tool"],
        ["-m", "json.tool", "absent"],
        ["fails.py"],
        ["-c", "import sys; print(sys.argv)", "word"],
        ["-I", "-m", "json.tool"],
    ],
)
def test_streams_and_exit_code_are_the_interpreters(python: str, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    (tmp_path / "fails.py").write_text("raise SystemExit('it failed')")
    real, ours = (run(program, *arguments, folder=tmp_path) for program in (sys.executable, python))
    assert (ours.returncode, ours.stderr) == (real.returncode, real.stderr)
    assert ours.stdout.replace("true", "false") == real.stdout


def test_modules_are_loaded_before(python: str, tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    assert json.loads(run(python, "tells.py", folder=tmp_path).stdout)[-1] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_ends_with_its_client(python: str, tmp_path: Path, number: int) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    with subprocess.Popen([python, str(tmp_path / "waits.py")], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        process = int(client.stdout.readline())
        assert process != client.pid
        client.send_signal(number)
        assert client.wait(60) == -number

    def ended() -> None:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        raise NotYet(f"{process} still runs")

    until(ended, 60, "the command ended")


def test_a_command_ends_with_whoever_started_it(python: str, tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    shell = ["sh", "-c", f"{python} {tmp_path / 'waits.py'}; true"]
    with subprocess.Popen(shell, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdout.readline()
        parent.kill()
        assert parent.stdout.read() == "", "nobody holds the stream any more"


def test_without_a_server_it_is_the_interpreter(python: str, tmp_path: Path) -> None:
    script = Path(python).read_text().replace("/socket", "/absent")
    (tmp_path / "python").write_text(script)
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "tells.py").write_text(TELLS)
    done = run(str(tmp_path / "python"), "tells.py", folder=tmp_path)
    assert (done.returncode, json.loads(done.stdout)[-1]) == (1, False)
