"""Two reports side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from datastore_server.bench.report import Figures, Report

__all__ = ["Change", "as_builtins", "changes_of", "differences_of"]

#: The figures that are compared, besides the rates.
_LATENCIES = ("mean", "p50", "p90", "p99", "p99.9", "max")


class Change(NamedTuple):
    """One figure of both reports. `ratio` is the second's by the first's; None without one."""

    operation: str
    figure: str
    first: float
    second: float

    @property
    def ratio(self) -> float | None:
        """The second's by the first's; None if the first is 0."""
        return self.second / self.first if self.first else None


def changes_of(first: Report, second: Report) -> Iterator[Change]:
    """The figures that both reports have, operation by operation, with `total` at the end."""
    for name, figures in first.operations.items():
        if name in second.operations:
            yield from _changes(name, figures, second.operations[name])
    yield from _changes("total", first.total, second.total)


def differences_of(first: Report, second: Report) -> Iterator[str]:
    """What was not the same, so that the figures cannot be compared without thinking about it."""
    if first.server != second.server:
        yield f"the server of the first is {first.server}, and that of the second {second.server}"
    plans = msgspec.to_builtins(first.plan), msgspec.to_builtins(second.plan)
    for name, value in plans[0].items():
        if value != plans[1][name]:
            yield f"{name} is {value} in the first, and {plans[1][name]} in the second"
    for place, report in (("first", first), ("second", second)):
        if report.is_interrupted:
            yield f"the {place} was interrupted after {report.seconds:.1f} s"
        yield from (f"the {place}: {warning}" for warning in report.warnings)


def as_builtins(first: Report, second: Report) -> dict[str, Any]:
    """The comparison for programs."""
    return {
        "changes": [change._asdict() | {"ratio": change.ratio} for change in changes_of(first, second)],
        "differences": [*differences_of(first, second)],
    }


def _changes(operation: str, first: Figures, second: Figures) -> Iterator[Change]:
    yield Change(operation, "calls/s", first.calls_per_s, second.calls_per_s)
    for name in _LATENCIES:
        if first.latency_ms and second.latency_ms:
            yield Change(operation, f"{name} ms", first.latency_ms[name], second.latency_ms[name])
