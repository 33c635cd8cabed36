"""`pull-secrets gitops`: audits a GitOps repository, moves it to one shared pull Secret, and keeps it there."""

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pullsecrets.cli import console, options
from pullsecrets.config import Registry, StackConfig, load_stack
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.gitops import applications, discover, migrate
from pullsecrets.gitops import check as checking
from pullsecrets.gitops.repository import Repository, load
from pullsecrets.manifests import render as rendering
from pullsecrets.policy import lint
from pullsecrets.text import counted


class Format(StrEnum):
    """Forms of the check's report."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


commands = typer.Typer(
    no_args_is_help=True,
    help="A GitOps repository of Kustomize services: discover, migrate, check, render.",
)

Root = Annotated[Path, typer.Argument(metavar="PATH", help="Root of the GitOps repository, which holds apps/.")]
RegistryName = Annotated[
    str | None,
    typer.Option("--registry", "-r", help="Registry of the stack; by default the one that the repository pulls from."),
]


@commands.command("discover")
def discover_command(
    path: Root,
    stack: options.Stack,
    registry: RegistryName = None,
    directory: options.Directory = Path(),
    *,
    json: options.Json = False,
) -> None:
    """Show services, workload files, registries, hard-coded pull Secrets, and gaps.

    Examples:

        pull-secrets gitops discover ../gitops --stack dev

        pull-secrets gitops discover ../gitops --stack dev --json
    """
    config = load_stack(stack, directory)
    repository = load(path)
    found = discover.discover(repository, config, _registry(repository, config, registry))
    if json:
        console.print_json(asdict(found))
    else:
        _show_discovery(found)


@commands.command("migrate")
def migrate_command(
    path: Root,
    stack: options.Stack,
    registry: RegistryName = None,
    directory: options.Directory = Path(),
    *,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Move the repository to a shared Kustomize component, and take hard-coded entries of its Secret out.

    The changes are shown as a diff, and proved by building every overlay before and after in a copy: nothing may differ
    but lists of pull Secrets. They are written all or nothing, and only into a clean git work tree. Run again, it
    changes nothing.

    Examples:

        pull-secrets gitops migrate ../gitops --stack dev --dry-run

        pull-secrets gitops migrate ../gitops --stack dev --yes
    """
    config = load_stack(stack, directory)
    repository = load(path)
    planned = migrate.plan(repository, _registry(repository, config, registry))
    outcome = "unchanged" if not planned.edits else "planned" if dry_run else "written"
    if not json:
        _show_plan(planned)
    if planned.edits:
        if not dry_run:
            migrate.refuse_dirty(path)
        migrate.prove(repository, planned)
    if outcome == "written":
        console.confirm(f"Write {counted(len(planned.edits), 'file')}?", yes=yes)
        migrate.apply(path, planned)
    if json:
        console.print_json(_plan_document(planned, outcome))
    else:
        console.output.print(_sentence(planned, outcome))


@commands.command("check")
def check_command(
    path: Root,
    stack: options.Stack,
    registry: RegistryName = None,
    directory: options.Directory = Path(),
    report_format: Annotated[Format, typer.Option("--format", "-f", help="Form of the report.")] = Format.TEXT,
    *,
    json: options.Json = False,
) -> None:
    """Build every overlay and judge the workloads: each that pulls from the registry refers to its Secret.

    Exit code 1 when one does not, or when something does not build.

    Examples:

        pull-secrets gitops check . --stack dev

        pull-secrets gitops check . --stack dev --format sarif > gitops.sarif
    """
    config = load_stack(stack, directory)
    repository = load(path)
    report = checking.check(repository, config, _registry(repository, config, registry))
    # Not through the console: it would wrap lines and read markup into them.
    sys.stdout.write(lint.render(report, Format.JSON if json else report_format) + "\n")
    if report.mandatory:
        raise typer.Exit(ExitCode.PROBLEM)


