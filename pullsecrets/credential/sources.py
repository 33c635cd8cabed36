"""Where a pull credential comes from: a document, a docker or podman config with its helpers, or user and password."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pullsecrets import redaction
from pullsecrets.credential import document, keys
from pullsecrets.credential.document import DockerConfig, DockerConfigError, RegistryLogin
from pullsecrets.data import json_type
from pullsecrets.errors import BadInputError
from pullsecrets.image import DOCKER_HUB

LARGEST_DOCUMENT = 1 << 20
"""Kubernetes refuses a Secret above 1 MiB."""

DEFAULT_CONFIG = "auto"
HELPER_SECONDS = 30

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - the user name that helpers give with an identity token


@dataclass(frozen=True)
class Source:
    """What the caller chose: exactly one of file, docker config, and user name with a password."""

    file: str | None = None
    """Path of a dockerconfigjson document; `-` is standard input."""
    docker_config: str | None = None
    """Path of a docker or podman config; `auto` looks where docker and podman do."""
    username: str | None = None
    password_fd: int | None = None
    password_stdin: bool = False
    as_is: bool = False
    """Whether a login is taken that looks like somebody's mistake, such as a password of blanks."""

    def __post_init__(self) -> None:
        """Refuse none and more than one.

        Raises:
            BadInputError: naming the options.
        """
        chosen = [name for name, value in self._choices() if value is not None]
        if len(chosen) != 1:
            found = " and ".join(chosen) or "no source of the credential"
            raise BadInputError(f"found {found}; allowed: one of {', '.join(name for name, _ in self._choices())}")
        if self.username is None and (self.password_fd is not None or self.password_stdin):
            raise BadInputError("--password-fd and --password-stdin: found without --username; allowed: with it")
        if self.password_fd is not None and self.password_stdin:
            raise BadInputError("found --password-fd and --password-stdin; allowed: one of them")

    @property
    def takes_standard_input(self) -> bool:
        """Whether the credential is read from standard input, so that no question can be answered there."""
        return self.file == "-" or self.password_stdin or self.password_fd == 0

    def read(self, hosts: Iterable[str], ask: Callable[[], str]) -> DockerConfig:
        """Read the credential and check its form; whether its hosts fit is for the caller.

        Args:
            hosts: canonical hosts of the registry: what is taken from a docker config, and what a user logs in to.
            ask: asks a person for the password without showing it.

        Raises:
            BadInputError: when the source is not there or holds no usable credential; never with its content.
        """
        found = self._read(hosts, ask)
        if not self.as_is:
            document.require_meant(found)
        return found

    def _read(self, hosts: Iterable[str], ask: Callable[[], str]) -> DockerConfig:
        if self.file is not None:
            return document.parse(_read_file(self.file))
        if self.docker_config is not None:
            return from_docker_config(self.docker_config, hosts, os.environ)
        return from_login(self.username or "", self._password(ask), hosts)

    def _choices(self) -> tuple[tuple[str, object], ...]:
        return (
            ("--from-file", self.file),
            ("--from-docker-config", self.docker_config),
            ("--username", self.username),
        )

    def _password(self, ask: Callable[[], str]) -> str:
        if self.password_stdin:
            return _password_in("--password-stdin", sys.stdin.buffer)
        if self.password_fd is None:
            return ask()
        option = f"--password-fd {self.password_fd}"
        try:
            with os.fdopen(self.password_fd, "rb", closefd=False) as file:
                return _password_in(option, file)
        except OSError as error:
            raise BadInputError(
                f"{option}: {error.strerror}; open it for reading, such as with {self.password_fd}<password-file"
            ) from None


def from_login(username: str, password: str, hosts: Iterable[str]) -> DockerConfig:
    """Return the same user and password for every host.

    Raises:
        BadInputError: when they cannot stand in a dockerconfigjson document.
    """
    redaction.register(password)
    entry = {"username": username, "password": password}
    return document.parse(json.dumps({"auths": dict.fromkeys(hosts, entry)}))


