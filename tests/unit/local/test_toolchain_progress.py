"""Progress: a line per change where there is no terminal, a table with times where there is one."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from local.toolchain import progress
from local.toolchain.progress import LiveTable, Phase, PlainLines, Step


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    return [Step("etcd v3.6.8", tmp_path / "etcd.log"), Step("pulumi v3.258.0", tmp_path / "pulumi.log")]


def test_plain_lines_tell_each_change_once(steps: list[Step], capsys: pytest.CaptureFixture[str]) -> None:
    plain = PlainLines()
    plain.show(steps)
    steps[0].enter(Phase.DOWNLOADING)
    plain.show(steps)
    steps[0].enter(Phase.BUILDING)
    for _ in range(3):
        plain.show(steps)
    steps[0].enter(Phase.BUILT)
    plain.show(steps)
    assert capsys.readouterr().err.splitlines() == [
        "toolchain [0/2] etcd v3.6.8: downloading",
        "toolchain [0/2] etcd v3.6.8: building",
        "toolchain [1/2] etcd v3.6.8: built in 0 s",
    ]


def test_plain_lines_show_life_during_a_long_build(
    steps: list[Step], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    plain = PlainLines()
    steps[1].enter(Phase.DOWNLOADING)
    plain.show(steps)
    now[0] += 31
    plain.show(steps)
    assert capsys.readouterr().err.splitlines()[-1] == "toolchain [0/2] still building pulumi v3.258.0 (31 s)"


def test_the_table_has_count_times_and_the_package_being_compiled(steps: list[Step]) -> None:
    steps[0].enter(Phase.BUILDING)
    steps[0].enter(Phase.BUILT)
    steps[1].enter(Phase.BUILDING)
    steps[1].log.write_text("example.com/first\nexample.com/second\n")
    console = Console(width=100, force_terminal=True, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    live = Live(console=console)
    LiveTable(live).show(steps)
    console.print(live.renderable)
    shown = console.export_text()
    for part in ("1 of 2 built, 0 s", "✓", "etcd v3.6.8", "pulumi v3.258.0", "0 s", "example.com/second"):
        assert part in shown


def test_without_a_terminal_plain_lines_are_used() -> None:
    with progress.display() as shown:
        assert isinstance(shown, PlainLines)
