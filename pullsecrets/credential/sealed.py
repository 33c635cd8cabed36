"""Sealed credentials: dockerconfigjson documents encrypted for one cluster's sealed-secrets controller, fit for git."""

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.document import DockerConfig, require_hosts
from pullsecrets.credential.expiry import format_expiry, read_expiry
from pullsecrets.data import mapping
from pullsecrets.errors import BadInputError, PullSecretsError, UnreachableError
from pullsecrets.files import as_yaml, write_whole
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, PULL_SECRET_KEY, PULL_SECRET_TYPE, STANDARD_LABELS
from pullsecrets.kube.objects import KubernetesObject, annotations_of

SEALED_GROUP_VERSION = "/apis/bitnami.com/v1alpha1"
HOSTS_ANNOTATION = "apps.platform/registry-hosts"
SEALED_AT_ANNOTATION = "apps.platform/sealed-at"
EXPIRES_AT_ANNOTATION = "apps.platform/expires-at"
KUBESEAL_SECONDS = 60
FETCH_SECONDS = 10
_SESSION_KEY_BYTES = 32
_NONCE = bytes(12)
"""AES-GCM's nonce: zero, because each session key encrypts one message
(https://github.com/bitnami-labs/sealed-secrets, docs/developer/crypto.md)."""


def sealed_secret(name: str, namespace: str, encrypted: str, annotations: Mapping[str, str]) -> KubernetesObject:
    """Return a SealedSecret that only its name and namespace can be unsealed under (scope `strict`).

    Args:
        name: of it and of the Secret.
        encrypted: base64 of the sealed dockerconfigjson document.
        annotations: facts about the document that are no secret, on it and on the Secret.
    """
    metadata = {"name": name, "namespace": namespace, "labels": dict(STANDARD_LABELS), "annotations": dict(annotations)}
    return {
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": metadata,
        "spec": {
            "encryptedData": {PULL_SECRET_KEY: encrypted},
            "template": {"metadata": metadata, "type": PULL_SECRET_TYPE},
        },
    }


def seal(
    config: StackConfig, registry: Registry, credential: DockerConfig, certificate: bytes, expires_at: str | None = None
) -> KubernetesObject:
    """Check a credential and return the SealedSecret that only this cluster's controller can open.

    With `kubeseal` on PATH that does the encryption; otherwise the same scheme is applied here.

    Args:
        registry: a registry with `source: sealedSecret`.
        certificate: the controller's public certificate as PEM.
        expires_at: RFC 3339 time at which the credential expires.

    Raises:
        BadInputError: the registry is not sealed, the hosts are not the canonical ones, the certificate is none.
    """
    if not registry.sealed:
        raise BadInputError(
            f"registry {registry.name!r} has source: vault; write its credential with `pull-secrets seed`, or set "
            "source: sealedSecret for it"
        )
    require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
    annotations = {
        CONTENT_DIGEST_ANNOTATION: credential.digest,
        HOSTS_ANNOTATION: ",".join(credential.hosts),
        SEALED_AT_ANNOTATION: datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if expires_at:
        annotations[EXPIRES_AT_ANNOTATION] = expires_at
    name, namespace = registry.name, config.eso.namespace
    public_key = _public_key(certificate)
    document = credential.to_json().encode()
    kubeseal = shutil.which("kubeseal")
    if kubeseal:
        encrypted = _by_kubeseal(kubeseal, certificate, document, name, namespace)
    else:
        encrypted = base64.b64encode(encrypt(public_key, document, f"{namespace}/{name}".encode())).decode()
    return sealed_secret(name, namespace, encrypted, annotations)


@dataclass(frozen=True)
class SealPlan:
    """What sealing would write, beside what the file holds."""

    item: KubernetesObject
    stored: str | None
    """Digest of what the file holds."""
    stored_expiry: str | None
    new_expiry: str | None

    @property
    def unchanged(self) -> bool:
        """Whether the file holds this credential with this expiry."""
        same = self.stored == sealed_digest(self.item)
        return same and read_expiry(self.stored_expiry) == read_expiry(self.new_expiry)


def plan(
    directory: Path,
    config: StackConfig,
    registry: Registry,
    credential: DockerConfig,
    certificate: bytes,
    expires_at: datetime | None = None,
    *,
    again: bool = False,
) -> SealPlan:
    """Seal a credential and compare it with what the registry's file holds; writes nothing.

    Args:
        directory: the project's folder, below which the file is.
        registry: a registry with `source: sealedSecret`.
        certificate: the controller's public certificate as PEM.
        expires_at: when the credential expires.
        again: whether a file that cannot be used is to be replaced.

    Raises:
        BadInputError: as `seal` does, or the file cannot be used.
    """
    there = None
    if (directory / str(registry.sealed_file)).exists():
        try:
            there = read_sealed(directory, config, registry)
        except BadInputError:
            if not again:
                raise
    expiry = format_expiry(expires_at) if expires_at else None
    item = seal(config, registry, credential, certificate, expiry)
    return SealPlan(item, sealed_digest(there), sealed_expiry(there), expiry)


def encrypt(public_key: rsa.RSAPublicKey, document: bytes, label: bytes) -> bytes:
    """Encrypt as the controller decrypts: an AES-256-GCM message under a session key, itself under RSA-OAEP.

    Args:
        public_key: of the controller.
        label: `namespace/name`, to which the message is bound (scope `strict`).

    Returns:
        Two bytes with the length of the encrypted session key, that key, and the encrypted message.
    """
    session_key = os.urandom(_SESSION_KEY_BYTES)
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=label)
    wrapped = public_key.encrypt(session_key, oaep)
    return len(wrapped).to_bytes(2, "big") + wrapped + AESGCM(session_key).encrypt(_NONCE, document, None)


