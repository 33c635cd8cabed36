"""Pack `cluster-pull-secret`: nothing that Pulumi declares may write what the cluster pulls its own images with."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

from pullsecrets import guard
from pullsecrets.data import Values, dig, has_unknown, is_true, mapping, sequence, shown
from pullsecrets.kube.objects import group_of, kind_of
from pullsecrets.policy.model import (
    Finding,
    Level,
    PolicyInfo,
    Resource,
    Settings,
    Severity,
    kubernetes_object,
    kubernetes_objects,
)

_URL = "https://docs.openshift.com/container-platform/latest/openshift_images/managing_images/using-image-pull-secrets.html"

_DELIVER = (
    "deliver the credential as a separate Secret to each namespace with RegistryPullSecret, and leave the cluster's "
    "own pull-secret to the cluster"
)

_policy = partial(PolicyInfo, url=_URL, tags=("kubernetes", "openshift", "pull-secret"))

WRITES: Final[PolicyInfo] = _policy(
    name="disallow-cluster-pull-secret-writes",
    title="Disallow writes to the cluster pull-secret",
    description="Nothing may write the cluster pull-secret, its HyperShift relatives, or what else decides them.",
    level=Level.MANDATORY,
    severity=Severity.CRITICAL,
    remediation=(
        "Remove the resource. Deliver a registry credential as a separate Secret to each namespace that opted in "
        "(`RegistryPullSecret`); change the cluster pull-secret itself only as break-glass, outside Pulumi."
    ),
)

MENTIONS: Final[PolicyInfo] = _policy(
    name="disallow-cluster-pull-secret-mentions",
    title="Disallow mentions of the cluster pull-secret",
    description=("What names a guarded object, or could become one by something outside it, needs a review."),
    level=Level.ADVISORY,
    severity=Severity.MEDIUM,
    remediation=(
        "See that it only reads. State name and namespace as plain texts where a parameter or the place decides. To "
        "refuse every mention set this policy to `mandatory`."
    ),
)

OVERWRITES: Final[PolicyInfo] = _policy(
    name="disallow-silent-overwrites",
    title="Disallow switches that overwrite silently on guarded kinds",
    description=(
        "Objects of kinds that the cluster pull-secret is made of are never overwritten or patched by force, nor "
        "declared through a plugin before 4.29, which takes over whatever exists without a switch."
    ),
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare the object through a provider without `upsertExistingObjects` and `enablePatchForce`, and without "
        "the annotation `pulumi.com/patchForce`, and by version 4.29 or newer, so that an object that exists is an "
        "error and not overwritten."
    ),
    url="https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/",
)

UNJUDGED: Final[PolicyInfo] = _policy(
    name="disallow-unjudged-writers",
    title="Disallow writers that cannot be judged",
    description="What a Helm release, a command or a plugin writes is not shown to policies, so it is not checked.",
    level=Level.ADVISORY,
    severity=Severity.MEDIUM,
    remediation=(
        "Declare the objects as resources, or a Helm chart as `kubernetes:helm.sh/v4:Chart`, so that each is judged. "
        "A `Release` of a chart whose templates were reviewed can be listed in `reviewedCharts`. What it does to the "
        "cluster pull-secret the in-cluster guard decides; to refuse it here set this policy to `mandatory`."
    ),
    url="https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v4/chart/",
    settings={
        "reviewedCharts": {
            "type": "array",
            "description": "Charts whose templates were read and write nothing guarded, at exactly that version.",
            "default": [],
            "items": {
                "type": "object",
                "properties": {
                    "chart": {"type": "string"},
                    "repository": {"type": "string"},
                    "version": {"type": "string"},
                },
                "required": ["chart", "version"],
                "additionalProperties": False,
            },
        }
    },
)

REFUSES_SINCE: Final = (4, 29)
"""From this version on the plugin refuses to create what exists, unless `upsertExistingObjects` says otherwise
(https://github.com/pulumi/pulumi-kubernetes/blob/master/CHANGELOG.md, 4.29.0)."""
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.\d+")

_RELEASES: Final = frozenset({"kubernetes:helm.sh/v3:Release", "helm:index/release:Release", "helm:index:Release"})
_OF_OURS: Final = frozenset({"pulumi", "pullsecrets", "vault"})
"""Packages whose resources act on no cluster, or are judged by rules of their own."""

_REVIEW = "see that it does not write it"


def judge_object_writes(item: Values, _settings: Settings) -> Iterator[Finding]:
    """Find what a Kubernetes object writes of what is guarded."""
    yield from _told(item, [write for write in guard.find_writes(item) if write.is_refused])


def judge_resource_writes(resource: Resource, _settings: Settings) -> Iterator[Finding]:
    """Find what a Pulumi resource of a Kubernetes provider writes of what is guarded, the guard itself included."""
    redeclares = not resource.is_inside("pullsecrets:index:ClusterPullSecretGuard")
    for item in kubernetes_objects(resource):
        writes = guard.find_writes(item, resource.namespace, patch=resource.is_patch, redeclares=redeclares)
        yield from _told(item, [write for write in writes if write.is_refused])


def judge_object_mentions(item: Values, _settings: Settings) -> Iterator[Finding]:
    """Find what a Kubernetes object only could write, or only mentions, of what is guarded."""
    yield from _mentioned([item], None, patch=False)


def judge_resource_mentions(resource: Resource, _settings: Settings) -> Iterator[Finding]:
    """Find what a Pulumi resource of any package mentions of what is guarded."""
    items = list(kubernetes_objects(resource))
    yield from _mentioned(items, resource.namespace, patch=resource.is_patch)
    if not items and resource.package not in _OF_OURS:
        subject = f"{resource.token} {resource.name}"
        for what, path in guard.mentions_of(resource.props).items():
            yield Finding(f"{subject} mentions {what}", _REVIEW, path)


def _mentioned(items: list[Values], namespace: Any, *, patch: bool) -> Iterator[Finding]:
    """Yield advice on objects that stand for one resource; what one of them is refused for is not told again."""
    found = [(item, guard.find_writes(item, namespace, patch=patch)) for item in items]
    refused = {write.what for _, writes in found for write in writes if write.is_refused}
    for item, writes in found:
        possible = [write for write in writes if write.what not in refused]
        yield from _told(item, possible)
        told = refused | {write.what for write in possible}
        for what, path in guard.find_mentions(item, namespace).items():
            if what not in told:
                yield Finding(f"{guard.describe(item)} mentions {what}", _REVIEW, path)


def judge_overwrites(resource: Resource, _settings: Settings) -> Iterator[Finding]:
    """Find switches that would overwrite an existing object of a guarded kind."""
    item = kubernetes_object(resource)
    if item is None or (group_of(item), kind_of(item)) not in guard.GUARDED_KINDS:
        return
    switches = mapping(resource.provider.props if resource.provider else None)
    fix = f"declare the {kind_of(item)} through a provider without it"
    version = _VERSION.match(str(switches.get("version") or ""))
    if version and (int(version[1]), int(version[2])) < REFUSES_SINCE:
        plugin = f"the plugin of version {version[0]}"
        told = f"{guard.describe(item)} is declared through {plugin}, which overwrites what exists"
        yield Finding(told, "use version 4.29 or newer of the provider")
    for name in ("upsertExistingObjects", "enablePatchForce"):
        if is_true(switches.get(name)):
            yield Finding(f"{guard.describe(item)} is declared through a provider with {name}", fix)
    force = "pulumi.com/patchForce"
    if is_true(mapping(dig(item, ("metadata", "annotations"))).get(force)):
        path = ("metadata", "annotations", force)
        yield Finding(f"{guard.describe(item)} has the annotation {force}", "remove the annotation", path)


def judge_object_opaque(item: Values, _settings: Settings) -> Iterator[Finding]:
    """Find objects whose controllers act on nodes or Secrets by what does not stand in the object."""
    if reason := guard.OPAQUE_KINDS.get((group_of(item), kind_of(item))):
        yield Finding(f"{guard.describe(item)} cannot be judged: {reason}", _REVIEW)


def judge_unjudged(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find resources whose writes policies do not see."""
    subject = f"{resource.token} {resource.name}"
    if resource.token in _RELEASES:
        yield from _release(subject, resource.props, settings)
    elif resource.package == "command":
        yield Finding(f"{subject} cannot be judged: what it runs is no resource", "declare what it writes as resources")
    elif ":dynamic" in resource.token and not resource.token.startswith("pulumi-python:dynamic/pullsecrets:"):
        yield Finding(f"{subject} cannot be judged: its provider is code of the program", _REVIEW)
    elif resource.package == "kubernetes":
        for item in kubernetes_objects(resource):
            yield from judge_object_opaque(item, settings)
        yield from _component(subject, resource)


def _told(item: Values, writes: list[guard.Write]) -> Iterator[Finding]:
    """Yield a finding for each place in an object that says what it writes."""
    subject = guard.describe(item)
    for path in dict.fromkeys(write.path for write in writes):
        first, *others = [write for write in writes if write.path == path]
        more = f" (and {', '.join(write.what for write in others)})" if others else ""
        declared = first.is_refused and subject == first.what
        problem = f"{first.what} is declared here" if declared else f"{subject} {first}{more}"
        yield Finding(problem, _fix(first), path)


def _fix(write: guard.Write) -> str:
    if write.answer is guard.Answer.CERTAIN:
        return _DELIVER
    return f"state name and namespace as plain texts that are not the guarded ones, or {_DELIVER}"


def _release(subject: str, props: Values, settings: Settings) -> Iterator[Finding]:
    chart = "install the chart as kubernetes:helm.sh/v4:Chart, whose objects are judged one by one"
    if has_unknown(props):
        yield Finding(f"{subject} cannot be judged: not all of its inputs are known in this preview", chart)
    elif props.get("postrender"):
        yield Finding(f"{subject} cannot be judged: its postrender command can write any object", chart)
    elif not any(_is_reviewed(props, reviewed) for reviewed in _reviewed(settings)):
        yield Finding(
            f"{subject} cannot be judged: its objects are not shown to policies",
            f"{chart}, or review this version of the chart and list it in reviewedCharts",
        )


def _reviewed(settings: Settings) -> Iterable[Values]:
    return [mapping(item) for item in sequence(UNJUDGED.setting(settings, "reviewedCharts"))]


def _is_reviewed(props: Values, reviewed: Values) -> bool:
    repository = dig(props, ("repositoryOpts", "repo")) or None
    return (props.get("chart"), props.get("version"), repository) == (
        reviewed.get("chart"),
        reviewed.get("version"),
        reviewed.get("repository"),
    )


def _component(subject: str, resource: Resource) -> Iterator[Finding]:
    """A chart, a YAML file or a kustomization has its objects judged as resources, once they are known."""
    if kubernetes_object(resource) is not None or not has_unknown(resource.props):
        return
    for path in sorted(key for key, value in resource.props.items() if has_unknown(value)):
        yield Finding(
            f"{subject} cannot be judged: {shown((path,))} is not known in this preview, so its objects are not",
            "give it inputs that do not depend on resources that are yet to be made",
            (path,),
        )
