"""`pull-secrets fleet render`: writes the stacks as objects of the Pulumi Kubernetes Operator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import options
from pullsecrets.cli.render import Tree
from pullsecrets.errors import BadInputError
from pullsecrets.fleet import operator
from pullsecrets.fleet.stacks import find_stacks


@dataclass(frozen=True)
class Source:
    """Where the operator finds the project, and how it is set up there."""

    repository: Annotated[str, typer.Option("--repository", metavar="URL", help="The project's git repository.")]
    branch: Annotated[str | None, typer.Option("--branch", help="Branch to follow; or --commit.")] = None
    commit: Annotated[str | None, typer.Option("--commit", metavar="SHA", help="Commit to update to.")] = None
    folder: Annotated[
        str | None, typer.Option("--repo-dir", metavar="FOLDER", help="Folder of Pulumi.yaml in the repository.")
    ] = None
    organization: Annotated[
        str | None, typer.Option("--organization", help="Organization in Pulumi Cloud; none for another backend.")
    ] = None
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the objects in the operator's cluster.")
    ] = operator.NAMESPACE
    image: Annotated[str, typer.Option("--image", help="Image that runs the program.")] = operator.IMAGE


@options.expanded
def command(
    source: Source,
    tree: Tree,
    directory: options.Directory = Path(),
    *,
    for_operator: Annotated[
        bool, typer.Option("--operator", help="For version 2 of the Pulumi Kubernetes Operator.")
    ] = False,
) -> None:
    """Write the stacks as `Stack` objects of the Pulumi Kubernetes Operator, one file each with a kustomization.yaml.

    Each stack waits for those of the wave before: with --commit until they are updated to that commit; with --branch
    until their last update succeeded, whatever its commit. A stack file that does not parse is bad input. Files of an
    earlier rendering whose stacks are gone are removed; files made by hand are left alone.

    Examples:

        pull-secrets fleet render --operator --repository https://git.example.com/access --branch main

        pull-secrets fleet render --operator --repository https://git.example.com/access --commit "$SHA" --check
    """
    if not for_operator:
        raise BadInputError("fleet render: found nothing to render for; expected --operator")
    files = operator.render(find_stacks(directory), operator.Source(**vars(source)))
    tree.bring(files, operator.HEADER, operator.FOLDER)
