"""Numbers in sentences: `28,298 rows`, `1 entry`."""

from __future__ import annotations

__all__ = ["counted"]

_IRREGULAR = {"entries": "entry"}


def counted(number: int, unit: str) -> str:
    """A number of things, e.g. `28,298 rows`, `1 entry`. `unit` is their plural."""
    return f"{number:,} {_IRREGULAR.get(unit, unit.removesuffix('s')) if number == 1 else unit}"
