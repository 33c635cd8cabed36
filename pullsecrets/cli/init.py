"""`pull-secrets init`: writes a team's own repository on the installed package."""

import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from pullsecrets import names
from pullsecrets.cli import console, options
from pullsecrets.config.load import stack_names
from pullsecrets.errors import BadInputError
from pullsecrets.starter import repository, stack_file, survey

PROJECT = "pull-secrets"


@dataclass(frozen=True)
class FirstStack:
    """What the stack file has to say."""

    cluster: Annotated[str | None, typer.Option("--cluster", help="Name of the cluster, a DNS label.")] = None
    stack: Annotated[str | None, typer.Option("--stack", "-s", help="Stack; the cluster's name by default.")] = None
    wave: Annotated[int, typer.Option("--wave", min=1, help="Wave in which pipelines update it.")] = 1
    vault: Annotated[
        str | None, typer.Option("--vault", metavar="URL", help="https URL at which the cluster reaches Vault.")
    ] = None
    vault_ca: Annotated[
        Path | None, typer.Option("--vault-ca", metavar="FILE", help="PEM certificates that sign Vault's.")
    ] = None
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Host of the registry, as images name it; may be repeated.")
    ] = None
    registry: Annotated[
        str | None, typer.Option("--registry", help="Name of the Secret; made of the first host by default.")
    ] = None
    label: Annotated[
        str | None, typer.Option("--label", metavar="KEY", help="Opt-in label; pull-secrets/REGISTRY by default.")
    ] = None
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", help="Namespace to make that gets the Secret; may be repeated.")
    ] = None
    adopt: Annotated[
        list[str] | None, typer.Option("--adopt", help="Existing namespace that gets it; may be repeated.")
    ] = None


@dataclass(frozen=True)
class Files:
    """How the files are written."""

    project: Annotated[
        str | None, typer.Option("--project", help="Name of the Pulumi project; the folder's, or pull-secrets.")
    ] = None
    requirement: Annotated[
        str | None,
        typer.Option(
            "--requirement",
            help="How the package is required: 'pull-secrets[pulumi,policies] @ URL'; by default the wheel in use.",
        ),
    ] = None
    keep: Annotated[bool, typer.Option("--keep", help="Leave pipelines and stack file as they are.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pipelines and stack file.")] = False


@options.expanded
def command(
    first: FirstStack,
    files: Files,
    reach: options.Cluster,
    folder: Annotated[Path, typer.Argument(help="Folder of the repository; made when it is not there.")] = Path(),
    *,
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="Look first, reading only: ESO, its stores, image hosts in use.")
    ] = False,
) -> None:
    """Write a repository of your own: Pulumi project, first stack file, pipelines for GitHub and GitLab, README.

    Asks in a terminal for what no option and no cluster says. All files are written or none. What the team makes its
    own (Pulumi.yaml, __main__.py, pyproject.toml, README.md, .gitignore) stays as it is where it is there; another
    file with other content is a conflict (exit code 3) unless you say what to do with it. Run it again for another
    cluster, which adds its stack file, or with a stack that has its file and no answers to bring pipelines and schema
    up to this version.

    Examples:

        pull-secrets init registry-access

        pull-secrets init registry-access --from-cluster --cluster dev --host registry.example.com

        pull-secrets init . --cluster prod --vault https://vault.example.com --host registry.example.com --adopt shop

        pull-secrets init . --stack prod --overwrite
    """
    if files.keep and files.overwrite:
        raise BadInputError("--keep, --overwrite: found both; allowed: one of them")
    project = _label("--project", files.project or repository.project_of(folder) or PROJECT)
    has_file = first.stack in stack_names(folder)
    written_before = has_file and first == FirstStack(stack=first.stack) and not from_cluster
    stack_files: dict[PurePosixPath, str] = {}
    if not written_before:
        answers = _answers(first, survey.look(reach.connect()) if from_cluster else survey.Found(), project)
        stack_files[PurePosixPath(f"Pulumi.{answers.stack}.yaml")] = stack_file.write(answers)
    wanted = repository.files(project, files.requirement) | stack_files
    written = repository.place(folder, wanted, keep=files.keep, overwrite=files.overwrite)
    for path in sorted(wanted):
        console.output.print(f"{'write' if path in written else 'keep':7} {folder / path}", soft_wrap=True)
    console.output.print(f"Next: the steps of {folder / 'README.md'}", soft_wrap=True)


def _answers(first: FirstStack, found: survey.Found, project: str) -> stack_file.Answers:
    cluster = _label("--cluster", first.cluster or _ask("--cluster", "Name of the cluster"))
    vault = _vault(first, found)
    hosts = tuple(
        first.host or _ask("--host", "Host of the registry, as images name it", found.private_host).split(",")
    )
    registry = _label("--registry", first.registry or names.as_label(hosts[0]))
    adopted, made = tuple(first.adopt or ()), tuple(first.tenant or ())
    if not adopted and not made:
        pulling = ",".join(sorted({name for host in hosts for name in found.pulling.get(host, ())}))
        adopted = tuple(_ask("--adopt", "Existing namespaces that get the Secret", pulling).split(","))
    return stack_file.Answers(
        project=project,
        stack=_label("--stack", first.stack or cluster),
        cluster=cluster,
        wave=first.wave,
        platform=found.platform,
        vault=vault,
        eso=found.eso,
        registry=registry,
        hosts=hosts,
        label=first.label or f"pull-secrets/{registry}",
        adopted=adopted,
        made=made,
    )


def _vault(first: FirstStack, found: survey.Found) -> survey.VaultServer:
    """Return the server that the options name, with what a store of the cluster knows of it."""
    address = first.vault or _ask("--vault", "https URL at which the cluster reaches Vault", found.only_vault)
    known = next((vault for vault in found.vaults if vault.address == address), survey.VaultServer(address))
    if first.vault_ca is None:
        return known
    try:
        return survey.VaultServer(address, known.mount, first.vault_ca.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"--vault-ca {first.vault_ca}: {error}; name a file of PEM certificates") from None


def _label(option: str, text: str) -> str:
    if names.DNS_LABEL.fullmatch(text) is None:
        raise BadInputError(f"{option}: found {text!r}; allowed: lower-case letters, digits and '-', at most 63")
    return text


def _ask(option: str, question: str, proposed: str | None = None) -> str:
    """Ask in a terminal; elsewhere take what is proposed.

    Raises:
        BadInputError: when there is neither.
    """
    if sys.stdin.isatty():
        return str(typer.prompt(question, default=proposed or None, err=True))
    if proposed:
        return proposed
    raise BadInputError(f"{option}: found nothing, and no terminal to ask in; {question[0].lower()}{question[1:]}")
