"""Reads a stack's configuration from the project's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pullsecrets.config.model import Registry, StackConfig
from pullsecrets.config.parse import parse, without_logins
from pullsecrets.data import json_type
from pullsecrets.errors import BadInputError

PROJECT_FILE = "Pulumi.yaml"


def load_stack(stack: str, directory: Path) -> StackConfig:
    """Read a stack's configuration from the project's files, as the program gets it from the engine.

    Raises:
        BadInputError: when a file cannot be read, is no YAML, or has no mapping where one must be.
        ConfigError: when the configuration breaks its schema or rules.
    """
    return _load(stack, directory, _read_project(directory))


def load_stacks(directory: Path) -> dict[str, StackConfig | BadInputError]:
    """Read every stack of the project, by name: its configuration, or the error that `load_stack` raises for it.

    Raises:
        BadInputError: when the project's own file cannot be read.
    """
    project = _read_project(directory)
    return {name: _load_or_error(name, directory, project) for name in stack_names(directory)}


def require_registry(config: StackConfig, name: str, stack: str, option: str = "registry") -> Registry:
    """Return a registry of a stack.

    Raises:
        BadInputError: with the names that the stack has.
    """
    try:
        return config.registry(name)
    except KeyError:
        known = ", ".join(registry.name for registry in config.registries)
        raise BadInputError(f"{option}: found {name!r}; allowed in stack {stack!r}: {known}") from None


def stack_names(directory: Path) -> list[str]:
    """Return the stacks whose files are in a folder, sorted."""
    named = [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in directory.glob("Pulumi.*.yaml")]
    # `Pulumi.<stack>.deploy.yaml` has settings for Pulumi Deployments, as earlier versions of pulumi wrote them.
    return sorted(name for name in named if not name.endswith(".deploy"))


def _load_or_error(stack: str, directory: Path, project: Mapping[str, Any]) -> StackConfig | BadInputError:
    try:
        return _load(stack, directory, project)
    except BadInputError as error:
        return error


def _read_project(directory: Path) -> dict[str, Any]:
    project = _read_yaml(directory / PROJECT_FILE, "run this in the project's folder, or name it with --directory")
    if not project.get("name"):
        raise BadInputError(f"{directory / PROJECT_FILE}: name: missing; expected the project's name")
    return project


def _load(stack: str, directory: Path, project: Mapping[str, Any]) -> StackConfig:
    name = str(project["name"])
    file = directory / f"Pulumi.{stack}.yaml"
    others = ", ".join(stack_names(directory)) or "none"
    stack_file = _read_yaml(file, f"stacks here: {others}")
    raw = _project_defaults(_require_mapping(project.get("config") or {}, f"{directory / PROJECT_FILE}: config"), name)
    for key, value in _require_mapping(stack_file.get("config") or {}, f"{file}: config").items():
        namespace, _, key_name = str(key).rpartition(":")
        if namespace in {"", name}:
            raw[key_name] = value
    return parse(raw, file.name)


def _project_defaults(declared: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        str(key).removeprefix(f"{name}:"): declaration["default"]
        for key, declaration in declared.items()
        if isinstance(declaration, Mapping) and "default" in declaration
    }


def _read_yaml(file: Path, hint: str) -> dict[str, Any]:
    try:
        content = cast("Any", YAML(typ="safe")).load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{file}: no such file; {hint}") from None
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}; {hint}") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{file}: found bytes that are not UTF-8; allowed: YAML in UTF-8") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise BadInputError(f"{file}: not YAML: {_yaml_problem(error)}") from None
    return _require_mapping(content, str(file))


def _yaml_problem(error: Exception) -> str:
    """Say what is wrong and where, without the lines around it, which the error would show as they are."""
    mark: Any = getattr(error, "problem_mark", None)
    if isinstance(error, MarkedYAMLError) and mark:
        return f"{without_logins(str(cast('Any', error).problem))}, line {mark.line + 1}, column {mark.column + 1}"
    # Such as a control character, a number of absurd length, or lists nested too deeply.
    return str(getattr(error, "reason", None) or f"a value that cannot be read ({type(error).__name__})")


def _require_mapping(found: Any, key: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadInputError(f"{key}: found {json_type(found)}; allowed: a mapping of keys to values")
    return cast("dict[str, Any]", found)