def read_certificate(source: str, ca_file: Path | None = None) -> bytes:
    """Return the controller's certificate from a file, or from the https URL where the controller serves it.

    Raises:
        BadInputError: there is no such file, or the URL is plain http to another machine.
        UnreachableError: the controller does not answer.
    """
    if "://" not in source:
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise BadInputError(
                f"--certificate {source}: {error.strerror}; name the controller's certificate, as "
                "`kubeseal --fetch-cert` prints it"
            ) from None
    if not source.startswith("https://") and _host(source) not in {"127.0.0.1", "localhost"}:
        raise BadInputError(
            f"--certificate {source}: found plain http, where an attacker on the network could replace the key; "
            "allowed: https, or a file"
        )
    try:
        answer = requests.get(source, timeout=FETCH_SECONDS, verify=str(ca_file) if ca_file else True)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise UnreachableError(
            f"--certificate {source}: no answer ({type(error).__name__}); run `kubeseal --fetch-cert > cert.pem` and "
            "name that file"
        ) from None
    return answer.content


def read_sealed(directory: Path, config: StackConfig, registry: Registry) -> KubernetesObject:
    """Return the SealedSecret that a registry's file holds.

    Raises:
        BadInputError: the file is missing, or holds something else than `seal` writes for this registry.
    """
    file = directory / str(registry.sealed_file)
    hint = f"run: pull-secrets seal {registry.name} --stack <stack> --from-file <dockerconfig.json>"
    try:
        content = cast("Any", YAML(typ="safe")).load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{file}: no such file, and registry {registry.name!r} is sealed in it; {hint}") from None
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file}: cannot be read as YAML ({type(error).__name__}); {hint} --again") from None
    problem = _problem(content, config, registry)
    if problem:
        # What is there might be of use elsewhere: it is replaced only by the word for it.
        raise BadInputError(f"{file}: {problem}; {hint} --again")
    return cast("KubernetesObject", content)


def write_sealed(file: Path, item: KubernetesObject) -> None:
    """Write a SealedSecret as YAML, all of it or nothing."""
    header = "# Sealed by `pull-secrets seal` for one cluster's controller: safe for git, useless elsewhere.\n"
    write_whole(file, as_yaml(item, header))


def sealed_secret_path(config: StackConfig, registry: Registry) -> str:
    """Return the path of a registry's SealedSecret in the cluster."""
    return f"{SEALED_GROUP_VERSION}/namespaces/{config.eso.namespace}/sealedsecrets/{registry.name}"


def declared_digest(config: StackConfig, cluster: KubernetesClient, registry: Registry) -> str:
    """Return the digest of what the cluster's SealedSecret of a registry holds.

    Raises:
        BadInputError: when there is none, or it does not say.
    """
    digest = sealed_digest(cluster.find(sealed_secret_path(config, registry)))
    if digest is None:
        raise BadInputError(
            f"SealedSecret {registry.name!r} in namespace {config.eso.namespace!r}: not there, or without a digest; "
            f"run `pull-secrets seal {registry.name}` and `pulumi up` first"
        )
    return digest


def sealed_digest(item: Mapping[str, Any] | None) -> str | None:
    """Return the digest of what a SealedSecret holds; None when it does not say."""
    return _annotation(item, CONTENT_DIGEST_ANNOTATION)


def sealed_expiry(item: Mapping[str, Any] | None) -> str | None:
    """Return when the credential of a SealedSecret expires, as it is recorded; None when it does not say."""
    return _annotation(item, EXPIRES_AT_ANNOTATION)


def _annotation(item: Mapping[str, Any] | None, name: str) -> str | None:
    found = annotations_of(item).get(name)
    return None if found is None else str(found)


def _problem(content: Any, config: StackConfig, registry: Registry) -> str | None:
    if not isinstance(content, dict) or cast("dict[str, Any]", content).get("kind") != "SealedSecret":
        return "found no SealedSecret"
    item = cast("dict[str, Any]", content)
    metadata, spec = mapping(item.get("metadata")), mapping(item.get("spec"))
    place, wanted = (metadata.get("namespace"), metadata.get("name")), (config.eso.namespace, registry.name)
    if place != wanted:
        # The place is part of what is encrypted: the controller would refuse to open it anywhere else.
        return f"found it sealed for {place[0]}/{place[1]}; allowed: {wanted[0]}/{wanted[1]}"
    if list(mapping(spec.get("encryptedData"))) != [PULL_SECRET_KEY]:
        return f"spec.encryptedData: found other keys than {PULL_SECRET_KEY}"
    if sealed_digest(item) is None:
        return f"found no annotation {CONTENT_DIGEST_ANNOTATION}, by which delivery is proved"
    return None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _public_key(certificate: bytes) -> rsa.RSAPublicKey:
    try:
        key = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadInputError("--certificate: found no PEM certificate with an RSA key; allowed: the controller's own")
    return key


def _by_kubeseal(kubeseal: str, certificate: bytes, document: bytes, name: str, namespace: str) -> str:
    """Encrypt with the real tool; the document goes over standard input, never in arguments."""
    words = [kubeseal, "--raw", "--name", name, "--namespace", namespace, "--scope", "strict"]
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, certificate)
        os.close(write_end)
        words += ["--cert", f"/dev/fd/{read_end}", "--from-file=/dev/stdin"]
        done = subprocess.run(
            words, input=document, capture_output=True, pass_fds=[read_end], timeout=KUBESEAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PullSecretsError(f"{kubeseal}: {type(error).__name__}; remove it from PATH to seal without it") from None
    finally:
        os.close(read_end)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise PullSecretsError(f"{kubeseal} ended with {done.returncode}: {said}")
    return done.stdout.decode().strip()
