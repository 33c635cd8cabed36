"""The tenants of a stack file: namespaces by name, and matrices that multiply out to namespaces."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pullsecrets.config.fields import Annotations, ConfigModel, Label, ObjectName, OwnLabels


class TenantSettings(ConfigModel):
    """What a tenant namespace and a matrix of them have in common."""

    since: ClassVar = {"0.1.0": ("adopt", "registries", "service_accounts", "labels", "annotations")}

    adopt: bool = False
    """Whether the namespace exists already and is adopted; `false` refuses an existing one."""
    registries: tuple[str, ...]
    """Names of registries. May be empty: the namespace stays declared and nothing is delivered to it."""
    service_accounts: tuple[ObjectName, ...] = ()
    """ServiceAccounts that pull, beside `default`."""
    labels: OwnLabels = Field({})
    """Put on the namespace beside the opt-in labels."""
    annotations: Annotations = Field({})
    """Put on the namespace. What others put there stays."""


class NamespaceTenant(TenantSettings):
    """One tenant namespace by name."""

    since: ClassVar = {"0.1.0": ("name",)}

    name: Label
    """The namespace."""


class TenantMatrix(TenantSettings):
    """Services times environments, each a namespace by the name pattern."""

    since: ClassVar = {"0.1.0": ("services", "environments", "pattern")}

    services: Annotated[tuple[Label, ...], Field(min_length=1)]
    """Services of the matrix."""
    environments: Annotated[tuple[Label, ...], Field(min_length=1)]
    """Environments of the matrix."""
    pattern: str = "{service}-{environment}"
    """Name of each namespace, with both placeholders once."""

    def products(self) -> Iterator[tuple[str, str, str]]:
        """Yield each service in each environment, and the name of their namespace."""
        for service, environment in product(self.services, self.environments):
            name = self.pattern.replace("{service}", service).replace("{environment}", environment)
            yield service, environment, name

    @model_validator(mode="after")
    def _both_placeholders(self) -> "TenantMatrix":
        if self.pattern.count("{service}") != 1 or self.pattern.count("{environment}") != 1:
            raise ValueError("a pattern with {service} and {environment} once each, such as '{service}-{environment}'")
        return self


class Tenants(ConfigModel):
    """The tenant namespaces of the stack.

    With `protect` the store, and with `onLeave: delete` the namespaces that the program created, are deleted only after
    `pulumi state unprotect`.
    """

    since: ClassVar = {"0.1.0": ("protect", "on_leave", "namespaces", "matrices")}

    protect: bool = True
    """Whether the stores, and the namespaces that `onLeave` would delete, are protected in Pulumi's state."""
    on_leave: Literal["keep", "delete"] = "keep"
    """The action on a namespace that the program created when its tenant leaves the stack file."""
    namespaces: tuple[NamespaceTenant, ...] = ()
    """By name."""
    matrices: tuple[TenantMatrix, ...] = ()
    """Services times environments."""


class Tenant(BaseModel):
    """A tenant namespace as resolved from the stack's configuration."""

    model_config = ConfigDict(frozen=True)

    name: str
    adopt: bool
    registries: tuple[str, ...]
    service_accounts: tuple[str, ...]
    labels: dict[str, str]
    """The opt-in labels, and the tenant's own."""
    annotations: dict[str, str] = {}


def expand(matrix: TenantMatrix) -> tuple[NamespaceTenant, ...]:
    """Multiply a matrix out.

    Raises:
        pydantic.ValidationError: when a product is no DNS label, such as one that is too long.
    """
    settings = matrix.model_dump(by_alias=True, exclude={"services", "environments", "pattern"})
    return tuple(NamespaceTenant.model_validate({**settings, "name": name}) for _, _, name in matrix.products())
