"""Which ESO runs, what may be asked of it, and how each version is made to sync."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.config import Registry
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube import eso
from pullsecrets.kube.eso import Installation
from pullsecrets.kube.eso_versions import parse_version
from pullsecrets.kube.marks import FORCE_SYNC_ANNOTATION
from tests.unit.cluster import FakeCluster

REGISTRY = Registry.model_validate(
    {
        "name": "app",
        "hosts": ["app.example.com"],
        "path": "ocp/dev/registries/app",
        "sealedFile": "sealed/dev/app.yaml",
        "selector": {"apps.platform/tenant": "true"},
        "namespaces": ["apps-*"],
    }
)


FANOUT = f"{eso.GROUP}/clusterexternalsecrets/app"
IN_A = f"{eso.GROUP}/namespaces/a/externalsecrets/app"
IN_B = f"{eso.GROUP}/namespaces/b/externalsecrets/app"


def installation(version: tuple[int, int, int] | None = (0, 20, 4), **change: Any) -> Installation:
    return Installation(**{"namespace": "eso", "name": "eso", "version": version, "replicas": 1, "ready": 1, **change})


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("ghcr.io/external-secrets/external-secrets:v0.20.4", (0, 20, 4)),
        ("registry.example.com:5000/eso:0.9.13-ubi", (0, 9, 13)),
        (f"registry.example.com:5000/eso:v1.2.3@sha256:{0:064}", (1, 2, 3)),
        (f"registry.example.com:5000/eso@sha256:{0:064}", None),
        ("registry.example.com:5000/eso", None),
        ("eso:latest", None),
        ("eso:v0.20", None),
    ],
)
def test_the_version_is_read_from_the_image_tag(image: str, version: tuple[int, int, int] | None) -> None:
    assert eso.image_version(image) == version


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_a_version(text: str) -> None:
    found = parse_version(text)
    assert found is None or len(found) == 3


CONTROLLER = {"app.kubernetes.io/name": "external-secrets", "app.kubernetes.io/version": "v0.19.0"}


def deployment(name: str = "external-secrets", image: str = "eso:v0.20.4", **container: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "external-secrets", "name": name, "labels": CONTROLLER},
        "spec": {
            "replicas": 2,
            "template": {"metadata": {}, "spec": {"containers": [{"image": image, **container}]}},
        },
        "status": {"readyReplicas": 1},
    }


def test_installations_are_the_controllers_with_version_flags_and_state() -> None:
    cluster = FakeCluster(
        lists={
            "/apis/apps/v1/deployments": [
                deployment(args=["--concurrent=5", "--client-qps", "100", "--enable-leader-election"]),
                deployment("by-digest", "eso@sha256:abc"),
                deployment("webhook", args=["webhook", "--port=10250"]),
                deployment("cert-controller", command=["/eso", "certcontroller"]),
            ]
        }
    )
    by_digest, found = eso.find_installations(cluster)
    assert (found.version, found.replicas, found.ready) == ((0, 20, 4), 2, 1)
    assert found.flags == {"concurrent": "5", "client-qps": "100", "enable-leader-election": "true"}
    assert by_digest.version == (0, 19, 0)


def test_exactly_one_ready_controller_of_fan_outs_is_accepted() -> None:
    scoped = installation(name="scoped", flags={"enable-cluster-external-secret-reconciler": "false"})
    good = installation()
    assert eso.choose_installation([scoped, good]) == good
    for wrong, cause in (
        ([], "found no Deployment"),
        ([scoped], "leaves ClusterExternalSecrets alone"),
        ([good, installation(name="other")], r"found 2 controllers \(eso/eso \(v0.20.4\), eso/other \(v0.20.4\)\)"),
        ([installation(ready=0)], "no ready Pod of 1"),
    ):
        with pytest.raises(PullSecretsError, match=cause):
            eso.choose_installation(wrong)


@pytest.mark.parametrize(
    ("spec", "stalled"),
    [
        ({"refreshInterval": "1h0m0s"}, None),
        ({}, None),
        ({"refreshInterval": "0"}, "refreshInterval: 0"),
        ({"refreshInterval": "0h0m0s"}, "refreshInterval: 0h0m0s"),
        ({"refreshInterval": "0s", "refreshPolicy": "OnChange"}, None),
        ({"refreshInterval": "1h", "refreshPolicy": "CreatedOnce"}, "refreshPolicy: CreatedOnce"),
    ],
)
def test_a_refresh_that_is_off_is_refused(spec: dict[str, str], stalled: str | None) -> None:
    cluster = FakeCluster((FANOUT, {"spec": {"externalSecretSpec": spec}}))
    assert eso.stalled_refresh(spec) == stalled
    if stalled:
        with pytest.raises(BadInputError, match=f"found externalSecretSpec.{stalled}"):
            eso.require_refreshing(cluster, REGISTRY)
    else:
        eso.require_refreshing(cluster, REGISTRY)


def test_a_registry_without_fan_out_is_refused() -> None:
    with pytest.raises(BadInputError, match="run `pulumi up`"):
        eso.require_refreshing(FakeCluster(), REGISTRY)


def external_secret(namespace: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "app"}, "status": {"refreshTime": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("version", "patched"),
    [((0, 20, 0), [FANOUT]), ((1, 0, 0), [FANOUT]), ((0, 19, 9), [IN_A, IN_B]), (None, [FANOUT, IN_A, IN_B])],
)
def test_each_version_is_told_in_its_own_way(version: tuple[int, int, int] | None, patched: list[str]) -> None:
    cluster = FakeCluster((FANOUT, {}), (IN_A, external_secret("a")), (IN_B, external_secret("b")))
    # `gone` lost its label meanwhile.
    eso.force_sync(cluster, REGISTRY, installation(version), ["a", "b", "gone"])
    assert sorted(path for _, path in cluster.sent) == patched


def wiping(synced_after: int) -> FakeCluster:
    """Something takes the annotation off at once; ESO syncs after so many times that it was put on."""
    cluster = FakeCluster((IN_A, external_secret("a")))

    def wipe(*_: str) -> None:
        assert FORCE_SYNC_ANNOTATION in cluster.objects[IN_A]["metadata"].pop("annotations")
        if len(cluster.sent) == synced_after:
            cluster.objects[IN_A]["status"]["refreshTime"] = "2026-01-01T00:00:07Z"

    cluster.after_write = wipe
    return cluster


def test_an_annotation_that_is_wiped_is_set_again_until_eso_has_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eso, "_PAUSE_SECONDS", 0)
    cluster = wiping(synced_after=3)
    eso.force_sync(cluster, REGISTRY, installation((0, 19, 0)), ["a"])
    assert cluster.sent == [("PATCH", IN_A)] * 3


def test_an_annotation_that_never_holds_is_an_error_that_names_the_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eso, "_PAUSE_SECONDS", 0)
    with pytest.raises(PullSecretsError, match=r"in namespaces a: the annotation .* is taken off"):
        eso.force_sync(wiping(synced_after=99), REGISTRY, installation((0, 19, 0)), ["a"])


def test_a_namespace_that_goes_meanwhile_is_no_error() -> None:
    cluster = FakeCluster((IN_A, external_secret("a")))
    cluster.before_write = lambda *_: cluster.objects.clear()
    eso.force_sync(cluster, REGISTRY, installation((0, 19, 0)), ["a"])
