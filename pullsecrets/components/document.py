"""Writes docs/components.md, and the package's schema beside it, from what the components say of themselves.

Run as `python -m pullsecrets.components.document` to write both, with `--check` to fail when one is not current.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
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

EXAMPLES = _DOCS / "examples"
"""One program in each language, which the tests run; the page shows its parts."""

_INTRODUCTION = """\
<!-- Written by `make docs` from pullsecrets/components and docs/examples; change those, not this file. -->
# Components

What the program is made of, for programs of your own. Each component has an example in Python, YAML and TypeScript.
Together they are one program in each language ([Python](examples/python/__main__.py),
[YAML](examples/yaml/Pulumi.yaml), [TypeScript](examples/typescript/index.ts)), and all three declare the same.
**Required** inputs have no default; the others have that of a stack file ([configuration](configuration.md)).

- **Python**: install `pull-secrets[pulumi]` and import a component from its module. Its arguments are a dictionary with
  keys in snake_case, such as `sync_wave`.
- **YAML**: `packages` of Pulumi.yaml names the folder `pullsecrets/components` of a clone after `uv sync`.
- **TypeScript** and every other language: `pulumi package add FOLDER` makes an SDK from that folder, `pulumi package
  get-schema FOLDER` [the schema](components.schema.json). FOLDER begins with `./` or `/`; any other name is looked for
  in Pulumi's registry.

`ImagePullSecretBinding`, `TenantNamespace` and `VaultRegistryEntry` hold dynamic resources of Pulumi's Python SDK. The
engine runs these in the program's own Python, which a program in another language has to name, or an error says so: set
`virtualenv` among the options of `runtime` in Pulumi.yaml to an environment with `pull-secrets[pulumi]`:

    runtime:
      name: yaml
      options:
        virtualenv: ../../../.venv
"""


def schema() -> dict[str, Any]:
    """Return the package's schema, as the engine is given it (https://www.pulumi.com/docs/iac/guides/building-extending/)."""
    found = Analyzer(PACKAGE).analyze(components=COMPONENTS)
    definitions = found["component_definitions"], found["type_definitions"], sorted(found["dependencies"], key=str)
    return generate_schema(PACKAGE, version("pull-secrets"), None, *definitions).to_json()


def document(package: Mapping[str, Any]) -> str:
    """Return the page: inputs, outputs and examples of each component.

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
    for language, part in examples(name).items():
        yield from ("", f"```{language}", part, "```")


def examples(component: str) -> dict[str, str]:
    """Return how the programs of `EXAMPLES` declare a component, by language."""
    return {
        "python": _of_python(component, (EXAMPLES / "python" / "__main__.py").read_text("utf-8")),
        "yaml": _of_yaml(component, (EXAMPLES / "yaml" / "Pulumi.yaml").read_text("utf-8")),
        "typescript": _of_typescript(component, (EXAMPLES / "typescript" / "index.ts").read_text("utf-8")),
    }


def _of_python(component: str, program: str) -> str:
    (found,) = (
        ast.get_source_segment(program, statement) or ""
        for statement in ast.parse(program).body
        if f" = {component}(" in ast.unparse(statement)
    )
    return found


def _of_yaml(component: str, program: str) -> str:
    kinds = {resource["type"]: name for name, resource in yaml.safe_load(program)["resources"].items()}
    (found,) = re.findall(rf"^  {kinds[f'{PACKAGE}:{component}']}:\n(?:    .*\n)+", program, re.MULTILINE)
    return f"resources:\n{found.rstrip()}"


def _of_typescript(component: str, program: str) -> str:
    (found,) = re.findall(rf"^const \w+ = new {PACKAGE}\.{component}\(.*?^}}.*?;$", program, re.MULTILINE | re.DOTALL)
    return found


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
