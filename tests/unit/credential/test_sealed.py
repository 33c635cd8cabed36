"""Sealing: only the controller's key opens it, only in its place, and its file is checked before it is declared."""

import base64
import copy
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import StackConfig, parse
from pullsecrets.credential import document, sealed
from pullsecrets.errors import BadInputError, UnreachableError
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, PULL_SECRET_KEY

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HOST = "registry.example.com"
DOCUMENT = document.parse(
    '{"auths": {"registry.example.com": {"auth": "' + base64.b64encode(b"bot:canary-password").decode() + '"}}}'
)


def certificate(key: Any = KEY) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sealed-secrets")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def unseal(message: bytes, label: bytes) -> bytes:
    """What the controller does, by its documented format."""
    length = int.from_bytes(message[:2], "big")
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=label)
    session_key = KEY.decrypt(message[2 : 2 + length], oaep)
    return AESGCM(session_key).decrypt(bytes(12), message[2 + length :], None)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> StackConfig:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    registry = {
        "name": "app",
        "hosts": [HOST],
        "source": "sealedSecret",
        "selector": {"example.com/app": "true"},
        "namespaces": ["team-*"],
    }
    return parse({"cluster": {"name": "k3d"}, "registries": [registry]}, "k3d")


def test_a_stack_of_sealed_registries_needs_no_vault(config: StackConfig) -> None:
    assert not config.has_vault
    assert config.registry("app").sealed_file == "sealed/k3d/app.yaml"
    with pytest.raises(BadInputError, match="vault: missing; this stack's registries have source: sealedSecret"):
        _ = config.vault


@given(document=st.binary(max_size=4096), label=st.binary(min_size=1, max_size=80))
@settings(max_examples=20)
def test_the_controller_opens_what_was_encrypted(document: bytes, label: bytes) -> None:
    assert unseal(sealed.encrypt(KEY.public_key(), document, label), label) == document


def test_what_was_sealed_for_one_place_opens_in_no_other() -> None:
    message = sealed.encrypt(KEY.public_key(), b"x", b"external-secrets/app")
    with pytest.raises(ValueError, match=r"(?i)decryption failed"):
        unseal(message, b"team-a/app")


def test_a_changed_message_does_not_open() -> None:
    message = bytearray(sealed.encrypt(KEY.public_key(), b"x", b"external-secrets/app"))
    message[-1] ^= 1
    with pytest.raises(InvalidTag):
        unseal(bytes(message), b"external-secrets/app")


def test_the_sealed_secret_holds_the_document_and_says_what_is_no_secret(config: StackConfig) -> None:
    item = sealed.seal(config, config.registry("app"), DOCUMENT, certificate(), "2027-01-01T00:00:00+00:00")
    encrypted = item["spec"]["encryptedData"][PULL_SECRET_KEY]
    assert unseal(base64.b64decode(encrypted), b"external-secrets/app") == DOCUMENT.to_json().encode()
    assert sealed.sealed_digest(item) == DOCUMENT.digest
    assert item["spec"]["template"]["metadata"]["annotations"][CONTENT_DIGEST_ANNOTATION] == DOCUMENT.digest
    assert item["spec"]["template"]["type"] == "kubernetes.io/dockerconfigjson"
    assert "canary-password" not in str(item)


def test_a_credential_for_another_host_is_refused(config: StackConfig) -> None:
    registry = config.registry("app").model_copy(update={"hosts": ("other.example.com",)})
    with pytest.raises(BadInputError, match=r"other\.example\.com"):
        sealed.seal(config, registry, DOCUMENT, certificate())


@pytest.mark.parametrize("wrong", [b"", b"no pem", certificate(ec.generate_private_key(ec.SECP256R1()))])
def test_what_is_no_certificate_of_a_controller_is_refused(config: StackConfig, wrong: bytes) -> None:
    with pytest.raises(BadInputError, match="--certificate: found no PEM certificate with an RSA key"):
        sealed.seal(config, config.registry("app"), DOCUMENT, wrong)


def test_a_registry_in_vault_is_not_sealed(config: StackConfig) -> None:
    registry = config.registry("app").model_copy(update={"source": "vault"})
    with pytest.raises(BadInputError, match="has source: vault"):
        sealed.seal(config, registry, DOCUMENT, certificate())


def test_the_file_is_read_back_as_it_was_written(config: StackConfig, tmp_path: Path) -> None:
    item = sealed.seal(config, config.registry("app"), DOCUMENT, certificate())
    sealed.write_sealed(tmp_path / "sealed" / "k3d" / "app.yaml", item)
    assert sealed.read_sealed(tmp_path, config, config.registry("app")) == item


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda item: item.update(kind="Secret"), "found no SealedSecret"),
        (lambda item: item["metadata"].update(namespace="team-a"), "found it sealed for team-a/app; allowed: "),
        (lambda item: item["spec"]["encryptedData"].update(more="x"), "found other keys than .dockerconfigjson"),
        (lambda item: item["metadata"].update(annotations={}), "found no annotation apps.platform/content-digest"),
    ],
)
def test_a_file_that_is_not_this_registrys_is_refused(
    config: StackConfig, tmp_path: Path, change: Any, said: str
) -> None:
    item = copy.deepcopy(sealed.seal(config, config.registry("app"), DOCUMENT, certificate()))
    change(item)
    sealed.write_sealed(tmp_path / "sealed/k3d/app.yaml", item)
    with pytest.raises(BadInputError) as caught:
        sealed.read_sealed(tmp_path, config, config.registry("app"))
    assert said in str(caught.value)
    assert "run: pull-secrets seal app" in str(caught.value)


