"""The dynamic providers: what of their own state makes an update."""

from typing import Any

import pytest
from pulumi.dynamic import ResourceProvider

from pullsecrets.components import image_pull_secret_binding, kv_metadata

BINDING = {"namespace": "shop", "service_accounts": ["default"], "secrets": ["app"], "labels": {}}
METADATA = {"mount": "secret", "path": "app", "custom": {}, "max_versions": 10}


@pytest.mark.parametrize(
    ("provider", "props"),
    [(image_pull_secret_binding._Provider(), BINDING), (kv_metadata._Provider(), METADATA)],
)
def test_code_that_moved_is_written_to_state_so_that_it_is_found_when_the_resource_is_deleted(
    provider: ResourceProvider, props: dict[str, Any]
) -> None:
    found = provider.diff("id", {**props, "__provider": "where it was"}, {**props, "__provider": "where it is"})
    assert found.changes
    assert not found.replaces
