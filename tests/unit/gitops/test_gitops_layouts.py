"""Whatever the layout: what is built is found, and a migration changes nothing there but lists of pull Secrets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pullsecrets.config import Registry, StackConfig
from pullsecrets.config.gitops import GitOps
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.gitops import changes, migrate
from pullsecrets.gitops.check import check
from pullsecrets.gitops.discover import discover
from pullsecrets.gitops.migrate import MigrationPlan, Place
from pullsecrets.gitops.repository import load
from pullsecrets.gitops.survey import Survey, survey
from pullsecrets.policy.workloads import REFERENCES
from tests.unit.gitops.layouts import LAYOUTS, SECRET, Layout, kustomization, workload


@dataclass(frozen=True)
class Moved:
    layout: Layout
    before: Survey
    planned: MigrationPlan
    after: Survey


@pytest.fixture(scope="module", params=LAYOUTS)
def moved(request: pytest.FixtureRequest, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """A repository before and after its migration."""
    layout = LAYOUTS[request.param]
    root = tmp_path_factory.mktemp("layout")
    layout.write(root)
    before = survey(load(root, GitOps()))
    planned = migrate.plan(before, registry)
    changes.apply(root, planned.edits)
    return Moved(layout, before, planned, survey(load(root, GitOps())))


def lacking(found: Survey, config: StackConfig, registry: Registry) -> int:
    report = check(found, config, registry)
    return sum(item.policy is REFERENCES for item in report.violations)


def test_what_is_deployed_is_found_and_nothing_is_invented(
    moved: Moved, config: StackConfig, registry: Registry
) -> None:
    layout = moved.layout
    found = discover(moved.before, config, [registry])
    assert (found.roots, found.services) == (layout.roots, layout.services)
    assert {gap.kind for gap in found.gaps if "overlay" in gap.kind or "no-kust" in gap.kind} == set()
    assert lacking(moved.before, config, registry) == layout.lacking


def test_after_the_migration_nothing_lacks_the_reference_that_it_did_not_name(
    moved: Moved, config: StackConfig, registry: Registry
) -> None:
    layout = moved.layout
    assert lacking(moved.after, config, registry) == layout.after
    assert tuple(item.what for item in moved.planned.left) == layout.left
    if layout.left and layout.after:
        with pytest.raises(PullSecretsError, match=r"nothing was changed|cannot be proved"):
            migrate.plan(moved.after, registry)
    else:
        assert migrate.plan(moved.after, registry).edits == ()


def test_builds_before_and_after_differ_in_lists_of_pull_secrets_alone(moved: Moved) -> None:
    assert objects(moved.before) == objects(moved.after)


def test_in_manifests_what_nothing_builds_gets_it_too(moved: Moved, config: StackConfig, registry: Registry) -> None:
    if moved.layout.left:
        return
    planned = migrate.plan(moved.after, registry, Place.MANIFESTS)
    changes.apply(moved.after.repository.root, planned.edits)
    found = survey(load(moved.after.repository.root, GitOps()))
    assert lacking(found, config, registry) == 0
    assert objects(found) == objects(moved.before)


def test_what_is_kept_from_an_earlier_run_is_judged_as_what_is_built(moved: Moved, tmp_path: Path) -> None:
    first, again = (survey(moved.after.repository, kept_in=tmp_path) for _ in range(2))
    assert judged(first) == judged(again) == judged(moved.after)


@pytest.mark.parametrize("more", ["", "namespace: '{}'\n", "nameSuffix: -x{}\n"])
def test_what_is_built_together_is_what_is_built_alone(tmp_path: Path, more: str) -> None:
    base = {"base/shop.yaml": workload("shop"), "base/kustomization.yaml": kustomization("shop.yaml")}
    names = [f"envs/{number}" for number in range(20)]
    overlays = {f"{name}/kustomization.yaml": kustomization("../../base", more=more.format(name[5:])) for name in names}
    Layout({**base, **overlays}, ()).write(tmp_path)
    repository = load(tmp_path, GitOps())
    assert judged(survey(repository, kept_in=tmp_path / "kept")) == judged(survey(repository))
    assert len(list((tmp_path / "kept").iterdir())) == len(names)


@pytest.mark.parametrize(
    ("pulls", "steps"),
    [
        ("", '"path": "/spec/template/spec/imagePullSecrets", "value": [{"name": "registry-api-tanhdev"}]'),
        (
            "      imagePullSecrets: [{name: a}]\n",
            '"path": "/spec/template/spec/imagePullSecrets/-", "value": {"name": "reg',
        ),
    ],
)
def test_what_has_no_file_and_no_merge_gets_a_patch_where_it_is_built(
    tmp_path: Path, config: StackConfig, registry: Registry, pulls: str, steps: str
) -> None:
    files = {"base/x.yaml": workload("shop", kind="Rollout", extra=pulls)}
    Layout({**files, "base/kustomization.yaml": kustomization("x.yaml")}, ()).write(tmp_path)
    found = survey(load(tmp_path, GitOps()))
    # As of a remote base, which no test fetches.
    built = {
        root: replace(one, objects=tuple(replace(made, origin=None) for made in one.objects))
        for root, one in found.built.items()
    }
    planned = migrate.plan(replace(found, built=built), registry)
    changes.apply(tmp_path, planned.edits)
    text = (tmp_path / "base/kustomization.yaml").read_text()
    assert text.startswith("resources:\n  - x.yaml\npatches:\n  - {")
    assert steps.replace('"', '\\"') in text
    assert lacking(survey(load(tmp_path, GitOps())), config, registry) == 0


def test_only_what_changed_since_a_commit_is_judged(tmp_path: Path) -> None:
    LAYOUTS["the default"].write(tmp_path)
    overlay = tmp_path / "apps/shop/overlays/eu/kustomization.yaml"
    overlay.write_text(overlay.read_text() + "nameSuffix: -b\n")
    found = survey(load(tmp_path, GitOps()), changed_since="HEAD")
    assert list(map(str, found.built)) == ["apps/shop/overlays/eu"]
    (tmp_path / "apps/shop/base/shop.yaml").unlink()
    assert len(survey(load(tmp_path, GitOps()), changed_since="HEAD").built) == 2
    with pytest.raises(
        BadInputError, match=r"--changed-since nowhere: .*; name a commit, branch or tag of this repository"
    ):
        survey(load(tmp_path, GitOps()), changed_since="nowhere")


def judged(found: Survey) -> set[tuple[str, ...]]:
    return {
        (str(one.root), str(one.file), str(one.item["metadata"]["name"]), *sorted(one.hosts), *one.references)
        for one in found.deployments
    }


def objects(found: Survey) -> Mapping[str, list[Any]]:
    return {str(root): [without(dict(made.item)) for made in built.objects] for root, built in found.built.items()}


def without(value: Any) -> Any:
    """Leave out lists of pull Secrets, and what is null, which a merge drops."""
    if isinstance(value, dict):
        return {key: without(item) for key, item in kept(value) if item is not None}
    return [without(item) for item in value] if isinstance(value, list) else value


def kept(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, item) for key, item in value.items() if key != "imagePullSecrets")


def test_what_gets_the_entry_without_need_is_named(tmp_path: Path, registry: Registry) -> None:
    LAYOUTS["an image that an overlay sets"].write(tmp_path)
    assert migrate.plan(survey(load(tmp_path, GitOps())), registry).neighbours == ("Deployment shop in envs/b",)
    assert registry.name == SECRET
