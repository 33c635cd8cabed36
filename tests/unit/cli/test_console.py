"""What commands print into a pipe: lines that can be copied, tables that fit, one JSON document and no question."""

import io
import json
import sys

import pytest
from rich.table import Table

from pullsecrets.cli import console
from pullsecrets.errors import BadInputError


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_lines_stay_whole_and_tables_fold() -> None:
    stream = io.StringIO()
    line = "add --accept-gap " * 30
    table = Table("reason")
    table.add_row(line)
    piped = console.piped(stream)
    piped.print(line)
    piped.print(table)
    first, *rows = stream.getvalue().splitlines()
    assert first == line
    assert len(rows) > 5
    assert {len(row) for row in rows} == {console.PIPED_WIDTH}


def test_a_question_is_not_part_of_the_json_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("what\ny\n"))
    console.confirm("Take it out?", yes=False)
    console.print_json({"outcome": "done"})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"outcome": "done"}
    assert "Take it out?" not in shown.out
    assert "Take it out?" in shown.err


def test_who_says_no_or_is_not_there_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin, expected in ((Terminal("n\n"), "not confirmed"), (io.StringIO(), "no terminal to confirm on")):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(BadInputError, match=expected):
            console.confirm("Take it out?", yes=False)
