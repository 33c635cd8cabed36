"""Settings of the rules for a lint: from a stack's configuration, or from the file that the packs are given."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pullsecrets.config import StackConfig
from pullsecrets.data import json_type
from pullsecrets.errors import BadInputError
from pullsecrets.policy import (
    cluster_pull_secret,
    complete_delivery,
    credentials,
    delivery,
    hygiene,
    vault_access,
    workloads,
)
from pullsecrets.policy.model import PolicyInfo, Settings

POLICIES = (
    cluster_pull_secret.WRITES,
    cluster_pull_secret.MENTIONS,
    cluster_pull_secret.OVERWRITES,
    cluster_pull_secret.UNJUDGED,
    delivery.OPT_IN,
    delivery.DELIVERY,
    credentials.CREDENTIALS,
    credentials.SECRETS,
    vault_access.VAULT_ACCESS,
    delivery.BINDING,
    complete_delivery.COMPLETE,
    workloads.REFERENCES,
    workloads.HOSTS,
    workloads.SIMILAR_HOSTS,
    hygiene.PROTECTION,
    hygiene.PROVIDERS,
    hygiene.LABELS,
)


_LEVEL = "enforcementLevel"
_LEVELS = ("advisory", "disabled", "mandatory", "remediate")


def settings_of(config: StackConfig) -> dict[str, Settings]:
    """Return the settings of every policy that knows registries or their paths, from a stack's configuration.

    Written as JSON it is what `pulumi preview --policy-pack-config` takes.
    """
    registries = [
        {
            "name": registry.name,
            "selector": dict(registry.selector),
            "namespaces": list(registry.namespaces),
            "hosts": list(registry.hosts),
            "rejectedHosts": list(registry.rejected_hosts),
        }
        for registry in config.registries
    ]
    rows = [row.model_dump() for row in config.workloads]
    shared: dict[str, Any] = {"registries": registries} | ({"workloads": rows} if rows else {})
    given: dict[str, dict[str, Any]] = {
        policy.name: {key: value for key, value in shared.items() if key in policy.settings}
        for policy in POLICIES
        if "registries" in policy.settings
    }
    prefixes = [{"mount": config.vault.mount, "path": registry.path} for registry in config.registries]
    if not config.declares_egress:
        given[complete_delivery.COMPLETE.name]["egress"] = False
    given[vault_access.VAULT_ACCESS.name] = {"prefixes": prefixes}
    return dict(given)


def read_settings(file: Path) -> dict[str, Settings]:
    """Read a file of the form that `pulumi preview --policy-pack-config` takes.

    Raises:
        BadInputError: when it is not such a file, or names a policy or a setting that does not exist.
    """
    known = {policy.name: policy for policy in POLICIES}
    settings: dict[str, Settings] = {}
    for name, given in _load(file).items():
        if name not in known:
            raise BadInputError(f"{file}: {name}: found no policy of that name; allowed: {', '.join(known)}")
        settings[name] = _settings(file, known[name], given)
    return settings


def _load(file: Path) -> Mapping[str, Any]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}; name a JSON file of policy settings") from None
    except ValueError:
        raise BadInputError(f"{file}: not JSON; allowed: an object of policy names and their settings") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{file}: found {json_type(content)}; allowed: an object")
    return cast("dict[str, Any]", content)


def _settings(file: Path, policy: PolicyInfo, given: Any) -> Settings:
    settings = cast("dict[str, Any]", given if isinstance(given, dict) else {_LEVEL: given})
    if settings.get(_LEVEL, "mandatory") not in _LEVELS:
        raise BadInputError(f"{file}: {policy.name}: found no level of that name; allowed: {', '.join(_LEVELS)}")
    for key in settings:
        if key != _LEVEL and key not in policy.settings:
            allowed = ", ".join([_LEVEL, *policy.settings])
            raise BadInputError(f"{file}: {policy.name}.{key}: found an unknown setting; allowed: {allowed}")
    return settings
