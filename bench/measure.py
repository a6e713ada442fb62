"""How a ratio is measured: both sides in turn, several times, medians. Knows no particular benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Row", "compare"]

#: Pairs of runs for each row. Machines are noisy: the median of this many pairs varies by a few per cent.
RUNS = 21


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
