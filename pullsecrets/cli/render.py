"""`pull-secrets render`: writes the program's objects as YAML for a GitOps repository."""

from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import console, options
from pullsecrets.errors import BadInputError, ExitCode
from pullsecrets.kube.admission import MUTATING_VERSIONS
from pullsecrets.manifests import render


def command(
    stack: options.Stack,
    out: Annotated[Path, typer.Option("--out", "-o", help="Root of the GitOps repository.")] = Path("rendered"),
    directory: options.Directory = Path(),
    *,
    check: options.Check = False,
    pod_admission: Annotated[
        str,
        typer.Option(
            "--pod-admission",
            metavar="VERSION",
            help="With binding: admission, the API version of the policies on Pods: v1, or v1beta1 where the cluster "
            "serves nothing newer (Kubernetes 1.34 and 1.35, OpenShift 4.21 and 4.22, with the feature enabled).",
        ),
    ] = MUTATING_VERSIONS[0],
    dry_run: options.DryRun = False,
    json: options.Json = False,
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
    files = render.render(console.load(stack, directory), stack, pod_admission)
    try:
        changes = render.compare(files, out)
        if not check and not dry_run:
            render.apply(files, changes, out)
    except OSError as error:
        raise BadInputError(
            f"--out {out}: {error.filename}: {error.strerror}; name a folder that can be written"
        ) from None
    if json:
        console.print_json({name: [str(path) for path in getattr(changes, name)] for name in render.FIELDS})
    else:
        _show(changes, out, done=not check and not dry_run)
    if check and (changes.written or changes.removed):
        raise typer.Exit(ExitCode.PROBLEM)


def _show(changes: render.RenderChanges, out: Path, *, done: bool) -> None:
    for verb, paths in (("write", changes.written), ("remove", changes.removed)):
        for path in paths:
            console.output.print(f"{verb:7} {out / path}", soft_wrap=True)
    tense = "" if done else "would be "
    console.output.print(
        f"{len(changes.written)} {tense}written, {len(changes.removed)} {tense}removed, "
        f"{len(changes.unchanged)} unchanged in {out}"
    )
