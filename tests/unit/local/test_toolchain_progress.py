"""Progress: a line per change where there is no terminal, a table with times where there is one."""

from pathlib import Path

import pytest

from local.toolchain import progress
from local.toolchain.progress import Phase, PlainLines, Step


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
