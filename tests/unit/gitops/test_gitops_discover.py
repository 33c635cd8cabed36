"""The audit of a repository reproduces the second source's numbers and names every gap with its place."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import Registry, StackConfig
from pullsecrets.errors import BadInputError
from pullsecrets.gitops.discover import Discovery, Gap, discover
from pullsecrets.gitops.repository import Repository
from pullsecrets.gitops.survey import Survey, survey
from tests.components.program import REPOSITORY
from tests.unit.gitops.conftest import DEPLOYMENT, Shop

ESO = "apiVersion: external-secrets.io/v1\nkind: "


@pytest.fixture(scope="module")
def found(surveyed: Survey, config: StackConfig, registry: Registry) -> Discovery:
    return discover(surveyed, config, [registry])


def gaps(repository: Repository, config: StackConfig, registry: Registry) -> dict[str, Gap]:
    return {gap.kind: gap for gap in discover(survey(repository), config, [registry]).gaps}


def test_the_numbers_are_those_of_the_source(found: Discovery) -> None:
    assert len(found.services) == 24
    assert found.workload_files == {"deployments": 24, "migration jobs": 13, "workers": 13}
    assert [(use.host, use.files, use.percent) for use in found.registries] == [("registry-api.tanhdev.com", 50, 100)]
    assert len(found.namespaces) == 48
    assert {"auth-dev", "loyalty-rewards-production"} <= set(found.namespaces)


def test_the_secret_is_referenced_more_than_50_times_and_never_defined(found: Discovery) -> None:
    used = next(use for use in found.secrets if use.name == "registry-api-tanhdev")
    assert (used.references, used.defined_in) == (52, ())


def test_each_gap_has_its_place(found: Discovery) -> None:
    places = sorted((gap.kind, gap.file, gap.line) for gap in found.gaps if gap.kind != "secret-undefined")
    assert places == [
        ("chart", "apps/location/chart", 1),
        ("no-overlay", "apps/shipping/overlays", 1),
        ("no-reference", "apps/order/base/worker-deployment.yaml", 17),
        ("unread", "infrastructure/templates/namespace.yaml", 1),
    ]


def test_a_hard_coded_list_is_told_with_its_line_and_names(found: Discovery) -> None:
    customer = next(item for item in found.hard_coded if item.file == "apps/customer/base/deployment.yaml")
    assert (customer.line, customer.workload) == (17, "Deployment customer")
    assert customer.names == ("registry-api-tanhdev", "legacy-registry")
    assert sum(item.patch for item in found.hard_coded) == 2


@pytest.mark.parametrize(
    "definition",
    [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: registry-api-tanhdev}\n",
        "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: registry-api-tanhdev}\n",
        f"{ESO}ExternalSecret\nmetadata: {{name: a}}\nspec: {{target: {{name: registry-api-tanhdev}}}}\n",
        f"{ESO}ClusterExternalSecret\nmetadata: {{name: registry-api-tanhdev}}\nspec: {{externalSecretSpec: {{}}}}\n",
    ],
)
def test_whatever_writes_the_secret_defines_it(
    shop: Shop, config: StackConfig, registry: Registry, definition: str
) -> None:
    repository = shop({"infrastructure/secret.yaml": definition})
    assert discover(survey(repository), config, [registry]).secrets[0].defined_in == ("infrastructure/secret.yaml",)
    assert "secret-undefined" not in gaps(repository, config, registry)


def test_a_file_that_no_kustomization_names_is_a_gap(shop: Shop, config: StackConfig, registry: Registry) -> None:
    found = gaps(shop({"apps/shop/base/forgotten.yaml": DEPLOYMENT}), config, registry)["not-built"]
    assert found.file == "apps/shop/base/forgotten.yaml"


def test_a_service_of_plain_manifests_is_a_gap(shop: Shop, config: StackConfig, registry: Registry) -> None:
    found = gaps(shop({"apps/plain/deployment.yaml": DEPLOYMENT}), config, registry)
    assert found["no-kustomization"].file == "apps/plain"
    assert "not-built" not in found


@pytest.mark.parametrize("in_a_file", [True, False])
def test_a_json_patch_that_sets_the_list_is_a_gap(
    shop: Shop, config: StackConfig, registry: Registry, in_a_file: bool
) -> None:
    steps = '[{"op": "replace", "path": "/spec/template/spec/imagePullSecrets", "value": [{"name": "other"}]}]'
    entry = "path: steps.json" if in_a_file else f"patch: '{steps}'"
    overlay = f"resources: [../../base]\npatches:\n  - target: {{kind: Deployment}}\n    {entry}\n"
    files = {"apps/shop/overlays/dev/kustomization.yaml": overlay, "apps/shop/overlays/dev/steps.json": steps}
    found = gaps(shop(files), config, registry)["list-replaced"]
    assert (found.file, found.line) == ("apps/shop/overlays/dev/kustomization.yaml", 3)


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["gitops", "discover", str(tmp_path), "--stack", "dev", "-C", str(REPOSITORY)])
    assert isinstance(result.exception, BadInputError)
    assert "no YAML or JSON file there; name the root of the GitOps repository" in str(result.exception)


def test_the_command_tells_the_same_as_a_table_and_as_json(sample: Repository) -> None:
    arguments = ["gitops", "discover", str(sample.root), "--stack", "dev", "-C", str(REPOSITORY)]
    table = CliRunner().invoke(app, arguments).output
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert "50 = 24 deployments + 13 migration jobs + 13 workers" in table
    assert sum(document["workload_files"].values()) == 50
    assert len(document["gaps"]) == 7


def test_a_stacks_registry_that_nothing_pulls_from_must_be_named(shop: Shop) -> None:
    files = {"apps/shop/base/deployment.yaml": DEPLOYMENT.replace("registry-api.tanhdev.com", "quay.io")}
    root = str(shop(files).root)
    result = CliRunner().invoke(app, ["gitops", "check", root, "--stack", "dev", "-C", str(REPOSITORY)])
    assert "pulls from none of the stack's registries, but from quay.io; name one with --registry: app-reg" in str(
        result.exception
    )
