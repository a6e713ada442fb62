"""What workers measured. Pure."""

from __future__ import annotations

from typing import Self

import msgspec

from datastore_server.bench.latencies import Latencies

__all__ = ["Measured", "Sample"]


class Measured(msgspec.Struct):
    """The calls of one operation that ended in some time."""

    #: Those that succeeded, including the ones that were due in the warm-up.
    succeeded: int = 0
    #: The entries that these read or wrote.
    items: int = 0
    #: Of those that succeeded and were due in the measurement.
    latencies: Latencies = msgspec.field(default_factory=Latencies)
    #: The number of those that failed and were due in the measurement, by reason.
    failures: dict[str, int] = {}

    def succeed(self, items: int, seconds: float | None) -> None:
        """Count a call that succeeded. Without `seconds`, its latency, it was due in the warm-up."""
        self.succeeded += 1
        self.items += items
        if seconds is not None:
            self.latencies.add(seconds)

    def fail(self, reason: str, count: int = 1) -> None:
        """Count calls that failed."""
        self.failures[reason] = self.failures.get(reason, 0) + count

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return sum(self.failures.values())

    def merge(self, other: Self) -> None:
        """Add what was measured elsewhere."""
        self.succeeded += other.succeeded
        self.items += other.items
        self.latencies.merge(other.latencies)
        for reason, count in other.failures.items():
            self.fail(reason, count)


class Sample(msgspec.Struct, tag=True):
    """What a worker measured in one second, or several measured in any time."""

    #: The second of the measurement, from 0, in which these calls ended.
    second: int = 0
    operations: dict[str, Measured] = {}
    #: How late the worker was: for each call of an open loop the time from when it was due until it was made.
    lags: Latencies = msgspec.field(default_factory=Latencies)
    #: The processor time of the thread that makes the calls.
    busy_s: float = 0.0

    def of(self, operation: str) -> Measured:
        """What was measured of an operation."""
        return self.operations.setdefault(operation, Measured())

    def merge(self, other: Self) -> None:
        """Add what another one has."""
        for operation, measured in other.operations.items():
            self.of(operation).merge(measured)
        self.lags.merge(other.lags)
        self.busy_s += other.busy_s

    def total(self) -> Measured:
        """All operations together."""
        total = Measured()
        for measured in self.operations.values():
            total.merge(measured)
        return total
