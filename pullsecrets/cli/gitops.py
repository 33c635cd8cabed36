"""`pull-secrets gitops`: audits a GitOps repository, moves it to one shared pull Secret, and keeps it there."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from pullsecrets.cli import console, options
from pullsecrets.cli.render import show_changes
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.config.gitops import GitOps
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.gitops import applications, discover, migrate
from pullsecrets.gitops import check as checking
from pullsecrets.gitops.builds import cache_folder
from pullsecrets.gitops.changes import apply, refuse_dirty
from pullsecrets.gitops.repository import load
from pullsecrets.gitops.survey import Survey, survey
from pullsecrets.manifests import render as rendering
from pullsecrets.policy import lint
from pullsecrets.policy.lint import settings_of
from pullsecrets.policy.workloads import REFERENCES, table_of
from pullsecrets.text import counted, listed

commands = typer.Typer(
    no_args_is_help=True,
    help="A GitOps repository of any layout: discover, migrate, check, render.",
)

Root = Annotated[Path, typer.Argument(metavar="PATH", help="Root of the GitOps repository.")]
RegistryName = Annotated[
    str | None,
    typer.Option("--registry", "-r", help="Registry of the stack; by default the one that the repository pulls from."),
]


@dataclass(frozen=True)
class Layout:
    """What is looked at and how it is built, where the stack file and the repository do not say it."""

    only: Annotated[
        list[str] | None, typer.Option("--path", metavar="FOLDER", help="Look only below this folder; repeatable.")
    ] = None
    roots: Annotated[
        list[str] | None,
        typer.Option("--root", metavar="FOLDER", help="Build this folder and no other; * and ** match; repeatable."),
    ] = None
    builder: Annotated[
        str | None,
        typer.Option("--builder", metavar="PROGRAM", help="kubectl or kustomize to build with, in place of our own."),
    ] = None
    enable_helm: Annotated[
        bool | None, typer.Option("--enable-helm/--no-enable-helm", help="As kustomize's; else as argocd-cm has it.")
    ] = None
    load_restrictor: Annotated[
        str | None,
        typer.Option(
            "--load-restrictor", help="As kustomize's; else LoadRestrictionsNone where argocd-cm has it, or with Flux."
        ),
    ] = None
    enable_alpha_plugins: Annotated[
        bool, typer.Option("--enable-alpha-plugins", help="As kustomize's: runs programs that the repository names.")
    ] = False
    enable_exec: Annotated[
        bool, typer.Option("--enable-exec", help="As kustomize's: runs programs that the repository names.")
    ] = False

    def over(self, declared: GitOps) -> GitOps:
        """Return what a stack declares with the options in its place.

        Raises:
            BadInputError: when an option has no such value.
        """
        build = {
            "command": self.builder,
            "enable_helm": self.enable_helm,
            "load_restrictor": self.load_restrictor,
            "enable_alpha_plugins": self.enable_alpha_plugins or None,
            "enable_exec": self.enable_exec or None,
        }
        given = {"paths": tuple(self.only or ()), "roots": tuple(self.roots or ())}
        found = {key: value for key, value in given.items() if value}
        own = declared.build.model_dump() | {key: value for key, value in build.items() if value is not None}
        try:
            return GitOps.model_validate({**declared.model_dump(), **found, "build": own}, by_name=True)
        except ValidationError as error:
            (first, *_) = error.errors()
            option = str(first["loc"][-1 if first["loc"][0] == "build" else 0]).replace("_", "-")
            allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            raise BadInputError(f"--{_OPTIONS.get(option, option)}: allowed: {allowed}") from None


_OPTIONS = {"paths": "path", "roots": "root"}


@commands.command("discover")
@options.expanded
def discover_command(
    path: Root,
    stack: options.Stack,
    registry: RegistryName = None,
    directory: options.Directory = Path(),
    *,
    layout: Layout,
    json: options.Json = False,
) -> None:
    """Show services, workload files, registries, hard-coded pull Secrets, and gaps.

    Examples:

        pull-secrets gitops discover ../gitops --stack dev

        pull-secrets gitops discover ../gitops --stack dev --json
    """
    config = load_stack(stack, directory)
    found_in = _survey(path, config, layout)
    found = discover.discover(found_in, config, found_in.registries(config, registry))
    if json:
        console.print_json(asdict(found))
    else:
        _show_discovery(found)


@commands.command("migrate")
@options.expanded
def migrate_command(  # noqa: PLR0913 - each is an option
    path: Root,
    stack: options.Stack,
    registry: RegistryName = None,
    directory: options.Directory = Path(),
    place: Annotated[
        migrate.Place,
        typer.Option("--place", help="The component where workloads are listed, or built; or an entry in each file."),
    ] = migrate.Place.BASE,
    *,
    charts: Annotated[
        bool, typer.Option("--charts", help="Write the values of charts that Argo CD or Flux renders, too.")
    ] = False,
    layout: Layout,
    change: options.Change,
) -> None:
    """Move the repository to a shared Kustomize component, and remove hard-coded entries of its Secret.

    The changes are shown as a diff, and proved by building what they reach before and after in a copy: nothing may
    differ but lists of pull Secrets. They are written all or nothing, and only into a clean git work tree. Run again,
    it changes nothing. Exit code 1 when something is left that was not moved.

    Examples:

        pull-secrets gitops migrate ../gitops --stack dev --dry-run

        pull-secrets gitops migrate ../gitops --stack dev --yes
    """
    config = load_stack(stack, directory)
    found_in = _survey(path, config, layout, keeping=False)
    planned = migrate.plan(found_in, found_in.registry(config, registry), place, charts=charts)
    outcome = "unchanged" if not planned.edits else "planned" if change.dry_run else "written"
    if not change.json:
        _show_plan(planned)
    if outcome == "written":
        refuse_dirty(path, planned.edits)
        change.confirm(f"Write {counted(len(planned.edits), 'file')}?")
        apply(path, planned.edits)
    if change.json:
        console.print_json(_plan_document(planned, outcome))
    else:
        console.output.print(_sentence(planned, outcome))
    if planned.left:
        raise typer.Exit(ExitCode.PROBLEM)


@commands.command("check")
@options.expanded
def check_command(  # noqa: PLR0913 - each is an option
    path: Root,
    stack: options.Stack,
    registry: RegistryName = None,
    directory: options.Directory = Path(),
    report_format: options.ReportFormat = options.Format.TEXT,
    changed_since: Annotated[
        str | None,
        typer.Option(
            "--changed-since", metavar="REV", help="Check only what changed since this commit, branch or tag."
        ),
    ] = None,
    *,
    layout: Layout,
    json: options.Json = False,
) -> None:
    """Build what is deployed and check that each workload refers to the Secret of the registry that it pulls from.

    Exit code 1 when one does not, or when something does not build; 2 when there was nothing to judge.

    Examples:

        pull-secrets gitops check . --stack dev

        pull-secrets gitops check . --stack dev --format sarif > gitops.sarif
    """
    config = load_stack(stack, directory)
    found_in = _survey(path, config, layout, changed_since=changed_since)
    partly = changed_since is not None
    if partly and not found_in.built:
        console.errors.print(f"nothing that is built changed since {changed_since}", markup=False)
        return
    report = checking.check(found_in, config, found_in.registry(config, registry), partly=partly)
    # Not through the console: it would wrap lines and read markup into them.
    sys.stdout.write(lint.render(report, options.Format.JSON if json else report_format) + "\n")
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
    application_sets: Annotated[
        bool, typer.Option("--application-sets", help="One ApplicationSet in place of the services' Applications.")
    ] = False,
    check: options.Check = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Write Argo CD Applications, with sync waves in the order of the stack's rollout.

    One file per service and environment in `environments/ENVIRONMENT/apps/`, and one of the cluster's infrastructure,
    which comes first. With --application-sets, one ApplicationSet that syncs wave after wave. A service in no wave gets
    none and is named; exit code 1 then.

    Examples:

        pull-secrets gitops render . --stack dev --repo-url https://git.example.com/gitops.git

        pull-secrets gitops render . --stack dev --repo-url https://git.example.com/gitops.git --check
    """
    config = load_stack(stack, directory)
    folder = PurePosixPath(infrastructure or f"clusters/{config.cluster.name}")
    argo = applications.ArgoCd(repository_url, revision, project, server, namespace)
    rendered = applications.render(path, config, stack, argo, folder, sets=application_sets)
    header = applications.HEADER.format(stack=stack)
    changes = rendering.compare(rendered.files, path, header, applications.FOLDER)
    writes = not check and not dry_run
    if writes:
        rendering.apply(rendered.files, changes, path)
    if json:
        paths = {name: [str(file) for file in getattr(changes, name)] for name in rendering.FIELDS}
        console.print_json({**paths, "unplaced": rendered.unplaced, "withoutOverlay": rendered.without_overlay})
    else:
        show_changes(changes, done=writes)
        _show_unplaced(rendered)
    if rendered.unplaced or (check and (changes.written or changes.removed)):
        raise typer.Exit(ExitCode.PROBLEM)


