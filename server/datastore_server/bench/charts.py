"""Pictures for a terminal, as lines of text. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datastore_server.bench.latencies import Latencies

__all__ = ["HEIGHT", "WIDTH", "bars", "latency_chart", "throughput_chart"]

#: The columns and rows of a picture, without its labels.
WIDTH = 60
HEIGHT = 6
_EIGHTHS = " ▁▂▃▄▅▆▇█"
#: The labels of the axis of percentiles.
_PERCENTS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
#: The most nines on that axis: `Latencies.at` knows no more.
_NINES = 5


def bars(values: Sequence[float], top: float, height: int = HEIGHT) -> list[str]:
    """A column for each value from 0 to `top`, in lines from the top down. Any value above 0 is visible."""
    eighths = [math.ceil(value / top * height * 8) if value > 0 else 0 for value in values]
    return ["".join(_EIGHTHS[min(max(each - 8 * row, 0), 8)] for each in eighths) for row in reversed(range(height))]


def latency_chart(latencies: Latencies, width: int = WIDTH) -> list[str]:
    """The latency, upwards, by percentile: each further nine has as much room as the one before it.

    There must be a latency.
    """
    nines = min(max(math.log10(latencies.count), 1), _NINES)
    parts = [1 - 10 ** (-nines * place / (width - 1)) for place in range(width)]
    values = [us / 1000 for us in latencies.at(*(round(part * 100_000) for part in parts))]
    marks = {
        round(-math.log10(1 - percent / 100) / nines * (width - 1)): f"{percent:g}%"
        for percent in _PERCENTS
        if -math.log10(1 - percent / 100) <= nines + 1e-9
    }
    return _framed(values, marks, width)


def throughput_chart(per_s: Sequence[float], intended_per_s: float | None = None, width: int = WIDTH) -> list[str]:
    """The calls of each second, upwards, over time; long times are averaged. There must be a second."""
    each = -(-len(per_s) // width)
    values = [sum(part) / len(part) for start in range(0, len(per_s), each) if (part := per_s[start : start + each])]
    # A short time is as wide as a long one.
    wide = max(width // len(values), 1)
    drawn = [value for value in values for _ in range(wide)]
    step = max(len(values) // 6, 1)
    marks = {place * wide: f"{place * each} s" for place in range(0, len(values), step)}
    return _framed(drawn, marks, len(drawn), intended_per_s or 0.0)


def _framed(values: Sequence[float], marks: dict[int, str], width: int, least_top: float = 0.0) -> list[str]:
    """The columns with the axes: the top and 0 to the left, the marks below, as many as have room."""
    top = max(*values, least_top) or 1.0
    label = f"{top:,.3g}" if top < 1000 else f"{top:,.0f}"
    lines = [
        f"{label if not row else '0' if row == HEIGHT - 1 else '':>{len(label)}} │{line}"
        for row, line in enumerate(bars(values, top))
    ]
    axis, written = "", ""
    for place, mark in sorted(marks.items()):
        if place >= len(written) + bool(written) and place < width:
            axis = axis.ljust(place, "─") + "┴"
            written = written.ljust(place) + mark
    margin = " " * len(label)
    return [*lines, f"{margin} └{axis.ljust(width, '─')}", f"{margin}  {written}"]
