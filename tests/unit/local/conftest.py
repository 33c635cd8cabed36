"""The folders and settled ports of a control plane that nobody starts."""

import pytest

from local.controlplane.layout import LISTENERS, Layout
from local.controlplane.ports import Ports


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.fixture
def ports(layout):
    ports = Ports(layout.run / "ports", LISTENERS)
    ports.settle(())
    return ports
