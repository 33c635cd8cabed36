"""No plugin outlives the engine that started it, however that ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local import paths
from local.controlplane.waiting import NotYet, until

GUARD = paths.repository() / "local" / "language_host" / "guard.py"

# Stands for the engine: starts the plugin in a process group of its own, as the engine does, and says its pid.
ENGINE = """
import subprocess, sys
plugin = subprocess.Popen(sys.argv[1:], process_group=0)
print(plugin.pid, flush=True)
plugin.wait()
"""


@pytest.fixture
def engine():
    started = []

    def start(*argv: str, cwd: Path | None = None):
        command = [sys.executable, "-c", ENGINE, *argv]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd)
        started.append(process)
        assert process.stdout is not None
        return process, psutil.Process(int(process.stdout.readline())), process.stdout

    yield start
    for process in started:
        process.kill()
        process.wait()


def is_gone(process: psutil.Process) -> None:
    if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        raise NotYet("it runs")


def test_a_module_ends_with_the_engine_and_takes_what_it_started_along(engine, tmp_path):
    (tmp_path / "plugin.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    process, plugin, output = engine(sys.executable, "-P", str(GUARD), "module", "plugin", cwd=tmp_path)
    child = psutil.Process(int(output.readline()))
    process.send_signal(signal.SIGKILL)
    until(lambda: is_gone(plugin), 10, "the plugin is gone")
    until(lambda: is_gone(child), 10, "what it started is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such programs watch the engine themselves")
def test_a_program_of_others_ends_with_the_engine(engine, tmp_path):
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    program.chmod(0o755)
    process, plugin, output = engine(sys.executable, "-P", str(GUARD), "program", str(program))
    assert output.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    until(lambda: is_gone(plugin), 10, "the program is gone")


def test_a_module_sees_its_arguments_and_the_working_directory_as_under_python_m(tmp_path):
    (tmp_path / "neighbour.py").write_text("NAME = 'found'\n")
    (tmp_path / "plugin.py").write_text(
        "import sys, neighbour\nassert __name__ == '__main__'\nprint(neighbour.NAME, *sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", GUARD, "module", "plugin", "a", "b"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "found a b\n"
