"""The components can be served as a package: their arguments are analysed into a schema, each one described."""

import pytest
from pulumi.provider.experimental.analyzer import Analyzer, ComponentDefinition

import components
from components import __main__ as package


@pytest.fixture(scope="module")
def schema() -> dict[str, ComponentDefinition]:
    return Analyzer("pullsecrets").analyze(components=package.COMPONENTS)["component_definitions"]


def test_every_component_of_the_package_is_served(schema: dict[str, ComponentDefinition]) -> None:
    assert {component.__name__ for component in package.COMPONENTS} == set(schema)
    assert set(schema) <= set(components.__all__)


def test_every_argument_and_output_is_described(schema: dict[str, ComponentDefinition]) -> None:
    for name, definition in schema.items():
        assert definition.description, name
        assert definition.inputs, name
        for key, described in {**definition.inputs, **definition.outputs}.items():
            assert described.description, f"{name}.{key}"
