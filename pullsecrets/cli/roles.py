"""`pull-secrets roles`: prints the RBAC roles of a stack's people and pipelines, as YAML for an administrator."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.files import as_yaml
from pullsecrets.manifests.roles import Groups, stack_roles


@dataclass(frozen=True)
class Names:
    """The names of the groups."""

    deployers: Annotated[
        str, typer.Option(metavar="GROUP", help="Who runs `pulumi`: tenants, and what is delivered to them.")
    ] = Groups.deployers
    administrators: Annotated[
        str, typer.Option(metavar="GROUP", help="Deployers who may also create stores, admission policies and egress.")
    ] = Groups.administrators
    auditors: Annotated[str, typer.Option(metavar="GROUP", help="Who runs `audit`.")] = Groups.auditors
    surveyors: Annotated[
        str, typer.Option(metavar="GROUP", help="Auditors who may list every Secret, unmanaged ones too.")
    ] = Groups.surveyors
    operators: Annotated[
        str, typer.Option(metavar="GROUP", help="The on-call: `rotate`, `rollback`, `doctor`, `offboard`, `rollout`.")
    ] = Groups.operators
    diagnosticians: Annotated[
        str, typer.Option(metavar="GROUP", help="Operators whose `doctor` may log in to Vault as ESO does.")
    ] = Groups.diagnosticians
    offboarders: Annotated[str, typer.Option(metavar="GROUP", help="Operators who may also `offboard --delete`.")] = (
        Groups.offboarders
    )
    migrators: Annotated[
        str, typer.Option(metavar="GROUP", help="Operators who may also `adopt` and `cleanup`: they read Secrets.")
    ] = Groups.migrators
    verifiers: Annotated[
        str, typer.Option(metavar="GROUP", help="Operators who may also `verify`: they create Pods in tenants.")
    ] = Groups.verifiers


@options.expanded
def command(
    stack: options.Stack, groups: Names, directory: options.Directory = Path(), *, json: options.Json = False
) -> None:
    """Print the RBAC roles of the stack's people and pipelines, each bound to a group, for an administrator to apply.

    They grant the least that each command needs. Put people and ServiceAccounts into the groups where your cluster
    keeps them. No credential and no cluster is needed to print them.

    Examples:

        pull-secrets roles --stack prod --operators platform-on-call | kubectl apply -f -

        pull-secrets roles --stack prod > platform-gitops/clusters/prod/roles.yaml
    """
    items = stack_roles(console.load(stack, directory), Groups(**asdict(groups)))
    if json:
        console.print_json({"apiVersion": "v1", "kind": "List", "items": items})
    else:
        sys.stdout.write("".join(as_yaml(item, "---\n") for item in items))
