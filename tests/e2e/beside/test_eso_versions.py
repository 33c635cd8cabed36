"""What a stack declares is taken, strictly, by the definitions of every version of ESO that is to be had.

Each version's definitions are served beside the running operator's under a group of their own, so that nothing else
notices. PULL_SECRETS_ESO_SOURCES names further folders with config/crds/bases, such as a clone at another tag.
"""

import copy
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local import toolchain
from local.controlplane import ControlPlane
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.eso import crd_manifests
from local.controlplane.waiting import NotYet, until
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.kube.objects import KubernetesObject
from pullsecrets.manifests.stack import platform_objects
from tests import argocd
from tests.components.program import REPOSITORY

pytestmark = pytest.mark.controlplane

GROUP = "external-secrets.io"
KINDS = ("clusterexternalsecrets", "clustersecretstores", "externalsecrets")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def sources() -> dict[str, Path]:
    toolchain.ensure("eso-definitions")
    named = [Path(folder) for folder in os.environ.get("PULL_SECRETS_ESO_SOURCES", "").split(os.pathsep) if folder]
    return {**toolchain.eso_definitions(), **{folder.name: folder for folder in named}}


def config(version: str) -> StackConfig:
    """Stack prod with one registry direct and one relayed, with a CA of Vault's, and for a version of ESO."""
    stack = load_stack("prod", REPOSITORY)
    direct, relayed = stack.registries
    vault = stack.vault.model_copy(update={"ca_bundle": "-----BEGIN CERTIFICATE-----\n"})
    return stack.model_copy(
        update={
            "registries": (direct, relayed.model_copy(update={"delivery": "fanout"})),
            "vault": vault,
            "eso": stack.eso.model_copy(update={"version": version.removeprefix("v")}),
        }
    )


def declared(version: str) -> list[KubernetesObject]:
    """What a stack declares of ESO's kinds, and the ExternalSecrets that ESO makes of it."""
    items = [item for _, item in platform_objects(config(version), "prod") if item["apiVersion"] == f"{GROUP}/v1"]
    fanned_out = [
        {
            "apiVersion": item["apiVersion"],
            "kind": "ExternalSecret",
            "metadata": {"name": f"of-{item['metadata']['name']}", "namespace": "default"},
            "spec": item["spec"]["externalSecretSpec"],
        }
        for item in items
        if item["kind"] == "ClusterExternalSecret"
    ]
    for item in items:
        if "namespace" in item["metadata"]:
            item["metadata"]["namespace"] = "default"
    return [*items, *fanned_out]


def served(api: KubernetesApi, module: Path, group: str) -> None:
    """Have a version's definitions served under a group."""
    found = {name.partition(".")[0]: crd for name, crd in crd_manifests(module).items() if name.endswith(f".{GROUP}")}
    for plural in KINDS:
        renamed = found[plural].replace(GROUP.encode(), group.encode())
        api.apply_raw(f"{DEFINITIONS}/{plural}.{group}", renamed)

    def check() -> None:
        try:
            names = {item["name"] for item in api.call("GET", f"/apis/{group}/v1")["resources"]}
        except RequestRefused as refused:
            raise NotYet(str(refused)) from refused
        if not names >= set(KINDS):
            raise NotYet(f"served: {names}")

    until(check, 30, f"kinds of {group}")


@pytest.fixture(scope="module")
def groups(plane: ControlPlane) -> Iterator[dict[str, str]]:
    """The group of each version."""
    api = plane.admin()
    found = {version: f"{version.replace('.', '-')}.eso.example.com" for version in sources()}
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda one: served(api, sources()[one[0]], one[1]), found.items()))
        yield found
    finally:
        for group in found.values():
            for plural in KINDS:
                api.call("DELETE", f"{DEFINITIONS}/{plural}.{group}")


def under(group: str, item: KubernetesObject) -> KubernetesObject:
    return {**copy.deepcopy(item), "apiVersion": f"{group}/v1"}


def test_every_version_takes_what_a_stack_declares_and_keeps_it_as_it_is(
    plane: ControlPlane, groups: dict[str, str]
) -> None:
    api = plane.admin()
    found: dict[str, Any] = {}
    for version, group in groups.items():
        for item in declared(version):
            one = under(group, item)
            argocd.apply(api, one)
            found |= {f"{version} {one['kind']} {line}": "" for line in argocd.differences(api, one)}
    assert not found


def test_strictly_means_that_what_a_version_does_not_know_is_refused(
    plane: ControlPlane, groups: dict[str, str]
) -> None:
    for version, group in groups.items():
        item = next(item for item in declared(version) if item["kind"] == "ExternalSecret")
        with pytest.raises(RequestRefused, match="refreshIntreval"):
            argocd.apply(plane.admin(), under(group, {**item, "spec": {**item["spec"], "refreshIntreval": "1h"}}))
