"""Writes files that only their owner may read, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make a folder, and those above it, that only its owner may enter; return it."""
    for folder in reversed([path, *path.parents]):
        # One by one: the mode that mkdir is given does not hold for the parents that it makes.
        folder.mkdir(exist_ok=True, mode=0o700)
    return path


def write_private(path: Path, content: str | bytes) -> bool:
    """Write a file with mode 0600 by renaming a finished copy into place.

    Args:
        path: the file; its folder is made when missing.
        content: text (UTF-8) or bytes.

    Returns:
        Whether the content changed.
    """
    data = content.encode() if isinstance(content, str) else content
    private_folder(path.parent)
    if path.exists() and path.read_bytes() == data:
        path.chmod(0o600)
        return False
    # mkstemp makes the file with mode 0600, so the content is at no time readable by others.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
