"""Writes docs/components.md, and the package's schema beside it, from what the components say of themselves.

Run as `python -m pullsecrets.components.document` to write both, with `--check` to fail when one is not current.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml
from pulumi.provider.experimental.analyzer import Analyzer
from pulumi.provider.experimental.schema import generate_schema

from pullsecrets.components.__main__ import COMPONENTS
from pullsecrets.files import keep_page

PACKAGE = "pullsecrets"
_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = _DOCS / "components.md"
SCHEMA = _DOCS / "components.schema.json"

EXAMPLE = {
    "name": "app-registry-pull",
    "path": "prod/registries/app-registry-pull",
    "selector": {"apps.platform/tenant": "true"},
    "store": "vault-platform",
    "syncWave": 10,
}
"""Inputs of a `RegistryPullSecret`, what it requires and one more."""
_OF_PYTHON = {"sync_wave" if key == "syncWave" else key: value for key, value in EXAMPLE.items()}
_OF_YAML = {"resources": {"app": {"type": "pullsecrets:RegistryPullSecret", "properties": EXAMPLE}}}
_SHOWN = {
    "python": indent(f'RegistryPullSecret("app", {json.dumps(_OF_PYTHON, indent=4)})', "    "),
    "yaml": indent(yaml.safe_dump(_OF_YAML, sort_keys=False).rstrip(), "    "),
    "typescript": indent(f'new pullsecrets.RegistryPullSecret("app", {json.dumps(EXAMPLE, indent=4)});', "    "),
}

_INTRODUCTION = f"""\
<!-- Written by `make docs` from pullsecrets/components; change that, not this file. -->
# Components

What the program is made of, for programs of your own. In Python import a component from its module, with
`pull-secrets[pulumi]` installed; its arguments are a dictionary with keys in snake_case, such as `sync_wave`:

    from pullsecrets.components.registry_pull_secret import RegistryPullSecret

{_SHOWN["python"]}

Every other language has them as the package `pullsecrets`, which a clone's folder `pullsecrets/components` serves:
`pulumi package add FOLDER` makes its SDK, `pulumi package get-schema FOLDER` [the schema](components.schema.json).
FOLDER begins with `./` or `/`; any other name is looked for in Pulumi's registry.
In YAML:

{_SHOWN["yaml"]}

In TypeScript:

{_SHOWN["typescript"]}

`VaultRegistryEntry` and `TenantNamespace` hold dynamic resources of Python's SDK. For these the engine starts the
program's Python, which a program in another language does not have: name an environment with `pull-secrets[pulumi]` in
the option `virtualenv` of `runtime` in Pulumi.yaml, or in `PULUMI_RUNTIME_VIRTUALENV` for each run, or it fails with
`could not read plugin [pulumi-resource-pulumi-python]`. A program in YAML (its language host 1.25.0) has been deployed,
previewed without a change and destroyed with that variable;
TypeScript has not been tried. **Required** inputs have no default; the others have that of a stack file
([configuration](configuration.md)).
"""


def schema() -> dict[str, Any]:
    """Return the package's schema, as the engine is given it (https://www.pulumi.com/docs/iac/guides/building-extending/)."""
    found = Analyzer(PACKAGE).analyze(components=COMPONENTS)
    definitions = found["component_definitions"], found["type_definitions"], sorted(found["dependencies"], key=str)
    return generate_schema(PACKAGE, version("pull-secrets"), None, *definitions).to_json()


def document(package: Mapping[str, Any]) -> str:
    """Return the page: inputs and outputs of each component.

    Args:
        package: the package's schema.
    """
    return _INTRODUCTION + "".join(
        "\n" + "\n".join(_component(token.rpartition(":")[2], resource, package)) + "\n"
        for token, resource in sorted(package["resources"].items())
    )


def _component(name: str, resource: Mapping[str, Any], package: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {name}", "", cleandoc(resource["description"]), "")
    yield from ("| input | type | meaning |", "|---|---|---|")
    yield from _rows(resource["inputProperties"], resource.get("requiredInputs", ()), package)
    yield from ("", "| output | type | meaning |", "|---|---|---|")
    yield from _rows(resource["properties"], (), package)


def _rows(properties: Mapping[str, Any], required: Any, package: Mapping[str, Any]) -> Iterator[str]:
    for name, shape in properties.items():
        marked = f"**`{name}`**" if name in required else f"`{name}`"
        yield f"| {marked} | {_type(shape, package)} | {' '.join(shape.get('description', '').split())} |"


def _type(shape: Mapping[str, Any], package: Mapping[str, Any]) -> str:
    if shape.get("type") == "array":
        return f"list of {_type(shape['items'], package)}"
    if "additionalProperties" in shape:
        return f"map of {_type(shape['additionalProperties'], package)}"
    reference = shape.get("$ref", "")
    if reference.startswith("#/types/"):
        keys = package["types"][reference.removeprefix("#/types/")]["properties"]
        return "object of " + ", ".join(f"`{key}`" for key in keys)
    return "any" if reference else str(shape["type"])


def main(arguments: list[str]) -> int:
    """Write or check both files; return the exit code."""
    package = schema()
    source = "pullsecrets/components"
    texts = {PAGE: document(package), SCHEMA: json.dumps(package, indent=2) + "\n"}
    return max(keep_page(file, text, source, arguments) for file, text in texts.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
