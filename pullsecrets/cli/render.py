"""`pull-secrets render`: writes the program's objects as YAML for a GitOps repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.kube.admission import MUTATING_VERSIONS
from pullsecrets.manifests import render


@dataclass(frozen=True)
class Tree:
    """Where rendered files go, and whether they are written."""

    out: Annotated[Path, typer.Option("--out", "-o", help="Root of the GitOps repository.")] = Path("rendered")
    check: options.Check = False
    dry_run: options.DryRun = False
    json: options.Json = False

    def bring(
        self,
        files: Mapping[PurePosixPath, str],
        header_start: str = render.HEADER_START,
        below: PurePosixPath | None = None,
    ) -> None:
        """Bring the folder to what is rendered, and print what that changes; the arguments are those of `compare`.

        Raises:
            BadInputError: when the folder cannot be written.
            typer.Exit: with `--check`, when the files there are others.
        """
        done = not self.check and not self.dry_run
        try:
            changes = render.compare(files, self.out, header_start, below)
            if done:
                render.apply(files, changes, self.out)
        except OSError as error:
            raise BadInputError(
                f"--out {self.out}: {error.filename}: {error.strerror}; name a folder that can be written"
            ) from None
        if self.json:
            console.print_json({name: [str(path) for path in getattr(changes, name)] for name in render.FIELDS})
        else:
            show_changes(changes, self.out, done=done)
        if self.check and (changes.written or changes.removed):
            raise typer.Exit(ExitCode.PROBLEM)


@options.expanded
def command(
    stack: options.Stack,
    tree: Tree,
    directory: options.Directory = Path(),
    *,
    pod_admission: Annotated[
        str,
        typer.Option(
            "--pod-admission",
            metavar="VERSION",
            help="With binding: admission, the API version of the policies on Pods: v1, or v1beta1 where the cluster "
            "serves nothing newer (Kubernetes 1.34 and 1.35, OpenShift 4.21 and 4.22, with the feature enabled).",
        ),
    ] = MUTATING_VERSIONS[0],
) -> None:
    """Write the stack's objects as YAML, one folder per object with a kustomization.yaml.

    The objects are the ones that `pulumi up` declares, for clusters where Argo CD applies them. Files that an earlier
    rendering wrote and that the stack no longer has are removed; files made by hand are left alone.

    Examples:

        pull-secrets render --stack prod --out ../platform-gitops

        pull-secrets render --stack prod --out ../platform-gitops --check
    """
    if pod_admission not in MUTATING_VERSIONS:
        raise BadInputError(f"--pod-admission: found {pod_admission!r}; allowed: {', '.join(MUTATING_VERSIONS)}")
    tree.bring(render.render(console.load(stack, directory), stack, pod_admission))


def show_changes(changes: render.RenderChanges, out: Path | None = None, *, done: bool) -> None:
    """Print which files are written and removed, and how many; in a folder, where one is named."""
    for verb, paths in (("write", changes.written), ("remove", changes.removed)):
        for path in paths:
            console.output.print(f"{verb:7} {out / path if out else path}", soft_wrap=True)
    tense = "" if done else "would be "
    console.output.print(
        f"{len(changes.written)} {tense}written, {len(changes.removed)} {tense}removed, "
        f"{len(changes.unchanged)} unchanged{f' in {out}' if out else ''}"
    )
