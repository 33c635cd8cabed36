"""The control plane as a whole, as far as it goes without its programs."""

import threading
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from local import paths
from local.__main__ import app
from local.controlplane import COMPONENTS, ControlPlane, NotYet, until
from local.controlplane.layout import PUBLIC_REGISTRY
from local.controlplane.plane import Interrupted
from local.controlplane.processes import ComponentDied, PortTaken


@pytest.fixture
def plane(tmp_path):
    return ControlPlane(tmp_path / "state")


@pytest.fixture
def command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "state_home", lambda: tmp_path / "state")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_before_the_first_up_every_component_says_that_it_was_never_started(plane):
    components = plane.status()
    assert [component.name for component in components] == list(COMPONENTS)
    assert {component.cause for component in components} == {"never started"}
    assert not any(component.healthy for component in components)


def test_status_makes_nothing(plane):
    plane.status()
    assert not plane.layout.state.exists()


@pytest.mark.parametrize("method", ["start", "stop", "log"])
def test_an_unknown_component_is_named_with_those_that_there_are(plane, method):
    with pytest.raises(Exception, match=r"no component 'eso': there are etcd, kube-apiserver, .*external-secrets"):
        getattr(plane, method)("eso")


def test_a_failure_ends_the_waits_of_the_others_and_is_the_error_whoever_ends_first(plane):
    def fails():
        raise ComponentDied("etcd ended")

    def waits():
        def check():
            if plane._failed.is_set():
                raise Interrupted("no longer waited for")
            raise NotYet("not ready")

        until(check, 30, "ready")

    with pytest.raises(ComponentDied, match="etcd ended"):
        plane._together(waits, lambda: plane._together(waits, fails))


@pytest.fixture
def parts(ports):
    return SimpleNamespace(ports=ports, identities=SimpleNamespace(write_users=lambda: None))


@pytest.mark.parametrize(("times", "tries"), [(0, 1), (2, 3)])
def test_a_port_that_is_taken_between_choice_and_start_is_replaced_and_the_start_tried_again(
    plane, parts, times, tries
):
    tried = []

    def start():
        tried.append(parts.ports[PUBLIC_REGISTRY])
        if len(tried) <= times:
            raise PortTaken(PUBLIC_REGISTRY, "bind: address already in use")

    plane._on_free_ports(parts, start)
    assert len(set(tried)) == len(tried) == tries


def test_a_port_that_is_taken_again_and_again_is_an_error(plane, parts):
    def start():
        raise PortTaken(PUBLIC_REGISTRY, "bind: address already in use")

    with pytest.raises(ComponentDied, match="already in use"):
        plane._on_free_ports(parts, start)


def test_two_commands_on_one_state_folder_take_turns(plane):
    order = []

    def second():
        with ControlPlane(plane.layout.state)._locked():
            order.append("second")

    with plane._locked():
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_env_prints_the_file_to_source_and_not_the_credential_in_it(command_line, plane):
    plane.layout.state.mkdir()
    plane.layout.environment[0].write_text("export VAULT_TOKEN=s.secret\n")
    done = command_line("env")
    assert done.exit_code == 0
    assert done.stdout == f". {plane.layout.environment[0]}\n"


def test_env_before_the_first_up_says_what_to_run(command_line):
    done = command_line("env")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "the control plane was never up, run `make up`" in done.stderr


def test_status_exits_with_1_when_something_is_down(command_line):
    done = command_line("status")
    assert done.exit_code == 1
    for component in COMPONENTS:
        assert component in done.stdout
    assert "no: never started" in done.stdout


def test_down_says_when_nothing_was_running(command_line):
    done = command_line("down")
    assert done.exit_code == 0
    assert "nothing was running" in done.stderr
