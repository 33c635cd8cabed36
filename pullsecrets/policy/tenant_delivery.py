"""Pack `tenant-delivery`: who is granted a pull Secret, and that it is delivered in the one safe way."""

from typing import Final

from pullsecrets.policy.model import Level, PolicyInfo, Severity
from pullsecrets.policy.registries import REGISTRIES

_TAGS = ("external-secrets", "kubernetes", "pull-secret")
_VAULT_TAGS = ("pull-secret", "vault")

OPT_IN: Final = PolicyInfo(
    name="restrict-opt-in-labels",
    title="Restrict the opt-in label to the registry's namespaces",
    description="The label that grants a pull Secret stands only on namespaces inside the registry's patterns.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Take the label off, or name the namespace by one of the registry's patterns (`registries[].namespaces` of "
        "the stack). Namespaces of the cluster itself never carry it."
    ),
    url="https://external-secrets.io/latest/api/clusterexternalsecret/",
    tags=_TAGS,
    settings=REGISTRIES,
)

DELIVERY: Final = PolicyInfo(
    name="configure-safe-delivery",
    title="Configure delivery so that it reaches tenants only and lasts",
    description="Stores have conditions, and what they deliver is an owned dockerconfigjson Secret for tenants only.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare delivery with the components `VaultClusterSecretStore` and `RegistryPullSecret`, or change the field "
        "that the message names to what it allows."
    ),
    url="https://external-secrets.io/latest/api/clusterexternalsecret/",
    tags=_TAGS,
    settings={
        **REGISTRIES,
        "refresh": {
            "type": "object",
            "description": "Shortest and longest time between two readings of Vault.",
            "properties": {"shortest": {"type": "string"}, "longest": {"type": "string"}},
            "additionalProperties": False,
            "default": {"shortest": "1m", "longest": "24h"},
        },
        "otherClusterExternalSecrets": {
            "type": "array",
            "description": "ClusterExternalSecrets that deliver something else than a pull Secret.",
            "items": {"type": "string"},
            "default": [],
        },
    },
)

CREDENTIALS: Final = PolicyInfo(
    name="disallow-inline-credentials",
    title="Disallow credentials in resources",
    description="No resource holds a credential: what Pulumi declares lands in its state, and YAML in a repository.",
    level=Level.MANDATORY,
    severity=Severity.CRITICAL,
    remediation=(
        "Put the credential into Vault with `pull-secrets seed` and let External Secrets Operator deliver it. A "
        "credential that was committed or is in state is no secret any more: change it where it was issued."
    ),
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
    tags=(*_TAGS, "vault"),
)

VAULT_ACCESS: Final = PolicyInfo(
    name="restrict-vault-access",
    title="Restrict access to the registries' paths in Vault",
    description="Vault policies only read the registries' paths, one by one, and roles name who may log in.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Declare a policy per registry with `VaultRegistryEntry` (capability `read`, the path written out), and the "
        "role with `VaultAccess` (ServiceAccounts and namespaces by name)."
    ),
    url="https://developer.hashicorp.com/vault/docs/concepts/policies",
    tags=_VAULT_TAGS,
    settings={
        "prefixes": {
            "type": "array",
            "description": "KV v2 paths below which registry credentials are; `+` stands for one segment.",
            "items": {
                "type": "object",
                "properties": {"mount": {"type": "string"}, "path": {"type": "string"}},
                "required": ["mount", "path"],
                "additionalProperties": False,
            },
            "default": [
                {"mount": "secret", "path": "ocp/+/registries"},
                {"mount": "secret", "path": "registry"},
            ],
        }
    },
)

BINDING: Final = PolicyInfo(
    name="require-append-safe-binding",
    title="Require append-safe binding of ServiceAccounts",
    description="ServiceAccounts get pull Secrets appended; declaring their list would drop every other entry.",
    level=Level.MANDATORY,
    severity=Severity.HIGH,
    remediation=(
        "Bind with the component `ImagePullSecretBinding` (or `TenantNamespace`, which contains it): it appends and "
        "takes only its own entry away. `imagePullSecrets` is an atomic list: whoever declares it replaces it whole."
    ),
    url="https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/",
    tags=_TAGS,
    settings=REGISTRIES,
)

COMPLETE: Final = PolicyInfo(
    name="require-complete-delivery",
    title="Require all parts of delivery in the stack",
    description="A stack with a Vault store also opens the way to Vault, and labels every tenant that it binds.",
    level=Level.MANDATORY,
    severity=Severity.MEDIUM,
    remediation=(
        "Declare `EsoEgress` beside the store, and each tenant with `TenantNamespace`, which puts the opt-in label on "
        "the namespace whose ServiceAccounts it binds."
    ),
    url="https://external-secrets.io/latest/guides/security-best-practices/",
    tags=_TAGS,
    settings={
        **REGISTRIES,
        "tenants": {
            "type": "array",
            "description": "Namespaces that must carry an opt-in label, beside those that the stack binds.",
            "items": {"type": "string"},
            "default": [],
        },
    },
)

POLICIES: Final = (OPT_IN, DELIVERY, CREDENTIALS, VAULT_ACCESS, BINDING, COMPLETE)
