"""A credential is read from where the caller keeps it; what goes wrong is told without it."""

import base64
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullsecrets.credential import sources
from pullsecrets.credential.sources import Source, default_files, from_docker_config, from_login
from pullsecrets.errors import BadInputError

HOST = "registry.example.com"
CANARY = "canary-of-the-source-51d2"


def auth(password: str = CANARY, user: str = "bot") -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def nobody() -> str:
    raise AssertionError("nobody was to be asked")


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    def write(**content: Any) -> str:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(content))
        return str(file)

    return write


@pytest.fixture
def helper(tmp_path: Path) -> Callable[[str, str], Mapping[str, str]]:
    """Put a credential helper on PATH; it notes what it was asked, its arguments and its environment."""

    def install(name: str, script: str) -> Mapping[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        file = folder / f"docker-credential-{name}"
        file.write_text(f'#!/bin/sh\nserver=$(cat)\necho "$@ $server $VAULT_TOKEN" >> {tmp_path}/asked\n{script}\n')
        file.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}", "VAULT_TOKEN": "token-of-vault"}

    return install


def answer(user: str = "bot", secret: str = CANARY) -> str:
    document = json.dumps({"ServerURL": "x", "Username": user, "Secret": secret})
    return f"cat <<'END'\n{document}\nEND"


class TestChoosing:
    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            ({}, "found no source of the credential; allowed: one of --from-file, --from-docker-config, --username"),
            ({"file": "a", "username": "b"}, "found --from-file and --username; allowed: one of"),
            ({"file": "a", "docker_config": "auto", "username": "b"}, "--from-file and --from-docker-config and"),
            ({"file": "a", "password_stdin": True}, "found without --username"),
            ({"docker_config": "auto", "password_fd": 3}, "found without --username"),
            ({"username": "a", "password_fd": 3, "password_stdin": True}, "found --password-fd and --password-stdin"),
        ],
    )
    def test_exactly_one_source_is_taken(self, chosen: dict[str, Any], expected: str) -> None:
        with pytest.raises(BadInputError, match=expected):
            Source(**chosen)

    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            ({"file": "-"}, True),
            ({"file": "./-"}, False),
            ({"username": "a"}, False),
            ({"username": "a", "password_stdin": True}, True),
            ({"username": "a", "password_fd": 0}, True),
            ({"username": "a", "password_fd": 3}, False),
        ],
    )
    def test_it_is_known_whether_somebody_can_be_asked(self, chosen: dict[str, Any], expected: bool) -> None:
        assert Source(**chosen).takes_standard_input is expected


class TestFiles:
    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match=r"--from-file .*absent: No such file"):
            Source(file=str(tmp_path / "absent")).read([HOST], nobody)

    def test_a_path_that_is_none_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="no path"):
            Source(file="a\0b").read([HOST], nobody)

    def test_more_than_a_secret_can_hold_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "large"
        file.write_bytes(b" " * (sources.LARGEST_DOCUMENT + 1))
        with pytest.raises(BadInputError, match="found more than 1 MiB"):
            Source(file=str(file)).read([HOST], nobody)

    def test_standard_input_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        document = json.dumps({"auths": {HOST: {"auth": auth()}}})
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(document.encode())))
        assert Source(file="-").read([HOST], nobody).logins[HOST].password == CANARY


