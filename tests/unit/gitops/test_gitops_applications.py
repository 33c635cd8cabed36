"""Argo CD Applications follow the rollout's waves, and only services that a wave names get one."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import StackConfig
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.gitops.applications import SYNC_WAVE, ArgoCd, render
from pullsecrets.gitops.repository import Repository
from tests.components.program import REPOSITORY
from tests.unit.gitops.conftest import OVERLAY

SECURITY = PurePosixPath("infrastructure/security")
URL = "https://git.example.com/gitops.git"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of two services, one of which no wave names."""
    for service in ("auth", "gateway", "unnamed-23"):
        folder = tmp_path / "apps" / service / "overlays/dev"
        folder.mkdir(parents=True)
        (folder / "kustomization.yaml").write_text(OVERLAY)
    (tmp_path / SECURITY).mkdir(parents=True)
    return tmp_path


def run(root: Path, *arguments: str) -> Any:
    command = ["gitops", "render", str(root), "--stack", "dev", "-C", str(REPOSITORY), "--repo-url", URL]
    return CliRunner().invoke(app, [*command, "--infrastructure", str(SECURITY), *arguments])


def test_waves_of_the_sample_begin_with_the_infrastructure_and_the_canary(
    sample: Repository, config: StackConfig
) -> None:
    rendered = render(sample.root, config, "dev", ArgoCd(URL), SECURITY)
    documents = [yaml.safe_load(text) for text in rendered.files.values()]
    waves: dict[int, list[str]] = {}
    for item in documents:
        waves.setdefault(int(item["metadata"]["annotations"][SYNC_WAVE]), []).append(item["metadata"]["name"])
    assert {wave: len(names) for wave, names in waves.items()} == {0: 1, 1: 1, 2: 3, 3: 4, 4: 5, 5: 5, 6: 4}
    assert (waves[0], waves[1]) == (["infrastructure-dev"], ["auth-dev"])
    assert rendered.unplaced == ("unnamed-23", "unnamed-24")
    assert rendered.without_overlay == ()


def test_an_application_points_at_the_overlay_and_the_namespace(root: Path, config: StackConfig) -> None:
    argo = ArgoCd(URL, "release", "commerce", "https://api.dev.example.com:6443", "gitops")
    files = render(root, config, "dev", argo, SECURITY).files
    item = yaml.safe_load(files[PurePosixPath("environments/dev/apps/gateway-app.yaml")])
    assert item["metadata"] == {"name": "gateway-dev", "namespace": "gitops", "annotations": {SYNC_WAVE: "2"}}
    assert item["spec"]["project"] == "commerce"
    assert item["spec"]["source"] == {"repoURL": URL, "targetRevision": "release", "path": "apps/gateway/overlays/dev"}
    assert item["spec"]["destination"] == {"server": "https://api.dev.example.com:6443", "namespace": "gateway-dev"}


def test_services_without_an_overlay_are_told(root: Path, config: StackConfig) -> None:
    rendered = render(root, config, "dev", ArgoCd(URL), SECURITY)
    assert len(rendered.without_overlay) == 20
    assert "payment-dev" in rendered.without_overlay


def test_writing_twice_changes_nothing_and_check_finds_every_difference(root: Path) -> None:
    first = run(root, "--json")
    assert first.exit_code == ExitCode.PROBLEM
    document = json.loads(first.output)
    written = [f"environments/dev/apps/{name}-app.yaml" for name in ("auth", "gateway")]
    written.append("environments/infrastructure-dev-app.yaml")
    assert (document["written"], document["unplaced"]) == (written, ["unnamed-23", "unnamed-24"])
    assert json.loads(run(root, "--json").output)["unchanged"] == written
    by_hand = root / "environments/dev/apps/by-hand.yaml"
    by_hand.write_text("kind: Application\n")
    (root / written[0]).write_text("changed\n")
    (root / "apps/gateway/overlays/dev/kustomization.yaml").unlink()
    (root / "apps/gateway/overlays/dev").rmdir()
    compared = json.loads(run(root, "--check", "--json").output)
    assert (compared["written"], compared["removed"]) == ([written[0]], [written[1]])
    assert run(root).exit_code == ExitCode.PROBLEM
    assert not (root / written[1]).exists()
    assert by_hand.exists()


def test_the_infrastructure_of_a_cluster_has_one_application_however_many_environments(
    root: Path, config: StackConfig
) -> None:
    (matrix,) = config.tenants.matrices
    two = config.model_copy(
        update={
            "tenants": config.tenants.model_copy(
                update={"matrices": (matrix.model_copy(update={"environments": ("dev", "eu")}),)}
            )
        }
    )
    files = render(root, two, "dev", ArgoCd(URL), SECURITY).files
    assert [str(file) for file in files if "infrastructure" in file.name] == [
        "environments/infrastructure-dev-app.yaml"
    ]


def test_an_application_set_has_every_service_with_its_wave(root: Path, config: StackConfig) -> None:
    rendered = render(root, config, "dev", ArgoCd(URL), SECURITY, sets=True)
    assert [str(file) for file in rendered.files] == [
        "environments/infrastructure-dev-app.yaml",
        "environments/services-dev-applicationset.yaml",
    ]
    spec = yaml.safe_load(rendered.files[PurePosixPath("environments/services-dev-applicationset.yaml")])["spec"]
    services, environments = (one["list"]["elements"] for one in spec["generators"][0]["matrix"]["generators"])
    assert services == [{"service": "auth", "wave": "1"}, {"service": "gateway", "wave": "2"}]
    assert environments == [{"environment": "dev"}]
    assert spec["template"]["metadata"]["name"] == "{{.service}}-{{.environment}}"
    assert spec["template"]["spec"]["source"]["path"] == "apps/{{.service}}/overlays/{{.environment}}"
    steps = spec["strategy"]["rollingSync"]["steps"]
    assert [step["matchExpressions"][0]["values"] for step in steps] == [["1"], ["2"]]


def test_application_sets_take_the_place_of_applications(root: Path) -> None:
    run(root)
    changed = json.loads(run(root, "--application-sets", "--json").stdout)
    assert changed["removed"] == [f"environments/dev/apps/{name}-app.yaml" for name in ("auth", "gateway")]


def test_a_service_in_no_wave_is_refused_by_name(root: Path) -> None:
    result = run(root, "--dry-run")
    assert result.exit_code == ExitCode.PROBLEM
    assert "no Application for unnamed-23: no wave of the rollout names it; add it to rollout.waves" in result.output
    assert not (root / "environments").exists()


def test_a_missing_folder_of_the_infrastructure_is_named(root: Path, config: StackConfig) -> None:
    with pytest.raises(BadInputError, match=r"clusters/dev: no such folder; write it with `pull-secrets render"):
        render(root, config, "dev", ArgoCd(URL), PurePosixPath("clusters/dev"))
