"""The dynamic providers: what of their own state makes an update."""

from typing import Any

import pytest

from pullsecrets.components import image_pull_secret_binding, kv_metadata, namespace_opt_in

OPT_IN: dict[str, Any] = {"namespace": "shop", "labels": {}, "annotations": {}}
BINDING: dict[str, Any] = {"namespace": "shop", "service_accounts": [], "secrets": [], "labels": {}}
METADATA: dict[str, Any] = {"mount": "secret", "path": "app", "custom": {}, "max_versions": 10}


@pytest.mark.parametrize(
    ("module", "props"), [(namespace_opt_in, OPT_IN), (image_pull_secret_binding, BINDING), (kv_metadata, METADATA)]
)
def test_code_that_moved_is_written_to_state_so_that_it_is_found_when_the_resource_is_deleted(
    module: Any, props: dict[str, Any]
) -> None:
    found = module._Provider().diff(
        "id", {**props, "__provider": "where it was"}, {**props, "__provider": "where it is"}
    )
    assert found.changes
    assert not found.replaces
