"""Options of every command that takes a new credential: where it comes from, when it expires, and its test."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console
from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential import registry_login
from pullsecrets.credential.document import DockerConfig, require_hosts
from pullsecrets.credential.expiry import parse_expiry
from pullsecrets.credential.sources import Source
from pullsecrets.errors import BadInputError

FromFile = Annotated[
    str | None, typer.Option("--from-file", "-f", metavar="FILE", help="dockerconfigjson file; - reads standard input.")
]
FromDockerConfig = Annotated[
    str | None,
    typer.Option(
        "--from-docker-config",
        metavar="FILE|auto",
        help="docker or podman config, helpers included; auto looks where they do. Only the registry's hosts count.",
    ),
]
Username = Annotated[
    str | None, typer.Option("--username", "-u", help="User of every host; the password is asked for and not shown.")
]
PasswordFd = Annotated[
    int | None, typer.Option("--password-fd", min=0, metavar="N", help="Read the password from this file descriptor.")
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
ExpiresAt = Annotated[
    str | None,
    typer.Option("--expires-at", metavar="TIME", help="When it expires: RFC 3339 time, or date (its start in UTC)."),
]
ExpiresIn = Annotated[
    str | None, typer.Option("--expires-in", metavar="SPAN", help="When it expires, from now on, such as 90d.")
]
VerifyLogin = Annotated[
    bool, typer.Option("--verify-login", help="Log in to each host's /v2/ API first; refused means nothing is written.")
]
AsIs = Annotated[
    bool, typer.Option("--as-is", help="Take a login that looks like a mistake, such as a password in quotes.")
]
RegistryCa = Annotated[
    Path | None,
    typer.Option("--registry-ca", metavar="FILE", help="PEM CA to trust beside the system's, for logging in."),
]


def registry_of(config: StackConfig, name: str, stack: str) -> Registry:
    """Return a registry of the stack whose credential is in Vault.

    Raises:
        BadInputError: with the names that the stack has; or when its credential is kept elsewhere.
    """
    found = console.registry_of(config, name, stack)
    if found.sealed:
        raise BadInputError(
            f"registry: {name!r} has source: sealedSecret, so its credential is kept encrypted in the repository, "
            "not in Vault; use `pull-secrets seal`"
        )
    return found


def read(source: Source, registry: Registry) -> DockerConfig:
    """Read the credential from where the caller chose, and check that it is one for this registry.

    What is stored otherwise than it was read is told on standard error.

    Raises:
        BadInputError: when it cannot be read, is no credential, or its hosts are not the registry's.
    """
    credential = source.read(registry.hosts, ask_password)
    require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
    for note in credential.notes:
        console.errors.print(f"note    {note}", markup=False, soft_wrap=True)
    return credential


def ask_password() -> str:
    """Ask a person for the password without showing it.

    Raises:
        BadInputError: when nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise BadInputError("--username: nobody can be asked for the password; add --password-stdin or --password-fd N")
    return str(typer.prompt("Password", hide_input=True, err=True))


def expiry(at: str | None, within: str | None) -> datetime | None:
    """Return when the credential expires; None when the caller does not say."""
    return parse_expiry(at, within, datetime.now(UTC))


def verify_login(credential: DockerConfig, ca_file: Path | None) -> None:
    """Log in to each host and say how it went, on standard error.

    Raises:
        LoginRefusedError: when a registry refuses the credential.
        UnreachableError: when one does not answer.
    """
    for proof in registry_login.verify(credential, ca_file):
        through = f" through the token service {proof.realm_host}" if proof.realm_host else ""
        told = f"accepted{through}" if proof.tested else "answers without a login, so the password is not tested"
        console.errors.print(f"login   {proof.host}: {told}", markup=False, soft_wrap=True)
