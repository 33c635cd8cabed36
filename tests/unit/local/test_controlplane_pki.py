"""The certificate authorities: what they sign, and when a certificate is made anew."""

import datetime as dt
import stat

import pytest
from cryptography import x509

from local.controlplane import pki
from local.controlplane.pki import CLIENT, LOOPBACK, SERVER, Authority, Subject, signing_key


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "pki", "test-authority")


def load(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


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
