"""What is looked at and how it is built: options before the stack file, and that before what the repository says."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import Registry, StackConfig
from pullsecrets.config.gitops import GitOps
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.gitops.check import check
from pullsecrets.gitops.kustomize import find_builder
from pullsecrets.gitops.repository import load
from pullsecrets.gitops.survey import survey
from tests.components.program import REPOSITORY
from tests.unit.gitops.layouts import LAYOUTS, SECRET, Layout, kustomization, workload

ARGOCD_CM = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm}\ndata: {kustomize.buildOptions: '%s'}\n"
ARGO_CD = "apiVersion: argoproj.io/v1beta1\nkind: ArgoCD\nmetadata: {name: a}\nspec: {kustomizeBuildOptions: '%s'}\n"
NO_RESTRICTION = "--load-restrictor=LoadRestrictionsNone"


def settings(**given: Any) -> GitOps:
    return GitOps.model_validate(given)


@pytest.mark.parametrize(
    ("said", "build", "options"),
    [
        (None, {}, ()),
        (ARGOCD_CM % "--enable-helm", {}, ("--enable-helm",)),
        (ARGO_CD % "--enable-helm --load-restrictor LoadRestrictionsNone", {}, ("--enable-helm", NO_RESTRICTION)),
        (ARGOCD_CM % "--enable-helm", {"enableHelm": False}, ()),
        (ARGOCD_CM % "--enable-alpha-plugins --enable-exec", {}, ()),
        (None, {"enableAlphaPlugins": True}, ("--enable-alpha-plugins",)),
        (LAYOUTS["Flux"].files["clusters/a/shop.yaml"], {}, (NO_RESTRICTION,)),
        (
            LAYOUTS["Flux"].files["clusters/a/shop.yaml"],
            {"loadRestrictor": "LoadRestrictionsRootOnly"},
            (),
        ),
    ],
)
def test_kustomize_gets_the_options_of_the_controller_unless_told_otherwise(
    tmp_path: Path, said: str | None, build: dict[str, Any], options: tuple[str, ...]
) -> None:
    files = {"x.yaml": workload("shop"), **({"said.yaml": said} if said else {})}
    Layout(files, ()).write(tmp_path)
    found = find_builder(settings(build=build).build, load(tmp_path, GitOps()))
    assert found.command[2:] == options
    assert found.version.startswith("kubectl v")


def test_what_runs_programs_is_never_taken_from_the_repository_and_named(tmp_path: Path) -> None:
    Layout({"cm.yaml": ARGOCD_CM % "--enable-exec"}, ()).write(tmp_path)
    (note,) = find_builder(GitOps().build, load(tmp_path, GitOps())).notes
    assert note == "cm.yaml has --enable-exec, which runs programs: ask for it if you trust them"


def test_the_kubectl_beside_the_interpreter_comes_before_that_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "kubectl"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    beside = Path(sys.executable).parent / "kubectl"
    assert find_builder(GitOps().build).command[0] == str(beside)
    assert find_builder(settings(build={"command": str(other)}).build).command[0] == str(other)
    with pytest.raises(BadInputError, match="nothing-there: no such program; name a kubectl or kustomize"):
        find_builder(settings(build={"command": "nothing-there"}).build)
    with pytest.raises(BadInputError, match="kubectl has no --enable-exec; name a kustomize with --builder"):
        find_builder(settings(build={"enableExec": True}).build)


def test_paths_and_roots_say_what_is_looked_at(tmp_path: Path) -> None:
    files = {f"{top}/{file}": text for top in ("live", "examples") for file, text in _shop().items()}
    Layout(files, ()).write(tmp_path)
    assert [str(root) for root in load(tmp_path, GitOps()).roots] == ["examples/base", "live/base"]
    assert [str(root) for root in load(tmp_path, settings(paths=["live"])).roots] == ["live/base"]
    assert [item.file.parts[0] for item in load(tmp_path, settings(paths=["live"])).plain] == ["live"]
    chosen = load(tmp_path, settings(roots=["*/base"]))
    assert ([str(root) for root in chosen.roots], chosen.plain) == (["examples/base", "live/base"], ())
    with pytest.raises(BadInputError, match="nowhere: no such folder"):
        load(tmp_path, settings(paths=["nowhere"]))


def _shop() -> dict[str, str]:
    return {
        "base/shop.yaml": workload("shop"),
        "base/kustomization.yaml": kustomization("shop.yaml"),
        "job.yaml": workload("job", kind="Job"),
    }


@pytest.mark.parametrize(
    ("layout", "overlay"),
    [
        ({"services": "svc/{service}", "environments": "env-{environment}"}, "svc/shop/env-dev"),
        ({"services": "svc/{service}", "environments": "envs/{environment}/{service}"}, "envs/dev/shop"),
    ],
)
def test_services_and_environments_are_named_as_the_stack_file_lays_them_out(
    tmp_path: Path, layout: dict[str, str], overlay: str
) -> None:
    files = {
        "svc/shop/base/shop.yaml": workload("shop"),
        "svc/shop/base/kustomization.yaml": kustomization("shop.yaml"),
    }
    Layout({**files, f"{overlay}/kustomization.yaml": "namespace: a\n"}, ()).write(tmp_path)
    found = load(tmp_path, settings(**layout))
    assert (found.services, found.environments) == (("shop",), ("dev",))
    unlike = load(tmp_path, GitOps())
    assert (unlike.services, unlike.environments) == ((), ())


def test_a_run_that_judged_nothing_is_an_error(tmp_path: Path, config: StackConfig, registry: Registry) -> None:
    Layout({"notes.yaml": "a: 1\n", "linked/.keep": ""}, (), links={"far": "/usr"}).write(tmp_path)
    with pytest.raises(BadInputError, match=r"no workload was found.*--root.*not checked: .*links"):
        check(survey(load(tmp_path, GitOps())), config, registry)


def test_the_whole_reason_of_a_failed_build_is_told_without_our_own_paths(tmp_path: Path) -> None:
    Layout({"a/kustomization.yaml": kustomization("absent.yaml")}, ()).write(tmp_path)
    (found,) = survey(load(tmp_path, GitOps())).broken
    assert found.failure is not None
    assert found.failure.startswith(
        "accumulating resources: accumulation err='accumulating resources from 'absent.yaml'"
    )
    assert str(tmp_path) not in found.failure


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--load-restrictor", "none"), "--load-restrictor: allowed: 'LoadRestrictionsRootOnly' or"),
        (("--path", "../elsewhere"), "--path: allowed: a path inside the repository"),
    ],
)
def test_an_option_without_such_a_value_is_named(tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    LAYOUTS["flat"].write(tmp_path)
    result = CliRunner().invoke(app, [*_check(tmp_path), *arguments])
    assert isinstance(result.exception, BadInputError)
    assert problem in str(result.exception)


def test_the_command_tells_what_it_built_with_and_has_options_over_all(tmp_path: Path) -> None:
    LAYOUTS["many bases"].write(tmp_path)
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    result = CliRunner().invoke(app, [*_check(tmp_path), "--root", "team/*/base", "--builder", str(kubectl)])
    assert result.exit_code == ExitCode.PROBLEM
    assert result.stderr.startswith("3 folders built with kubectl v")
    assert "3 mandatory, 0 advisory: 3 objects in 3 files" in result.stdout


def _check(root: Path) -> list[str]:
    return ["gitops", "check", str(root), "--stack", "dev", "-C", str(REPOSITORY), "--registry", SECRET]
