"""Where Vault has tokens reviewed: declared, kept as it is, or taken from the kubeconfig once and said so."""

from typing import Any, cast

import pytest

from pullsecrets.config import parse
from pullsecrets.credential.vault import VaultDeniedError
from pullsecrets.errors import BadInputError
from pullsecrets.tenancy import preflight
from pullsecrets.tenancy.preflight import TokenReviews
from tests.components.program import stack_file
from tests.unit.cluster import FakeCluster

HOST, CA = "https://api.example.com:6443", "CA"
TUNNEL = "https://127.0.0.1:50443"


class Tunnelled(FakeCluster):
    """As a kubeconfig with a tunnel shows it."""

    server = TUNNEL
    certificate_authority = "CA of the tunnel"  # pyright: ignore[reportAssignmentType,reportIncompatibleMethodOverride]


class Vault:
    """The configuration of its auth mount."""

    def __init__(self, found: dict[str, Any] | None, *, denies: bool = False) -> None:
        self.found = found
        self.denies = denies

    def read_auth_config(self, mount: str) -> dict[str, Any] | None:
        assert mount == "kubernetes"
        if self.denies:
            raise VaultDeniedError("GET auth/kubernetes/config: permission denied")
        return self.found


def reviews(found: dict[str, Any] | None, *, denies: bool = False, mounted: bool = True, **auth: Any) -> TokenReviews:
    content = stack_file("dev")
    content["vault"] = {**content["vault"], "auth": {"mount": "kubernetes", **auth}}
    vault = Vault(found, denies=denies)
    return preflight.token_reviews(parse(content, "dev"), cast("Any", vault), Tunnelled(), mounted=mounted)


LIVE = {"kubernetes_host": HOST, "kubernetes_ca_cert": CA}
ELSEWHERE = {"kubernetes_host": "https://old.example.com:6443", "kubernetes_ca_cert": "old"}


@pytest.mark.parametrize("found", [None, LIVE, ELSEWHERE])
def test_what_is_declared_is_taken_and_nothing_is_said(found: dict[str, Any] | None) -> None:
    assert reviews(found, kubernetesHost=HOST, kubernetesCaCert=CA) == TokenReviews(HOST, CA)
    assert reviews(None, denies=True, kubernetesHost=HOST, kubernetesCaCert=CA) == TokenReviews(HOST, CA)


@pytest.mark.parametrize("authority", [CA, ""])
def test_what_vault_has_is_kept_whatever_the_kubeconfig_says(authority: str) -> None:
    found = reviews({**LIVE, "kubernetes_ca_cert": authority})
    assert (found.host, found.ca_cert, found.warnings) == (HOST, authority or None, ())


def test_of_a_declared_address_the_certificates_in_vault_are_kept() -> None:
    assert reviews(ELSEWHERE, kubernetesHost=HOST) == TokenReviews(HOST, "old")


@pytest.mark.parametrize("mounted", [True, False])
def test_the_first_run_takes_the_kubeconfig_and_names_the_keys_to_set(mounted: bool) -> None:
    found = reviews(None, mounted=mounted)
    assert (found.host, found.ca_cert) == (TUNNEL, "CA of the tunnel")
    (warning,) = found.warnings
    assert "vault.auth.kubernetesHost and vault.auth.kubernetesCaCert: not declared, and auth mount" in warning
    assert TUNNEL in warning
    (of_certificates,) = reviews(None, kubernetesHost=HOST).warnings
    assert of_certificates.startswith("vault.auth.kubernetesCaCert: not declared")


def test_what_may_not_be_read_is_not_written_over() -> None:
    with pytest.raises(
        BadInputError, match=r"vault\.auth\.kubernetesHost and .*: not declared, and .*`read` on auth/kube"
    ):
        reviews(LIVE, denies=True)


def test_a_mount_that_is_not_there_is_not_asked() -> None:
    assert reviews(LIVE, denies=True, mounted=False).host == TUNNEL


def test_a_mount_of_others_is_left_as_it_is() -> None:
    assert reviews(LIVE, create=False) == TokenReviews()
