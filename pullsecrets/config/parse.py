"""Turns raw configuration into a checked `StackConfig`, or into one error that lists everything wrong with it."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from pullsecrets.config.model import StackConfig
from pullsecrets.config.rules import Problem, check
from pullsecrets.errors import BadInputError
from pullsecrets.words import counted

PROJECT_FILE = "Pulumi.yaml"
SEALED = "sealedSecret"


class ConfigError(BadInputError):
    """The stack's configuration breaks its schema or its rules; nothing was changed."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Keep the problems for callers that want them one by one."""
        self.problems = tuple(problems)
        title = f"{source}: {counted(len(problems), 'problem')} in the configuration"
        super().__init__("\n".join([title, *(f"  {item}" for item in problems)]))


def parse(raw: Mapping[str, Any], source: str, environment: Mapping[str, str] | None = None) -> StackConfig:
    """Check a stack's configuration and return it.

    Args:
        raw: the project's configuration keys without the project prefix, such as `{"cluster": {...}}`.
        source: what an error calls it, such as `Pulumi.dev.yaml`.
        environment: where VAULT_ADDR, and with it VAULT_CACERT, stand in for `vault.address` and `vault.caBundle`
            when the stack leaves the address out; the process environment by default.

    Raises:
        ConfigError: with every problem found.
    """
    completed = _with_vault_environment(raw, os.environ if environment is None else environment)
    completed = _without_unused_vault(_with_registry_paths(completed))
    try:
        config = StackConfig.model_validate(completed)
    except ValidationError as error:
        raise ConfigError(source, [_problem(detail, completed) for detail in _causes(error)]) from None
    problems = check(config)
    if problems:
        raise ConfigError(source, problems)
    return config


def load_stack(stack: str, directory: Path, environment: Mapping[str, str] | None = None) -> StackConfig:
    """Read a stack's configuration from the project's files, as the program gets it from the engine.

    Raises:
        BadInputError: when a file is missing or is no YAML.
        ConfigError: when the configuration breaks its schema or rules.
    """
    project = _read_yaml(directory / PROJECT_FILE, "run this in the project's folder, or name it with --directory")
    name = str(project["name"])
    file = directory / f"Pulumi.{stack}.yaml"
    others = ", ".join(sorted(_stack_names(directory))) or "none"
    stack_file = _read_yaml(file, f"stacks here: {others}")
    raw = _project_defaults(project, name)
    for key, value in cast("dict[str, Any]", stack_file.get("config") or {}).items():
        namespace, _, key_name = key.rpartition(":")
        if namespace in {"", name}:
            raw[key_name] = value
    return parse(raw, file.name, environment)


def _stack_names(directory: Path) -> list[str]:
    return [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in directory.glob("Pulumi.*.yaml")]


def _project_defaults(project: Mapping[str, Any], name: str) -> dict[str, Any]:
    declared = cast("Mapping[str, Any]", project.get("config") or {})
    return {
        key.removeprefix(f"{name}:"): declaration["default"]
        for key, declaration in declared.items()
        if isinstance(declaration, Mapping) and "default" in declaration
    }


def _read_yaml(file: Path, hint: str) -> dict[str, Any]:
    try:
        content = cast("Any", YAML(typ="safe")).load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{file}: no such file; {hint}") from None
    except MarkedYAMLError as error:
        position = str(cast("Any", error).problem_mark).strip()
        raise BadInputError(f"{file}: not YAML: {cast('Any', error).problem}, {position}") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{file}: found {type(content).__name__}; allowed: a mapping of keys to values")
    return cast("dict[str, Any]", content)


def _with_vault_environment(raw: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    completed = dict(raw)
    if not isinstance(completed.get("vault"), Mapping):
        return completed
    filled: dict[str, Any] = dict(completed["vault"])
    if "address" in filled or not environment.get("VAULT_ADDR"):
        return completed
    filled["address"] = environment["VAULT_ADDR"]
    if "caBundle" not in filled and environment.get("VAULT_CACERT"):
        file = Path(environment["VAULT_CACERT"])
        try:
            filled["caBundle"] = file.read_text(encoding="utf-8")
        except OSError as error:
            raise BadInputError(f"VAULT_CACERT={file}: {error.strerror}; name a file of PEM certificates") from None
    completed["vault"] = filled
    return completed


def _with_registry_paths(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in where a registry's credential stands by default.

    In Vault `ocp/<cluster>/registries/<name>`, the first seed's layout; in the repository
    `sealed/<cluster>/<name>.yaml`, and that only by way of a relay.
    """
    cluster, registries = raw.get("cluster"), raw.get("registries")
    if not isinstance(cluster, Mapping) or not isinstance(registries, list):
        return dict(raw)
    name = str(cast("Mapping[str, Any]", cluster).get("name"))
    return {**raw, "registries": [_with_defaults(entry, name) for entry in cast("list[Any]", registries)]}


def _with_defaults(entry: Any, cluster: str) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    registry = cast("Mapping[str, Any]", entry)
    name = registry.get("name")
    defaults = {"path": f"ocp/{cluster}/registries/{name}"}
    if registry.get("source") == SEALED:
        defaults |= {"sealedFile": f"sealed/{cluster}/{name}.yaml", "delivery": "fanout"}
    return {**defaults, **registry}


def _without_unused_vault(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the empty section that Pulumi.yaml fills in, where no registry is read from Vault."""
    registries = cast("list[Any]", raw.get("registries") if isinstance(raw.get("registries"), list) else [])
    sources = {cast("Mapping[str, Any]", item).get("source") for item in registries if isinstance(item, Mapping)}
    unused = sources == {SEALED} and "egress" not in (cast("Mapping[str, Any]", raw.get("vault")) or {})
    return {key: value for key, value in raw.items() if key != "vault" or not unused}


def _causes(error: ValidationError) -> list[Any]:
    """Leave out that a list is too short when that is only because one of its items was refused."""
    details = error.errors()
    refused = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(loc[:-1] == detail["loc"] for loc in refused)
    ]


def _problem(detail: Any, raw: Any) -> Problem:
    location = tuple(part for part in detail["loc"] if part not in {"tuple", "dict"})
    kind, found = detail["type"], _at(raw, location)
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing":
        allowed = "a value; this key is required"
        if location == ("vault", "address"):
            allowed = "the server's https URL, here or in the VAULT_ADDR environment variable"
        return Problem(_dotted(location), "nothing", allowed)
    return Problem(_dotted(location), _shown(found), _allowed(detail))


def _allowed(detail: Any) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message.removeprefix("Input should be ").replace("a valid tuple", "a list").replace("a valid ", "a ")


def _unknown_key(location: tuple[str | int, ...]) -> Problem:
    *parents, key = location
    known = sorted(_keys_at(StackConfig, parents))
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return Problem(_dotted(location), "an unknown key", f"{', '.join(known)}{hint}")


def _keys_at(model: type[BaseModel], parents: Sequence[str | int]) -> set[str]:
    current = model
    for part in parents:
        if isinstance(part, int):
            continue
        field = next(field for field in current.model_fields.values() if field.alias == part)
        current = _model_in(field.annotation) or current
    return {field.alias or name for name, field in current.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model inside `Model`, `tuple[Model, ...]`, `Annotated[...]` or `Model | None`."""
    if get_origin(annotation) is None:
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _at(raw: Any, location: Sequence[str | int]) -> Any:
    current = raw
    for part in location:
        try:
            current = current[part]
        except (KeyError, IndexError, TypeError):
            return None
    return current


def _shown(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _dotted(location: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
