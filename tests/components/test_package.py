"""The components can be served as a package: their arguments are analysed into a schema, each one described."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys

import pytest
import yaml
from pulumi import ComponentResource
from pulumi.provider.experimental.analyzer import Analyzer, ComponentDefinition
from pydantic.alias_generators import to_camel

from pullsecrets import components
from pullsecrets.components import __main__ as package
from pullsecrets.components import document
from tests.components.program import REPOSITORY

WITHIN = {"RegistryRelay"}
"""Components that another one declares."""


@pytest.fixture(scope="module")
def schema() -> dict[str, ComponentDefinition]:
    return Analyzer("pullsecrets").analyze(components=package.COMPONENTS)["component_definitions"]


def test_every_component_of_the_package_is_served(schema: dict[str, ComponentDefinition]) -> None:
    for module in pkgutil.iter_modules(components.__path__, "pullsecrets.components."):
        importlib.import_module(module.name)
    ours = {
        kind.__name__
        for kind in ComponentResource.__subclasses__()
        if kind.__module__.startswith("pullsecrets.components.")
    }
    assert {component.__name__ for component in package.COMPONENTS} == set(schema) == ours - WITHIN


def test_the_process_of_the_dynamic_resources_loads_no_kubernetes_types() -> None:
    loaded = "import sys; from pullsecrets.components import image_pull_secret_binding, kv_metadata, namespace_opt_in"
    done = subprocess.run(
        [sys.executable, "-c", f"{loaded}; sys.exit('pulumi_kubernetes' in sys.modules)"], cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0


def test_the_program_loads_the_types_of_core_objects_only_where_it_declares_one() -> None:
    loaded = "import sys, pullsecrets.components.compose; sys.exit('pulumi_kubernetes.core.v1' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], cwd=REPOSITORY, check=False).returncode == 0


def test_every_argument_and_output_is_described(schema: dict[str, ComponentDefinition]) -> None:
    for name, definition in schema.items():
        assert definition.description, name
        assert definition.inputs, name
        for key, described in {**definition.inputs, **definition.outputs}.items():
            assert described.description, f"{name}.{key}"


def test_the_page_of_the_components_and_their_schema_are_current() -> None:
    assert document.main(["--check"]) == 0


@pytest.mark.parametrize("component", package.COMPONENTS, ids=lambda component: component.__name__)
def test_the_examples_give_what_is_required_and_the_same_in_each_language(component: type[ComponentResource]) -> None:
    shown = document.examples(component.__name__)
    (resource,) = yaml.safe_load(shown["yaml"])["resources"].values()
    arguments = next(node for node in ast.walk(ast.parse(shown["python"])) if isinstance(node, ast.Dict))
    of_python = [str(ast.literal_eval(key)) for key in arguments.keys if key]
    of_typescript = re.findall(r"^    (\w+):", shown["typescript"], re.MULTILINE)
    assert [*resource["properties"]] == of_typescript == [to_camel(key) for key in of_python]
    declared = document.schema()["resources"][f"pullsecrets:index:{component.__name__}"]
    assert {*declared["requiredInputs"]} <= {*of_typescript} <= {*declared["inputProperties"]}
