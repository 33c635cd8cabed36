"""What every command does with a new credential: find its registry, read it, ask for its password, test its login."""

import sys
from pathlib import Path

import typer

from pullsecrets.cli import console, options
from pullsecrets.config import Registry, StackConfig, require_registry
from pullsecrets.credential import registry_login
from pullsecrets.credential.document import DockerConfig, require_hosts
from pullsecrets.errors import BadInputError


def registry_of(config: StackConfig, name: str, stack: str) -> Registry:
    """Return a registry of the stack whose credential is in Vault.

    Raises:
        BadInputError: with the names that the stack has; or when its credential is kept elsewhere.
    """
    found = require_registry(config, name, stack)
    if found.sealed:
        raise BadInputError(
            f"registry: {name!r} has source: sealedSecret, so its credential is kept encrypted in the repository, "
            "not in Vault; use `pull-secrets seal`"
        )
    return found


def read(given: options.NewCredential, registry: Registry) -> DockerConfig:
    """Read the credential from where the caller chose, check that it is one for this registry, and log in if asked to.

    What is stored otherwise than it was read is told on standard error.

    Raises:
        BadInputError: when it cannot be read, is no credential, or its hosts are not the registry's.
        LoginRefusedError: when a registry refuses it.
    """
    credential = given.source().read(registry.hosts, ask_password)
    require_hosts(credential, registry.hosts, registry.rejected_hosts, registry.name)
    show_notes(credential)
    if given.verify_login:
        verify_login(credential, given.registry_ca)
    return credential


def show_notes(credential: DockerConfig) -> None:
    """Say what is stored otherwise than it was read, on standard error."""
    for note in credential.notes:
        console.errors.print(f"note    {note}", markup=False, soft_wrap=True)


def ask_password() -> str:
    """Ask a person for the password without showing it.

    Raises:
        BadInputError: when there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise BadInputError(
            "--username: no terminal to ask for the password on; add --password-stdin or --password-fd N"
        )
    return str(typer.prompt("Password", hide_input=True, err=True))


def verify_login(credential: DockerConfig, ca_file: Path | None) -> None:
    """Log in to each host and say how it went, on standard error.

    Raises:
        LoginRefusedError: when a registry refuses the credential.
        UnreachableError: when one does not answer.
    """
    for proof in registry_login.verify(credential, ca_file):
        through = f" through the token service {proof.realm_host}" if proof.realm_host else ""
        told = f"accepted{through}" if proof.tested else "password not verified: the registry answers without a login"
        console.errors.print(f"login   {proof.host}: {told}", markup=False, soft_wrap=True)
