"""Workloads of tenants refer to the pull Secret of each registry that they pull from."""

from typing import Any

import pytest

from pullsecrets.data import UNKNOWN
from pullsecrets.policy import workloads
from pullsecrets.policy.registries import KnownRegistry

APP = "app-registry.apps.sub.comptech-lab.com"
API = "registry-api.tanhdev.com"


def deployment(namespace: Any, *images: str, entries: Any = None, init: str | None = None) -> dict[str, Any]:
    pod: dict[str, Any] = {"containers": [{"image": image} for image in images]}
    if entries is not None:
        pod["imagePullSecrets"] = entries
    if init:
        pod["initContainers"] = [{"image": init}]
    metadata = {"name": "a", "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": pod}}}


@pytest.mark.parametrize(
    ("item", "missing"),
    [
        (deployment("apps-shop", f"{APP}/a:1"), ["app-registry-pull"]),
        (deployment("auth-dev", f"{API}/a@sha256:0"), ["registry-api-tanhdev"]),
        (deployment("apps-shop", f"{APP}/a", entries=[{"name": "other"}]), ["app-registry-pull"]),
        (deployment("apps-shop", f"{APP}/a", entries=[{"name": "app-registry-pull"}]), []),
        (deployment("apps-shop", "nginx", init=f"{APP}/a"), ["app-registry-pull"]),
        (deployment("apps-shop-dev", f"{APP}/a", f"{API}/b"), ["app-registry-pull", "registry-api-tanhdev"]),
        (deployment("team-a", f"{APP}/a"), []),
        (deployment("auth-dev", f"{APP}/a"), []),
        (deployment("apps-shop", "quay.io/a/b", "nginx", "localhost/a"), []),
        (deployment(UNKNOWN, f"{APP}/a"), []),
        (deployment("apps-shop", f"{APP}/a", entries=UNKNOWN), []),
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "apps-shop"}}, []),
    ],
)
def test_what_is_missing_is_what_the_images_need_in_a_tenants_namespace(
    item: dict[str, Any], missing: list[str]
) -> None:
    assert workloads.missing_references(item, {}) == missing


def test_the_finding_says_where_to_add_which_entry() -> None:
    (finding,) = workloads.judge_references(deployment("apps-shop", f"{APP}/a"), {})
    assert finding.fix == "add {name: app-registry-pull} to spec.template.spec.imagePullSecrets"


@pytest.mark.parametrize(
    ("image", "reported"),
    [
        (f"{APP}/a", False),
        ("app-registry.sub.comptech-lab.com/a", True),
        ("app-registry.internal/a", True),
        (f"{API}:443/a", True),
        ("quay.io/app-registry/a", False),
        ("app-registry/a", False),
        ("nginx", False),
    ],
)
def test_another_name_of_a_registry_is_reported_wherever_it_runs(image: str, reported: bool) -> None:
    found = list(workloads.judge_hosts(deployment("team-a", image), {}))
    assert bool(found) is reported
    assert all("write " in finding.fix for finding in found)


def test_a_host_of_two_labels_is_no_family() -> None:
    registry = KnownRegistry("a", {}, (), ("example.com",), ())
    assert not registry.has_other_name("example.org")
    assert registry.has_other_name("example.com:5000")
