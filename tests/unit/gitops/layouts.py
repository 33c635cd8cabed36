"""Small repositories of every layout, each with what is found in it, and where the reference has to arrive."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local import sample_gitops

SECRET = "registry-api-tanhdev"
HOST = "registry-api.tanhdev.com"
URL = "https://git.example.com/shop.git"


def workload(name: str, *, kind: str = "Deployment", image: str = f"{HOST}/shop:1", extra: str = "") -> str:
    version = {"Rollout": "argoproj.io/v1alpha1", "Job": "batch/v1"}.get(kind, "apps/v1")
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n"
        f"  template:\n    spec:\n{extra}      containers:\n        - name: main\n          image: {image}\n"
    )


def kustomization(*resources: str, more: str = "") -> str:
    return "resources:\n" + "".join(f"  - {name}\n" for name in resources) + more


def application(name: str, path: str, more: str = "") -> str:
    return (
        f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}}}\n"
        f"spec:\n  source:\n    repoURL: {URL}\n    path: {path}\n{more}"
    )


@dataclass(frozen=True)
class Layout:
    """A repository, and what is expected of it."""

    files: Mapping[str, str]
    roots: tuple[str, ...]
    """What is built by itself."""
    services: tuple[str, ...] = ()
    lacking: int = 1
    """How many deployed workloads lack the reference before the migration."""
    after: int = 0
    """How many lack it after it: those that nothing builds, and those that a patch takes it from."""
    left: tuple[str, ...] = ()
    """What the migration says that it left."""
    links: Mapping[str, str] = field(default_factory=dict[str, str])

    def write(self, folder: Path) -> None:
        """Write it as a committed git work tree."""
        for name, text in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        for name, target in self.links.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(target)
        sample_gitops.commit(folder)


_BASE = {"base/shop.yaml": workload("shop"), "base/kustomization.yaml": kustomization("shop.yaml")}
_IMAGES = f"images:\n  - name: shop\n    newName: {HOST}/shop\n"
_ABSOLUTE = "commonAnnotations: {serves: /shop}\n"
_GENERATOR = "configMapGenerator:\n  - name: c\n    files: [a.properties]\n"
_NO_LIST = (
    "patches:\n  - target: {kind: Deployment}\n    patch: |-\n      - op: add\n"
    "        path: /spec/template/spec/imagePullSecrets\n        value: [{name: other}]\n"
)
_CHART = "helmCharts:\n  - name: shop\n    repo: https://127.0.0.1:1/charts\n    version: 1.0.0\n"
_FLUX = (
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: shop}\nspec:\n  path: ./shop\n"
)
_SET = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: all}\nspec:\n"

LAYOUTS: Mapping[str, Layout] = {
    "flat": Layout(
        {"shop.yaml": workload("shop"), "kustomization.yaml": kustomization("shop.yaml", more=_ABSOLUTE)}, (".",)
    ),
    "the default": Layout(
        {
            "apps/shop/base/shop.yaml": workload("shop"),
            "apps/shop/base/kustomization.yaml": kustomization("shop.yaml"),
            "apps/shop/overlays/dev/kustomization.yaml": kustomization("../../base"),
            "apps/shop/overlays/eu/kustomization.yaml": kustomization("../../base", more="namePrefix: eu-\n"),
        },
        ("apps/shop/overlays/dev", "apps/shop/overlays/eu"),
        services=("shop",),
        lacking=2,
    ),
    "nested": Layout(
        {
            **_BASE,
            "clusters/a/team/shop/kustomization.yml": kustomization("../../../../base", more="nameSuffix: -a\n"),
            "clusters/a/kustomization.yaml": kustomization("team/shop"),
        },
        ("clusters/a",),
    ),
    "many bases": Layout(
        {
            **{f"team/{name}/base/x.yaml": workload(name) for name in "abc"},
            **{f"team/{name}/base/kustomization.yaml": kustomization("x.yaml") for name in "abc"},
            "envs/all/kustomization.yaml": kustomization(*(f"../../team/{name}/base" for name in "abc")),
        },
        ("envs/all",),
        lacking=3,
    ),
    "app of apps": Layout(
        {**_BASE, "apps/root.yaml": application("shop", "base"), "other/root.yaml": application("x", "elsewhere")},
        ("base",),
    ),
    "images of an Application": Layout(
        {
            "base/shop.yaml": workload("shop", image="shop"),
            "base/kustomization.yaml": kustomization("shop.yaml"),
            "root.yaml": application("shop", "base", f"    kustomize:\n      images: ['shop={HOST}/shop:2']\n"),
        },
        ("base as Application shop deploys it",),
    ),
    "a component of an Application": Layout(
        {
            **_BASE,
            "parts/worker/worker.yaml": workload("worker"),
            "parts/worker/kustomization.yaml": "kind: Component\n" + kustomization("worker.yaml"),
            "root.yaml": application("shop", "base", "    kustomize:\n      components: [../parts/worker]\n"),
        },
        ("base as Application shop deploys it",),
        lacking=2,
    ),
    "an ApplicationSet": Layout(
        {
            **{f"svc/{name}/base/kustomization.yaml": kustomization(f"{name}.yaml") for name in "ab"},
            **{f"svc/{name}/base/{name}.yaml": workload(name) for name in "ab"},
            "svc/b/base/skip/kustomization.yaml": kustomization("../../../a/base"),
            "set.yaml": f"{_SET}  generators: [{{git: {{directories: [{{path: 'svc/*/base'}}]}}}}]\n"
            "  template: {spec: {source: {path: '{{.path.path}}'}}}\n",
        },
        ("svc/a/base", "svc/b/base", "svc/b/base/skip"),
        lacking=2,
    ),
    "Flux": Layout(
        {
            "clusters/a/shop.yaml": f"{_FLUX}  images: [{{name: shop, newName: {HOST}/shop}}]\n",
            "shop/kustomization.yaml": kustomization("../files/shop.yaml"),
            "files/shop.yaml": workload("shop", image="shop"),
        },
        ("shop as Kustomization shop deploys it",),
    ),
    "rendered manifests": Layout(
        {"prod/shop.yaml": workload("shop"), "prod/db.yaml": workload("db", image="db")}, (), after=1
    ),
    "a file that nothing names": Layout({**_BASE, "base/other.yaml": workload("other")}, ("base",), lacking=2, after=1),
    "links": Layout(
        {**_BASE, "envs/a/kustomization.yaml": kustomization("../../linked")}, ("envs/a",), links={"linked": "base"}
    ),
    "CRLF": Layout({name: text.replace("\n", "\r\n") for name, text in _BASE.items()}, ("base",)),
    "anchors": Layout(
        {
            "base/shop.yaml": workload("shop", extra=f"      imagePullSecrets: &pull\n        - name: {SECRET}\n")
            + "---\n"
            + workload("other"),
            "base/kustomization.yaml": kustomization("shop.yaml"),
        },
        ("base",),
    ),
    "nulls": Layout(
        {
            "base/shop.yaml": workload("shop", extra="      affinity: null\n"),
            "base/kustomization.yaml": _BASE["base/kustomization.yaml"],
        },
        ("base",),
    ),
    "build metadata": Layout(
        {**_BASE, "base/kustomization.yaml": kustomization("shop.yaml", more="buildMetadata: [originAnnotations]\n")},
        ("base",),
    ),
    "generators": Layout(
        {
            **_BASE,
            "base/kustomization.yaml": kustomization(
                "shop.yaml", more="configMapGenerator:\n  - name: c\n    files: [a.properties]\n"
            ),
            "base/a.properties": "a=1\n",
        },
        ("base",),
    ),
    "components": Layout(
        {
            **_BASE,
            "parts/worker/worker.yaml": workload("worker"),
            "parts/worker/kustomization.yaml": "kind: Component\n" + kustomization("worker.yaml"),
            "envs/a/kustomization.yaml": kustomization("../../base", more="components: [../../parts/worker]\n"),
        },
        ("envs/a",),
        lacking=2,
    ),
    "an image that an overlay sets": Layout(
        {
            "base/shop.yaml": workload("shop", image="shop"),
            "base/kustomization.yaml": kustomization("shop.yaml"),
            "envs/a/kustomization.yaml": kustomization("../../base", more=_IMAGES),
            "envs/b/kustomization.yaml": kustomization("../../base"),
        },
        ("envs/a", "envs/b"),
    ),
    "a Rollout": Layout(
        {"base/shop.yaml": workload("shop", kind="Rollout"), "base/kustomization.yaml": kustomization("shop.yaml")},
        ("base",),
    ),
    "a remote base that does not answer": Layout(
        {
            **_BASE,
            "near/kustomization.yaml": kustomization("../base"),
            "far/kustomization.yaml": kustomization("https://127.0.0.1:1/x?ref=main"),
        },
        ("far", "near"),
        left=("far",),
    ),
    "Helm through kustomize, which nobody has allowed": Layout(
        {
            **_BASE,
            "near/kustomization.yaml": kustomization("../base"),
            "chart/kustomization.yaml": _CHART,
        },
        ("chart", "near"),
        left=("chart",),
    ),
    "a file that a folder takes in which does not build": Layout(
        {
            **_BASE,
            "other/other.yaml": workload("other"),
            "other/kustomization.yaml": kustomization("other.yaml"),
            "envs/a/kustomization.yaml": kustomization("../../base", "../../other"),
            "envs/b/kustomization.yaml": kustomization("../../base", "absent.yaml"),
        },
        ("envs/a", "envs/b"),
        lacking=2,
        after=1,
        left=("envs/b",),
    ),
    "a specification of Pods that a patch gives": Layout(
        {
            "base/shop.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: shop}\nspec: {}\n",
            "base/kustomization.yaml": kustomization("shop.yaml"),
            "envs/a/patch.yaml": workload("shop", kind="Rollout"),
            "envs/a/kustomization.yaml": kustomization("../../base", more="patches: [{path: patch.yaml}]\n"),
        },
        ("envs/a",),
    ),
    "a patch that replaces the list": Layout(
        {
            **_BASE,
            "envs/a/kustomization.yaml": kustomization("../../base", more=_NO_LIST),
            "own/shop.yaml": workload("own"),
            "own/kustomization.yaml": kustomization("shop.yaml"),
        },
        ("envs/a", "own"),
        lacking=2,
        after=1,
        left=("envs/a",),
    ),
}