def _survey(
    path: Path, config: StackConfig, layout: Layout, *, keeping: bool = True, changed_since: str | None = None
) -> Survey:
    table = table_of(settings_of(config)[REFERENCES.name])
    repository = load(path, layout.over(config.gitops), table)
    found = survey(repository, kept_in=cache_folder() if keeping else None, changed_since=changed_since)
    said = [f"{counted(len(found.built), 'folder')} built with {found.builder}", *found.builder.notes]
    console.errors.print("; ".join(said), soft_wrap=True, markup=False)
    return found


def _show_discovery(found: discover.Discovery) -> None:
    files = found.workload_files
    roles = " + ".join(f"{count} {role}" for role, count in files.items())
    table = Table(show_header=False, title="Discovery")
    table.add_row("services", str(len(found.services)) if found.services else "none that the layout names")
    table.add_row("built", counted(len(found.roots), "folder"))
    table.add_row("workload files", f"{sum(files.values())} = {roles}" if files else "0")
    for registry in found.registries:
        table.add_row("registry", f"{registry.host}: {registry.files} files, {registry.percent} %")
    for secret in found.secrets:
        where = ", ".join(secret.defined_in) or Text("never defined", style="red")
        table.add_row("Secret", Text.assemble(f"{secret.name}: {counted(secret.references, 'reference')}, ", where))
    environments = ", ".join(found.environments)
    if found.namespaces:
        products = f"{counted(len(found.services), 'service')} in {environments}"
        table.add_row("namespaces", f"{len(found.namespaces)} = {products}")
    table.add_row("hard-coded lists", str(len(found.hard_coded)))
    if found.not_looked_at:
        table.add_row("not checked", "; ".join(found.not_looked_at))
    console.output.print(table)
    if not found.gaps:
        return
    gaps = console.table(f"Gaps: {len(found.gaps)}", ("gap", "where", "problem", "fix"))
    for gap in found.gaps:
        gaps.add_row(gap.kind, f"{gap.file}:{gap.line}", gap.problem, gap.fix)
    console.output.print(gaps)


