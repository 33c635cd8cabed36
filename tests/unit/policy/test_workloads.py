"""Workloads of tenants refer to the pull Secret of each registry that they pull from."""

from typing import Any

import pytest

from pullsecrets.data import UNKNOWN
from pullsecrets.policy import workloads
from tests.sample_registries import SETTINGS

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
    assert [name for _, name in workloads.missing_references(item, SETTINGS)] == missing


def test_the_finding_says_where_to_add_which_entry() -> None:
    (finding,) = workloads.judge_references(deployment("apps-shop", f"{APP}/a"), SETTINGS)
    assert finding.fix == "add {name: app-registry-pull} to spec.template.spec.imagePullSecrets"


def registries(**hosts: list[str]) -> dict[str, Any]:
    given = [{"name": name, "selector": {}, "namespaces": [], "hosts": found} for name, found in hosts.items()]
    return {"registries": given}


@pytest.mark.parametrize(
    ("hosts", "image"),
    [
        ([APP], "app-registry.sub.comptech-lab.com/a"),
        ([API], f"{API}:443/a"),
        ([API], "Registry-API.tanhdev.com/a"),
        ([API], f"{API}./a"),
        ([API], f"{API}.:443/a:1"),
        (["registry.example.com:5000"], "registry.example.com/a"),
        (["10.0.0.5:5000"], "10.0.0.5/a"),
        (["[fc00::1]:5000"], "[FC00::1]:5001/a"),
    ],
)
def test_the_same_registry_by_another_spelling_is_reported(hosts: list[str], image: str) -> None:
    settings = SETTINGS if hosts in ([APP], [API]) else registries(ours=hosts)
    assert len(list(workloads.judge_hosts(deployment("team-a", image), settings))) == 1
    assert list(workloads.judge_similar_hosts(deployment("team-a", image), settings)) == []


@pytest.mark.parametrize(
    ("hosts", "image"),
    [
        (["registry.corp.example.com"], "registry.k8s.io/pause:3.10"),
        (["app-registry.example.com"], "app-registry.internal/a"),
        (["10.0.0.5:5000"], "10.0.0.6:5000/a"),
        (["10.0.0.5:5000"], "10.1.0.5/a"),
        (["[fc00::1]:5000"], "[fc00::2]:5000/a"),
        (["one.github.io"], "other.github.io/a"),
        (["registry.one.co.uk"], "registry.other.co.uk/a"),
        (["registry.example.com"], "registry/a"),
        (["registry.example.com"], "quay.io/registry.example.com/a"),
        (["registry.example.com"], "nginx"),
        (["registry"], "registry2/a"),
    ],
)
def test_a_registry_of_others_is_nobodys_other_name(hosts: list[str], image: str) -> None:
    found = deployment("team-a", image)
    assert list(workloads.judge_hosts(found, registries(ours=hosts))) == []
    assert list(workloads.judge_similar_hosts(found, registries(ours=hosts))) == []


@pytest.mark.parametrize("image", ["mirror.example.com/a", "registry.example.com/a", "example.com:5000/a"])
def test_a_host_of_the_same_domain_is_a_question(image: str) -> None:
    settings = registries(ours=["registry.corp.example.com"])
    assert list(workloads.judge_hosts(deployment("team-a", image), settings)) == []
    (finding,) = workloads.judge_similar_hosts(deployment("team-a", image), settings)
    assert finding.fix == "if it is that registry, write registry.corp.example.com"


def test_two_registries_of_one_stack_leave_each_others_images_alone() -> None:
    settings = registries(one=["registry.example.com"], two=["registry.example.com:5000", "mirror.example.com"])
    images = deployment("team-a", "registry.example.com/a", "registry.example.com:5000/a", "mirror.example.com/a")
    assert list(workloads.judge_hosts(images, settings)) == []
    assert list(workloads.judge_similar_hosts(images, settings)) == []


def test_the_finding_names_image_container_and_host() -> None:
    item = deployment("apps-shop", "nginx", f"{APP}:443/team/a:1")
    item["spec"]["template"]["spec"]["containers"][1]["name"] = "web"
    (finding,) = workloads.judge_hosts(item, SETTINGS)
    assert finding.problem == (
        f"Deployment apps-shop/a: image {APP}:443/team/a:1 of container web names the registry of app-registry-pull by "
        f"{APP}:443, which no login is for"
    )
    assert finding.path == ("spec", "template", "spec", "containers", 1, "image")
    (unnamed,) = workloads.judge_hosts(deployment("apps-shop", f"{APP}:443/team/a:1"), SETTINGS)
    assert "of spec.template.spec.containers[0] names" in unnamed.problem


def test_a_login_inside_an_image_is_not_shown() -> None:
    item = deployment("apps-shop", f"bot:canary@{APP}:443/team/a:1", f"{APP}./a?token=canary")
    findings = list(workloads.judge_hosts(item, SETTINGS))
    assert len(findings) == 2
    assert "canary" not in "".join(map(str, findings))


def test_a_kind_that_the_stack_file_adds_is_judged_and_put_right() -> None:
    spec = {"pods": {"image": f"{APP}/a"}}
    item = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"namespace": "apps-shop"}, "spec": spec}
    row = {"group": "example.com", "kind": "Widget", "path": "spec.pods", "images": ["spec.pods.image"]}
    assert list(workloads.judge_references(item, SETTINGS)) == []
    (finding,) = workloads.judge_references(item, {**SETTINGS, "workloads": [row]})
    assert (finding.path, finding.fix) == (
        ("spec", "pods"),
        "add {name: app-registry-pull} to spec.pods.imagePullSecrets",
    )
