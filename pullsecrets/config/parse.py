"""Turns raw configuration into a checked `StackConfig`, or into one error that lists everything wrong with it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pullsecrets.config.model import StackConfig
from pullsecrets.config.rules import Problem, check
from pullsecrets.data import dig, shown
from pullsecrets.errors import BadInputError
from pullsecrets.redaction import PLACEHOLDER
from pullsecrets.text import counted

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
    """Check a stack's configuration and return it. The environment of the user who runs this adds nothing to it.

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
    around = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in around]


def _problem(detail: Any, raw: Any) -> Problem:
    location = tuple(part for part in detail["loc"] if part not in {"tuple", "dict"})
    kind, found = detail["type"], dig(raw, location)
    if location[-1:] == ("[key]",):
        # Pydantic's mark of a mapping's key: that is what was refused, and not the value under it.
        location, found = location[:-2], location[-2]
    if shown(location) in _REFUSED_KEYS:
        return Problem(shown(location), _shown(found), _REFUSED_KEYS[shown(location)])
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing":
        allowed = "a value, as this key is required"
        if location == ("vault", "address"):
            allowed = (
                "the https URL at which the cluster reaches Vault, which an existing store names: kubectl "
                "get clustersecretstores -o yaml; VAULT_ADDR only says how this machine reaches it"
            )
        return Problem(shown(location), None, allowed)
    return Problem(shown(location), _shown(found), _allowed(detail))


def _allowed(detail: Any) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message.removeprefix("Input should be ").replace("a valid tuple", "a list").replace("a valid ", "a ")


def _unknown_key(location: tuple[str | int, ...]) -> Problem:
    *parents, key = location
    known = sorted(_keys_at(StackConfig, parents))
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return Problem(shown(location), "an unknown key", f"{', '.join(known)}{hint}")


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


def _shown(found: Any) -> str:
    text = without_logins(repr(found))
    return text if len(text) <= 80 else f"{text[:77]}..."


def without_logins(text: str) -> str:
    """Take user and password out of URLs: not everything that prints the exception redacts, such as Pulumi's engine."""
    return _USER_INFO.sub(rf"\g<start>{PLACEHOLDER}@", text)
