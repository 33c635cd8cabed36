"""The check for pipelines finds the workload without the reference, in which file, and what does not build."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import Registry, StackConfig
from pullsecrets.errors import ExitCode
from pullsecrets.gitops.check import check
from pullsecrets.gitops.repository import Repository
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


def told(repository: Repository, config: StackConfig, registry: Registry) -> list[tuple[str, int, str]]:
    report = check(repository, config, registry)
    root = f"{repository.root.as_posix()}/"
    return [(item.file.removeprefix(root), item.line, item.problem) for item in report.violations]


def test_the_sample_has_one_worker_without_the_reference_in_both_environments(
    sample: Repository, config: StackConfig, registry: Registry
) -> None:
    file = "apps/order/base/worker-deployment.yaml"
    # The other services' references are proved where the migrated sample is checked: each build costs time.
    order = replace(sample, manifests=tuple(item for item in sample.manifests if item[0].parts[1:2] == ("order",)))
    assert told(order, config, registry) == [
        (file, 17, PROBLEM.format(environment)) for environment in ("dev", "production")
    ]


def test_a_repository_with_the_references_is_good(shop: Shop, config: StackConfig, registry: Registry) -> None:
    assert told(shop({}), config, registry) == []


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
            "by a host that is not canonical",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_and_workload(
    shop: Shop,
    config: StackConfig,
    registry: Registry,
    changes: dict[str, str],
    file: str,
    line: int,
    problem: str,
) -> None:
    ((found_file, found_line, found),) = told(shop(changes), config, registry)
    assert (found_file, found_line) == (file, line)
    assert problem in found


def test_a_file_below_apps_that_cannot_be_read_is_reported_and_no_failure(
    shop: Shop, config: StackConfig, registry: Registry
) -> None:
    report = check(shop({"apps/shop/templates/a.yaml": "kind: Deployment\nname: {{ .x }}\n"}), config, registry)
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
        assert json.loads(result.output)["mandatory"] == 1
