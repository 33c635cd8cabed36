"""Pulumi's own releases: used when complete and in range, and asked for once where they cannot be downloaded."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from local import paths
from local.toolchain import official, recipes
from local.toolchain.errors import ToolMissing

PULUMI = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
  version) echo {version};;
  plugin) {install};;
esac
"""
INSTALL = (
    'd="$PULUMI_HOME/plugins/resource-$4-v$5"; mkdir -p "$d"; echo program > "$d/pulumi-resource-$4"; '
    'chmod +x "$d/pulumi-resource-$4"'
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.delenv("RETRY", raising=False)
    official._pulumi_on.cache_clear()


def release(folder: Path, *, cli: str = "v3.258.0", install: str = "exit 1", companions: bool = True) -> Path:
    """Lay out a Pulumi release and return its command line."""
    folder.mkdir(parents=True, exist_ok=True)
    pulumi = folder / "pulumi"
    pulumi.write_text(PULUMI.format(version=cli, install=install))
    pulumi.chmod(0o755)
    for name in official.COMPANIONS if companions else ():
        (folder / name).write_text("")
    return pulumi


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


def found(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> Path | None:
    monkeypatch.setenv("PATH", ":".join(["/usr/bin", "/bin", *map(str, folders)]))
    official._pulumi_on.cache_clear()
    return official.pulumi_folder()


def test_the_pinned_versions_are_those_of_the_installed_sdks() -> None:
    assert version("pulumi") == recipes.PULUMI_VERSION
    assert version("pulumi-kubernetes") == recipes.KUBERNETES_PLUGIN_VERSION
    assert version("pulumi-vault") == recipes.VAULT_PLUGIN_VERSION


@pytest.mark.parametrize("text", ["v3.258.0", "3.258.7", "v3.300.1\n", "v3.1000.0"])
def test_versions_from_the_sdks_up_to_the_next_major_are_supported(text: str) -> None:
    assert official.supported(text)


@pytest.mark.parametrize("text", ["v3.257.9", "v2.300.0", "v4.0.0", "v3.260.0-dev", "", "unknown"])
def test_older_versions_the_next_major_and_unreleased_builds_are_not(text: str) -> None:
    assert not official.supported(text)


def test_a_link_to_a_release_finds_what_stands_beside_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulumi = release(tmp_path / "pulumi" / "bin")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "pulumi").symlink_to(pulumi)
    assert found(monkeypatch, tmp_path / "links") == tmp_path / "pulumi" / "bin"


def test_a_release_without_its_language_host_or_out_of_range_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(tmp_path / "bare", companions=False)
    release(tmp_path / "old", cli="v3.200.0")
    release(tmp_path / "good")
    assert found(monkeypatch, tmp_path / "bare", tmp_path / "old") is None
    assert found(monkeypatch, tmp_path / "bare", tmp_path / "old", tmp_path / "good") == tmp_path / "good"


def test_shims_of_a_control_plane_and_builds_of_ours_are_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(tmp_path / "state" / "bin")
    other = tmp_path / "other-clone" / ".local"
    release(other / "bin")
    (other / "env.json").write_text("{}")
    ours = paths.cache_home() / "pulumi" / "key" / "bin"
    release(ours)
    assert found(monkeypatch, tmp_path / "state" / "bin", other / "bin", ours) is None


def test_the_version_is_asked_for_once_and_again_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(tmp_path / "bin")
    assert found(monkeypatch, tmp_path / "bin") == found(monkeypatch, tmp_path / "bin") is not None
    assert calls(tmp_path) == ["version"]
    release(tmp_path / "bin", cli="v3.99.0")
    assert found(monkeypatch, tmp_path / "bin") is None
    assert calls(tmp_path) == ["version", "version"]


def test_a_downloaded_plugin_replaces_what_stood_in_its_place_and_is_downloaded_once(tmp_path: Path) -> None:
    pulumi = release(tmp_path / "bin", install=INSTALL)
    home = tmp_path / "home"
    substitute = home / "plugins" / "resource-vault-v7.14.0"
    substitute.mkdir(parents=True)
    (substitute / "pulumi-resource-vault").write_text("a substitute of ours")
    (substitute / "left-over").write_text("")
    for _ in range(2):
        assert official.install_official_plugin(pulumi, "vault", "7.14.0", home)
    assert [file.name for file in substitute.iterdir()] == ["pulumi-resource-vault"]
    assert (substitute / "pulumi-resource-vault").read_text() == "program\n"
    assert official.install_official_plugin(pulumi, "vault", "7.14.0", tmp_path / "another-home")
    assert calls(tmp_path) == ["plugin install resource vault 7.14.0 --non-interactive"]


def test_a_download_that_does_not_work_is_tried_once_a_day(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pulumi = release(tmp_path / "bin", install="echo could not reach get.example; exit 1")
    for _ in range(3):
        assert not official.install_official_plugin(pulumi, "kubernetes", "4.34.2", tmp_path / "home")
    assert len(calls(tmp_path)) == 1
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "RETRY=1" in shown.err
    assert "get.example" not in shown.err

    memory = official._home() / "refused-kubernetes-4.34.2.json"
    memory.write_text(json.dumps({"tried": json.loads(memory.read_text())["tried"] - 25 * 3600}))
    assert not official.install_official_plugin(pulumi, "kubernetes", "4.34.2", tmp_path / "home")
    assert len(calls(tmp_path)) == 2


def test_retry_asks_again_and_forgets_the_refusal_once_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(tmp_path / "bin")
    pulumi = tmp_path / "bin" / "pulumi"
    assert not official.install_official_plugin(pulumi, "vault", "7.14.0", tmp_path / "home")
    release(tmp_path / "bin", install=INSTALL)
    assert not official.install_official_plugin(pulumi, "vault", "7.14.0", tmp_path / "home")
    monkeypatch.setenv("RETRY", "1")
    assert official.install_official_plugin(pulumi, "vault", "7.14.0", tmp_path / "home")
    assert not (official._home() / "refused-vault-7.14.0.json").exists()


def test_a_download_that_stalls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "_STALLED_SECONDS", 0.3)
    pulumi = release(tmp_path / "bin", install="exec sleep 300")
    assert not official.install_official_plugin(pulumi, "vault", "7.14.0", tmp_path / "home")


def test_a_missing_command_line_is_named_with_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make build"):
        official.install_official_plugin(tmp_path / "pulumi", "vault", "7.14.0", tmp_path / "home")