def test_a_missing_or_broken_file_is_named_with_the_command_to_run(config: StackConfig, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"app\.yaml: no such file, .* run: pull-secrets seal app"):
        sealed.read_sealed(tmp_path, config, config.registry("app"))
    (tmp_path / "sealed/k3d").mkdir(parents=True)
    (tmp_path / "sealed/k3d/app.yaml").write_text("a: [")
    with pytest.raises(BadInputError, match="cannot be read as YAML"):
        sealed.read_sealed(tmp_path, config, config.registry("app"))


def test_a_certificate_comes_from_a_file_and_never_over_plain_http(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(certificate())
    assert sealed.read_certificate(str(tmp_path / "cert.pem")) == (tmp_path / "cert.pem").read_bytes()
    with pytest.raises(BadInputError, match=r"(?i)no such file"):
        sealed.read_certificate(str(tmp_path / "none.pem"))
    for elsewhere in (
        "http://controller.example.com/v1/cert.pem",
        "http://localhost:x@controller.example.com/cert.pem",
    ):
        with pytest.raises(BadInputError, match="found plain http"):
            sealed.read_certificate(elsewhere)
    with pytest.raises(UnreachableError, match="no answer"):
        sealed.read_certificate("https://127.0.0.1:1/v1/cert.pem")


class TestCommand:
    """The command as it is typed, in a folder of its own."""

    @pytest.fixture
    def seal(self, config: StackConfig, tmp_path: Path) -> Callable[..., Any]:
        """Return how to run it with further options."""
        (tmp_path / "Pulumi.yaml").write_text("name: pull-secrets\nruntime: python\n")
        stack = config.model_dump(mode="json", by_alias=True, include={"cluster", "registries"}, exclude_defaults=True)
        values = {f"pull-secrets:{key}": value for key, value in stack.items()}
        (tmp_path / "Pulumi.k3d.yaml").write_text(json.dumps({"config": values}))
        (tmp_path / "cert.pem").write_bytes(certificate())
        (tmp_path / "docker.json").write_text(DOCUMENT.to_json())

        def run(*more: str) -> Any:
            words = ["seal", "app", "--stack", "k3d", "-C", str(tmp_path), "--json"]
            words += ["--certificate", str(tmp_path / "cert.pem"), "--from-file", str(tmp_path / "docker.json")]
            return CliRunner().invoke(app, [*words, *more])

        return run

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "sealed/k3d/app.yaml"

    def test_the_same_credential_is_sealed_once(self, seal: Callable[..., Any], file: Path) -> None:
        assert json.loads(seal().output)["outcome"] == "written"
        before = file.read_bytes()
        assert json.loads(seal().output)["outcome"] == "unchanged"
        assert file.read_bytes() == before
        assert json.loads(seal("--again").output)["outcome"] == "written"
        assert file.read_bytes() != before

    def test_an_expiry_that_was_not_recorded_is_written(self, seal: Callable[..., Any], file: Path) -> None:
        seal()
        expires = ("--expires-at", "2030-01-01T00:00:00Z")
        assert json.loads(seal(*expires, "--dry-run").output)["outcome"] == "planned"
        assert json.loads(seal(*expires).output)["outcome"] == "written"
        # On the SealedSecret and on the Secret, where the audit reads it.
        item = YAML(typ="safe").load(file.read_text())  # pyright: ignore[reportUnknownMemberType]
        for metadata in (item["metadata"], item["spec"]["template"]["metadata"]):
            assert metadata["annotations"][sealed.EXPIRES_AT_ANNOTATION] == "2030-01-01T00:00:00Z"
        assert json.loads(seal("--expires-at", "2030-01-01T01:00:00+01:00").output)["outcome"] == "unchanged"

    def test_an_expiry_that_is_not_repeated_is_shown_to_go(self, seal: Callable[..., Any]) -> None:
        seal("--expires-at", "2030-01-01T00:00:00Z")
        found = json.loads(seal("--dry-run").output)
        expiry = (found["outcome"], found["stored_expiry"], found["new_expiry"])
        assert expiry == ("planned", "2030-01-01T00:00:00Z", None)

    @pytest.mark.parametrize(
        "text",
        [
            "<<<<<<< HEAD\nkind: SealedSecret\n=======\n",
            "kind: SealedSecret\nmetadata: {name: app, namespace: elsewhere}\n",
            "kind: SealedSecret\nmetadata: [1]\nspec: [1]\n",
        ],
    )
    def test_a_file_that_is_of_no_use_is_replaced_where_again_is_said(
        self, seal: Callable[..., Any], file: Path, text: str
    ) -> None:
        file.parent.mkdir(parents=True)
        file.write_text(text)
        refused = seal()
        assert isinstance(refused.exception, BadInputError)
        assert str(refused.exception).endswith("--from-file <dockerconfig.json> --again")
        assert file.read_text() == text
        found = json.loads(seal("--again").output)
        assert (found["outcome"], found["stored"]) == ("written", None)
        assert json.loads(seal().output)["outcome"] == "unchanged"
