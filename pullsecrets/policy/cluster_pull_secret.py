"""Pack `cluster-pull-secret`: nothing that Pulumi declares may write what the cluster pulls its own images with."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pullsecrets import guard
from pullsecrets.data import Values, dig, has_unknown, is_true, mapping, sequence, shown, texts
from pullsecrets.guard import shell
from pullsecrets.guard.targets import group_of, kind_of
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
_TAGS = ("kubernetes", "openshift", "pull-secret")

_DELIVER = (
    "deliver the credential as a Secret of its own to each namespace with RegistryPullSecret, and leave the cluster's "
    "own pull-secret to the cluster"
)

WRITES: Final = PolicyInfo(
    name="disallow-cluster-pull-secret-writes",
    title="Disallow writes to the cluster pull-secret",
    description="Nothing may write the cluster pull-secret, its HyperShift relatives, or what else decides them.",
    level=Level.MANDATORY,
    severity=Severity.CRITICAL,
    remediation=(
        "Take the resource out. Deliver a registry credential as a Secret of its own to each namespace that opted in "
        "(`RegistryPullSecret`); change the cluster pull-secret itself only as break-glass, outside Pulumi."
    ),
    url=_URL,
    tags=_TAGS,
)

OVERWRITES: Final = PolicyInfo(
    name="disallow-silent-overwrites",
    title="Disallow switches that overwrite silently on guarded kinds",
    description="Objects of kinds that the cluster pull-secret is made of are never overwritten or patched by force.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare the object through a provider without `upsertExistingObjects` and `enablePatchForce`, and without "
        "the annotation `pulumi.com/patchForce`, so that an object that exists is an error and not overwritten."
    ),
    url="https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/",
    tags=_TAGS,
)

UNJUDGED: Final = PolicyInfo(
    name="disallow-unjudged-writers",
    title="Disallow writers that cannot be judged",
    description="What hides its writes from policies may not name the cluster pull-secret or leave open what it does.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare the objects as resources, or a Helm chart as `kubernetes:helm.sh/v4:Chart`, so that each is judged. "
        "A `Release` of a chart whose templates were reviewed can be listed in `reviewedCharts`."
    ),
    url="https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v4/chart/",
    tags=_TAGS,
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

POLICIES: Final = (WRITES, OVERWRITES, UNJUDGED)

_RELEASE = "kubernetes:helm.sh/v3:Release"
_SCRIPTS = ("create", "update", "delete", "stdin")
_DECIDING = (*_SCRIPTS, "environment", "interpreter")


def judge_object_writes(item: Values, _settings: Settings, namespace: Any = None) -> Iterator[Finding]:
    """Find what a Kubernetes object writes of what is guarded."""
    writes = guard.find_writes(item) if namespace is None else guard.find_writes(item, namespace)
    for path in dict.fromkeys(write.path for write in writes):
        first, *others = [write for write in writes if write.path == path]
        more = f" (and {', '.join(write.what for write in others)})" if others else ""
        subject = guard.describe(item)
        problem = f"{first.what} is declared here" if subject == first.what else f"{subject} {first}{more}"
        yield Finding(problem, _fix(first), path)


def judge_resource_writes(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find what a Pulumi resource of the Kubernetes provider writes of what is guarded."""
    for item in kubernetes_objects(resource):
        yield from judge_object_writes(item, settings, resource.namespace)


def judge_overwrites(resource: Resource, _settings: Settings) -> Iterator[Finding]:
    """Find switches that would overwrite an existing object of a guarded kind."""
    item = kubernetes_object(resource)
    if item is None or (group_of(item), kind_of(item)) not in guard.GUARDED_KINDS:
        return
    switches = mapping(resource.provider.props if resource.provider else None)
    fix = f"declare the {kind_of(item)} through a provider without it"
    for name in ("upsertExistingObjects", "enablePatchForce"):
        if is_true(switches.get(name)):
            yield Finding(f"{guard.describe(item)} is declared through a provider with {name}", fix)
    force = "pulumi.com/patchForce"
    if is_true(mapping(dig(item, ("metadata", "annotations"))).get(force)):
        path = ("metadata", "annotations", force)
        yield Finding(f"{guard.describe(item)} has the annotation {force}", "take the annotation off", path)


def judge_unjudged(resource: Resource, settings: Settings) -> Iterator[Finding]:
    """Find resources whose writes policies do not see, and that name a guarded thing or leave open what they do."""
    subject = f"{resource.token} {resource.name}"
    if resource.token == _RELEASE:
        yield from _release(subject, resource, settings)
    elif resource.package == "command":
        yield from _command(subject, resource.props)
    elif resource.package == "kubernetes":
        yield from _component(subject, resource)
    elif resource.package not in {"pulumi", "pullsecrets", "vault"}:
        for what in guard.names_guarded(text for _, text in texts(resource.props)):
            yield Finding(f"{subject} names {what}, and what it does with it cannot be judged", _DELIVER)


def _fix(write: guard.Write) -> str:
    if write.certain:
        return _DELIVER
    return f"state name and namespace as plain texts that are not the guarded ones, or {_DELIVER}"


def _release(subject: str, resource: Resource, settings: Settings) -> Iterator[Finding]:
    props = resource.props
    named = guard.names_guarded((text for _, text in texts(props)), props.get("namespace"))
    for what in named:
        yield Finding(f"{subject} names {what}, and its objects are not shown to policies", _DELIVER)
    if named:
        return
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


def _command(subject: str, props: Values) -> Iterator[Finding]:
    named = guard.names_guarded((text for _, text in texts(props)), name_suffices=True)
    for what in named:
        yield Finding(f"{subject} names {what}, and what it does with it cannot be judged", _DELIVER)
    if named:
        return
    resources = "declare what it writes as resources"
    for key in _DECIDING:
        if has_unknown(props.get(key)):
            yield Finding(f"{subject} cannot be judged: its {key} is not known in this preview", resources, (key,))
    if _runs_other_language(props.get("interpreter")):
        yield Finding(
            f"{subject} cannot be judged: its interpreter is no shell", f"{resources}, or use a shell", ("interpreter",)
        )
    for key in _SCRIPTS:
        for path, text in texts(props.get(key)):
            if shell.writes_to_a_cluster(text):
                problem = "it runs a client of the cluster that can write, and what it writes does not stand here"
            elif shell.hands_control_on(text):
                problem = "it runs a script or an interpreter, whose text does not stand here"
            else:
                continue
            yield Finding(f"{subject} cannot be judged: in its {key} {problem}", resources, (key, *path))


def _runs_other_language(interpreter: Any) -> bool:
    words = sequence(interpreter)
    return bool(words) and str(words[0]).rpartition("/")[2] not in shell.SHELLS


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
