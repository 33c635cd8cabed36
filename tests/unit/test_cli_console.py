"""What commands print into a pipe: lines that can be copied, tables that fit."""

import io

from rich.table import Table

from pullsecrets.cli import console


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
