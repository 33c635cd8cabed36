"""One new credential for many stacks: read once, judged for each, and refused before anything is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from pullsecrets.config import parse
from pullsecrets.credential.sources import Source
from pullsecrets.errors import BadInputError
from pullsecrets.fleet.credential import read_for, registries_of
from pullsecrets.fleet.stacks import FleetStack
from tests.components.program import stack_file

NAME = "app-registry-pull"


def stack(name: str, host: str, **change: Any) -> FleetStack:
    raw: dict[str, Any] = dict(stack_file("dev"))
    first, *others = raw["registries"]
    raw["registries"] = [{**first, "hosts": [host], "rejectedHosts": [], **change}, *others]
    return FleetStack(name, Path(f"Pulumi.{name}.yaml"), parse(raw, name))


def never_asked() -> str:
    raise AssertionError


def test_a_document_that_fits_each_stack_is_stored_in_each(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"auths": {"eu.example.com": {"username": "bot", "password": "canary-1"}}}))
    registries = registries_of([stack("a", "eu.example.com"), stack("b", "eu.example.com")], NAME)
    found = read_for(Source(file=str(file)), registries, never_asked)
    assert found["a"] == found["b"]


def test_a_document_that_fits_one_stack_and_not_another_names_the_other(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"auths": {"eu.example.com": {"username": "bot", "password": "canary-1"}}}))
    registries = registries_of([stack("a", "eu.example.com"), stack("b", "us.example.com")], NAME)
    with pytest.raises(BadInputError, match="nothing was written") as refusal:
        read_for(Source(file=str(file)), registries, never_asked)
    text = str(refusal.value)
    assert "  b: " in text
    assert "  a: " not in text
    assert "canary-1" not in text


def test_a_password_is_asked_for_once_and_stored_for_the_hosts_of_each_stack() -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append("once")
        return "canary-2"

    registries = registries_of([stack("a", "eu.example.com"), stack("b", "us.example.com")], NAME)
    found = read_for(Source(username="bot"), registries, ask)
    assert {name: item.hosts for name, item in found.items()} == {"a": ("eu.example.com",), "b": ("us.example.com",)}
    assert asked == ["once"]


def test_a_sealed_registry_takes_no_credential_here() -> None:
    sealed = stack("a", "eu.example.com", source="sealedSecret", delivery="fanout")
    with pytest.raises(BadInputError, match="a: it is sealed"):
        read_for(Source(username="bot"), registries_of([sealed], NAME), never_asked)


def test_a_pattern_must_be_one_registry_in_each_stack() -> None:
    both = [stack("a", "eu.example.com"), stack("b", "us.example.com")]
    assert set(registries_of(both, "app-*")) == {"a", "b"}
    with pytest.raises(BadInputError, match="a: several of app-registry-pull"):
        registries_of(both, "*")
    with pytest.raises(BadInputError, match="b: none of app-registry-pull"):
        registries_of(both, "other")
