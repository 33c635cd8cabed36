"""The migration changes what Pods pull with and nothing else, all or nothing, and a second run changes nothing."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from typer.testing import CliRunner

from local import sample_gitops
from pullsecrets.cli.app import app
from pullsecrets.config import Registry, StackConfig
from pullsecrets.config.gitops import Build, GitOps
from pullsecrets.errors import BadInputError, ConflictError, ExitCode, PullSecretsError
from pullsecrets.gitops import changes, component, migrate
from pullsecrets.gitops.builds import build_all
from pullsecrets.gitops.check import check
from pullsecrets.gitops.discover import discover
from pullsecrets.gitops.kustomize import find_builder
from pullsecrets.gitops.migrate import MigrationPlan
from pullsecrets.gitops.repository import Repository, Root, load
from pullsecrets.gitops.survey import Survey, survey
from tests.components.program import REPOSITORY
from tests.unit.gitops.conftest import DEPLOYMENT, OVERLAY, Shop

SECRET = "registry-api-tanhdev"
PULL = f"      imagePullSecrets:\n        - name: {SECRET}\n"


def run(root: Path, *arguments: str) -> Any:
    command = ["gitops", "migrate", str(root), "--stack", "dev", "-C", str(REPOSITORY), *arguments]
    return CliRunner().invoke(app, command)


def plan(repository: Repository, registry: Registry) -> MigrationPlan:
    return migrate.plan(survey(repository), registry)


def status(root: Path) -> str:
    return subprocess.run(
        ["git", "-C", str(root), "status", "--short"], capture_output=True, text=True, check=True
    ).stdout


@dataclass(frozen=True)
class Migrated:
    plan: MigrationPlan
    survey: Survey


@pytest.fixture(scope="module")
def migrated(sample: Repository, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Migrated:
    """A copy of the sample after the migration."""
    root = tmp_path_factory.mktemp("migrated") / "gitops"
    shutil.copytree(sample.root, root)
    planned = plan(load(root, GitOps()), registry)
    changes.refuse_dirty(root, planned.edits)
    changes.apply(root, planned.edits)
    return Migrated(planned, survey(load(root, GitOps())))


def test_the_counts_of_the_sample(migrated: Migrated) -> None:
    planned = migrated.plan
    assert (planned.referenced, planned.removed, len(planned.edits)) == (24, 51, 75)
    assert [(kept.file, kept.line) for kept in planned.kept] == [("apps/pricing/base/worker-deployment.yaml", 17)]


def test_every_workload_of_every_overlay_has_the_secret_afterwards(
    migrated: Migrated, config: StackConfig, registry: Registry
) -> None:
    report = check(migrated.survey, config, registry)
    assert (report.violations, report.objects, len(report.files)) == ((), 99, 48)


def test_the_audit_finds_no_workload_without_the_reference_afterwards(
    migrated: Migrated, config: StackConfig, registry: Registry
) -> None:
    kinds = Counter(gap.kind for gap in discover(migrated.survey, config, [registry]).gaps)
    assert kinds == {"secret-undefined": 3, "no-overlay": 1, "chart": 1, "unread": 1}


def test_only_lines_of_the_lists_go_and_only_the_reference_comes(migrated: Migrated) -> None:
    lines = Counter(
        line.strip()
        for line in migrated.plan.diff().partition("--- a/")[2].splitlines()
        if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))
    )
    added = {line.removeprefix("+").strip() for line in lines if line.startswith("+")}
    assert all("components" in line or line in {"imagePullSecrets: [ {name: legacy-registry} ]", "{}"} or
               line == "- migration-job.yaml" for line in added)  # fmt: skip
    gone = {line.removeprefix("-").strip() for line in lines if line.startswith("-")}
    rest = {line for line in gone if SECRET not in line and line != "imagePullSecrets:"}
    # The last line of a file without a line break, a flow mapping, and two lists of components written inline.
    assert rest == {
        "- migration-job.yaml",
        "{resources: [deployment.yaml, service.yaml]}",
        "components: [../../../components/common-labels]",
        "components: []   # none yet",
    }


def test_files_keep_their_line_ends_and_comments(migrated: Migrated) -> None:
    for edit in migrated.plan.edits:
        before, after = edit.before or b"\n", edit.after
        assert (b"\r\n" in before) == (b"\r\n" in after)
        comments = [line for line in before.splitlines() if line.strip().startswith(b"#")]
        assert [line for line in after.splitlines() if line.strip().startswith(b"#")] == comments or not edit.before


def test_other_entries_stay(migrated: Migrated) -> None:
    left = {item.name: item.references for item in migrated.survey.repository.workloads if item.references}
    assert left == {
        "admin": ("legacy-registry",),
        "customer": ("legacy-registry",),
        "order-worker": ("order-partner-registry",),
        "pricing-worker": (SECRET,),
        "promotion": ("legacy-registry",),
        "review": ("legacy-registry",),
    }


def test_a_second_run_changes_nothing(migrated: Migrated, registry: Registry) -> None:
    planned = migrate.plan(migrated.survey, registry)
    assert (planned.edits, planned.diff()) == ((), "")


WORKLOADS = (
    ("apps/v1", "Deployment", "{template: {spec: %s}}"),
    ("apps/v1", "StatefulSet", "{template: {spec: %s}}"),
    ("apps/v1", "DaemonSet", "{template: {spec: %s}}"),
    ("batch/v1", "Job", "{template: {spec: %s}}"),
    ("batch/v1", "CronJob", "{jobTemplate: {spec: {template: {spec: %s}}}}"),
)
LISTS = {
    "absent": ("", [SECRET]),
    "empty": ("imagePullSecrets: [], ", [SECRET]),
    "nothing": ("imagePullSecrets: null, ", [SECRET]),
    "others": ("imagePullSecrets: [{name: a}, {name: b}], ", [SECRET, "a", "b"]),
    "among": (f"imagePullSecrets: [{{name: a}}, {{name: {SECRET}}}, {{name: b}}], ", [SECRET, "a", "b"]),
}


def test_kustomize_merges_the_entry_into_every_kind_and_every_list(tmp_path: Path) -> None:
    objects = [
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec: {spec % f'{{{entries}containers: [{{name: a, image: a/b}}]}}'}\n"
        for version, kind, spec in WORKLOADS
        for name, (entries, _) in LISTS.items()
    ]
    (tmp_path / "component").mkdir()
    (tmp_path / "component/kustomization.yaml").write_text(component.render(SECRET))
    (tmp_path / "app").mkdir()
    (tmp_path / "app/all.yaml").write_text("---\n".join(objects))
    (tmp_path / "app/kustomization.yaml").write_text("resources: [all.yaml]\ncomponents: [../component]\n")
    root = Root(PurePosixPath("app"))
    built = build_all(load(tmp_path, GitOps()), [root], find_builder(Build()))[root]
    assert built.failure is None
    items = [dict(made.item) for made in built.objects]
    found = {(item["kind"], item["metadata"]["name"]): list(_entries(item)) for item in items}
    assert found == {(kind, name): wanted for _, kind, _ in WORKLOADS for name, (_, wanted) in LISTS.items()}


def _entries(item: Any) -> Iterator[str]:
    spec = item["spec"].get("jobTemplate", item)["spec"]["template"]["spec"]
    return (entry["name"] for entry in spec["imagePullSecrets"])


def test_the_command_shows_a_diff_and_asks(shop: Shop) -> None:
    root = shop({}).root
    shown = run(root, "--dry-run")
    assert shown.exit_code == ExitCode.DONE
    assert "+  - ../../../components/imagepullsecret/registry-api-tanhdev\n" in shown.output
    assert "dry run, nothing was written: 3 files: 1 reference added, 1 entry removed" in shown.output
    refused = run(root)
    assert isinstance(refused.exception, BadInputError)
    assert status(root) == ""
    document = json.loads(run(root, "--yes", "--json").stdout)
    assert (document["outcome"], document["removed"], document["referenced"]) == ("written", 1, 1)
    assert "imagePullSecrets" not in (root / "apps/shop/base/deployment.yaml").read_text()
    assert run(root, "--yes").stdout == "nothing to change\n"


@pytest.mark.parametrize(
    "name", ["apps/shop/base/deployment.yaml", "apps/shop/base/new.txt", "components/new.txt", "README.md"]
)
def test_a_dirty_work_tree_is_refused(shop: Shop, name: str) -> None:
    root = shop({"README.md": "text\n"}).root
    (root / name).parent.mkdir(exist_ok=True)
    with (root / name).open("a") as file:
        file.write("# changed\n")
    refused = run(root, "--yes")
    assert isinstance(refused.exception, ConflictError)
    assert f"has uncommitted changes ({name})" in str(refused.exception)
    assert SECRET in (root / "apps/shop/base/deployment.yaml").read_text()


def test_an_untracked_file_elsewhere_is_no_hindrance(shop: Shop, registry: Registry) -> None:
    root = shop({}).root
    (root / "notes.txt").write_text("mine")
    changes.refuse_dirty(root, plan(load(root, GitOps()), registry).edits)


def test_a_folder_that_is_no_git_work_tree_is_refused(shop: Shop) -> None:
    root = shop({}).root
    shutil.rmtree(root / ".git")
    refused = run(root, "--yes")
    assert isinstance(refused.exception, BadInputError)
    assert "in a git work tree only" in str(refused.exception)


def test_a_patch_that_replaces_the_list_stops_the_migration(shop: Shop) -> None:
    replaces = "patches:\n- target: {kind: Deployment}\n  patch: |-\n    - op: replace\n"
    value = "      path: /spec/template/spec/imagePullSecrets\n      value: [{name: other}]\n"
    repository = shop({"apps/shop/overlays/dev/kustomization.yaml": OVERLAY + replaces + value})
    refused = run(repository.root, "--yes")
    assert isinstance(refused.exception, PullSecretsError)
    assert "apps/shop/overlays/dev: Deployment shop would still be without registry-api-tanhdev" in str(
        refused.exception
    )
    assert status(repository.root) == ""


def test_an_entry_that_only_a_foreign_kind_holds_is_kept(shop: Shop) -> None:
    pod = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{imagePullSecrets: [{{name: {SECRET}}}], "
    pod += "containers: [{name: a, image: registry-api.tanhdev.com/a}]}\n"
    root = shop({"apps/shop/base/deployment.yaml": f"{DEPLOYMENT}---\n{pod}"}).root
    assert run(root, "--yes").exit_code == ExitCode.DONE
    assert (root / "apps/shop/base/deployment.yaml").read_text().endswith(pod)


def test_what_no_kustomization_takes_in_keeps_its_entry(shop: Shop, registry: Registry) -> None:
    planned = plan(shop({"apps/plain/deployment.yaml": DEPLOYMENT}), registry)
    assert [kept.file for kept in planned.kept] == ["apps/plain/deployment.yaml"]
    assert "apps/plain/deployment.yaml" not in {str(edit.file) for edit in planned.edits}


def test_an_overlay_with_a_workload_of_its_own_gets_the_component_too(shop: Shop, registry: Registry) -> None:
    own = DEPLOYMENT.replace("name: shop\n", "name: debug\n", 1)
    overlay = f"{OVERLAY}  - debug.yaml\n"
    folder = "apps/shop/overlays/dev"
    repository = shop({f"{folder}/debug.yaml": own, f"{folder}/kustomization.yaml": overlay})
    planned = plan(repository, registry)
    assert (planned.referenced, planned.removed) == (2, 2)


def test_what_does_not_build_as_it_is_is_refused(shop: Shop, registry: Registry) -> None:
    repository = shop({"apps/shop/overlays/dev/kustomization.yaml": f"{OVERLAY}  - absent.yaml\n"})
    with pytest.raises(BadInputError, match=r"fix it first:\n  apps/shop/overlays/dev: accumulating resources"):
        plan(repository, registry)


def test_a_change_of_anything_else_is_refused(shop: Shop, registry: Registry) -> None:
    # A transformer that copies the name of a pull Secret into a label makes the entry more than an entry.
    copies = (
        "replacements:\n- source: {kind: Deployment, fieldPath: spec.template.spec.imagePullSecrets.0.name}\n"
        "  targets:\n  - select: {kind: Deployment}\n    fieldPaths: [metadata.labels.pull]\n"
        "    options: {create: true}\n"
    )
    other = {"apps/shop/base/deployment.yaml": DEPLOYMENT.replace(SECRET, "other")}
    repository = shop({"apps/shop/overlays/dev/kustomization.yaml": OVERLAY + copies, **other})
    with pytest.raises(PullSecretsError, match=r"dev: Deployment shop would change at metadata\.labels\.pull; try"):
        plan(repository, registry)
    assert status(repository.root) == ""


@pytest.mark.parametrize(
    ("failure", "raised", "text"),
    [
        (
            OSError(28, "No space left on device", "file"),
            PullSecretsError,
            "No space left on device; nothing was changed",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failed_write_takes_the_others_back(
    shop: Shop,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    raised: type[BaseException],
    text: str | None,
) -> None:
    repository = shop({})
    planned = plan(repository, registry)
    write = changes.write_whole
    last = repository.root / planned.edits[-1].file

    def failing(file: Path, content: bytes) -> None:
        if file == last:
            raise failure
        write(file, content)

    monkeypatch.setattr(changes, "write_whole", failing)
    with pytest.raises(raised, match=text):
        changes.apply(repository.root, planned.edits)
    assert status(repository.root) == ""


def test_a_file_changed_meanwhile_is_a_conflict(shop: Shop, registry: Registry) -> None:
    repository = shop({})
    planned = plan(repository, registry)
    (repository.root / "apps/shop/base/deployment.yaml").write_text("# rewritten\n")
    with pytest.raises(ConflictError, match=r"apps/shop/base/deployment\.yaml: changed by another process meanwhile"):
        changes.apply(repository.root, planned.edits)
    assert not (repository.root / "components").exists()


def test_without_kubectl_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(BadInputError, match=r"kubectl: not installed.*https://kubernetes\.io/docs/tasks/tools"):
        find_builder(Build())


IMAGES = "images:\n  - name: shop\n    newName: registry-api.tanhdev.com/shop\n    newTag: v1\n"
SHORT = DEPLOYMENT.replace("registry-api.tanhdev.com/shop:1", "shop")


def test_a_workload_whose_image_an_overlay_sets_gets_the_component_and_loses_its_entry(
    shop: Shop, config: StackConfig, registry: Registry
) -> None:
    overlay = "apps/shop/overlays/dev/kustomization.yaml"
    root = shop({"apps/shop/base/deployment.yaml": SHORT, overlay: OVERLAY + IMAGES}).root
    done = run(root, "--registry", SECRET, "--yes")
    assert "3 files: 1 reference added, 1 entry removed" in done.output
    assert "components:" in (root / "apps/shop/base/kustomization.yaml").read_text()
    assert check(survey(load(root, GitOps())), config, registry).violations == ()
    sample_gitops.commit(root)
    assert run(root, "--registry", SECRET, "--yes").stdout == "nothing to change\n"


def test_a_workload_outside_apps_gets_it_where_it_is_listed(
    shop: Shop, config: StackConfig, registry: Registry
) -> None:
    files = {
        "shared/web/deployment.yaml": DEPLOYMENT.replace(PULL, ""),
        "shared/web/kustomization.yaml": "resources: [deployment.yaml]\n",
        "apps/web/overlays/dev/kustomization.yaml": "resources: [../../../../shared/web]\n",
    }
    root = shop(files).root
    assert run(root, "--yes").exit_code == ExitCode.DONE
    assert f"imagepullsecret/{SECRET}" in (root / "shared/web/kustomization.yaml").read_text()
    assert check(survey(load(root, GitOps())), config, registry).violations == ()
    sample_gitops.commit(root)
    assert run(root, "--yes").stdout == "nothing to change\n"


def test_what_a_kustomization_outside_apps_takes_in_is_proved(shop: Shop, registry: Registry) -> None:
    files = {
        "apps/shop/overlays/dev/kustomization.yaml": f"{OVERLAY}  - absent.yaml\n",
        "environments/dev/kustomization.yaml": "resources:\n  - ../../apps/shop/overlays/dev\n",
    }
    repository = shop(files)
    with pytest.raises(BadInputError, match=r"fix it first:\n  apps/shop/overlays/dev: accumulating resources"):
        plan(repository, registry)


def test_a_dry_run_writes_nothing_through_an_absolute_link(shop: Shop) -> None:
    root = shop({}).root
    link, target = root / "apps/shop/base/kustomization.yaml", root / "apps/shop/base/real.txt"
    link.rename(target)
    link.symlink_to(target)
    sample_gitops.commit(root)
    assert run(root, "--dry-run").exit_code == ExitCode.DONE
    assert status(root) == ""
    assert run(root, "--yes").exit_code == ExitCode.DONE
    assert link.is_symlink()
    assert "components:" in target.read_text()


def test_a_file_that_is_a_link_out_of_the_repository_is_refused(
    shop: Shop, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = shop({}).root
    file = root / "apps/shop/base/kustomization.yaml"
    target = tmp_path_factory.mktemp("elsewhere") / "file.yaml"
    file.rename(target)
    file.symlink_to(target)
    settings = GitOps.model_validate({"build": {"loadRestrictor": "LoadRestrictionsNone"}})
    with pytest.raises(BadInputError, match=rf"base/kustomization\.yaml: leads to {target}, outside the repository"):
        plan(load(root, settings), registry)
