"""Writes docs/configuration.md, and the JSON schema by which editors check stack files, from the models.

Run as `python -m pullsecrets.config.document` to write both, with `--check` to fail when one is not current.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pullsecrets.config.model import StackConfig
from pullsecrets.files import keep_page

_ROOT = Path(__file__).resolve().parents[2]
PAGE = _ROOT / "docs" / "configuration.md"
SCHEMA = _ROOT / "docs" / "stack.schema.json"

_FILLED_IN = {"Registry": "path"}
"""What a model requires and `parse` fills in: a stack file may leave it out."""

_INTRODUCTION = """\
<!-- Written by `make docs` from pullsecrets/config; change that, not this file. -->
# Configuration of a stack

Set each key in `Pulumi.<stack>.yaml` below `config`, as `pull-secrets:<key>`. An unknown key, a wrong type or a
broken rule is an error that names the key, what was found and what is expected, before anything is changed.
**Required** keys have no default; `since` is the first version of pull-secrets with the key. With this first line,
editors that use the YAML language server complete and check a stack file:

    # yaml-language-server: $schema=docs/stack.schema.json

Complete examples: [Pulumi.dev.yaml](../Pulumi.dev.yaml), [Pulumi.prod.yaml](../Pulumi.prod.yaml).
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a stack file. Keys of Pulumi and of its providers are left alone."""
    model = _models()
    keys = {f"pull-secrets:{key}": shape for key, shape in model["properties"].items()}
    known = "|".join(model["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack file of pull-secrets",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": keys,
                "patternProperties": {f"^pull-secrets:(?!({known})$)": False},
                "required": [f"pull-secrets:{key}" for key in model["required"]],
            }
        },
        "required": ["config"],
        "$defs": model["$defs"],
    }


def document() -> str:
    """Return the page: a table of keys for each section."""
    models = _models()
    return "\n".join([_INTRODUCTION, *_section("", models, models["$defs"], "One stack")])


def _models() -> dict[str, Any]:
    model = StackConfig.model_json_schema(by_alias=True)
    for name, key in _FILLED_IN.items():
        model["$defs"][name]["required"].remove(key)
    return model


def _section(prefix: str, model: Mapping[str, Any], models: Mapping[str, Any], title: str) -> Iterator[str]:
    """Yield a section's table, then the sections below it."""
    yield f"## {title}\n"
    if prefix:
        yield f"{model['description'].partition(chr(10))[0]}\n"
    yield "| key | type | default | meaning | since |\n|---|---|---|---|---|"
    below: list[tuple[str, str]] = []
    for key, shape in model["properties"].items():
        name, where = _model_of(shape), f"{prefix}{key}"
        if name:
            below.append((where + ("[]" if shape.get("type") == "array" else ""), name))
        default = _default(shape, required=key in model.get("required", []))
        cells = f"`{key}`", _type(shape), default, shape["description"].replace("\n", " "), shape["x-since"]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for where, name in below:
        yield from _section(f"{where}.", models[name], models, f"`{where}`")


def _model_of(shape: Mapping[str, Any]) -> str | None:
    """Return the name of the model that a key, or each item of its list, holds."""
    choices = [shape, shape.get("items", {}), *shape.get("anyOf", []), *shape.get("allOf", [])]
    return next((choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice), None)


def _type(shape: Mapping[str, Any]) -> str:
    if choices := [choice for choice in shape.get("anyOf", []) if choice.get("type") != "null"]:
        return _type(choices[0])
    if shape.get("type") == "array":
        return f"list: {_type(shape['items'])}"
    if "enum" in shape:
        return " or ".join(f"`{value}`" for value in shape["enum"])
    if "examples" in shape:
        return f"{shape['title']}, such as `{shape['examples'][0]}`"
    limits = [f"{word} {shape[key]}" for key, word in _LIMITS.items() if key in shape]
    return ", ".join([_PLAIN[shape.get("type", "$ref")], *limits])


_PLAIN = {
    "$ref": "section",
    "boolean": "`true` or `false`",
    "integer": "number",
    "number": "number",
    "object": "keys and values",
    "string": "text",
}
_LIMITS = {"exclusiveMinimum": "above", "minimum": "from", "maximum": "to", "maxLength": "of length up to"}


def _default(shape: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "**required**"
    default = shape.get("default")
    if default is None or _model_of(shape):
        return ""
    return f"`{json.dumps(default)}`" if default not in ([], {}) else "none"


def main(arguments: list[str]) -> int:
    """Write both files, or check them."""
    shown = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    written = [
        keep_page(file, text, "pullsecrets/config", arguments) for file, text in ((PAGE, document()), (SCHEMA, shown))
    ]
    return max(written)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
