"""The engine of the policy tests: the real `pulumi`, a home of its own, and no login."""

import pytest

from local import pulumi_home
from tests.policies.engine import Engine, environment


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    state = tmp_path_factory.mktemp("engine")
    assembled = pulumi_home.assemble(state)
    backend = state / "backend"
    backend.mkdir()
    return Engine(environment(assembled.home, assembled.shims, backend), state)
