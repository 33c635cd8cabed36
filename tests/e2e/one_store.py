"""The program as it was when one store served every registry of the end-to-end stack: what an upgrade begins with."""

import runpy
from pathlib import Path
from typing import Any

from pullsecrets.config import Registry, StackConfig, rules
from pullsecrets.manifests import builders
from tests.e2e.stack import BASELINE

built = builders.cluster_secret_store


def shared(spec: builders.StoreSpec) -> dict[str, Any]:
    labels = [{"namespaceSelector": {"matchLabels": item["selector"]}} for item in BASELINE["registries"]]
    item = built(spec)
    return {**item, "spec": {**item["spec"], "conditions": labels}}


def one_store(config: StackConfig, registry: Registry) -> str:
    assert registry.store is None
    return config.eso.store


setattr(StackConfig, "store_of", one_store)  # noqa: B010 - a replacement for one run
setattr(rules, "_stores", lambda _: ())  # noqa: B010 - a replacement for one run
builders.cluster_secret_store = shared

runpy.run_path(str(Path(__file__).resolve().parents[2] / "__main__.py"), run_name="__main__")
