"""`pull-secrets preview-comment`: writes a pull request comment from a preview."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pullsecrets.cli import options
from pullsecrets.errors import BadInputError
from pullsecrets.gitops import preview_comment


def command(
    preview: Annotated[str, typer.Argument(metavar="FILE", help="Output of the preview; - reads standard input.")],
    stack: options.Stack,
    link: Annotated[str, typer.Option("--link", help="URL of the pipeline's run, for the comment.")] = "",
) -> None:
    """Write a pull request comment from the output of `pulumi preview --json`.

    It names resources, operations, properties, policy violations and warnings, and never a property's value. Set
    PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true for the preview: without it pulumi leaves policy violations out.

    Examples:

        pulumi preview --stack prod --json > preview.json; pull-secrets preview-comment preview.json --stack prod
    """
    found = preview_comment.read(_read(preview))
    # Not through the console: it would wrap lines and read markup into them.
    sys.stdout.write(preview_comment.render(found, stack, link))


def _read(source: str) -> str:
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise BadInputError(f"{source}: {error.strerror}; name the file with the preview's output, or -") from None
    # A server's message can hold bytes that are no UTF-8, which is no reason to say nothing.
    return content.decode("utf-8", errors="replace")