@commands.command("render")
def render_command(  # noqa: PLR0913 - each is an option
    path: Root,
    stack: options.Stack,
    repository_url: Annotated[str, typer.Option("--repo-url", help="Address of the repository, as Argo CD reads it.")],
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit that Argo CD follows.")] = "main",
    project: Annotated[str, typer.Option("--project", help="Argo CD project of the Applications.")] = "default",
    server: Annotated[
        str, typer.Option("--server", help="API server to deploy to.")
    ] = "https://kubernetes.default.svc",
    namespace: Annotated[str, typer.Option("--argocd-namespace", help="Namespace of the Applications.")] = "argocd",
    infrastructure: Annotated[
        str | None, typer.Option("--infrastructure", help="Folder of the stack's objects; default clusters/CLUSTER.")
    ] = None,
    directory: options.Directory = Path(),
    *,
    check: options.Check = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Write Argo CD Applications, with sync waves in the order of the stack's rollout.

    One file per service and environment in `environments/ENVIRONMENT/apps/`, and one for the infrastructure, which
    comes first. A service in no wave gets none and is named; exit code 1 then.

    Examples:

        pull-secrets gitops render . --stack dev --repo-url https://git.example.com/gitops.git

        pull-secrets gitops render . --stack dev --repo-url https://git.example.com/gitops.git --check
    """
    config = load_stack(stack, directory)
    folder = PurePosixPath(infrastructure or f"clusters/{config.cluster.name}")
    argo = applications.ArgoCd(repository_url, revision, project, server, namespace)
    rendered = applications.render(path, config, stack, argo, folder)
    changes = rendering.compare(rendered.files, path, applications.HEADER_START)
    writes = not check and not dry_run
    if writes:
        rendering.apply(rendered.files, changes, path)
    if json:
        paths = {name: [str(file) for file in getattr(changes, name)] for name in rendering.FIELDS}
        console.print_json({**paths, "unplaced": rendered.unplaced, "withoutOverlay": rendered.without_overlay})
    else:
        _show_rendered(rendered, changes, writes=writes)
    if rendered.unplaced or (check and (changes.written or changes.removed)):
        raise typer.Exit(ExitCode.PROBLEM)


def _registry(repository: Repository, config: StackConfig, name: str | None) -> Registry:
    """Return the registry of that name, or the only one of the stack that the repository pulls from."""
    known = ", ".join(registry.name for registry in config.registries)
    if name is not None:
        try:
            return config.registry(name)
        except KeyError:
            raise BadInputError(f"--registry: found {name!r}; allowed in this stack: {known}") from None
    hosts = {host for item in repository.resources for host in item.hosts}
    used = [registry for registry in config.registries if hosts & set(registry.hosts)]
    if len(used) != 1:
        found = (
            f"pulls from {len(used)} of the stack's registries" if used else "pulls from none of the stack's registries"
        )
        raise BadInputError(f"{repository.root}: {found}; name one with --registry: {known}")
    return used[0]


def _show_discovery(found: discover.Discovery) -> None:
    files = found.workload_files
    roles = " + ".join(f"{count} {role}" for role, count in files.items())
    table = Table(show_header=False, title="Discovery")
    table.add_row("services", str(len(found.services)))
    table.add_row("workload files", f"{sum(files.values())} = {roles}")
    for registry in found.registries:
        table.add_row("registry", f"{registry.host}: {registry.files} files, {registry.percent} %")
    for secret in found.secrets:
        where = ", ".join(secret.defined_in) or Text("never defined", style="red")
        table.add_row("Secret", Text.assemble(f"{secret.name}: {counted(secret.references, 'reference')}, ", where))
    environments = ", ".join(found.environments)
    table.add_row(
        "namespaces", f"{len(found.namespaces)} = {counted(len(found.services), 'service')} in {environments}"
    )
    table.add_row("hard-coded lists", str(len(found.hard_coded)))
    console.output.print(table)
    if not found.gaps:
        return
    gaps = Table(title=f"Gaps: {len(found.gaps)}", header_style="bold")
    for column in ("gap", "where", "problem", "fix"):
        gaps.add_column(column, overflow="fold")
    for gap in found.gaps:
        gaps.add_row(gap.kind, f"{gap.file}:{gap.line}", gap.problem, gap.fix)
    console.output.print(gaps)


def _show_plan(planned: migrate.MigrationPlan) -> None:
    # Not through the console: a diff keeps its lines.
    sys.stdout.write(planned.diff())
    for kept in planned.kept:
        console.output.print(f"kept {kept.file}:{kept.line}: {kept.reason}", soft_wrap=True, markup=False)


def _plan_document(planned: migrate.MigrationPlan, outcome: str) -> dict[str, object]:
    return {
        "outcome": outcome,
        "registry": planned.registry.name,
        "files": [str(edit.file) for edit in planned.edits],
        "referenced": planned.referenced,
        "removed": planned.removed,
        "kept": [asdict(kept) for kept in planned.kept],
        "diff": planned.diff(),
    }


def _sentence(planned: migrate.MigrationPlan, outcome: str) -> str:
    if outcome == "unchanged":
        return "nothing to change"
    added, removed = counted(planned.referenced, "reference"), counted(planned.removed, "entry", "entries")
    done = f"{counted(len(planned.edits), 'file')}: {added} added, {removed} removed"
    return f"dry run, nothing was written: {done}" if outcome == "planned" else f"[green]written[/] {done}"


def _show_rendered(rendered: applications.Applications, changes: rendering.RenderChanges, *, writes: bool) -> None:
    for verb, paths in (("write", changes.written), ("remove", changes.removed)):
        for path in paths:
            console.output.print(f"{verb:7} {path}", soft_wrap=True)
    tense = "" if writes else "would be "
    console.output.print(
        f"{len(changes.written)} {tense}written, {len(changes.removed)} {tense}removed, "
        f"{len(changes.unchanged)} unchanged"
    )
    for name in rendered.without_overlay:
        console.output.print(f"no Application for {name}: its service has no overlay for the environment")
    for name in rendered.unplaced:
        console.output.print(
            f"[red]no Application for {name}[/]: no wave of the rollout names it; add it to rollout.waves"
        )
