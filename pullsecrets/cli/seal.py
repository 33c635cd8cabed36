"""`pull-secrets seal`: encrypts a registry's pull credential for a cluster without Vault, to be kept in git."""

from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, credential, options
from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential import sealed
from pullsecrets.errors import BadInputError


@options.expanded
def command(  # noqa: PLR0913 - each option of the command line is a parameter
    registry: Annotated[str, typer.Argument(help="Registry of the stack with source: sealedSecret.")],
    stack: options.Stack,
    certificate: Annotated[
        str,
        typer.Option(
            "--certificate",
            metavar="FILE|URL",
            envvar="SEALED_SECRETS_CERT",
            help="The controller's public certificate, as `kubeseal --fetch-cert` prints it.",
        ),
    ],
    directory: options.Directory = Path(),
    *,
    given: options.NewCredential,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Seal again: the same credential, such as for a new controller key, or over an unusable file.",
        ),
    ] = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Encrypt a pull credential for a cluster's sealed-secrets controller, as a file for git.

    The credential is checked as by `seed`. The file is fit for git: only that controller opens it, and only in ESO's
    namespace under the registry's name. `pulumi up` declares it, ESO fans it out, `rotate` proves the delivery. With
    kubeseal on PATH that does the encryption.

    Examples:

        kubeseal --fetch-cert > cert.pem

        pull-secrets seal app-registry-pull --stack k3d --certificate cert.pem --from-file ./dockerconfig.json
    """
    config = console.load(stack, directory)
    chosen = _sealed_registry(config, registry, stack)
    expires = given.expiry()
    content = credential.read(given, chosen)
    file, key = directory / str(chosen.sealed_file), sealed.read_certificate(certificate)
    planned = sealed.plan(directory, config, chosen, content, key, expires, again=again)
    outcome = "unchanged" if planned.unchanged and not again else "planned" if dry_run else "written"
    if outcome == "written":
        sealed.write_sealed(file, planned.item)
    stored, stored_expiry, new_expiry = planned.stored, planned.stored_expiry, planned.new_expiry
    if json:
        facts = {"file": str(file), "hosts": content.hosts, "stored": stored, "digest": content.digest}
        expiry = {"stored_expiry": stored_expiry, "new_expiry": new_expiry}
        console.print_json({**facts, **expiry, "outcome": outcome})
        return
    console.output.print(f"file    {file}", markup=False, soft_wrap=True)
    console.output.print(f"hosts   {', '.join(content.hosts)}")
    console.output.print(f"digest  {stored or 'nothing'} -> {content.digest}")
    if stored_expiry or new_expiry:
        advice = "" if new_expiry else "; add --expires-at or --expires-in to record one"
        shown = f"expires {stored_expiry or 'not recorded'} -> {new_expiry or 'not recorded'}{advice}"
        console.output.print(shown, markup=False)
    console.output.print(_SENTENCES[outcome].format(stack=stack, registry=registry))


_SENTENCES = {
    "unchanged": "unchanged: the file holds this credential with this expiry already; --again seals it again",
    "planned": "dry run: nothing was written",
    "written": "[green]written[/]; commit it, run `pulumi up --stack {stack}`, then `pull-secrets rotate {registry} "
    "--stack {stack}` to have it delivered now and proved",
}


def _sealed_registry(config: StackConfig, name: str, stack: str) -> Registry:
    known = [registry.name for registry in config.registries if registry.sealed]
    if name not in known:
        allowed = ", ".join(known) or "none; set source: sealedSecret for a registry first"
        raise BadInputError(f"registry: found {name!r}; allowed in stack {stack!r}, as sealed ones: {allowed}")
    return config.registry(name)
