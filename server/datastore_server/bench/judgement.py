"""What to know before relying on the figures of a benchmark. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from datastore_server.bench.latencies import PERCENTILES, Latencies
from datastore_server.bench.samples import Measured
from datastore_server.counting import counted

__all__ = ["warnings_of"]

#: A thread that uses a processor for more than this part of the time has no reserve: it makes calls, and notices their
#: answers, later than it should.
BUSY = 0.8
#: It is also too slow if one call in a hundred is made more than this late, in microseconds, and this is more than this
#: part of the 99th percentile of the latencies.
LATE_US = 1_000
LATE = 0.1
#: A server keeps up if it answers this part of the calls that are due while they are made.
KEPT_UP = 0.95


def warnings_of(
    total: Measured, *, lags: Latencies, busy: float, intended_per_s: float | None, answered_per_s: float
) -> Iterator[str]:
    """The warnings about the calls of a benchmark; none if the figures are what they seem to be.

    `lags` is how late calls were made, `busy` the part of the time in which the workers used a processor.
    """
    if total.failed:
        due = total.failed + total.latencies.count
        yield (
            f"{counted(total.failed, 'calls')} of {due:,} failed ({_reasons(total)}):"
            " the latencies are those of the calls that succeeded"
        )
    late_us = _p99(lags)
    if busy > BUSY:
        yield (
            f"the load generator itself is the bottleneck: its workers were busy {busy:.0%} of the time. The server may"
            " be faster: use more --workers, or another machine"
        )
    elif late_us > LATE_US and late_us > LATE * _p99(total.latencies):
        yield (
            f"the load generator itself was late: 1 in 100 of its steps by more than {late_us / 1000:,.1f} ms, because"
            " other processes used the processors of this machine. The server may be faster: run it elsewhere"
        )
    if intended_per_s is not None and answered_per_s < KEPT_UP * intended_per_s:
        yield (
            f"the rate was not kept: of {intended_per_s:,.0f} calls per second, {answered_per_s:,.0f} were answered"
            " during the measurement. The others waited, and their latencies grow with its duration"
        )


def _p99(latencies: Latencies) -> int:
    """The 99th percentile in microseconds; 0 without latencies."""
    return next(latencies.at(PERCENTILES["p99"])) if latencies.counts else 0


def _reasons(total: Measured) -> str:
    """The reasons of failures, the most frequent first."""
    ordered = sorted(total.failures.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{reason} {count:,}" for reason, count in ordered)
