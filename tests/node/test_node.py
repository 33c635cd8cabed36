"""The real node itself: what it leaves alone, and that nothing of it is left, however it ends."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from local import toolchain
from local.controlplane import ControlPlane
from local.controlplane.identities import NODE_NAME
from local.controlplane.layout import NODE, REGISTRIES
from local.controlplane.node import machine
from local.controlplane.node.node import RealNode
from local.controlplane.waiting import NotYet, until
from tests.node.conftest import NodeStack
from tests.node.pulling import APP, SECONDS, Pods

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(600)]

NAMESPACE = "node-auth-dev"
FOREIGN = Path("/run/containerd/containerd.sock")
TUNABLES = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def namespaces(pids: list[int]) -> set[str]:
    """The Linux namespaces that live processes are in."""
    links: set[str] = set()
    for pid in pids:
        with suppress(OSError, psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                links |= {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("mnt", "net", "pid", "cgroup")}
    return links


def left(plane: ControlPlane) -> dict[str, object]:
    """What a node could leave on the machine."""
    name = machine.cgroup_name(plane.layout)
    return {
        "mounts": sorted(line for line in Path("/proc/mounts").read_text().splitlines()),
        "cgroups": [str(root / name) for root in machine.controllers() if (root / name).exists()],
        "tunables": {name: Path("/proc/sys", name).read_text() for name in TUNABLES},
        "links": subprocess.run(["ls", "/sys/class/net"], capture_output=True, text=True, check=True).stdout,
        "folders": [path for path in ("/run/containerd", "/var/lib/kubelet", "/var/log/pods") if Path(path).exists()],
    }


def shims(plane: ControlPlane) -> list[int]:
    """The node's processes, its containers' shims among them."""
    cgroups = [root / machine.cgroup_name(plane.layout) for root in machine.controllers()]
    return sorted(
        {int(pid) for top in cgroups for file in top.rglob("cgroup.procs") for pid in file.read_text().split()}
    )


@pytest.mark.parametrize("ended", ["down", "killed from outside", "containerd killed", "kubelet killed"])
def test_nothing_is_left_however_it_ends(plane: ControlPlane, stack: NodeStack, ended: str) -> None:
    plane.node_down()
    before, others = left(plane), namespaces(psutil.pids())
    node = plane.node_up()
    pods = Pods(stack.admin, node)
    assert pods.pull(NAMESPACE, pods.fresh(APP)).pulled
    assert left(plane) != before
    running = processes_of(plane)
    apart = namespaces(shims(plane)) - others
    assert {link.partition(":")[0] for link in apart} == {"mnt", "net", "pid", "cgroup"}
    assert any(Path(process.exe()).name == "containerd-shim-runc-v2" for process in running)
    if ended == "killed from outside":
        record = next(item for item in plane.status() if item.name == NODE)
        assert record.pid
        os.kill(record.pid, signal.SIGKILL)
    elif ended != "down":
        program = ended.partition(" ")[0]
        next(item for item in running if Path(item.exe()).name == program).kill()
    if ended != "down":
        until(lambda: require_ended(running), SECONDS, "the node's processes ended")
    plane.node_down()
    until(lambda: require_ended(running), SECONDS, "the node's processes ended")
    assert left(plane) == before
    assert not apart & namespaces(psutil.pids())
    assert stack.find(f"/api/v1/nodes/{NODE_NAME}") is None
    plane.node_up()


def processes_of(plane: ControlPlane) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in shims(plane):
        # runc ends as soon as it has started a container.
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            process = psutil.Process(pid)
            if Path(process.exe()).name != "runc":
                found.append(process)
    return found


def require_ended(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=0.1)
    # What nobody has waited for yet holds nothing any more.
    if left_over := [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]:
        raise NotYet(f"{left_over}")


def test_an_up_after_the_node_was_killed_has_its_pods_go_elsewhere(plane: ControlPlane, stack: NodeStack) -> None:
    record = next(item for item in plane.status() if item.name == NODE)
    assert record.pid
    os.kill(record.pid, signal.SIGKILL)
    plane.up()
    assert stack.find(f"/api/v1/nodes/{NODE_NAME}") is None
    assert not any(item["spec"].get("unschedulable") for item in stack.admin.call("GET", "/api/v1/nodes")["items"])
    plane.node_up()


@contextmanager
def foreign_containerd(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A containerd of the machine at its usual place, as Docker and a node of a real cluster have one."""
    FOREIGN.parent.mkdir()
    words = [toolchain.binary("containerd"), "--address", FOREIGN, "--root", state / "root", "--state", state / "state"]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, env={"PATH": ""})
    try:
        until(lambda: require_answer(FOREIGN), SECONDS, "the machine's containerd answers")
        yield process
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(FOREIGN.parent)


def require_answer(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError as error:
            raise NotYet(str(error)) from error


@pytest.mark.skipif(FOREIGN.parent.exists(), reason=f"{FOREIGN.parent} is there: the machine has a containerd")
def test_a_containerd_of_the_machine_is_neither_in_the_way_nor_touched(
    plane: ControlPlane, stack: NodeStack, tmp_path: Path
) -> None:
    plane.node_down()
    with foreign_containerd(tmp_path) as foreign:
        before = sorted(tmp_path.rglob("*"))
        node = plane.node_up()
        pods = Pods(stack.admin, node)
        assert pods.pull(NAMESPACE, pods.fresh(APP)).pulled
        pods.delete()
        plane.node_down()
        require_answer(FOREIGN)
        assert foreign.poll() is None
        assert sorted(tmp_path.rglob("*")) == before
    plane.node_up()


def test_ports_that_somebody_took_while_the_node_was_down_are_replaced(plane: ControlPlane, stack: NodeStack) -> None:
    before = ports_of_registries(plane)
    plane.node_down()
    with ExitStack() as taken:
        for port in before.values():
            listener = taken.enter_context(socket.socket())
            # Connections that the registry has just closed keep its port from whoever does not say this.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        stack.node = plane.node_up()
        pods = Pods(stack.admin, stack.node)
        assert pods.pull(NAMESPACE, pods.fresh(APP)).pulled
        pods.delete()
        after = ports_of_registries(plane)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def ports_of_registries(plane: ControlPlane) -> dict[str, int]:
    return {item.name: port for item in plane.status() if item.name in REGISTRIES for port in item.ports.values()}


def test_the_node_acts_as_itself_alone(plane: ControlPlane, node: RealNode) -> None:
    assert node
    words = [toolchain.binary("kubectl"), "--kubeconfig", plane.kubeconfig(NODE)]

    def kubectl(*more: str) -> str:
        done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    assert f"system:node:{NODE_NAME}" in kubectl("auth", "whoami")
    assert "forbidden" in kubectl("get", "secrets", "--all-namespaces")
    assert "forbidden" in kubectl("create", "namespace", "of-a-node")
    assert "forbidden" in kubectl("label", "node", "kwok-node-1", "mine=true")


def test_registries_and_node_listen_on_loopback_alone(plane: ControlPlane, node: RealNode) -> None:
    assert node
    pids = [item.pid for item in plane.status() if item.name in REGISTRIES and item.pid] + shims(plane)
    addresses: set[str] = set()
    for pid in pids:
        # Shims of earlier tests' Pods end meanwhile.
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(pid).net_connections()
            addresses |= {item.laddr.ip for item in found if item.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_a_user_is_let_in_and_out_while_the_registry_runs(node: RealNode) -> None:
    node.add_user(APP, "guest", "generated-guest")
    assert "guest" in node.users(APP)
    node.revoke(APP, "guest")
    assert "guest" not in node.users(APP)
