"""Runs the program afresh under mocks and records what it declares."""

import asyncio
import json
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import settings, stack
from pulumi.runtime.config import set_all_config
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks, set_mocks
from ruamel.yaml import YAML

from pullsecrets.tenancy import preflight

REPOSITORY = Path(__file__).parents[2]
VAULT = "https://127.0.0.1:18200"
"""In VAULT_ADDR, such as a port-forward: how this machine reaches Vault."""


@dataclass
class Declared:
    """What a run of the program registered with the engine."""

    resources: list[MockResourceArgs] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    urns: dict[str, str] = field(default_factory=dict)
    """URN by `type::name`; it tells the parent's type too."""

    def of_type(self, token: str) -> dict[str, MockResourceArgs]:
        """Resources of one type by name."""
        return {item.name: item for item in self.resources if item.typ == token}

    def types(self) -> set[str]:
        """All type tokens."""
        return {item.typ for item in self.resources}


class RecordingMocks(Mocks):
    """Gives each resource an id and its inputs as outputs."""

    def __init__(self, declared: Declared, before: Sequence[Mapping[str, Any]]) -> None:
        self.declared = declared
        self.before = before

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.declared.resources.append(args)
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: MockCallArgs) -> Any:
        assert args.token == "pulumi:pulumi:readStackResourceOutputs", "the program calls no function of a provider"
        assert args.args["stackName"].endswith("/pull-secrets/" + pulumi.get_stack()), "of the running stack"
        return {"outputs": {str(index): item for index, item in enumerate(self.before)}}


def stack_file(stack: str) -> dict[str, Any]:
    """The configuration of a committed stack file, keys without the project's prefix."""
    content = YAML(typ="safe").load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
    return {key.partition(":")[2]: value for key, value in content["config"].items()}


def run_program(
    config: Mapping[str, Any],
    environment: preflight.Environment,
    monkeypatch: Any,
    stack_name: str = "test",
    before: Sequence[Mapping[str, Any]] = (),
) -> Declared:
    """Run `__main__.py` as the engine would, with the preflight's findings and the state's resources given."""
    declared = Declared()
    monkeypatch.setattr(preflight, "inspect", lambda *_, **__: environment)
    monkeypatch.setattr(pulumi, "warn", declared.warnings.append)
    monkeypatch.setattr(pulumi, "info", declared.infos.append)
    monkeypatch.setenv("VAULT_ADDR", VAULT)
    monkeypatch.delenv("VAULT_CACERT", raising=False)
    asyncio.set_event_loop(asyncio.new_event_loop())
    settings.reset_options()
    mocks = RecordingMocks(declared, before)
    monitor = MockMonitor(mocks)
    set_mocks(mocks, project="pull-secrets", stack=stack_name, preview=False, monitor=monitor)
    # The mocks made a stack of their own; the program runs in one as the engine's entry point makes it.
    settings.ROOT.set(None)
    set_all_config(
        {f"pull-secrets:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    )

    def program() -> None:
        runpy.run_path(str(REPOSITORY / "__main__.py"), run_name="__main__")

    asyncio.get_event_loop().run_until_complete(stack.run_in_stack(program))
    declared.urns.update({urn.split("$")[-1]: urn for urn in monitor.resources})
    return declared
