"""The certificate authorities: what they sign, and when a certificate is made anew."""

import datetime as dt
import socket
import ssl
import stat
import threading

import pytest
from cryptography import x509

from local.controlplane import pki
from local.controlplane.pki import CLIENT, LOOPBACK, SERVER, Authority, Subject, signing_key


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "pki", "test-authority")


def load(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


def handshake(trusted, server, client, host="127.0.0.1"):
    """Return what the server saw of the client when both trust one authority, or raise what the client met."""
    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.load_cert_chain(server.certificate, server.key)
    outer.load_verify_locations(trusted.certificate_file)
    outer.verify_mode = ssl.CERT_REQUIRED
    inner = ssl.create_default_context(cafile=str(trusted.certificate_file))
    inner.load_cert_chain(client.certificate, client.key)
    left, right = socket.socketpair()
    seen = {}

    def serve():
        try:
            with outer.wrap_socket(left, server_side=True) as connection:
                seen["peer"] = connection.getpeercert()
                connection.sendall(b"x")
        except OSError as error:
            seen["error"] = error

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with inner.wrap_socket(right, server_hostname=host) as connection:
            connection.recv(1)
    finally:
        right.close()
        thread.join(10)
    return seen


def test_a_server_and_a_client_certificate_work_together(authority):
    server = authority.issue("server", Subject("server"), (SERVER,), LOOPBACK)
    client = authority.issue("client", Subject("pulumi", ("platform-engineers",)), (CLIENT,))
    seen = handshake(authority, server, client)
    assert seen["peer"]["subject"] == ((("organizationName", "platform-engineers"),), (("commonName", "pulumi"),))


def test_a_server_is_refused_under_a_name_that_it_does_not_have(authority):
    server = authority.issue("server", Subject("server"), (SERVER,), LOOPBACK)
    client = authority.issue("client", Subject("client"), (CLIENT,))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(authority, server, client, host="elsewhere")


def test_a_server_of_another_authority_is_refused(authority, tmp_path):
    other = Authority(tmp_path / "other", "test-authority")
    server = other.issue("server", Subject("server"), (SERVER,), LOOPBACK)
    client = authority.issue("client", Subject("client"), (CLIENT,))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, server, client)


def test_a_client_of_another_authority_is_refused(authority, tmp_path):
    """An identity of the Kubernetes API must not be one that etcd accepts."""
    other = Authority(tmp_path / "other", "other")
    server = authority.issue("server", Subject("server"), (SERVER,), LOOPBACK)
    client = other.issue("client", Subject("client"), (CLIENT,))
    with pytest.raises(OSError, match="unknown ca"):
        handshake(authority, server, client)


def test_a_server_certificate_is_no_client_certificate(authority):
    server = authority.issue("server", Subject("server"), (SERVER,), LOOPBACK)
    with pytest.raises(OSError, match=r"certificate|alert"):
        handshake(authority, server, server)


def test_what_fits_is_kept(authority, tmp_path):
    first = authority.issue("client", Subject("client", ("a", "b")), (CLIENT,)).certificate.read_bytes()
    again = Authority(tmp_path / "pki", "test-authority")
    assert again.issue("client", Subject("client", ("a", "b")), (CLIENT,)).certificate.read_bytes() == first


@pytest.mark.parametrize(
    ("subject", "usages", "hosts"),
    [
        (Subject("other", ("group",)), (SERVER,), LOOPBACK),
        (Subject("name", ("group", "more")), (SERVER,), LOOPBACK),
        (Subject("name", ("group",)), (SERVER, CLIENT), LOOPBACK),
        (Subject("name", ("group",)), (SERVER,), ("127.0.0.1",)),
    ],
)
def test_another_subject_usage_or_host_makes_a_new_certificate(authority, subject, usages, hosts):
    first = authority.issue("it", Subject("name", ("group",)), (SERVER,), LOOPBACK).certificate.read_bytes()
    assert authority.issue("it", subject, usages, hosts).certificate.read_bytes() != first


def test_a_certificate_is_renewed_before_it_expires(authority, monkeypatch):
    monkeypatch.setattr(pki, "_CERTIFICATE_LIFE", dt.timedelta(days=29))
    first = authority.issue("it", Subject("name"), (CLIENT,)).certificate.read_bytes()
    monkeypatch.undo()
    assert authority.issue("it", Subject("name"), (CLIENT,)).certificate.read_bytes() != first


@pytest.mark.parametrize("damage", ["ca.crt", "ca.key"])
def test_a_damaged_authority_is_made_anew_with_everything_that_it_signed(authority, tmp_path, damage):
    first = authority.issue("it", Subject("name"), (CLIENT,)).certificate.read_bytes()
    (tmp_path / "pki" / damage).write_text("damaged")
    again = Authority(tmp_path / "pki", "test-authority")
    certificate = again.issue("it", Subject("name"), (CLIENT,)).certificate
    assert certificate.read_bytes() != first
    load(certificate).verify_directly_issued_by(load(again.certificate_file))


def test_private_keys_are_private(authority, tmp_path):
    authority.issue("clients/it", Subject("name"), (CLIENT,))
    signing_key(tmp_path / "pki", "service-accounts")
    keys = list((tmp_path / "pki").rglob("*.key"))
    assert len(keys) == 3
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_the_signing_key_is_kept(tmp_path):
    first = signing_key(tmp_path, "service-accounts")
    content = first.key.read_bytes()
    assert signing_key(tmp_path, "service-accounts").key.read_bytes() == content
    assert first.certificate.read_text().startswith("-----BEGIN PUBLIC KEY-----")
