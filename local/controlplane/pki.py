"""The certificate authorities of the local control plane and the certificates that they sign.

etcd, Kubernetes and OpenBao each have an authority of their own: etcd trusts every client certificate of its authority
with everything, so an identity of the Kubernetes API must not be one that etcd accepts.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local.controlplane.files import private_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
LOOPBACK = ("127.0.0.1", "localhost")

_AUTHORITY_LIFE = dt.timedelta(days=3650)
_CERTIFICATE_LIFE = dt.timedelta(days=365)
_RENEW_BEFORE = dt.timedelta(days=30)
# A clock that was set back a little must not make a fresh certificate invalid.
_BACKDATE = dt.timedelta(hours=1)


@dataclass(frozen=True)
class KeyPair:
    """Where a certificate (PEM) and its private key (PEM, mode 0600) stand."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Subject:
    """Whom a certificate names: for Kubernetes, the common name is the user and each organization a group."""

    common_name: str
    organizations: tuple[str, ...] = ()

    def name(self) -> x509.Name:
        """Return the subject as an X.509 name."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in self.organizations]
        return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])


class Authority:
    """A certificate authority that lives in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        """Load the authority, or make it when it is missing, unreadable or about to expire.

        Args:
            folder: where `ca.crt`, `ca.key` and all certificates that it signs stand.
            name: its common name.
        """
        self.folder = private_folder(folder)
        self.certificate_file = folder / "ca.crt"
        self._key_file = folder / "ca.key"
        self._subject = Subject(name)
        self._certificate, self._key = self._load() or self._make()

    def issue(
        self,
        stem: str,
        subject: Subject,
        usages: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str] = (),
        life: dt.timedelta | None = None,
    ) -> KeyPair:
        """Return a certificate for a subject; the one on disk while it fits, else a new one.

        Args:
            stem: name of the two files without their suffix; it may hold folders.
            subject: whom the certificate names.
            usages: `SERVER`, `CLIENT` or both.
            hosts: names and addresses that a server answers for.
            life: from now until it expires, a year by default; negative for one that has expired already.

        Returns:
            Where certificate and key stand.
        """
        pair = KeyPair(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        if not self._fits(pair, subject, usages, hosts):
            self._sign(pair, subject, usages, hosts, life or _CERTIFICATE_LIFE)
        return pair

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        except (OSError, ValueError):
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            return None
        return None if _expires_soon(certificate) else (certificate, key)

    def _make(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = self._subject.name()
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        certificate = (
            _builder(name, name, key.public_key(), _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self._key_file, _private_pem(key))
        write_private(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate, key

    def _fits(
        self, pair: KeyPair, subject: Subject, usages: Sequence[x509.ObjectIdentifier], hosts: Sequence[str]
    ) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            certificate.verify_directly_issued_by(self._certificate)
            found_usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return (
            pair.key.exists()
            and not _expires_soon(certificate)
            and certificate.subject == subject.name()
            and set(found_usages) == set(usages)
            and _hosts_of(certificate) == set(hosts)
        )

    def _sign(
        self,
        pair: KeyPair,
        subject: Subject,
        usages: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
        life: dt.timedelta,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            _builder(subject.name(), self._certificate.subject, key.public_key(), life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        write_private(pair.key, _private_pem(key))
        write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def signing_key(folder: Path, stem: str) -> KeyPair:
    """Return a key pair that signs ServiceAccount tokens, made when missing.

    RSA, because that is what clusters in the field sign with.

    Args:
        folder: where the files stand.
        stem: name of `<stem>.key` and `<stem>.pub`.

    Returns:
        The private key, and the public key in the place of the certificate.
    """
    pair = KeyPair(folder / f"{stem}.pub", folder / f"{stem}.key")
    if not (pair.certificate.exists() and pair.key.exists()):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_private(pair.key, _private_pem(key))
        write_private(pair.certificate, public)
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
    )


def _expires_soon(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) < _RENEW_BEFORE


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
