"""`python -m bench [ROW ...]`: measure every row, or those named; print a table; write bench/latest.json."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from bench import library, rows
from bench.measure import Row
from bench.servers import pin_client

ROWS = (*rows.ROWS, *library.ROWS)
LATEST = Path(__file__).with_name("latest.json")


async def _measured(names: Sequence[str], console: Console) -> list[Row]:
    measured = []
    for measure in ROWS:
        if not names or measure.__name__ in names:
            console.print(f"[dim]{measure.__name__}: {measure.__doc__}", highlight=False)
            measured.append(await measure())
    return measured


def _table(measured: Sequence[Row]) -> Table:
    table = Table(
        Column("row", no_wrap=True), "ours", "reference", "ratio", "unit", "runs", title="Medians of interleaved runs"
    )
    for row in measured:
        table.add_row(
            row.name, f"{row.ours:,.0f}", f"{row.reference:,.0f}", f"{row.ratio:.3f}", row.unit, str(row.runs)
        )
    return table


def main() -> None:
    """Measure, print, write."""
    if unknown := set(sys.argv[1:]) - {measure.__name__ for measure in ROWS}:
        sys.exit(f"unknown row {', '.join(sorted(unknown))}; valid: {' '.join(measure.__name__ for measure in ROWS)}")
    pin_client()
    console = Console()
    measured = asyncio.run(_measured(sys.argv[1:], console))
    console.print(_table(measured))
    LATEST.write_text(json.dumps([row.as_json() for row in measured], indent=1) + "\n")


if __name__ == "__main__":
    main()
