"""Sections `gitops` and `workloads`: how the repository of the services is laid out, and which kinds make Pods."""

from typing import ClassVar, Literal

from pydantic import Field

from pullsecrets.config.fields import ConfigModel, EnvironmentsPattern, FieldPath, RepositoryPath, ServicesPattern


class Build(ConfigModel):
    """How kustomizations are built; what is left out is as the repository's controller has it."""

    since: ClassVar = {"0.1.0": ("command", "enable_helm", "load_restrictor", "enable_alpha_plugins", "enable_exec")}

    command: str | None = None
    """kubectl or kustomize to build with; by default the kubectl that is installed beside this program."""
    enable_helm: bool | None = None
    """Whether charts are rendered, as with kustomize's `--enable-helm`."""
    load_restrictor: Literal["LoadRestrictionsRootOnly", "LoadRestrictionsNone"] | None = None
    """Whether kustomizations may take in files from outside their folders."""
    enable_alpha_plugins: bool = False
    """Whether programs that the repository names are run; never taken from the repository."""
    enable_exec: bool = False
    """Whether functions of the repository are run as programs; never taken from the repository."""


class GitOps(ConfigModel):
    """The layout of the GitOps repository of the stack's services, where its own files do not define it."""

    since: ClassVar = {"0.1.0": ("services", "environments", "components", "paths", "roots", "charts", "build")}

    services: ServicesPattern = "apps/{service}"
    """Folder of each service."""
    environments: EnvironmentsPattern = "overlays/{environment}"
    """Overlay of each environment, below the service's folder; from the top where it names the service too."""
    components: RepositoryPath = "components/imagepullsecret"
    """Folder of the shared components, one for each Secret."""
    paths: tuple[RepositoryPath, ...] = ()
    """Folders that are read; empty: all of them."""
    roots: tuple[RepositoryPath, ...] = ()
    """Folders that are built; `*` matches a part of a name, `**` any folders; empty: those that are found."""
    charts: dict[str, FieldPath] = Field(default_factory=dict[str, str])
    """The value of a chart, by its name, that has the list of pull Secrets, such as `global.imagePullSecrets`."""
    build: Build = Build()
    """What builds it, and with which options."""


class WorkloadKind(ConfigModel):
    """A further kind that creates Pods, such as one of your own operator."""

    since: ClassVar = {"0.1.0": ("group", "kind", "path", "images")}

    group: str
    """Its API group, in any version."""
    kind: str
    """Its kind."""
    path: FieldPath
    """What has the list `imagePullSecrets`; `*` stands for each item of a list or a map."""
    images: tuple[FieldPath, ...] = ()
    """Where images stand, but for those of `containers` and `initContainers` in it."""
