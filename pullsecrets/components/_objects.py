"""Turns the plain objects of `pullsecrets.manifests.builders` into inputs of Kubernetes resources."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pulumi
from pydantic import TypeAdapter

from pullsecrets.kube.marks import STACK_ANNOTATION
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import builders

Spec = TypeVar("Spec")
Built = TypeVar("Built")

WAIT_FOR_ANNOTATION = "pulumi.com/waitFor"
"""The official Kubernetes provider awaits what this names (https://www.pulumi.com/registry/packages/kubernetes/)."""


def build(builder: Callable[[Spec], Built], spec: type[Spec], args: Mapping[str, Any]) -> pulumi.Output[Built]:
    """Call a builder with a specification once all its values, which may be outputs, are known.

    Arguments that the specification has no field for are not its business, and numbers come from the engine as floats.
    """
    return pulumi.Output.from_input(dict(args)).apply(lambda known: builder(TypeAdapter(spec).validate_python(known)))


def owner() -> str:
    """Return how an object says that the running stack owns it."""
    return builders.owner(pulumi.get_project(), pulumi.get_stack())


def owned(item: KubernetesObject, annotations: Mapping[str, str] | None = None) -> Any:
    """Return an object's metadata with the annotation that says which stack owns it."""
    found = item["metadata"]
    return {
        **found,
        "annotations": {**found.get("annotations", {}), STACK_ANNOTATION: owner(), **(annotations or {})},
    }
