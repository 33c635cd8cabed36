"""Turns the plain objects of `pullsecrets.manifests.builders` into inputs of Kubernetes resources."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.rbac.v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from pydantic import TypeAdapter

from pullsecrets.kube.marks import STACK_ANNOTATION
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests import builders

Spec = TypeVar("Spec")
Built = TypeVar("Built")

_READY_TIMEOUT = "3m"
_WAIT_FOR_ANNOTATION = "pulumi.com/waitFor"
"""The official Kubernetes provider awaits what this names (https://www.pulumi.com/registry/packages/kubernetes/)."""


def build(builder: Callable[[Spec], Built], spec: type[Spec], args: Mapping[str, Any]) -> pulumi.Output[Built]:
    """Call a builder with a specification once all its values, which may be outputs, are known.

    Arguments that the specification has no field for are not its business, and numbers come from the engine as floats.
    """
    return pulumi.Output.from_input(dict(args)).apply(lambda known: builder(TypeAdapter(spec).validate_python(known)))


def declare_custom(
    name: str,
    kind: str,
    made: pulumi.Output[KubernetesObject],
    opts: pulumi.ResourceOptions,
    annotations: Mapping[str, str] | None = None,
) -> CustomResource:
    """Declare a custom resource.

    Args:
        kind: `apiVersion` and `kind`, such as `external-secrets.io/v1/ClusterExternalSecret`.
        made: the object.
        annotations: for the provider alone.
    """
    version, _, kind = kind.rpartition("/")
    metadata = made.apply(lambda item: owned(item, annotations))
    return CustomResource(name, api_version=version, kind=kind, metadata=metadata, spec=made["spec"], opts=opts)


def declare_store(name: str, made: pulumi.Output[KubernetesObject], opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """Declare a store; return its name, which is known once ESO has said that it can be read."""
    patience = pulumi.ResourceOptions(
        custom_timeouts=pulumi.CustomTimeouts(create=_READY_TIMEOUT, update=_READY_TIMEOUT)
    )
    opts = pulumi.ResourceOptions.merge(opts, patience)
    kind, awaited = "external-secrets.io/v1/ClusterSecretStore", {_WAIT_FOR_ANNOTATION: "condition=Ready"}
    declared = declare_custom(name, kind, made, opts, awaited)
    return pulumi.Output.all(made["metadata"]["name"], declared.id).apply(lambda known: str(known[0]))


def declare_account(
    name: str,
    made: pulumi.Output[list[KubernetesObject]],
    role: type[Role] | type[ClusterRole],
    binding: type[RoleBinding] | type[ClusterRoleBinding],
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Declare a ServiceAccount, its role and the binding of both.

    Args:
        name: resource name of each.
        made: the three objects, in this order.
        role: kind of the role.
        binding: kind of the binding.
        opts: of each; the binding comes last.
    """
    account, rights = made[0], made[1]
    needed: list[pulumi.Resource] = [
        kubernetes.core.v1.ServiceAccount(
            name,
            metadata=account.apply(owned),
            automount_service_account_token=account["automountServiceAccountToken"],
            opts=opts,
        ),
        role(name, metadata=rights.apply(owned), rules=rights["rules"], opts=opts),
    ]
    bound = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=needed))
    return [*needed, declare_binding(name, made[2], binding, bound)]


def declare_binding(
    name: str,
    made: pulumi.Output[KubernetesObject],
    binding: type[RoleBinding] | type[ClusterRoleBinding],
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """Declare the binding of a role."""
    metadata = made.apply(owned)
    return binding(name, metadata=metadata, role_ref=made["roleRef"], subjects=made["subjects"], opts=opts)


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
