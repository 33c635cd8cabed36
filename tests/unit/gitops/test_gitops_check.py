"""The check for pipelines finds the workload without the reference, in which file, and what does not build."""

import json
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import Registry, StackConfig
from pullsecrets.config.gitops import GitOps
from pullsecrets.errors import ExitCode
from pullsecrets.gitops.check import check
from pullsecrets.gitops.component import folder
from pullsecrets.gitops.repository import Repository
from pullsecrets.gitops.survey import Survey, survey
from tests.components.program import REPOSITORY
from tests.unit.gitops.conftest import BASE, DEPLOYMENT, OVERLAY, Shop

PULL = "      imagePullSecrets:\n        - name: registry-api-tanhdev\n"
BARE = DEPLOYMENT.replace(PULL, "")
RENAMED = f"""{OVERLAY}namePrefix: eu-
patches:
- target: {{kind: Deployment}}
  patch: |-
    - op: remove
      path: /spec/template/spec/imagePullSecrets
"""
PROBLEM = (
    "apps/order/overlays/{0}: Deployment order-{0}/order-worker pulls from the registry of registry-api-tanhdev "
    "and does not refer to that Secret"
)


Told = Callable[[Repository | Survey], list[tuple[str, int, str]]]


@pytest.fixture
def told(config: StackConfig, registry: Registry) -> Told:
    """What is wrong with a repository: file, line and problem."""

    def told(found: Repository | Survey) -> list[tuple[str, int, str]]:
        surveyed = found if isinstance(found, Survey) else survey(found)
        root = f"{surveyed.repository.root.as_posix()}/"
        violations = check(surveyed, config, registry).violations
        return [(item.file.removeprefix(root), item.line, item.problem) for item in violations]

    return told


def test_the_sample_has_one_worker_without_the_reference_in_both_environments(surveyed: Survey, told: Told) -> None:
    file = "apps/order/base/worker-deployment.yaml"
    assert told(surveyed) == [(file, 17, PROBLEM.format(environment)) for environment in ("dev", "production")]


def test_a_repository_with_the_references_is_good(shop: Shop, told: Told) -> None:
    assert told(shop({})) == []