class TestLogins:
    def test_the_same_login_is_for_every_host(self) -> None:
        read = Source(username="bot").read([HOST, "mirror.example.com"], lambda: CANARY)
        assert read.hosts == ("mirror.example.com", HOST)
        assert {(login.username, login.password) for login in read.logins.values()} == {("bot", CANARY)}

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (CANARY, CANARY),
            (f"{CANARY}\n", CANARY),
            (f"{CANARY}\r\n", CANARY),
            (f" {CANARY} ", f" {CANARY} "),
            (f"\ufeff{CANARY}\r\n", CANARY),
        ],
    )
    def test_a_password_comes_from_a_file_descriptor(self, content: str, expected: str) -> None:
        reading, writing = os.pipe()
        os.write(writing, content.encode())
        os.close(writing)
        read = Source(username="bot", password_fd=reading).read([HOST], nobody)
        os.close(reading)
        assert read.logins[HOST].password == expected

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "missing"),
            (b"\n", "missing"),
            (b"\xff" + CANARY.encode(), "not UTF-8"),
            (f"{CANARY}\n{CANARY}\n".encode(), "found several lines; allowed: one password, or a key file"),
            (f"{CANARY}\n\n".encode(), "found several lines"),
            (f'["{CANARY}",\n"{CANARY}"]'.encode(), "found several lines"),
            (CANARY.encode("utf-16"), "not UTF-8"),
            (f"'{CANARY}'".encode(), "quotes around it, which a shell kept"),
            (b"${PASSWORD}\n", "a variable that nothing has filled in"),
            (f"{CANARY}\u200b".encode(), "an invisible character"),
            (b"   \n", "nothing but blanks"),
        ],
    )
    def test_what_is_no_password_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: str
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with pytest.raises(BadInputError, match=expected) as raised:
            Source(username="bot", password_stdin=True).read([HOST], nobody)
        assert CANARY not in str(raised.value)

    def test_a_login_that_looks_like_a_mistake_is_taken_by_whoever_means_it(self) -> None:
        read = Source(username="'bot'", as_is=True).read([HOST], lambda: "${PASSWORD}")
        assert (read.logins[HOST].username, read.logins[HOST].password) == ("'bot'", "${PASSWORD}")

    @pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
    def test_a_key_file_is_taken_without_its_final_newline(self, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        key = json.dumps({"private_key": CANARY}, indent=2)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{key}{end}".encode())))
        assert Source(username="_json_key", password_stdin=True).read([HOST], nobody).logins[HOST].password == key

    def test_a_key_file_of_several_lines_is_a_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        key = json.dumps({"type": "service_account", "private_key": f"{CANARY}\n"}, indent=2)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{key}\n".encode())))
        read = Source(username="_json_key", password_stdin=True).read([HOST], nobody)
        assert read.logins[HOST].password == key

    def test_a_file_descriptor_that_is_not_open_is_named(self) -> None:
        with pytest.raises(BadInputError, match="--password-fd 987: Bad file descriptor; open it for reading"):
            Source(username="bot", password_fd=987).read([HOST], nobody)

    @given(user=st.text(), before=st.text(), after=st.text())
    def test_any_login_is_taken_whole_or_refused_without_showing_it(self, user: str, before: str, after: str) -> None:
        # Any other text may also be a word of the message, such as the host.
        password = before + CANARY + after
        try:
            read = from_login(user, password, [HOST])
            assert (read.logins[HOST].username, read.logins[HOST].password) == (user, password)
            shown = repr(read)
        except BadInputError as error:
            shown = str(error)
        assert CANARY not in shown.replace(repr(user), "")


class TestDockerConfigs:
    @pytest.mark.parametrize(
        "key",
        [
            HOST,
            f"https://{HOST}",
            f"https://{HOST}/",
            f"https://{HOST}/v1/",
            f"http://{HOST}/v2/",
            f"{HOST}/v1",
            HOST.upper(),
        ],
    )
    def test_a_host_is_found_however_docker_spelt_it(self, config: Callable[..., str], key: str) -> None:
        file = config(auths={key: {"auth": auth()}, "other.example.com": {"auth": auth("x")}}, HttpHeaders={})
        read = from_docker_config(file, [HOST], {})
        assert read.hosts == (HOST,)
        assert read.logins[HOST].password == CANARY

    def test_docker_hub_is_found_under_its_old_name(self, config: Callable[..., str]) -> None:
        file = config(auths={"https://index.docker.io/v1/": {"auth": auth()}})
        assert from_docker_config(file, ["docker.io"], {}).logins["docker.io"].password == CANARY

    def test_what_is_stored_otherwise_is_told(self, config: Callable[..., str]) -> None:
        file = config(auths={HOST: {"auth": auth(), "email": None}})
        assert from_docker_config(file, [HOST], {}).notes == (f"left out of '{HOST}': email",)

    def test_the_hosts_own_spelling_goes_first(self, config: Callable[..., str]) -> None:
        file = config(auths={f"https://{HOST}/v1/": {"auth": auth("old")}, HOST: {"auth": auth()}})
        assert from_docker_config(file, [HOST], {}).logins[HOST].password == CANARY

    @pytest.mark.parametrize(
        "key", [f"{HOST}/team/app", f"https://{HOST}/team", f"sub.{HOST}", f"{HOST}:5000", f"x{HOST}"]
    )
    def test_the_login_of_something_else_is_not_taken(self, config: Callable[..., str], key: str) -> None:
        file = config(auths={key: {"auth": auth()}})
        with pytest.raises(BadInputError, match=rf"no login for '{HOST}' in {file}; run `docker login {HOST}`"):
            from_docker_config(file, [HOST], {})

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ({"auths": [CANARY]}, "auths: found a list"),
            ({"auths": {}, "credHelpers": CANARY}, "credHelpers: found a string"),
            ({"auths": {HOST: CANARY}}, "found a string; allowed: an object with auth"),
            ({"auths": {HOST: {"auth": CANARY}}}, "not base64"),
            ({"auths": {HOST: {"identitytoken": CANARY}}}, "found identitytoken alone"),
            ({"credHelpers": {HOST: f"../{CANARY[:6]}/x"}}, "allowed: the name of a program after docker-credential-"),
            ({"credHelpers": {HOST: "not-installed"}}, "docker-credential-not-installed: No such file.*install"),
        ],
    )
    def test_a_hostile_config_is_refused_without_showing_it(
        self, config: Callable[..., str], content: dict[str, Any], expected: str
    ) -> None:
        with pytest.raises(BadInputError, match=expected) as raised:
            from_docker_config(config(**content), [HOST], {"PATH": "/nonexistent"})
        assert CANARY not in str(raised.value)

    def test_files_are_looked_into_where_podman_and_docker_do(self) -> None:
        home = {"HOME": "/h"}
        podman, docker = Path("/h/.config/containers/auth.json"), Path("/h/.docker/config.json")
        assert default_files(home) == (podman, docker)
        assert default_files({**home, "XDG_RUNTIME_DIR": "/r"}) == (Path("/r/containers/auth.json"), podman, docker)
        assert default_files({**home, "XDG_CONFIG_HOME": "/c"}) == (Path("/c/containers/auth.json"), docker)
        assert default_files({**home, "DOCKER_CONFIG": "/d"}) == (podman, Path("/d/config.json"))
        assert default_files({**home, "REGISTRY_AUTH_FILE": "/a.json", "DOCKER_CONFIG": "/d"}) == (Path("/a.json"),)

    def test_each_host_is_taken_from_the_first_file_that_has_it(self, tmp_path: Path) -> None:
        environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
        logins = {
            tmp_path / "run/containers/auth.json": {HOST: {"auth": auth("of-podman")}},
            tmp_path / ".docker/config.json": {HOST: {"auth": auth("x")}, "b.example.com": {"auth": auth("of-docker")}},
        }
        for file, auths in logins.items():
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"auths": auths}))
        read = from_docker_config("auto", [HOST, "b.example.com"], environment)
        assert {host: login.password for host, login in read.logins.items()} == {
            HOST: "of-podman",
            "b.example.com": "of-docker",
        }


