"""The toolchain as the rest of local/ uses it: names, where the tools are, and what an absent one says."""

import os
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local import paths, toolchain
from local.__main__ import app
from local.toolchain import golang, official, recipes, store


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nothing is built, with no Pulumi on PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    official._pulumi_on.cache_clear()
    return tmp_path


def built(name: str) -> Path:
    """Put an empty file where the build of a recipe belongs, and return its folder."""
    recipe = next(one for one in recipes.RECIPES if one.name == name)
    folder = toolchain._folder(recipe)
    (folder / "bin").mkdir(parents=True)
    for executable in recipe.executables:
        (folder / "bin" / executable).write_text("")
    return folder


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", [name for name in toolchain.names() if name not in {"bao", "kubectl"}])
def test_an_absent_tool_says_what_to_run(name: str) -> None:
    recipe = next(one for one in recipes.RECIPES if name in one.executables)
    how = (
        f"python -m local build {recipe.name}" if recipe.name in recipes.OF_TESTS | recipes.ON_DEMAND else "make build"
    )
    with pytest.raises(toolchain.ToolMissing, match=rf"{name} is not built: run `{how}`"):
        toolchain.binary(name)


@pytest.mark.usefixtures("empty")
def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(toolchain.ToolMissing, match=r"'kube-proxy' is no tool.*kube-apiserver"):
        toolchain.binary("kube-proxy")
    with pytest.raises(toolchain.ToolMissing, match=r"'kube-proxy' is no tool"):
        toolchain.ensure("kube-proxy")


@pytest.mark.usefixtures("empty")
def test_a_built_tool_is_found_by_its_executables() -> None:
    folder = built("kubernetes")
    assert toolchain.binary("kube-apiserver") == folder / "bin" / "kube-apiserver"
    assert toolchain.binary("kube-controller-manager") == folder / "bin" / "kube-controller-manager"


@pytest.mark.usefixtures("empty")
def test_the_operators_module_is_asked_for_before_it_is_built() -> None:
    with pytest.raises(toolchain.ToolMissing, match="make build"):
        toolchain.eso_module()


@pytest.mark.parametrize("name", ["bao", "kubectl"])
def test_packaged_tools_are_real_executables_and_no_scripts(name: str) -> None:
    with toolchain.binary(name).open("rb") as file:
        assert file.read(2) != b"#!"


def test_a_release_on_path_stands_in_for_the_build(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pulumi", *official.COMPANIONS):
        (empty / name).write_text("#!/bin/sh\necho v3.259.0\n")
        (empty / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{empty}:/usr/bin:/bin")
    official._pulumi_on.cache_clear()
    assert toolchain.pulumi_is_official()
    assert toolchain.binary("pulumi") == empty / "pulumi"
    assert toolchain.binary("pulumi-language-python-exec") == empty / "pulumi-language-python-exec"
    toolchain.ensure("pulumi")


@pytest.mark.usefixtures("empty")
def test_what_tests_need_is_built_with_the_rest_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    monkeypatch.setattr(toolchain, "_build", lambda missing: asked.append({item.name for item in missing.values()}))
    toolchain.ensure()
    toolchain.ensure(for_tests=True)
    assert asked[1] - asked[0] == recipes.OF_TESTS
    assert asked[0] < asked[1]


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(("keep", "left"), [("", False), ("1", True)])
def test_gos_caches_go_once_all_is_built_unless_a_developer_keeps_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep: str, *, left: bool
) -> None:
    def build(missing: dict[Path, recipes.Recipe], *_: object) -> None:
        assert golang.remove_caches() is None
        for folder in missing:
            folder.mkdir(parents=True)

    monkeypatch.setenv(toolchain.KEEP, keep)
    monkeypatch.setattr(golang, "install", lambda _: (golang.caches() / "build").mkdir(parents=True))
    monkeypatch.setattr("local.toolchain.builder.run", build)
    toolchain.ensure("etcd")
    assert golang.caches().is_dir() == left
    assert ("KEEP_GO_CACHE=1 keeps them" in capsys.readouterr().err) != left


def test_a_cache_folder_that_cannot_be_written_is_named_with_the_remedy(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty / "file"))
    with pytest.raises(toolchain.BuildFailed, match=r"cannot be built: .*file/pull-secrets-local.*\n.*XDG_CACHE_HOME"):
        toolchain.ensure("etcd")