def _show_plan(planned: migrate.MigrationPlan) -> None:
    # Not through the console: a diff keeps its lines.
    sys.stdout.write(planned.diff())
    for kept in planned.kept:
        console.output.print(f"kept {kept.file}:{kept.line}: {kept.reason}", soft_wrap=True, markup=False)
    for left in planned.left:
        console.output.print(f"left {left.what}: {left.reason}", soft_wrap=True, markup=False)
    if planned.neighbours:
        named = listed(planned.neighbours)
        text = (
            f"{counted(len(planned.neighbours), 'workload')} of other registries get the entry too, which does nothing "
        )
        console.output.print(f"{text}there: {named}", soft_wrap=True, markup=False)


def _plan_document(planned: migrate.MigrationPlan, outcome: str) -> dict[str, object]:
    return {
        "outcome": outcome,
        "registry": planned.registry.name,
        "files": [str(edit.file) for edit in planned.edits],
        "referenced": planned.referenced,
        "removed": planned.removed,
        "kept": [asdict(kept) for kept in planned.kept],
        "left": [asdict(left) for left in planned.left],
        "neighbours": list(planned.neighbours),
        "diff": planned.diff(),
    }


def _sentence(planned: migrate.MigrationPlan, outcome: str) -> str:
    if outcome == "unchanged":
        return "nothing to change"
    added, removed = counted(planned.referenced, "reference"), counted(planned.removed, "entry", "entries")
    done = f"{counted(len(planned.edits), 'file')}: {added} added, {removed} removed"
    return f"dry run, nothing was written: {done}" if outcome == "planned" else f"[green]written[/] {done}"


def _show_unplaced(rendered: applications.Applications) -> None:
    for name in rendered.without_overlay:
        console.output.print(f"no Application for {name}: its service has no overlay for the environment")
    for name in rendered.unplaced:
        console.output.print(
            f"[red]no Application for {name}[/]: no wave of the rollout names it; add it to rollout.waves"
        )