class TestHelpers:
    @pytest.mark.parametrize(
        ("content", "asked"),
        [
            ({"credHelpers": {HOST: "own"}, "credsStore": "absent"}, HOST),
            ({"credHelpers": {f"https://{HOST}": "own"}}, f"https://{HOST}"),
            ({"credsStore": "own"}, HOST),
            ({"credsStore": "own", "auths": {f"https://{HOST}/v1/": {}}}, f"https://{HOST}/v1/"),
        ],
    )
    def test_a_helper_is_asked_for_the_host(
        self,
        tmp_path: Path,
        config: Callable[..., str],
        helper: Callable[[str, str], Mapping[str, str]],
        content: dict[str, Any],
        asked: str,
    ) -> None:
        read = from_docker_config(config(**content), [HOST], helper("own", answer()))
        assert (read.logins[HOST].username, read.logins[HOST].password) == ("bot", CANARY)
        # Our access to Vault is not the helper's business.
        assert (tmp_path / "asked").read_text() == f"get {asked} \n"

    @pytest.mark.parametrize("name", ["", None])
    def test_a_host_whose_helper_has_no_name_is_taken_from_the_file(
        self, config: Callable[..., str], name: str | None
    ) -> None:
        file = config(credHelpers={HOST: name}, credsStore="absent", auths={HOST: {"auth": auth()}})
        assert from_docker_config(file, [HOST], {}).logins[HOST].password == CANARY
        with pytest.raises(BadInputError, match="no login for"):
            from_docker_config(config(credHelpers={HOST: name}, credsStore="absent"), [HOST], {})

    def test_docker_hub_is_asked_for_by_its_old_name(
        self, tmp_path: Path, config: Callable[..., str], helper: Callable[[str, str], Mapping[str, str]]
    ) -> None:
        from_docker_config(config(credsStore="own"), ["docker.io"], helper("own", answer()))
        assert (tmp_path / "asked").read_text() == "get https://index.docker.io/v1/ \n"

    def test_what_a_helper_does_not_have_is_taken_from_the_file(
        self, config: Callable[..., str], helper: Callable[[str, str], Mapping[str, str]]
    ) -> None:
        environment = helper("own", "echo credentials not found in native keychain\nexit 1")
        file = config(credsStore="own", auths={HOST: {"auth": auth()}})
        assert from_docker_config(file, [HOST], environment).logins[HOST].password == CANARY
        with pytest.raises(BadInputError, match="no login for"):
            from_docker_config(config(credsStore="own"), [HOST], environment)

    @pytest.mark.parametrize(
        ("script", "expected"),
        [
            (
                "echo 'error getting credentials: locked'; exit 1",
                f"failed for '{HOST}': error getting credentials: locked",
            ),
            ("exit 3", "without a word"),
            (f'echo \'{{"Secret": "{CANARY}"}}\'; exit 1', "failed for"),
            (f"echo {CANARY}", "no JSON object"),
            (f"echo '[\"{CANARY}\"]'", "no JSON object"),
            (f'echo \'{{"Username": "{CANARY}"}}\'', "without Username and Secret"),
            (answer("<token>"), "an identity token"),
            (answer("a:b"), "a colon in the user, at which the kubelet would end it"),
            (answer(secret=f"{CANARY}\n"), "control character"),
        ],
    )
    def test_a_helper_that_fails_is_named_and_its_credential_is_not(
        self,
        config: Callable[..., str],
        helper: Callable[[str, str], Mapping[str, str]],
        script: str,
        expected: str,
    ) -> None:
        with pytest.raises(BadInputError, match=expected) as raised:
            from_docker_config(config(credsStore="own"), [HOST], helper("own", script))
        assert CANARY not in str(raised.value)

    def test_a_helper_that_hangs_is_given_up(
        self,
        monkeypatch: pytest.MonkeyPatch,
        config: Callable[..., str],
        helper: Callable[[str, str], Mapping[str, str]],
    ) -> None:
        monkeypatch.setattr(sources, "HELPER_SECONDS", 0.2)
        with pytest.raises(BadInputError, match="docker-credential-own: no answer for"):
            from_docker_config(config(credsStore="own"), [HOST], helper("own", "exec tail -f /dev/null"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([HOST, "auth", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(auths=json_values, helpers=json_values, store=st.none() | st.integers() | st.text(max_size=3))
def test_any_config_is_read_or_refused(config: Callable[..., str], auths: Any, helpers: Any, store: Any) -> None:
    with suppress(BadInputError):
        read = from_docker_config(config(auths=auths, credHelpers=helpers, credsStore=store), [HOST], {"PATH": "/none"})
        assert read.hosts == (HOST,)
