"""What starts, finds and ends the processes of the local control plane, tried on real processes."""

import stat
import subprocess
import sys

import pytest

from local.controlplane.processes import Command, ComponentDied, PortTaken, Processes
from local.controlplane.waiting import NotYet, until

FOREVER = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path / "run", tmp_path / "logs")
    yield made
    made.stop("part")


def python(code, name="part", **more):
    return Command(name, (sys.executable, "-c", code), **more)


def started(processes, command):
    processes.start(command)
    return until_logged(processes, command.name, "ready")


def until_logged(processes, name, text):
    def logged():
        if text not in processes.log(name).read_text():
            raise NotYet(f"{text!r} not logged")

    until(logged, 10, f"{text!r} in the log of {name}")
    return processes.find(name)


def until_ended(processes, name):
    def ended():
        if processes.find(name):
            raise NotYet("it runs")

    until(ended, 10, f"end of {name}")


def test_nothing_of_the_callers_environment_reaches_it(processes, monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", "of-the-caller")
    process = started(processes, python(FOREVER, environment={"GIVEN": "1"}))
    environment = process.environ()
    assert environment["GIVEN"] == "1"
    assert "VAULT_TOKEN" not in environment


def test_what_ignores_sigterm_is_killed_after_the_deadline(processes):
    process = started(processes, python(STUBBORN))
    assert processes.stop("part", deadline=0.2)
    assert not process.is_running()


def test_a_stranger_with_the_recorded_pid_is_neither_found_nor_ended(processes, tmp_path):
    started(processes, python(FOREVER))
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        record = tmp_path / "run" / "part.json"
        ours = processes.find("part")
        # As after a reboot: the pid went to somebody else, who started at another time.
        record.write_text(
            record.read_text().replace(str(ours.pid), str(stranger.pid)).replace('"started": ', '"started": 1')
        )
        assert processes.find("part") is None
        processes.stop("part")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_clock_that_was_set_does_not_lose_a_process(processes, tmp_path):
    process = started(processes, python(FOREVER))
    record = tmp_path / "run" / "part.json"
    record.write_text(record.read_text().replace('"started": ', '"started": 1'))
    assert processes.find("part").pid == process.pid


def test_a_recorded_process_is_no_stray(processes):
    started(processes, python(FOREVER))
    assert processes.strays() == {}


def test_processes_of_another_state_folder_are_no_strays(processes, tmp_path):
    started(processes, python(FOREVER))
    other = Processes(tmp_path / "other" / "run", tmp_path / "other" / "logs")
    assert other.strays() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "part"}'])
def test_a_damaged_record_is_no_record(processes, tmp_path, content):
    (tmp_path / "run" / "part.json").write_text(content)
    assert processes.record("part") is None
    assert processes.find("part") is None
    assert not processes.stop("part")


def test_the_end_of_a_process_is_told_with_its_exit_code_and_log(processes):
    processes.start(python("import sys; print('cannot open the thing'); sys.exit(3)"))
    until_ended(processes, "part")
    with pytest.raises(ComponentDied, match=r"(?s)part ended with exit code 3\..*cannot open the thing.*part\.log"):
        processes.require_alive("part")


def test_a_taken_port_is_told_apart(processes):
    processes.start(python("import sys; sys.exit('listen tcp 127.0.0.1:1: bind: address already in use')"))
    until_ended(processes, "part")
    with pytest.raises(PortTaken) as raised:
        processes.require_alive("part")
    assert raised.value.component == "part"


def test_a_program_that_is_not_there_is_named(processes):
    with pytest.raises(ComponentDied, match="cannot execute /not/there: No such file or directory"):
        processes.start(Command("part", ("/not/there",)))


def test_the_log_before_is_kept(processes):
    started(processes, python("print('first', 'ready', flush=True); import signal; signal.pause()"))
    processes.stop("part")
    started(processes, python("print('second', 'ready', flush=True); import signal; signal.pause()"))
    assert "second" in processes.log("part").read_text()
    assert "first" in processes.log("part").with_name("part.log.1").read_text()


def test_records_and_logs_are_private(processes, tmp_path):
    started(processes, python(FOREVER))
    for file in (tmp_path / "run" / "part.json", tmp_path / "logs" / "part.log"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_runs_as_a_command_until_arguments_environment_or_an_input_change(processes, tmp_path):
    file = tmp_path / "input"
    file.write_text("one")
    command = python(FOREVER, inputs=(file,), environment={"A": "1"})
    started(processes, command)
    assert processes.runs_as(command)
    assert not processes.runs_as(python(FOREVER + " ", inputs=(file,), environment={"A": "1"}))
    assert not processes.runs_as(python(FOREVER, inputs=(file,), environment={"A": "2"}))
    file.write_text("two")
    assert not processes.runs_as(command)
    file.unlink()
    assert not processes.runs_as(command)
