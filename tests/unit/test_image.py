"""There is one spelling of a registry's host, and each image has one host."""

import pytest

from pullsecrets.image import host_problem, image_host, parse, written_host


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("nginx", "docker.io"),
        ("library/nginx:1.27", "docker.io"),
        ("index.docker.io/app", "docker.io"),
        ("localhost/app", "localhost"),
        ("localhost:5000/app", "localhost:5000"),
        ("REGISTRY/app", "REGISTRY"),
        ("registry.example.com:5000/team/app:1", "registry.example.com:5000"),
        ("[fc00::1]:5000/app", "[fc00::1]:5000"),
    ],
)
def test_the_host_of_an_image(reference: str, host: str) -> None:
    assert image_host(reference) == host
    assert written_host(reference) == host


@pytest.mark.parametrize(
    "reference",
    [
        "registry.example.com./app",
        "registry.example.com/app:${TAG}",
        "registry.example.com/{{ .name }}",
        "a.b/",
        "a.b/C",
    ],
)
def test_what_the_kubelet_refuses_still_means_a_host(reference: str) -> None:
    assert image_host(reference) is None
    assert written_host(reference).startswith(("registry.example.com", "a.b"))


def test_what_pins_an_image_is_read() -> None:
    digest = f"sha256:{0:064}"
    found = parse(f"registry.example.com/app:1.0@{digest}")
    assert found is not None
    assert (found.tag, found.digest) == ("1.0", digest)


@pytest.mark.parametrize(
    "host", ["docker.io", "registry.example.com", "registry", "10.0.0.5:5000", "localhost:1", "[fc00::1]:5000"]
)
def test_a_host_that_images_spell_so(host: str) -> None:
    assert host_problem(host) is None


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("index.docker.io", "'docker.io', which the kubelet reads as Docker Hub"),
        ("registry-1.docker.io", "'docker.io', which"),
        ("https://registry.example.com", "without scheme or path"),
        ("registry.example.com/team", "without scheme or path"),
        ("Registry.example.com", "in lower case"),
        ("registry.example.com.", "a host with an optional port"),
        ("*.example.com", "a host with an optional port"),
        ("[fc00::1]", "a host with an optional port"),
        ("[fc00:::1]:5000", "a host with an optional port"),
        ("registry.example.com:0", "a port between 1 and 65535"),
        ("registry.example.com:65536", "a port between 1 and 65535"),
        ("registry.example.com\n", "a host with an optional port"),
        ("", "a host with an optional port"),
    ],
)
def test_another_spelling_is_refused_with_what_to_write(host: str, allowed: str) -> None:
    assert allowed in (host_problem(host) or "")
