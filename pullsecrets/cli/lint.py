"""`pull-secrets lint`: checks manifests in files against the rules of the policy packs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.errors import ExitCode
from pullsecrets.policy import lint
from pullsecrets.text import counted


def command(  # noqa: PLR0913 - each is an option
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders; - reads standard input.")],
    report_format: options.ReportFormat = options.Format.TEXT,
    stack: Annotated[
        str | None,
        typer.Option("--stack", "-s", envvar="PULL_SECRETS_STACK", help="Stack whose registries to check by."),
    ] = None,
    directory: options.Directory = Path(),
    policy_config: Annotated[
        Path | None,
        typer.Option("--policy-config", help="Settings and levels, as `--policy-pack-config` takes them."),
    ] = None,
    rules: Annotated[
        list[str] | None, typer.Option("--rule", help="Apply this rule only; may be given more than once.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="File of known violations that do not count; written if it does not exist."),
    ] = None,
    *,
    lenient: Annotated[bool, typer.Option("--lenient", help="Only report files that cannot be read.")] = False,
) -> None:
    """Check YAML manifests against the rules of the policy packs.

    Every object of every document is checked as kubectl reads it, those of Lists one by one; what is not Kubernetes is
    skipped. A comment `# pull-secrets: allow RULE REASON` on an object accepts what it breaks. Exit code 1 when a
    mandatory rule is broken, or a file cannot be read.

    Examples:

        pull-secrets lint clusters/ --stack prod

        kustomize build overlays/prod | pull-secrets lint -

        pull-secrets lint . --format sarif > lint.sarif

        pull-secrets lint . --baseline .pull-secrets-baseline.json
    """
    settings = lint.settings_of(console.load(stack, directory)) if stack else {}
    if policy_config:
        settings |= lint.read_settings(policy_config)
    if not settings:
        sys.stderr.write("no registry is known: name a --stack or a --policy-config, or their rules judge nothing\n")
    report = lint.lint(paths, settings, rules=rules or (), lenient=lenient)
    if baseline and not baseline.exists():
        count = lint.baseline.write(baseline, report)
        sys.stderr.write(f"{baseline} written with {counted(count, 'violation')}; from now on only others count\n")
    if baseline:
        report = lint.baseline.compared(baseline, report)
    # Not through the console: it would wrap lines and read markup into them.
    sys.stdout.write(lint.render(report, report_format) + "\n")
    if report.mandatory:
        raise typer.Exit(ExitCode.PROBLEM)
