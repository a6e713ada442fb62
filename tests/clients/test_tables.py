"""The tables of what clients support are those of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.tables import readmes, shown, table


@pytest.mark.parametrize("path", readmes(), ids=lambda path: path.parent.name)
def test_the_table_of_a_client_is_current(path: Path) -> None:
    assert shown(path) == table(path.parent.name), "write it: pytest tests/clients/test_tables.py --write-tables"


def test_a_table_says_what_is_left_out_and_why() -> None:
    [line] = [line for line in table("python").splitlines() if line.startswith("| bad input |")]
    assert "2: a datetime has microseconds" in line
    of_another = table("cobol").splitlines()
    assert all(line.endswith(("| |", "|  |")) for line in of_another[2:])
