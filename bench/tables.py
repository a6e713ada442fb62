"""How rows are shown. Knows no particular benchmark."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Column, Table

from bench.measure import Row

__all__ = ["table"]


def table(measured: Mapping[str, Row]) -> Table:
    """A line for each row."""
    shown = Table(
        Column("row", no_wrap=True), "ours", "reference", "ratio", "unit", "runs", title="Medians of interleaved runs"
    )
    for name, row in measured.items():
        shown.add_row(name, f"{row.ours:,.0f}", f"{row.reference:,.0f}", f"{row.ratio:.3f}", row.unit, str(row.runs))
    return shown
