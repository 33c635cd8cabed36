"""A project with a stack file per cluster, as tests want it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

SECTIONS: Mapping[str, Any] = {
    "vault": {"address": "https://vault.example.com"},
    "registries": [
        {
            "name": "app-registry-pull",
            "hosts": ["registry.example.com"],
            "selector": {"apps.example/tenant": "true"},
            "namespaces": ["apps-*"],
        }
    ],
    "tenants": {"namespaces": [{"name": "apps-shop", "registries": ["app-registry-pull"]}]},
}


def add_stack(project: Path, name: str, **sections: Any) -> None:
    """Write the file of a stack on a cluster of its name, with these sections changed."""
    if not (project / "Pulumi.yaml").exists():
        (project / "Pulumi.yaml").write_text("name: ours\nruntime: python\n")
    own = {
        "cluster": {"name": name, "context": name},
        "vault": {**SECTIONS["vault"], "auth": {"mount": f"kubernetes-{name}"}},
    }
    config = {f"ours:{key}": value for key, value in {**SECTIONS, **own, **sections}.items()}
    with (project / f"Pulumi.{name}.yaml").open("w") as file:
        YAML().dump({"config": config}, file)
