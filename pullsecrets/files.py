"""Files that are written whole or not at all, pages that are made from code, and what a process leaves behind."""

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


def keep_page(file: Path, text: str, source: str, arguments: Sequence[str]) -> int:
    """Write a page that is made from code, or with `--check` tell whether it is current; return the exit code.

    Args:
        text: what it must say.
        source: what it is made from, for the message.
        arguments: of the command line.
    """
    if list(arguments) != ["--check"]:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{file} is not current with {source}; run `make docs`\n")
    return 1


def as_yaml(item: Mapping[str, Any], header: str) -> str:
    """Return an object as YAML below a header."""
    writer: Any = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    writer.dump(item, stream)
    return header + stream.getvalue()


def write_whole(file: Path, content: str | bytes) -> None:
    """Put content into a file at once, making its folders; whoever reads meanwhile sees the old one or the new one.

    A file that is there keeps its permissions, and a link stays one: what it points to is written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    target = file.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        if target.exists():
            draft.chmod(target.stat().st_mode & 0o777)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def at_exit(act: Callable[..., object], *arguments: object) -> None:
    """Do something when this process ends, also one of `multiprocessing`, which does not do what `atexit` has noted."""
    Finalize(None, act, arguments, exitpriority=0)
