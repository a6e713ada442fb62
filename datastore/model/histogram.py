"""Histograms, e.g. of latencies and the sizes of commits. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

__all__ = ["COUNT_BOUNDS", "SECONDS_BOUNDS", "Histogram", "quantile"]

#: The upper bounds for durations, in seconds: from a read in memory to a call that waits for a slow disk.
SECONDS_BOUNDS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
#: The upper bounds for numbers of items.
COUNT_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)


class Histogram:
    """Counts of values up to each of the `bounds`, and beyond the last. One thread adds values; any may read."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS_BOUNDS) -> None:
        self.bounds = bounds
        #: One more than there are bounds: the last is of the values above all of them.
        self.counts = [0] * (len(bounds) + 1)
        #: The sum of all values.
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were added."""
        return sum(self.counts)

    @classmethod
    def sum(cls, histograms: Iterable[Histogram]) -> Histogram:
        """A histogram of the values of all these, which have the same bounds; of none, an empty one of durations."""
        summed: Histogram | None = None
        for each in histograms:
            summed = cls(each.bounds) if summed is None else summed
            summed.counts = [one + other for one, other in zip(summed.counts, each.counts, strict=True)]
            summed.total += each.total
        return cls() if summed is None else summed


def quantile(part: float, counts: Sequence[int], bounds: Sequence[float] = SECONDS_BOUNDS) -> float | None:
    """The value below which this part (0 to 1) of the counted values falls; None without values.

    Interpolated within its range, as Prometheus's `histogram_quantile` does; above the last bound it is that bound.
    """
    rank = part * sum(counts)
    if not sum(counts):
        return None
    below = 0
    for place, (bound, count) in enumerate(zip(bounds, counts, strict=False)):
        if count and below + count >= rank:
            lower = bounds[place - 1] if place else 0.0
            return lower + (bound - lower) * max(0.0, rank - below) / count
        below += count
    return bounds[-1]
