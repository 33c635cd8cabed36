"""The first stack file of a cluster, from a few answers."""

import io
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from pullsecrets.config import parse
from pullsecrets.kube.eso import Installation
from pullsecrets.starter.survey import VaultServer


@dataclass(frozen=True)
class Answers:
    """What the first stack file of a cluster has to say."""

    project: str
    """The project's name, the prefix of its keys."""
    stack: str
    cluster: str
    """The cluster's name in Vault's paths and in reports."""
    wave: int
    """In which pipelines update it."""
    platform: str
    vault: VaultServer
    eso: Installation | None
    """None for what ESO's chart installs by default."""
    registry: str
    """Name of the Secret in every tenant namespace."""
    hosts: tuple[str, ...]
    label: str
    """Key of the opt-in label; its value is `true`."""
    adopted: tuple[str, ...]
    """Tenants whose namespaces are there already."""
    made: tuple[str, ...]
    """Tenants whose namespaces the stack makes."""


def write(answers: Answers) -> str:
    """Return the text of the stack file.

    Raises:
        ConfigError: when the program would refuse it, with every problem found.
    """
    config = _config(answers)
    parse(config, f"Pulumi.{answers.stack}.yaml")
    stream = io.StringIO()
    yaml: Any = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump({"config": {f"{answers.project}:{key}": value for key, value in config.items()}}, stream)
    return (
        "# yaml-language-server: $schema=stack.schema.json\n"
        f"# Cluster {answers.cluster}. Other keys, their defaults and meaning are in the schema.\n" + stream.getvalue()
    )


def _config(answers: Answers) -> dict[str, Any]:
    vault: dict[str, Any] = {"address": answers.vault.address, "mount": answers.vault.mount}
    if answers.vault.ca_bundle:
        vault["caBundle"] = LiteralScalarString(answers.vault.ca_bundle)
    # An auth mount of its own: what one cluster may read is not what the others may.
    vault["auth"] = {"mount": f"kubernetes-{answers.cluster}"}
    eso, tenants = answers.eso, [*answers.adopted, *answers.made]
    return {
        "cluster": {"name": answers.cluster, "platform": answers.platform},
        "vault": vault,
        **({"eso": {"namespace": eso.namespace, "serviceAccount": eso.service_account}} if eso else {}),
        "registries": [
            {
                "name": answers.registry,
                "hosts": [*answers.hosts],
                "selector": {answers.label: "true"},
                "namespaces": tenants,
            }
        ],
        "tenants": {
            "namespaces": [
                {
                    "name": name,
                    **({"adopt": True} if name in answers.adopted else {}),
                    "registries": [answers.registry],
                }
                for name in tenants
            ]
        },
        "fleet": {"wave": answers.wave},
    }
