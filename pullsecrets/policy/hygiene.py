"""Pack `stack-hygiene`: habits that keep a stack from losing namespaces or writing to the wrong cluster."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from pullsecrets.data import Path, Values, dig, mapping, sequence
from pullsecrets.guard.targets import describe
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.policy.model import (
    Finding,
    Level,
    PolicyInfo,
    Resource,
    Settings,
    Severity,
    every_object,
    is_unknown,
    kubernetes_object,
)

_policy = partial(PolicyInfo, tags=("hygiene", "pulumi"))

PROTECTION: Final[PolicyInfo] = _policy(
    name="protect-namespaces-and-stores",
    title="Protect namespaces and stores",
    description="Deleting a namespace or a store breaks the workloads of all its tenants.",
    level=Level.ADVISORY,
    severity=Severity.MEDIUM,
    remediation=(
        "Set the resource option `protect` (`tenants.protect: true` sets it on the stack's stores, and on the "
        "namespaces that `tenants.onLeave: delete` would delete), and never `deleteBeforeReplace` on a namespace: "
        "replacing one would delete everything in it."
    ),
    url="https://www.pulumi.com/docs/iac/concepts/options/protect/",
)

PROVIDERS: Final[PolicyInfo] = _policy(
    name="require-explicit-providers",
    title="Require explicit providers",
    description="A default provider uses whatever cluster or Vault is current where Pulumi runs.",
    level=Level.ADVISORY,
    severity=Severity.MEDIUM,
    remediation=(
        "Create a provider resource (`kubernetes.Provider` with `context`, `vault.Provider` with `address`) and pass "
        "it with the resource option `provider` or `providers`; `pulumi:disable-default-providers` enforces it."
    ),
    url="https://www.pulumi.com/docs/iac/concepts/resources/providers/",
    settings={
        "packages": {
            "type": "array",
            "description": "Packages whose default provider is reported.",
            "items": {"type": "string"},
            "default": ["kubernetes", "vault"],
        }
    },
)

LABELS: Final[PolicyInfo] = _policy(
    name="require-standard-labels",
    title="Require standard labels",
    description="Objects that the stack creates carry the labels that identify their owner.",
    level=Level.ADVISORY,
    severity=Severity.LOW,
    remediation="Add the labels to `metadata.labels`.",
    url="https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/",
    tags=("hygiene", "kubernetes"),
    settings={
        "labels": {
            "type": "array",
            "description": "Labels that every created object carries.",
            "items": {"type": "string"},
            "default": ["app.kubernetes.io/part-of"],
        }
    },
)

_PROTECTED = frozenset({("", "Namespace"), ("external-secrets.io", "ClusterSecretStore")})


def judge_protection(resource: Resource, _settings: Settings) -> Iterator[Finding]:
    """Find namespaces and stores that a mistake could delete."""
    item = kubernetes_object(resource)
    if item is None or resource.is_patch or (group_of(item), kind_of(item)) not in _PROTECTED:
        return
    if not resource.options.protect:
        yield Finding(f"{describe(item)} is not protected", "set the resource option protect")
    if resource.options.delete_before_replace and kind_of(item) == "Namespace":
        problem = f"{describe(item)} would be deleted, with everything in it, before it is replaced"
        yield Finding(problem, "take the resource option deleteBeforeReplace off")


def judge_providers(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find resources that a default provider serves."""
    packages = sequence(PROVIDERS.setting(settings, "packages"))
    provider = resource.provider
    if provider and resource.package in packages and provider.name.partition("_")[0] == "default":
        subject = f"{resource.token} {resource.name}"
        yield Finding(f"{subject} uses the default provider", "hand it a provider that names its server")


def judge_labels(item: Values, settings: Settings) -> Iterator[Finding]:
    """Find objects without the standard labels."""
    path: Path = ("metadata", "labels")
    labels = dig(item, path)
    if is_unknown(labels):
        return
    missing = [str(key) for key in sequence(LABELS.setting(settings, "labels")) if str(key) not in mapping(labels)]
    if missing:
        path = path if mapping(labels) else ("metadata",)
        yield Finding(f"{describe(item)} lacks the label {', '.join(missing)}", "add it to metadata.labels", path)


def judge_labels_resource(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find objects that the stack creates without the standard labels; a patch owns no object."""
    for item in () if resource.is_patch else every_object(resource):
        yield from judge_labels(item, settings)
