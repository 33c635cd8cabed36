"""What each tool's build took: kept beside the tool, and shown as a table."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from local.toolchain import store

_FILE: Final = "build.json"
_MEGA: Final = 1_000_000


@dataclass(frozen=True)
class Timing:
    """What one build took.

    Attributes:
        cpu_seconds: of Go and everything that it started.
        wall_seconds: from its first command to its last, beside whatever ran at the same time.
        downloaded_bytes: of modules. One that several tools need counts for the first of them.
    """

    cpu_seconds: float
    wall_seconds: float
    downloaded_bytes: int


def write(folder: Path, timing: Timing) -> None:
    """Keep what building the tool in `folder` took."""
    (folder / _FILE).write_text(json.dumps(asdict(timing)), encoding="utf-8")


def read(folder: Path) -> Timing | None:
    """Return what building the tool in `folder` took; None where it is not there, or nobody kept it."""
    try:
        return Timing(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def table(tools: Iterable[tuple[str, Path]]) -> Table:
    """Return a row per built tool, given as its title and folder, and a row with the sums."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("tool", overflow="fold")
    for column in ("CPU s", "wall s", "MB downloaded", "MB left"):
        shown.add_column(column, justify="right")
    built = [(title, read(folder), store.size(folder)) for title, folder in tools if folder.is_dir()]
    for title, timing, size in built:
        shown.add_row(title, *_cells(timing), f"{size / _MEGA:.0f}")
    timings = [timing for _, timing, _ in built if timing]
    shown.add_section()
    shown.add_row(
        "in all",
        f"{sum(timing.cpu_seconds for timing in timings):.0f}",
        "",
        f"{sum(timing.downloaded_bytes for timing in timings) / _MEGA:.0f}",
        f"{sum(size for _, _, size in built) / _MEGA:.0f}",
    )
    return shown


def _cells(timing: Timing | None) -> tuple[str, str, str]:
    if timing is None:
        return "-", "-", "-"
    return (
        f"{timing.cpu_seconds:.0f}",
        f"{timing.wall_seconds:.0f}",
        f"{timing.downloaded_bytes / _MEGA:.0f}",
    )
