"""The provider's configuration: read from what the engine sends, with the official plugin's variables as defaults."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.plugins.kubernetes.kubeconfig import KubeconfigError, active_cluster, ambient, parse
from local.plugins.kubernetes.values import UNKNOWN, Object

_PREFIX = "kubernetes:config:"
_RATE = 50.0
_BURST = 120
_CLUSTER_KEYS = ("kubeconfig", "context", "cluster")
_IDENTIFIER = "clusterIdentifier"


class SettingsError(Exception):
    """A setting that cannot be used. The message names it."""


@dataclass(frozen=True)
class Settings:
    """How the provider behaves.

    Attributes:
        kubeconfig: the text or path of a kubeconfig, empty for what kubectl would use.
        context: the context to use instead of the current one.
        cluster: the cluster to use instead of the context's.
        namespace: where namespaced objects go that name no namespace.
        upsert: create takes over an object that exists.
        patch_force: server-side apply takes fields from other managers.
        mutable_secrets: a Secret's data changes in place.
        mutable_config_maps: a ConfigMap's data changes in place.
        delete_unreachable: an unreachable cluster's objects count as gone.
        skip_unreachable: an unreachable cluster's objects are left as they are.
        rate: requests a second.
        burst: requests at once.
        timeout: seconds to wait for an answer, None for as long as it takes.
    """

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    upsert: bool = False
    patch_force: bool = False
    mutable_secrets: bool = False
    mutable_config_maps: bool = False
    delete_unreachable: bool = False
    skip_unreachable: bool = False
    rate: float = _RATE
    burst: int = _BURST
    timeout: float | None = None

    def configuration(self) -> dict[str, Any]:
        """The kubeconfig; raises `KubeconfigError` when there is none that can be read."""
        return parse(self.kubeconfig) if self.kubeconfig else ambient()


def read(variables: Mapping[str, str]) -> Settings:
    """Reads the configuration that the engine sends.

    Raises:
        SettingsError: a number is none.
    """
    given = {key.removeprefix(_PREFIX): value for key, value in variables.items()}

    def flag(name: str, variable: str) -> bool:
        return given.get(name, os.environ.get(variable, "")) == "true"

    return Settings(
        kubeconfig=given.get("kubeconfig", ""),
        context=given.get("context", ""),
        cluster=given.get("cluster", ""),
        namespace=given.get("namespace", ""),
        upsert=flag("upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
        patch_force=flag("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
        mutable_secrets=flag("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
        mutable_config_maps=flag("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
        delete_unreachable=flag("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
        skip_unreachable=flag("skipUpdateUnreachable", "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE"),
        **_client_settings(given.get("kubeClientSettings", "")),
    )


def _client_settings(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text) if text else {}
        rate = given.get("qps", os.environ.get("PULUMI_K8S_CLIENT_QPS") or _RATE)
        burst = given.get("burst", os.environ.get("PULUMI_K8S_CLIENT_BURST") or _BURST)
        timeout = given.get("timeout", os.environ.get("PULUMI_K8S_CLIENT_TIMEOUT") or None)
        return {"rate": float(rate), "burst": int(burst), "timeout": None if timeout is None else float(timeout)}
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(
            "kubeClientSettings, or a PULUMI_K8S_CLIENT_ variable: qps, burst and timeout must be numbers"
        ) from None


def problems(properties: Object, *, is_default: bool) -> list[tuple[str, str]]:
    """What is wrong with a provider's properties: pairs of property, possibly empty, and reason."""
    found: list[tuple[str, str]] = []
    if properties.get("renderYamlToDirectory"):
        found.append(("renderYamlToDirectory", "the local stand-in for the Kubernetes plugin renders no YAML"))
    server_side = properties.get("enableServerSideApply", os.environ.get("PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY", "true"))
    if server_side is False or server_side == "false":
        reason = "the local stand-in for the Kubernetes plugin works by server-side apply only"
        found.append(("enableServerSideApply", reason))
    if properties.get("strictMode") == "true":
        if is_default:
            found.append(("", "strict mode prohibits default provider"))
        missing = [key for key in ("kubeconfig", "context") if not properties.get(key)]
        found += [(key, f'strict mode requires Provider "{key}" argument') for key in missing]
    return found


@dataclass(frozen=True)
class ConfigurationChange:
    """What a new configuration means: the properties that differ, and those for which all objects are replaced."""

    changed: list[str]
    replaces: list[str]


def compare(old: Object, new: Object) -> ConfigurationChange:
    """Compares two configurations of a provider.

    Objects are replaced when the active cluster's entry changes or, where there is one, the cluster identifier.

    Raises:
        KubeconfigError: a kubeconfig cannot be read.
    """
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if not changed:
        return ConfigurationChange([], [])
    if new.get(_IDENTIFIER) and old.get(_IDENTIFIER):
        return ConfigurationChange(changed, [_IDENTIFIER] if _IDENTIFIER in changed else [])
    unknown = next((key for key in _CLUSTER_KEYS if new.get(key) is UNKNOWN), None)
    if unknown is not None:
        # Whether it is the same cluster cannot be told, so the careful answer is that it is not.
        return ConfigurationChange([unknown], [unknown])
    before, after = _cluster(old), _cluster(new)
    moved = before is not None and after is not None and before != after
    return ConfigurationChange(changed, [key for key in _CLUSTER_KEYS if key in changed] if moved else [])


def _cluster(properties: Object) -> dict[str, Any] | None:
    given = properties.get("kubeconfig") or ""
    config = given if isinstance(given, dict) else parse(given) if given else {}
    try:
        return active_cluster(config, properties.get("context") or "", properties.get("cluster") or "")
    except (AttributeError, TypeError):
        raise KubeconfigError("the kubeconfig is not of a kubeconfig's shape") from None
