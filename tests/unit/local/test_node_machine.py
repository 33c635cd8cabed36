"""What a machine that cannot run a real node is told: one cause, and what would help."""

from pathlib import Path

import pytest

from local import toolchain
from local.controlplane.layout import Layout
from local.controlplane.node import machine
from local.toolchain import BuildFailed, distribution


@pytest.fixture
def fitting(monkeypatch, tmp_path):
    """A machine with everything, as far as is looked at."""
    monkeypatch.setattr(toolchain, "runs_nodes", lambda: True)
    monkeypatch.setattr(toolchain, "ensure_runc", lambda: None)
    monkeypatch.setattr(toolchain, "runc", lambda: Path("/usr/sbin/runc"))
    monkeypatch.setattr(toolchain, "has_seccomp", lambda _: True)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine, "controllers", lambda: [tmp_path])
    monkeypatch.setattr(machine, "HIDDEN", ("/run",))
    monkeypatch.setattr(machine, "TRIAL", ("true",))
    filesystems = tmp_path / "filesystems"
    filesystems.write_text("nodev\tproc\nnodev\toverlay\n")
    monkeypatch.setattr(machine, "FILE_SYSTEMS", filesystems)
    return Layout(tmp_path / "state")


def no_apt():
    raise BuildFailed("runc is missing, and this machine has no apt to get it with")


CASES = {
    "not root": (toolchain, "runs_nodes", lambda: False, "needs Linux and root"),
    "no unshare": (machine.shutil, "which", lambda name: None if name == "unshare" else name, "unshare not found"),
    "no overlay": (machine, "FILE_SYSTEMS", Path("/proc/self/comm"), "modprobe overlay"),
    "no cgroups": (machine, "controllers", list, "no cgroup controllers"),
    "not privileged": (machine, "TRIAL", ("sh", "-c", "echo not permitted >&2; exit 1"), "privileged: not permitted"),
    "state in a hidden folder": (machine, "HIDDEN", ("/",), "which the node hides from itself"),
    "no runc": (toolchain, "ensure_runc", no_apt, "runc is missing"),
    "runc without seccomp": (toolchain, "has_seccomp", lambda _: False, "built without seccomp"),
}


def test_a_machine_with_everything_is_supported(fitting):
    machine.require_supported(fitting)


@pytest.mark.parametrize(("where", "what", "instead", "said"), CASES.values(), ids=CASES)
def test_what_is_missing_is_said(fitting, monkeypatch, where, what, instead, said):
    monkeypatch.setattr(where, what, instead)
    with pytest.raises(machine.NodeUnsupported, match=said):
        machine.require_supported(fitting)


@pytest.fixture
def hierarchies(tmp_path):
    """Makes what is mounted as cgroups: a file of processes in each folder."""

    def make(*folders):
        for folder in folders:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "cgroup.procs").touch()
        return tmp_path

    return make


def test_cgroups_of_version_1_are_a_hierarchy_for_each_controller(hierarchies, tmp_path):
    root = hierarchies("cpu,cpuacct", "memory")
    (root / "cpu").symlink_to("cpu,cpuacct")
    (root / "not-a-hierarchy").mkdir()
    assert machine.controllers(root) == [tmp_path / "cpu,cpuacct", tmp_path / "memory"]


def test_cgroups_of_version_2_are_one_hierarchy(hierarchies, tmp_path):
    root = hierarchies(".", "system.slice")
    (root / "cgroup.controllers").touch()
    assert machine.controllers(root) == [tmp_path]


def test_cgroups_that_cannot_be_written_are_none(hierarchies, monkeypatch):
    # Root may write whatever its mode says, but for a file system that is mounted read-only.
    monkeypatch.setattr(machine, "_writable", lambda path: path.name == "memory")
    assert [path.name for path in machine.controllers(hierarchies("cpu", "memory"))] == ["memory"]


def test_cgroups_of_a_node_that_is_gone_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "controllers", lambda: [tmp_path / "cpu", tmp_path / "memory"])
    layout = Layout(tmp_path / "state")
    for root in machine.controllers():
        (root / machine.cgroup_name(layout) / "k8s.io" / "abc").mkdir(parents=True)
        (root / "others").mkdir()
    machine.remove_cgroups(layout)
    machine.remove_cgroups(layout)
    assert sorted(path.name for root in machine.controllers() for path in root.iterdir()) == ["others", "others"]


def test_two_clones_have_cgroups_of_their_own(tmp_path):
    assert machine.cgroup_name(Layout(tmp_path / "a")) != machine.cgroup_name(Layout(tmp_path / "b"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [('{"linux": {"seccomp": {"enabled": true}}}', True), ('{"linux": {"seccomp": {}}}', False), ("unknown", False)],
)
def test_whether_runc_knows_seccomp_is_what_it_says_of_itself(tmp_path, answer, expected):
    program = tmp_path / "runc"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o700)
    assert distribution.has_seccomp(program) is expected


def test_without_apt_the_way_to_runc_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(distribution.shutil, "which", lambda _: None)
    with pytest.raises(BuildFailed, match="no apt to get it with: run `apt-get install runc`"):
        distribution.ensure_runc()
    with pytest.raises(toolchain.ToolMissing, match="apt-get install runc"):
        distribution.runc()
