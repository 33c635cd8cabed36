"""What differs between versions and distributions of External Secrets Operator: the one table, with the sources.

Read in https://github.com/external-secrets/external-secrets at the tags that are named, and, for Red Hat's operator, in
https://github.com/openshift/external-secrets-operator at its release branches.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

Version = tuple[int, int, int]
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[-+].*)?")

OLDEST: Final[Version] = (0, 17, 0)
"""Stores and serves v1, and v1beta1 no more (`served` in config/crds/bases of v0.16.2 and v0.17.0)."""

NEWEST_TRIED: Final[Version] = (2, 9, 0)
"""Its definitions accept everything that a stack declares (docs/support.md, "Versions of ESO")."""

HANDS_ON_FORCE_SYNC: Final[Version] = (0, 20, 0)
"""A ClusterExternalSecret hands the annotation on (pkg/controllers/clusterexternalsecret/
clusterexternalsecret_controller.go: `AnnotationForceSync` is in v0.20.0, and not in v0.19.2)."""

TOKEN_CACHE_FLAGS: Final[Mapping[Version, str]] = {
    OLDEST: "experimental-enable-vault-token-cache",
    (2, 3, 0): "enable-vault-token-cache",
}
"""The flag by the first version that has it. Both work in v2.9.0, the older one with a warning that it will go
(pkg/provider/vault/provider.go in v0.17.0, providers/v1/vault/provider.go in v2.2.0 and v2.3.0)."""

REFERENCE_DEFAULTS: Final[Mapping[Version, Mapping[str, str]]] = {
    OLDEST: {"conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None"},
    (2, 3, 0): {"nullBytePolicy": "Ignore"},
}
"""What the definitions add to each `remoteRef`, by the first version that knows it. Argo CD shows drift forever where
defaults that are added inside a list are left out (ESO issue 5895)."""

NULL_BYTE_DEFAULT_UNTIL: Final[Version] = (2, 7, 0)
"""`nullBytePolicy` has its default in v2.3.0 to v2.6.0, and none from v2.7.0 on, where it may still be spelled out
(config/crds/bases/external-secrets.io_externalsecrets.yaml)."""

SCOPE_FLAG: Final = "namespace"
"""With it one namespace's ExternalSecrets are looked at (cmd/controller/root.go; the chart's `scopedNamespace`)."""

RED_HAT: Final = "redhat"
"""`eso.distribution` of Red Hat's operator, which has no chart: it starts the controller with flags of its own,
`--concurrent=1` among them, and takes none from `ExternalSecretsConfig`; its `appConfig.operatingNamespace` scopes the
controller to a namespace and switches off what works on the whole cluster (`updateContainerSpec` in
pkg/controller/external_secrets/deployments.go, release-1.0 and release-1.1)."""

RED_HAT_VERSIONS: Final[Mapping[str, str]] = {"1.0": "0.19.0", "1.1": "0.20.4"}
"""The ESO in each version of the operator (`EXTERNAL_SECRETS_VERSION` in its Makefile)."""


@dataclass(frozen=True)
class Switch:
    """A part of the operator that can be switched off, and without which nothing is delivered."""

    flag: str
    """Of the controller, on unless it is `false` (cmd/controller/root.go in v0.17.0 and v2.9.0)."""
    value: str
    """Of the chart (deploy/charts/external-secrets/templates/deployment.yaml and rbac.yaml, the same versions)."""
    what: str


FANS_OUT: Final = Switch(
    "enable-cluster-external-secret-reconciler", "processClusterExternalSecret", "ClusterExternalSecrets"
)
SWITCHES: Final = (Switch("enable-cluster-store-reconciler", "processClusterStore", "ClusterSecretStores"), FANS_OUT)

MAY_REQUEST_TOKENS: Final = "rbac.serviceAccountTokenCreate"
"""Chart's value from v2.5.0 on; `false` takes the right to request tokens of ServiceAccounts from the controller, with
which a store logs in to Vault (templates/rbac.yaml in v2.4.1 and v2.5.0)."""


def is_off(switch: Switch, flags: Mapping[str, str]) -> bool:
    """Tell whether a controller with these flags leaves a part out."""
    return flags.get(switch.flag, "true") == "false"


def switched_off(flags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the flags by which a controller leaves out what we declare, each with the chart's way to undo it."""
    if flags.get(SCOPE_FLAG):
        yield f"--{SCOPE_FLAG}={flags[SCOPE_FLAG]}", "scopedNamespace=,scopedRBAC=false"
    for switch in SWITCHES:
        if is_off(switch, flags):
            yield f"--{switch.flag}=false", f"{switch.value}=true"


def caches_tokens(flags: Mapping[str, str]) -> bool:
    """Tell whether a controller with these flags keeps its Vault tokens from one refresh to the next."""
    return any(flags.get(flag) == "true" for flag in TOKEN_CACHE_FLAGS.values())


def reference_defaults(version: Version | None) -> dict[str, str]:
    """Return what a `remoteRef` has that says nothing; of a version that is not known, what every version takes."""
    rows = (row for since, row in REFERENCE_DEFAULTS.items() if since <= max(version or OLDEST, OLDEST))
    return {key: value for row in rows for key, value in row.items()}


def spelled_for_another(declared: Version | None, installed: Version) -> bool:
    """Tell whether what is spelled for one version lacks what another adds to it, or has what that does not know."""
    spelled, needed = reference_defaults(declared), reference_defaults(installed)
    return not spelled.keys() <= needed.keys() or (spelled != needed and installed < NULL_BYTE_DEFAULT_UNTIL)


def recommended_flags(version: Version | None) -> dict[str, str]:
    """Return the flags for many namespaces; of a version that is not known, those that every version takes."""
    caches = [flag for since, flag in TOKEN_CACHE_FLAGS.items() if since <= max(version or OLDEST, OLDEST)]
    return {"concurrent": "50", "client-qps": "500", "client-burst": "1000", caches[-1]: "true"}


def parse_version(text: str) -> Version | None:
    """Read `v0.20.4`, `0.9.13-ubi` and the like; None for anything else."""
    found = _VERSION.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def told(version: Version) -> str:
    """Spell a version as its tag does."""
    return f"v{'.'.join(map(str, version))}"
