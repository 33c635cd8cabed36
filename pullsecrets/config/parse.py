"""Turns raw configuration into a checked `StackConfig`, or into one error that lists everything wrong with it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pullsecrets.config.model import StackConfig
from pullsecrets.config.rules import Problem, check
from pullsecrets.data import json_type
from pullsecrets.errors import BadInputError
from pullsecrets.redaction import PLACEHOLDER
from pullsecrets.text import counted

PROJECT_FILE = "Pulumi.yaml"
SEALED = "sealedSecret"
_USER_INFO = re.compile(r"(?P<start>:(?://)?).*@(?!sha256:)")
"""User and password before a host, up to the last `@`: a password may hold one. An image's digest follows one too."""


_REFUSED_KEYS = {
    "vault.kvVersion": "a KV v2 mount and not this key: KV v1 has no check-and-set and no versions to roll back to "
    "(`vault kv enable-versioning <mount>` upgrades a mount)",
}
"""Keys that a reader of Vault's documentation may expect, with what to do instead."""


class ConfigError(BadInputError):
    """The stack's configuration breaks its schema or its rules; nothing was changed."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Keep the problems for callers that want them one by one."""
        self.problems = tuple(problems)
        title = f"{source}: {counted(len(problems), 'problem')} in the configuration"
        super().__init__("\n".join([title, *(f"  {item}" for item in problems)]))


def parse(raw: Mapping[str, Any], source: str) -> StackConfig:
    """Check a stack's configuration and return it. The environment of whoever runs this adds nothing to it.

    Args:
        raw: the project's configuration keys without the project prefix, such as `{"cluster": {...}}`.
        source: what an error calls it, such as `Pulumi.dev.yaml`.

    Raises:
        ConfigError: with every problem found.
    """
    completed = _without_unused_vault(_with_registry_paths(raw))
    try:
        config = StackConfig.model_validate(completed)
    except ValidationError as error:
        raise ConfigError(source, [_problem(detail, completed) for detail in _causes(error)]) from None
    problems = check(config)
    if problems:
        raise ConfigError(source, problems)
    return config


def load_stack(stack: str, directory: Path) -> StackConfig:
    """Read a stack's configuration from the project's files, as the program gets it from the engine.

    Raises:
        BadInputError: when a file cannot be read, is no YAML, or has no mapping where one must be.
        ConfigError: when the configuration breaks its schema or rules.
    """
    project = _read_yaml(directory / PROJECT_FILE, "run this in the project's folder, or name it with --directory")
    if not project.get("name"):
        raise BadInputError(f"{directory / PROJECT_FILE}: name: missing; expected the project's name")
    name = str(project["name"])
    file = directory / f"Pulumi.{stack}.yaml"
    others = ", ".join(sorted(_stack_names(directory))) or "none"
    stack_file = _read_yaml(file, f"stacks here: {others}")
    raw = _project_defaults(_require_mapping(project.get("config") or {}, f"{directory / PROJECT_FILE}: config"), name)
    for key, value in _require_mapping(stack_file.get("config") or {}, f"{file}: config").items():
        namespace, _, key_name = str(key).rpartition(":")
        if namespace in {"", name}:
            raw[key_name] = value
    return parse(raw, file.name)


def _stack_names(directory: Path) -> list[str]:
    return [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in directory.glob("Pulumi.*.yaml")]


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
        return f"{_without_logins(str(cast('Any', error).problem))}, line {mark.line + 1}, column {mark.column + 1}"
    # Such as a control character, a number of absurd length, or lists nested too deeply.
    return str(getattr(error, "reason", None) or f"a value that cannot be read ({type(error).__name__})")


def _require_mapping(found: Any, key: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadInputError(f"{key}: found {json_type(found)}; allowed: a mapping of keys to values")
    return cast("dict[str, Any]", found)


def _with_registry_paths(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in where a registry's credential stands by default.

    In Vault `<cluster>/registries/<name>`, on OpenShift below `ocp/` as in the first seed's layout; in the repository
    `sealed/<cluster>/<name>.yaml`, and that only by way of a relay.
    """
    cluster, registries = raw.get("cluster"), raw.get("registries")
    if not isinstance(cluster, Mapping) or not isinstance(registries, list):
        return dict(raw)
    of = cast("Mapping[str, Any]", cluster)
    name = str(of.get("name"))
    folder = f"ocp/{name}" if of.get("platform") == "openshift" else name
    return {**raw, "registries": [_with_defaults(entry, name, folder) for entry in cast("list[Any]", registries)]}


def _with_defaults(entry: Any, cluster: str, folder: str) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    registry = cast("Mapping[str, Any]", entry)
    name = registry.get("name")
    defaults = {"path": f"{folder}/registries/{name}"}
    if registry.get("source") == SEALED:
        defaults |= {"sealedFile": f"sealed/{cluster}/{name}.yaml", "delivery": "fanout"}
    return {**defaults, **registry}


def _without_unused_vault(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the empty section that Pulumi.yaml fills in, where no registry is read from Vault."""
    registries = cast("list[Any]", raw.get("registries") if isinstance(raw.get("registries"), list) else [])
    sources = [cast("Mapping[str, Any]", item).get("source") for item in registries if isinstance(item, Mapping)]
    vault: Any = raw.get("vault") or {}
    empty = isinstance(vault, Mapping) and "address" not in vault
    unused = empty and bool(sources) and all(source == SEALED for source in sources)
    return {key: value for key, value in raw.items() if key != "vault" or not unused}


def _causes(error: ValidationError) -> list[Any]:
    """Leave out that a list is too short when that is only because one of its items was refused."""
    details = error.errors()
    refused = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(_is_inside(loc, detail["loc"]) for loc in refused)
    ]


def _is_inside(location: tuple[str | int, ...], outer: tuple[str | int, ...]) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _problem(detail: Any, raw: Any) -> Problem:
    location = tuple(part for part in detail["loc"] if part not in {"tuple", "dict"})
    kind, found = detail["type"], _at(raw, location)
    if location[-1:] == ("[key]",):
        # Pydantic's mark of a mapping's key: that is what was refused, and not the value under it.
        location, found = location[:-2], location[-2]
    if _dotted(location) in _REFUSED_KEYS:
        return Problem(_dotted(location), _shown(found), _REFUSED_KEYS[_dotted(location)])
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing":
        allowed = "a value, as this key is required"
        if location == ("vault", "address"):
            allowed = (
                "the https URL at which the cluster reaches Vault, which a store that is there already names: kubectl "
                "get clustersecretstores -o yaml; VAULT_ADDR only says how this machine reaches it"
            )
        return Problem(_dotted(location), None, allowed)
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
    text = _without_logins(repr(found))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _without_logins(text: str) -> str:
    """Take user and password out of URLs: not everything that prints the exception redacts, such as Pulumi's engine."""
    return _USER_INFO.sub(rf"\g<start>{PLACEHOLDER}@", text)


def _dotted(location: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
