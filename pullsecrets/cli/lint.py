"""`pull-secrets lint`: judges manifests in files by the rules of the policy packs."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console
from pullsecrets.errors import ExitCode
from pullsecrets.policy import lint


class Format(StrEnum):
    """Forms of the report."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders; - reads standard input.")],
    report_format: Annotated[Format, typer.Option("--format", "-f", help="Form of the report.")] = Format.TEXT,
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack", "-s", envvar="PULL_SECRETS_STACK", help="Stack whose registries to judge by; else the defaults."
        ),
    ] = None,
    directory: console.Directory = Path(),
    policy_config: Annotated[
        Path | None,
        typer.Option("--policy-config", help="Settings, as `pulumi preview --policy-pack-config` takes them."),
    ] = None,
) -> None:
    """Judge plain YAML, kustomize output and rendered folders by the rules of the policy packs.

    Every object of every document is judged, those of Lists one by one; what is not Kubernetes is passed over. Exit
    code 1 when a mandatory rule is broken.

    Examples:

        pull-secrets lint clusters/ --stack prod

        kustomize build overlays/prod | pull-secrets lint -

        pull-secrets lint . --format sarif > lint.sarif
    """
    settings = lint.settings_of(console.load(stack, directory)) if stack else {}
    if policy_config:
        settings |= lint.read_settings(policy_config)
    report = lint.lint(paths, settings)
    # Not through the console: it would wrap lines and read markup into them.
    sys.stdout.write(lint.render(report, report_format) + "\n")
    if report.mandatory:
        raise typer.Exit(ExitCode.PROBLEM)
