"""The cluster that each test breaks in its own way."""

import pytest

from tests.unit.doctor.tenants import World, healthy


@pytest.fixture
def world() -> World:
    """Declared and labelled tenants, all of them delivered and bound."""
    return healthy()