def from_docker_config(chosen: str, hosts: Iterable[str], environment: Mapping[str, str]) -> DockerConfig:
    """Take the logins of the given hosts, and no others, out of a docker or podman config.

    As docker does, a helper of the host goes before the general one, and that before what the file itself holds; as
    podman does, the next file is looked into when one has no login.

    Args:
        chosen: path of the file, or `auto` for the files that docker and podman look into.
        hosts: canonical hosts of the registry.
        environment: names those files, and is handed to helpers.

    Raises:
        BadInputError: when a file cannot be read, a helper fails, or a host has no login.
    """
    files = default_files(environment) if chosen == DEFAULT_CONFIG else (Path(chosen),)
    contents = [(file, _load(file)) for file in files if chosen != DEFAULT_CONFIG or file.exists()]
    found = [_first_login(host, contents, files, environment) for host in hosts]
    logins = {host: login for config in found for host, login in config.logins.items()}
    return DockerConfig(logins, tuple(note for config in found for note in config.notes))


def default_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where podman and docker look for logins, in order (containers-auth.json(5), `docker login`)."""
    if environment.get("REGISTRY_AUTH_FILE"):
        return (Path(environment["REGISTRY_AUTH_FILE"]),)
    home = Path(environment.get("HOME") or Path.home())
    podman = [Path(environment.get("XDG_CONFIG_HOME") or home / ".config")]
    if environment.get("XDG_RUNTIME_DIR"):
        podman.insert(0, Path(environment["XDG_RUNTIME_DIR"]))
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    return (*(folder / "containers" / "auth.json" for folder in podman), docker / "config.json")


def _first_login(
    host: str, contents: Iterable[tuple[Path, Mapping[str, Any]]], files: Iterable[Path], environment: Mapping[str, str]
) -> DockerConfig:
    for file, content in contents:
        found = _login(file, content, host, environment)
        if found:
            return found
    looked = ", ".join(str(file) for file in files)
    raise BadInputError(
        f"--from-docker-config: no login for {host!r} in {looked}; run `docker login {host}` or `podman login {host}`"
    )


def _login(file: Path, content: Mapping[str, Any], host: str, environment: Mapping[str, str]) -> DockerConfig | None:
    for helper, server in _helpers(file, content, host):
        found = ask_helper(helper, server, environment)
        if found:
            return DockerConfig({host: found})
    auths = _mapping(file, content, "auths")
    # An entry without a login stands for one that a helper keeps.
    entry = next((auths[key] for key in _keys_of(auths, host) if auths[key]), None)
    return _entry(file, host, entry) if entry else None


def _helpers(file: Path, content: Mapping[str, Any], host: str) -> Iterator[tuple[str, str]]:
    by_host = _mapping(file, content, "credHelpers")
    own = [(by_host[key], key) for key in _keys_of(by_host, host)]
    general = content.get("credsStore")
    if own:
        name, server = own[0]
        # Without a name it says that this host's login is in the file, whatever the general helper is.
        if name not in ("", None):
            yield str(name), server
    elif isinstance(general, str) and general:
        known = _keys_of(_mapping(file, content, "auths"), host)
        yield general, known[0] if known else keys.DOCKER_HUB_KEY if host == DOCKER_HUB else host


def ask_helper(name: str, server: str, environment: Mapping[str, str]) -> RegistryLogin | None:
    """Ask a credential helper for a login; None when it has none for this server.

    The protocol: the server's name on standard input of `docker-credential-<name> get`, a JSON object on its standard
    output (https://github.com/docker/docker-credential-helpers).

    Raises:
        BadInputError: when the helper is not there, fails, or answers something else.
    """
    program = f"docker-credential-{name}"
    if _HELPER_NAME.fullmatch(name) is None:
        raise BadInputError(
            f"credential helper: found {name!r}; allowed: the name of a program after docker-credential-"
        )
    # The helper needs its own surroundings, and not our access to Vault.
    surroundings = {key: value for key, value in environment.items() if key != "VAULT_TOKEN"}
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=HELPER_SECONDS,
            check=False,
            env=surroundings,
        )
    except subprocess.TimeoutExpired:
        raise BadInputError(f"{program}: no answer for {server!r} within {HELPER_SECONDS} s; run it by hand") from None
    except OSError as error:
        raise BadInputError(
            f"{program}: {error.strerror}; install the credential helper that the config names"
        ) from None
    if done.returncode:
        return _no_login(program, server, done.stdout + done.stderr)
    return _helpers_answer(program, server, done.stdout)


def _no_login(program: str, server: str, said: bytes) -> None:
    text = said.decode(errors="replace").strip()
    if "credentials not found" in text:
        return
    first = redaction.redact(text).partition("\n")[0][:200]
    raise BadInputError(
        f"{program}: failed for {server!r}: {first or 'without a word'}; log in again, or run it by hand"
    )


def _helpers_answer(program: str, server: str, answer: bytes) -> RegistryLogin:
    try:
        content = document.load(answer)
    except DockerConfigError:
        raise BadInputError(f"{program}: answered for {server!r} with something that is no JSON object") from None
    username, secret = content.get("Username"), content.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        raise BadInputError(f"{program}: answered for {server!r} without Username and Secret")
    redaction.register(secret)
    if ":" in username:
        raise BadInputError(
            f"{program}: answered for {server!r} with a colon in the user, at which the kubelet would end it; log "
            "in as a user without one"
        )
    if username == _IDENTITY_TOKEN_USER:
        raise BadInputError(
            f"{program}: keeps an identity token for {server!r}, which the kubelet cannot use; log in with user and "
            "password, such as an access token or a robot account that the registry makes"
        )
    (login,) = from_login(username, secret, ["helper"]).logins.values()
    return login


def _entry(file: Path, host: str, entry: Any) -> DockerConfig:
    try:
        return document.parse(json.dumps({"auths": {host: entry}}))
    except DockerConfigError as error:
        raise BadInputError(f"{file}: {error}") from None


def _load(file: Path) -> dict[str, Any]:
    try:
        return document.load(_read_file(str(file), "--from-docker-config"))
    except DockerConfigError as error:
        raise BadInputError(f"{file}: {error}") from None


def _mapping(file: Path, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    found: Any = content.get(key) or {}
    if not isinstance(found, dict):
        raise BadInputError(f"{file}: {key}: found {json_type(found)}; allowed: an object with hosts as keys")
    return cast("dict[str, Any]", found)


def _keys_of(found: Mapping[str, Any], host: str) -> list[str]:
    """Return the keys that mean a host, its own spelling first; docker takes capitals for the same host."""
    meant = (key for key in found if (keys.registry_of(key) or "").lower() == host)
    return sorted(meant, key=lambda key: (key != host, key))


def _read_file(name: str, option: str = "--from-file") -> bytes:
    try:
        if name == "-":
            content = sys.stdin.buffer.read(LARGEST_DOCUMENT + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(LARGEST_DOCUMENT + 1)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "no path"
        standard = ", or -" if option == "--from-file" else ""
        raise BadInputError(f"{option} {name}: {cause}; name a dockerconfigjson file{standard}") from None
    if len(content) > LARGEST_DOCUMENT:
        raise BadInputError(f"{option} {name}: found more than 1 MiB; allowed: what fits into a Secret")
    return content


def _password_in(option: str, file: BinaryIO) -> str:
    """Read a password: everything up to the newline that `echo` and editors put at the end.

    Only a key file, which is a JSON object, has several lines; two lines of anything else are two passwords.
    """
    content = file.read(LARGEST_DOCUMENT)
    try:
        # Windows shells put a byte order mark in front.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{option}: found bytes that are not UTF-8; allowed: a password as text") from None
    redaction.register(text, text.rstrip("\r\n"))
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise BadInputError(f"{option}: missing; expected the password, with or without a newline at its end")
    if {"\n", "\r"} & set(password) and not document.is_json_object(password):
        raise BadInputError(
            f"{option}: found several lines; allowed: one password, or a key file of several lines, a JSON object"
        )
    return password
