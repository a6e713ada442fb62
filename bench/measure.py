"""How a ratio is measured: both sides in turn, several times, medians. Knows no particular benchmark.

Rows about memory, and one about the event loop, are of one run, beside a bound. Their sizes are about a tenth of those
for which the bound is promised: DATASTORE_BENCH=full measures the latter, which takes an hour.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["IS_FULL", "MIB", "Row", "bounded", "compare"]

#: Pairs of runs for each row. Machines are noisy: the median of this many pairs varies by a few per cent.
RUNS = 21
#: Whether bounds are measured with the sizes for which they are promised.
IS_FULL = os.environ.get("DATASTORE_BENCH") == "full"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `ours` and `reference` are medians in `unit`; `ratio` is the median of the pairs'."""

    ours: float
    reference: float
    ratio: float
    unit: str
    runs: int


async def compare(
    unit: str,
    ours: Callable[[], Awaitable[float]],
    reference: Callable[[], Awaitable[float]],
    *,
    runs: int = RUNS,
) -> Row:
    """Measure both sides in turn and return the row; each call returns one run's rate in `unit`.

    One pair is run first and discarded. The side that goes first changes from pair to pair, so that neither
    always has the warmer machine.
    """
    await reference()
    await ours()
    pairs: list[tuple[float, float]] = []
    for run in range(runs):
        if run % 2:
            mine, other = await ours(), await reference()
        else:
            other, mine = await reference(), await ours()
        pairs.append((mine, other))
    return Row(
        ours=statistics.median(mine for mine, _ in pairs),
        reference=statistics.median(other for _, other in pairs),
        ratio=statistics.median(mine / other for mine, other in pairs),
        unit=unit,
        runs=runs,
    )


def bounded(unit: str, ours: float, most: float) -> Row:
    """The row of a figure that was measured once, beside the most that it may be: the ratio should be below 1."""
    return Row(ours=ours, reference=most, ratio=ours / most, unit=unit, runs=1)
