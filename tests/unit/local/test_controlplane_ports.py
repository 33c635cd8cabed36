"""Free ports: kept while nobody else took them."""

import socket

import pytest

from local.controlplane.ports import Ports

LISTENERS = {"store": ("store-client", "store-peer"), "server": ("server",)}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run" / "ports"


@pytest.fixture
def listen():
    sockets = []

    def on(port):
        listener = socket.socket()
        listener.bind(("127.0.0.1", port))
        listener.listen()
        sockets.append(listener)

    yield on
    for listener in sockets:
        listener.close()


def settled(file, running=()):
    ports = Ports(file, LISTENERS)
    ports.settle(running)
    return ports


def everything(ports):
    return {**ports.of("store"), **ports.of("server")}


def test_a_port_that_our_own_component_listens_on_is_kept(file, listen):
    first = everything(settled(file))
    listen(first["server"])
    assert everything(settled(file, running={"server"})) == first


def test_renew_gives_a_component_other_ports(file):
    ports = settled(file)
    first = everything(ports)
    ports.renew("store")
    second = everything(Ports(file, LISTENERS))
    assert second["server"] == first["server"]
    assert not {first["store-client"], first["store-peer"]} & {second["store-client"], second["store-peer"]}


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"server": "x"}', '{"gone": 4}'])
def test_a_damaged_file_is_no_file(file, content):
    file.parent.mkdir()
    file.write_text(content)
    ports = Ports(file, LISTENERS)
    assert not ports.complete()
    ports.settle(())
    assert ports.complete()
    assert set(everything(ports)) == {"store-client", "store-peer", "server"}
