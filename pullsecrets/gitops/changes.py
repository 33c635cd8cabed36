"""Changes of files in a git work tree: shown as a diff, refused where they could not be undone, made all or none."""

import difflib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError
from pullsecrets.files import write_whole


@dataclass(frozen=True)
class FileEdit:
    """One file before and after; before is None for a new one."""

    file: PurePosixPath
    before: bytes | None
    after: bytes

    def diff(self) -> Iterator[str]:
        """Yield the lines of a unified diff."""
        before = (self.before or b"").decode().splitlines(keepends=True)
        after = self.after.decode().splitlines(keepends=True)
        old = f"a/{self.file}" if self.before is not None else "/dev/null"
        for line in difflib.unified_diff(before, after, old, f"b/{self.file}"):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def refuse_dirty(root: Path, edits: Sequence[FileEdit]) -> None:
    """Refuse to change a folder whose changes could not be told from what was there, or undone.

    Raises:
        BadInputError: when it is in no git work tree.
        ConflictError: when files are modified, or untracked in a folder in which something is written.
    """
    tops = {edit.file.parts[0] for edit in edits if len(edit.file.parts) > 1}
    changed = _git_status(root, "--untracked-files=no", ".")
    changed += _git_status(root, "--untracked-files=all", *sorted(tops)) if tops else []
    if changed:
        shown_files = ", ".join(dict.fromkeys(changed[:5]))
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ConflictError(
            f"{root}: the work tree has uncommitted changes ({shown_files}{more}); commit or stash them first"
        )


def refuse_outside(root: Path, edits: Sequence[FileEdit]) -> None:
    """Refuse to change what a link leads to outside of the repository.

    Raises:
        BadInputError: naming it.
    """
    for edit in edits:
        target = (root / edit.file).resolve()
        if not target.is_relative_to(root.resolve()):
            raise BadInputError(
                f"{edit.file}: leads to {target}, outside the repository, where a change could not be undone with it; "
                "put the file itself into the repository"
            )


def apply(root: Path, edits: Sequence[FileEdit]) -> None:
    """Write the planned edits; when one cannot be written, those before it are taken back.

    Raises:
        ConflictError: when a file changed since the plan was made.
        PullSecretsError: when a file cannot be written.
    """
    for edit in edits:
        if read(root / edit.file) != edit.before:
            raise ConflictError(
                f"{edit.file}: changed by another process meanwhile; nothing was changed, run this again"
            )
    done: list[FileEdit] = []
    try:
        for edit in edits:
            write_whole(root / edit.file, edit.after)
            done.append(edit)
    except BaseException as error:
        # An interrupt, too, must leave nothing half done.
        for edit in done:
            if edit.before is None:
                (root / edit.file).unlink(missing_ok=True)
            else:
                write_whole(root / edit.file, edit.before)
        if not isinstance(error, OSError):
            raise
        raise PullSecretsError(
            f"{error.filename}: {error.strerror}; nothing was changed, make it writable and run this again"
        ) from None


def _git_status(root: Path, *arguments: str) -> list[str]:
    untracked, *places = arguments
    command = ["git", "-C", str(root), "status", "--porcelain", untracked, "--", *places]
    try:
        ended = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise BadInputError(
            "git: not installed; install it, so that a change of the repository can be undone"
        ) from None
    if ended.returncode:
        reason = ended.stderr.decode(errors="replace").strip().splitlines()[0]
        raise BadInputError(f"{root}: {reason}; a change is made in a git work tree only, where it can be undone")
    return [line[3:] for line in ended.stdout.decode(errors="replace").splitlines()]


def read(file: Path) -> bytes | None:
    """Return what a file holds; None when it is not there."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
