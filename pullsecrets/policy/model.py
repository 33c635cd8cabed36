"""What a policy is, what it finds, and what it judges: a Pulumi resource or a Kubernetes object as plain data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pullsecrets.data import Path, Unknown, Values, mapping, shown
from pullsecrets.guard.targets import unlisted
from pullsecrets.policy.bridged import bridged_objects, is_bridged

Settings = Mapping[str, Any]


class Level(StrEnum):
    """What a violation does."""

    MANDATORY = "mandatory"
    """It stops the preview, the update or the pipeline."""
    REMEDIATE = "remediate"
    """The resource is put right; what cannot be is mandatory."""
    ADVISORY = "advisory"
    """It is reported."""


class Severity(StrEnum):
    """How much harm a violation can do."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True)
class PolicyInfo:
    """A policy's metadata: what the pack registers, lint prints and the documentation lists."""

    name: str
    """Verb first, such as `disallow-silent-overwrites`."""
    title: str
    description: str
    """One sentence, which stands above each violation."""
    level: Level
    severity: Severity
    remediation: str
    """What to do about a violation."""
    url: str
    tags: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """JSON schema of each setting, with its default."""

    def setting(self, settings: Settings, name: str) -> Any:
        """Return a setting as given, or its default."""
        return settings.get(name, self.settings[name].get("default"))


@dataclass(frozen=True)
class Finding:
    """One thing that breaks a policy. Its text names kinds, names, namespaces and images, and never another value."""

    problem: str
    """What is wrong, with the object's identity."""
    fix: str
    """What to do about this one."""
    path: Path = ()
    """Where it stands in the object."""
    urn: str | None = None
    """The resource it is about, where a whole stack was judged."""

    def __str__(self) -> str:
        """Render as one line for a terminal."""
        return f"{self.problem}; {self.fix}"


@dataclass(frozen=True)
class Provider:
    """The provider of a resource."""

    token: str
    name: str
    props: Values


@dataclass(frozen=True)
class Options:
    """The options of a resource that policies look at."""

    protect: bool = False
    delete_before_replace: bool = False


@dataclass(frozen=True)
class Resource:
    """A Pulumi resource as plain data, in which unknown parts are `UNKNOWN`."""

    token: str
    name: str
    urn: str
    props: Values
    provider: Provider | None = None
    options: Options = Options()

    @property
    def package(self) -> str:
        """The package of the type token."""
        return self.token.partition(":")[0]

    @property
    def is_patch(self) -> bool:
        """Whether the resource changes an object that is there, and makes none."""
        return (self.package == "kubernetes" and self.token.endswith("Patch")) or self.is_of_ours("NamespaceOptIn")

    def is_of_ours(self, name: str) -> bool:
        """Tell whether the type is a dynamic resource of this project's components."""
        return self.token == _token_of_ours(name)

    def is_inside(self, component: str) -> bool:
        """Tell whether a component of that type is among the parents, whose types the URN lists."""
        return component in "".join(self.urn.split("::")[2:3]).split("$")[:-1]

    @property
    def stack(self) -> str:
        """The stack that the URN names."""
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]

    @property
    def namespace(self) -> Any:
        """Where the provider puts objects that name no namespace; None where it does not say."""
        return self.provider.props.get("namespace") if self.provider else None


ObjectRule = Callable[[Values, Settings], Iterable[Finding]]
ResourceRule = Callable[[Resource, Settings], Iterable[Finding]]
StackRule = Callable[[Iterable[Resource], Settings], Iterable[Finding]]


def kubernetes_object(resource: Resource) -> Values | None:
    """Return the object that a resource of the Kubernetes provider stands for, None for any other resource.

    The type token is what the provider goes by. A `...Patch` kind stands for the kind that it patches.
    """
    parsed = _group_version_kind(resource.token)
    if parsed is None:
        return None
    version, kind = parsed
    return {**resource.props, "apiVersion": version, "kind": kind.removesuffix("Patch") or kind}


def kubernetes_objects(resource: Resource) -> Iterator[Values]:
    """Yield the object by its type token, another by its own fields when those differ, and those of other providers."""
    item = kubernetes_object(resource)
    if item is None:
        yield from bridged_objects(resource.token, resource.props)
        return
    yield item
    own = {key: mapping(resource.props).get(key, item[key]) for key in ("apiVersion", "kind")}
    stated = {**item, **{key: value for key, value in own.items() if isinstance(value, str)}}
    if (stated["apiVersion"], stated["kind"]) != (item["apiVersion"], item["kind"]):
        yield stated


def every_object(resource: Resource) -> Iterator[Values]:
    """Yield the objects that a resource stands for, those of a List one by one.

    Our own dynamic resource that labels an adopted namespace stands for that namespace.
    """
    for item in kubernetes_objects(resource):
        yield from (inner for _, inner in unlisted(item))
    if resource.is_of_ours("NamespaceOptIn"):
        metadata = {"name": resource.props.get("namespace"), "labels": resource.props.get("labels")}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def is_object(token: str) -> bool:
    """Tell by a type token whether a resource could stand for a Kubernetes object."""
    return is_bridged(token) or token.startswith("kubernetes:") or token == _token_of_ours("NamespaceOptIn")


def of_every_object(rule: ObjectRule) -> ResourceRule:
    """Make a rule about objects one about resources: it judges every object that a resource stands for."""

    def judge(resource: Resource, settings: Settings) -> Iterator[Finding]:
        return (found for item in every_object(resource) for found in rule(item, settings))

    return judge


def named(item: Values) -> str:
    """Return the name of an object, or the empty text when it has none that is known."""
    name = mapping(item.get("metadata")).get("name")
    return name if isinstance(name, str) else ""


def unknown(subject: str, path: Path, fix: str) -> Finding:
    """Return the finding for a value that decides and is not known."""
    return Finding(f"{subject}: {shown(path)} is not known in this preview, so it cannot be judged", fix, path)


def is_unknown(value: Any) -> bool:
    """Tell whether a value is not known."""
    return isinstance(value, Unknown)


def _token_of_ours(name: str) -> str:
    return f"pulumi-python:dynamic/pullsecrets:{name}"


def _group_version_kind(token: str) -> tuple[str, str] | None:
    package, _, rest = token.partition(":")
    module, _, kind = rest.rpartition(":")
    group, _, version = module.rpartition("/")
    if package != "kubernetes" or not kind or not version:
        return None
    if group in {"helm.sh", "index", "yaml", "kustomize"} or (not group and not _is_version(version)):
        return None
    return (version if group in {"", "core"} else f"{group}/{version}"), kind


def _is_version(module: str) -> bool:
    """Tell whether a module without a group is the core group's version, such as `v1`, and not `index`."""
    return module[:1] == "v" and module[1:2].isdigit()
