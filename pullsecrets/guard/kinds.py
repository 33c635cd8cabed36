"""What is known of kinds, as data: whose controllers write Secrets where they are told to."""

from dataclasses import dataclass
from typing import Final

from pullsecrets.data import Path

OWN_NAME: Final[Path] = ("metadata", "name")


@dataclass(frozen=True)
class SecretWriter:
    """A kind whose controller writes a Secret, and where it says which one."""

    group: str
    kind: str
    names: tuple[Path, ...]
    """Where the Secret's name stands; the first that is there counts."""
    namespace: Path | None = None
    """Where its namespace stands, when that need not be the object's own."""
    annotations: Path | None = None
    """Annotations that the Secret gets, which can have it copied on."""
    at: Path = ()
    """What the other paths begin at; `*` stands for each item of a list or a map."""
    any_kind: bool = False
    """Whether `apiVersion` and `kind` beside the name say what is written, which need not be a Secret."""


SECRET_WRITERS: Final = (
    SecretWriter(
        "external-secrets.io",
        "ExternalSecret",
        (("spec", "target", "name"), OWN_NAME),
        annotations=("spec", "target", "template", "metadata", "annotations"),
    ),
    SecretWriter(
        "bitnami.com",
        "SealedSecret",
        (("spec", "template", "metadata", "name"), OWN_NAME),
        ("spec", "template", "metadata", "namespace"),
        ("spec", "template", "metadata", "annotations"),
    ),
    SecretWriter(
        "cert-manager.io",
        "Certificate",
        (("spec", "secretName"),),
        annotations=("spec", "secretTemplate", "annotations"),
    ),
    SecretWriter("digitalis.io", "DbSecret", (OWN_NAME,)),
    SecretWriter("digitalis.io", "ValsSecret", (("spec", "name"), OWN_NAME)),
    *(
        SecretWriter("hive.openshift.io", kind, (("name",),), ("namespace",), at=at, any_kind=any_kind)
        for kind in ("SelectorSyncSet", "SyncSet")
        for at, any_kind in (
            (("spec", "patches", "*"), True),
            (("spec", "secretMappings", "*", "targetRef"), False),
        )
    ),
    SecretWriter("isindir.github.com", "SopsSecret", (("spec", "secretTemplates", "*", "name"),)),
    SecretWriter("k8s.bitwarden.com", "BitwardenSecret", (("spec", "secretName"),)),
    SecretWriter("kubernetes-client.io", "ExternalSecret", (OWN_NAME,)),
    *(
        SecretWriter("kyverno.io", kind, (("name",),), ("namespace",), at=("spec", "rules", "*", *at), any_kind=True)
        for kind in ("ClusterPolicy", "Policy")
        for at in (("generate",), ("generate", "foreach", "*"), ("mutate", "targets", "*"))
    ),
    SecretWriter("onepassword.com", "OnePasswordItem", (OWN_NAME,)),
    SecretWriter(
        "redhatcop.redhat.io",
        "Patch",
        (("name",),),
        ("namespace",),
        at=("spec", "patches", "*", "targetObjectRef"),
        any_kind=True,
    ),
    SecretWriter("redhatcop.redhat.io", "VaultSecret", (("spec", "output", "name"), OWN_NAME)),
    SecretWriter("ricoberger.de", "VaultSecret", (OWN_NAME,)),
    SecretWriter("secretgen.carvel.dev", "SecretImport", (OWN_NAME,)),
    SecretWriter("secretgen.carvel.dev", "SecretTemplate", (OWN_NAME,)),
    SecretWriter("secretgenerator.mittwald.de", "BasicAuth", (OWN_NAME,)),
    SecretWriter("secretgenerator.mittwald.de", "StringSecret", (OWN_NAME,)),
    SecretWriter("secrets-store.csi.x-k8s.io", "SecretProviderClass", (("spec", "secretObjects", "*", "secretName"),)),
    SecretWriter(
        "secrets.doppler.com",
        "DopplerSecret",
        (("spec", "managedSecret", "name"),),
        ("spec", "managedSecret", "namespace"),
    ),
    *(
        SecretWriter(
            "secrets.hashicorp.com",
            kind,
            (("spec", "destination", "name"),),
            annotations=("spec", "destination", "annotations"),
        )
        for kind in ("HCPVaultSecretsApp", "VaultDynamicSecret", "VaultPKISecret", "VaultStaticSecret")
    ),
    *(
        SecretWriter("secrets.infisical.com", kind, (("secretName",),), ("secretNamespace",), at=at)
        for kind, at in (
            ("InfisicalDynamicSecret", ("spec", "managedSecretReference")),
            ("InfisicalSecret", ("spec", "managedKubeSecretReferences", "*")),
            ("InfisicalSecret", ("spec", "managedSecretReference")),
        )
    ),
    SecretWriter("spv.no", "AzureKeyVaultSecret", (("spec", "output", "secret", "name"),)),
)
"""Kinds whose controllers write Secrets where they are told to; others are judged by what they mention."""
