"""Kubernetes objects in resources of other providers than the official one: those that come from Terraform's.

Their tokens read `package:index/secretV1:SecretV1`. They take the fields of the object itself, or a whole manifest as a
map or as text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import yaml

from pullsecrets.data import LARGEST_TEXT, UNKNOWN, Unknown, Values, mapping, sequence

_TOKEN = re.compile(r"(?P<package>[\w-]+):(?:index/\w+|index):(?P<kind>\w+)")
_SUFFIX = re.compile(r"(?:V\d+(?:(?:Alpha|Beta)\d+)?)?(?:Data|Patch)?$")
_MANIFESTS: Final = ("manifest", "yamlBody")
"""Fields that hold a whole manifest: of `kubernetes` and `kustomization`, and of `kubectl`."""
_PACKAGES: Final = frozenset({"k8s", "kubectl", "kubernetes", "kustomization", "rancher2"})
_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_RBAC: Final = "rbac.authorization.k8s.io/v1"
_VERSIONS: Final = {
    "ClusterRole": _RBAC,
    "ClusterRoleBinding": _RBAC,
    "MutatingWebhookConfiguration": _ADMISSION,
    "Namespace": "v1",
    "Role": _RBAC,
    "RoleBinding": _RBAC,
    "Secret": "v1",
    "ServiceAccount": "v1",
}
"""Kinds that policies know, by the name that Terraform's providers share with Kubernetes."""


def is_bridged(token: str) -> bool:
    """Tell by a type token whether a resource is of a Terraform provider for Kubernetes."""
    found = _TOKEN.fullmatch(token)
    return found is not None and found["package"] in _PACKAGES


def bridged_objects(token: str, props: Values) -> Iterator[Values]:
    """Yield the Kubernetes objects that a resource of a Terraform provider stands for."""
    if not is_bridged(token):
        return
    kind = _SUFFIX.sub("", token.rpartition(":")[2], count=1)
    if kind in _VERSIONS:
        yield _object(kind, props)
    for field in _MANIFESTS:
        for item in _manifest(props.get(field)):
            yield _placed(item, props.get("overrideNamespace"))


def _object(kind: str, props: Values) -> Values:
    # Rancher's provider has no metadata of its own; Terraform spells lists in the singular, Pulumi in the plural.
    metadata: Any = props.get("metadata", {key: props[key] for key in ("name", "namespace") if key in props})
    if listed := sequence(metadata):
        metadata = listed[0]
    return {**props, "apiVersion": _VERSIONS[kind], "kind": kind, "metadata": metadata}


def _manifest(value: Any) -> list[Values]:
    if isinstance(value, Unknown):
        return [{"apiVersion": "v1", "kind": "Secret", "metadata": UNKNOWN}]
    if isinstance(value, Mapping):
        return [cast("Values", value)]
    if not isinstance(value, str) or len(value) > LARGEST_TEXT:
        return []
    try:
        return [item for item in map(mapping, yaml.safe_load_all(value)) if item]
    except (yaml.YAMLError, ValueError, RecursionError):
        # What it mentions is still told.
        return []


def _placed(item: Values, namespace: Any) -> Values:
    return (
        item if namespace is None else {**item, "metadata": {**mapping(item.get("metadata")), "namespace": namespace}}
    )