@pytest.mark.parametrize(
    ("changes", "file", "line", "problem"),
    [
        ({"apps/shop/base/deployment.yaml": BARE}, "apps/shop/base/deployment.yaml", 9, "Deployment shop-dev/shop"),
        (
            {
                "apps/shop/base/deployment.yaml": BARE.replace(
                    "containers:", "containers: [{name: a, image: a/b}]\n      initContainers:"
                )
            },
            "apps/shop/base/deployment.yaml",
            9,
            "does not refer to that Secret",
        ),
        (
            {"apps/shop/overlays/dev/kustomization.yaml": RENAMED},
            "apps/shop/base/deployment.yaml",
            10,
            "Deployment shop-dev/eu-shop",
        ),
        (
            {"apps/shop/overlays/dev/kustomization.yaml": f"{OVERLAY}  - absent.yaml\n"},
            "apps/shop/overlays/dev/kustomization.yaml",
            1,
            "apps/shop/overlays/dev does not build: accumulating resources",
        ),
        ({"apps/plain/deployment.yaml": BARE}, "apps/plain/deployment.yaml", 9, "Deployment shop pulls from"),
        (
            {"apps/lone/base/deployment.yaml": BARE, "apps/lone/base/kustomization.yaml": BASE},
            "apps/lone/base/deployment.yaml",
            9,
            "apps/lone/base: Deployment shop pulls from",
        ),
        (
            {"apps/shop/base/deployment.yaml": DEPLOYMENT.replace("api.tanhdev.com/", "api.tanhdev.com:443/")},
            "apps/shop/base/deployment.yaml",
            10,
            "which no login is for",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_and_workload(
    shop: Shop,
    told: Told,
    changes: dict[str, str],
    file: str,
    line: int,
    problem: str,
) -> None:
    ((found_file, found_line, found),) = told(shop(changes))
    assert (found_file, found_line) == (file, line)
    assert problem in found


def test_a_file_below_apps_that_cannot_be_read_is_reported_and_no_failure(
    shop: Shop, config: StackConfig, registry: Registry
) -> None:
    repository = shop({"apps/shop/templates/a.yaml": "kind: Deployment\nimage: {{ .x }}\n"})
    report = check(survey(repository), config, registry)
    assert ([item.policy.name for item in report.violations], report.mandatory) == (["report-unread-files"], 0)


@pytest.mark.parametrize("report_format", ["text", "json", "sarif", "junit"])
def test_the_command_fails_and_reports_in_each_form(shop: Shop, report_format: str) -> None:
    root = str(shop({"apps/shop/base/deployment.yaml": BARE}).root)
    arguments = ["gitops", "check", root, "--stack", "prod", "-C", str(REPOSITORY), "--format", report_format]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == ExitCode.PROBLEM
    assert "apps/shop/base/deployment.yaml" in result.output
    assert "add-image-pull-secrets" in result.output
    if report_format == "json":
        assert json.loads(result.stdout)["mandatory"] == 1


NO_LIST = """\
patches:
- target: {kind: Deployment}
  patch: |-
    - op: remove
      path: /spec/template/spec/imagePullSecrets
"""
AGGREGATOR = "resources:\n  - ../../apps/shop/overlays/dev\n"


def test_an_overlay_that_a_kustomization_outside_apps_takes_in_is_judged(shop: Shop, told: Told) -> None:
    files = {"apps/shop/overlays/dev/kustomization.yaml": OVERLAY + NO_LIST}
    ((_, _, found),) = told(shop({**files, "environments/dev/kustomization.yaml": AGGREGATOR}))
    assert found.startswith("apps/shop/overlays/dev: Deployment shop-dev/shop pulls from")


def test_an_overlay_that_another_overlay_extends_is_judged_too(shop: Shop, told: Told) -> None:
    back = NO_LIST.replace("op: remove", "op: add") + "      value: [{name: registry-api-tanhdev}]\n"
    files = {
        "apps/shop/overlays/dev/kustomization.yaml": OVERLAY + NO_LIST,
        "apps/shop/overlays/production/kustomization.yaml": "resources:\n  - ../dev\n" + back,
    }
    ((_, _, found),) = told(shop(files))
    assert found.startswith("apps/shop/overlays/dev: Deployment shop-dev/shop pulls from")


def test_a_file_of_an_unused_component_that_carries_the_reference_is_good(shop: Shop, told: Told) -> None:
    worker = "apps/shop/components/worker"
    shared = f"../../../../{folder(GitOps(), 'registry-api-tanhdev')}"
    carries = f"kind: Component\nresources:\n  - worker.yaml\ncomponents:\n  - {shared}\n"
    host = BARE.replace("name: shop\n", "name: cache\n", 1).replace("api.tanhdev.com/", "api.tanhdev.com:443/")
    files = {f"{worker}/kustomization.yaml": carries, f"{worker}/worker.yaml": BARE}
    assert told(shop(files)) == []
    ((_, _, found),) = told(shop({**files, f"{worker}/worker.yaml": host}))
    assert "which no login is for" in found


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
@pytest.mark.parametrize("head", ["", "kind: Kustomization\n", "apiVersion: kustomize.config.k8s.io/v1beta1\n"])
def test_what_kubectl_builds_is_built_whatever_it_says_of_itself(shop: Shop, told: Told, name: str, head: str) -> None:
    overlay = "apps/shop/overlays/eu"
    repository = shop({f"{overlay}/{name}": f"{head}resources:\n- ../../base\n{NO_LIST}"})
    ((_, _, found),) = told(repository)
    assert found.startswith(f"{overlay}: Deployment shop pulls from")


def test_a_file_of_another_name_is_no_kustomization(shop: Shop, told: Told) -> None:
    old = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [nothing.yaml]\n"
    repository = shop({"apps/shop/base/old-kustomization.yaml": old})
    assert told(repository) == []
    assert repository.kustomizations[PurePosixPath("apps/shop/base")].file.name == "kustomization.yaml"


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nresources:\n", "<<<<<<< HEAD\nkind: Kustomization\n"])
def test_a_kustomization_that_cannot_be_read_is_a_failure(
    shop: Shop, config: StackConfig, registry: Registry, text: str
) -> None:
    report = check(survey(shop({"apps/shop/overlays/eu/kustomization.yaml": f"a: [\n{text}"})), config, registry)
    assert ([item.policy.name for item in report.violations], report.mandatory) == (["report-unread-files"], 1)