@pytest.mark.usefixtures("empty")
def test_cleaning_removes_every_tool_but_not_under_a_running_build() -> None:
    built("etcd").joinpath("bin", "etcd").write_text("program")
    with golang.caches_in_use(), pytest.raises(toolchain.BuildFailed, match="in use by a build"):
        toolchain.clean()
    assert toolchain.clean() == len("program")
    assert not paths.cache_home().exists()


def test_programs_that_no_clone_asks_for_are_removed_after_a_newer_build(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = empty / "cache" / "pull-secrets-local" / "etcd"
    month = 31 * 24 * 3600
    for name, age in (("v3-superseded", month), ("v3-of-another-clone", 60), ("v3-of-this-clone", month)):
        folder = cache / name
        folder.mkdir(parents=True)
        (folder / "etcd").write_text("program")
        os.utime(folder, (time.time() - age, time.time() - age))
    monkeypatch.setattr(toolchain, "_folder", lambda _: cache / "v3-of-this-clone")
    toolchain.ensure("etcd")
    assert len(list(cache.iterdir())) == 3, "nothing is removed unless something was built"
    monkeypatch.setattr(toolchain, "_folder", lambda _: cache / "v4")
    monkeypatch.setattr(golang, "install", lambda _: None)
    monkeypatch.setattr("local.toolchain.builder.run", lambda missing, *_: [folder.mkdir() for folder in missing])
    with store.lock("etcd"):
        toolchain.ensure("etcd")
    assert len(list(cache.iterdir())) == 4, "another process builds, and may be about to use it"
    (cache / "v4").rmdir()
    toolchain.ensure("etcd")
    assert sorted(path.name for path in cache.iterdir()) == ["v3-of-another-clone", "v3-of-this-clone", "v4"]
    assert "no clone has asked for in a month" in capsys.readouterr().err


def test_a_go_that_is_too_old_and_no_way_to_a_newer_one_is_one_message(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, says in (("go", "echo go1.19.1"), ("uv", "echo no index >&2; exit 2")):
        (empty / name).write_text(f"#!/bin/sh\n{says}\n")
        (empty / name).chmod(0o755)
    monkeypatch.setenv("UV", str(empty / "uv"))
    done = CliRunner().invoke(app, ["build", "etcd"])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert "no fitting Go on PATH, installing Go" in done.stderr
    assert re.search(r"error: Go \S+ cannot be installed .*install Go \S+ or newer yourself", done.stderr)
    assert "Traceback" not in done.stderr


def test_asking_for_a_tool_imports_nothing_that_draws() -> None:
    script = "import sys; from local import toolchain; toolchain.names(); print('rich' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=paths.repository(), capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "False"


def test_the_vault_plugin_serves_tokens_that_the_sdk_registers() -> None:
    source = (recipes.MODULES / "pulumi-resource-vault" / "main.go").read_text(encoding="utf-8")
    tokens = re.findall(r'"(vault:[^"]+)"', source)
    assert len(tokens) == 7
    for token in tokens:
        _, module, name = token.split(":")
        folder = module.split("/")[0]
        package = import_module("pulumi_vault" if folder == "index" else f"pulumi_vault.{folder}")
        assert getattr(package, name).pulumi_type == token
    assert f'version = "{recipes.VAULT_PLUGIN_VERSION}"' in source


class TestPaths:
    def test_the_cache_follows_xdg_and_ignores_a_relative_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/srv/xdg")
        assert paths.cache_home() == Path("/srv/xdg/pull-secrets-local")
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setenv("HOME", "/home/someone")
        assert paths.cache_home() == Path("/home/someone/.cache/pull-secrets-local")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert paths.cache_home() == Path("/home/someone/.cache/pull-secrets-local")

    def test_state_stands_in_the_clone_unless_the_environment_says_otherwise(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("LOCAL_STATE", raising=False)
        assert paths.state_home() == paths.repository() / ".local"
        assert (paths.repository() / "pyproject.toml").is_file()
        monkeypatch.setenv("LOCAL_STATE", str(tmp_path))
        assert paths.state_home() == tmp_path
