"""The page and the schema of a stack file's keys say what the models say."""

import copy
import re
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
from ruamel.yaml import YAML

from pullsecrets.config import ConfigError, document, parse
from pullsecrets.config.fields import ConfigModel

ROOT = Path(__file__).resolve().parents[3]


def stack(name: str) -> dict[str, Any]:
    """Read a committed stack file."""
    return YAML(typ="safe").load(ROOT / f"Pulumi.{name}.yaml")


def test_page_and_schema_are_current() -> None:
    assert document.main(["--check"]) == 0


def test_every_key_has_a_meaning_and_a_type() -> None:
    rows = [line for line in document.document().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if re.search(r"\bNone\b", row) or len(row.split(" | ")) != 5] == []


def test_every_key_says_since_which_version_it_is_there() -> None:
    rows = [line for line in document.document().splitlines() if line.startswith("| `")]
    assert [row for row in rows if not re.search(r"\| \d+\.\d+\.\d+ \|$", row)] == []

    class Old(ConfigModel):
        since: ClassVar = {"0.1.0": ("name",)}
        name: str = ""

    with pytest.raises(TypeError, match=r"New\.key: `since` names no version"):

        class New(Old):
            key: str = ""

    class Newer(Old):
        since: ClassVar = {"0.2.0": ("key",)}
        key: str = ""

    shown = Newer.model_json_schema()["properties"]
    assert {key: shape["x-since"] for key, shape in shown.items()} == {"name": "0.1.0", "key": "0.2.0"}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_schema_takes_the_committed_stack_files(name: str) -> None:
    jsonschema.validate(stack(name), document.schema())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pull-secrets:clutser", {}),
        ("pull-secrets:gate", "sometimes"),
        ("pull-secrets:cluster", {"name": "Dev"}),
        ("pull-secrets:cluster", {"name": "dev", "nodes": 3}),
        ("pull-secrets:registries", []),
        ("pull-secrets:registries", [{"name": "app"}]),
        ("pull-secrets:tenants", {"namespaces": [{"registries": ["app"]}]}),
    ],
)
def test_what_the_program_refuses_an_editor_marks(key: str, value: Any) -> None:
    broken = copy.deepcopy(stack("dev"))
    broken["config"][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, document.schema())
    with pytest.raises(ConfigError):
        parse(
            {name.removeprefix("pull-secrets:"): given for name, given in broken["config"].items()}, "Pulumi.dev.yaml"
        )


def test_a_path_may_be_left_out_as_the_program_fills_it_in() -> None:
    plain = stack("dev")
    for registry in plain["config"]["pull-secrets:registries"]:
        del registry["path"]
    jsonschema.validate(plain, document.schema())
