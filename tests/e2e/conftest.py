"""The control plane, brought up once and left running, and one stack on it that cleans up after itself."""

from collections.abc import Iterator

import pytest

from local import paths, toolchain
from local.controlplane import ControlPlane
from tests.e2e.stack import ADOPTED, Stack


@pytest.fixture(scope="session")
def plane() -> ControlPlane:
    toolchain.ensure()
    plane = ControlPlane(paths.state_home())
    plane.up()
    return plane


@pytest.fixture(scope="session")
def stack(plane: ControlPlane) -> Iterator[Stack]:
    stack = Stack(plane, plane.layout.state / "e2e")
    with stack.clean(ADOPTED):
        yield stack


@pytest.fixture(scope="session")
def adopted(stack: Stack) -> str:
    """A namespace that was there before the program, with another entry in its ServiceAccount's list."""
    stack.make_namespace(ADOPTED)
    return ADOPTED


@pytest.fixture
def deployed(stack: Stack, adopted: str) -> Stack:
    """The stack as its baseline configuration has it, seeded."""
    assert adopted
    stack.seed_all()
    stack.deployed_as()
    return stack
