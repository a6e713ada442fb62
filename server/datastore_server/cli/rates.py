"""The rates of a server between two samples of its totals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datastore.model.histogram import quantile
from datastore.v1 import service_pb2
from datastore_server.calls import STREAMS

__all__ = ["Rates", "hit_rate", "rates"]


class Rates(NamedTuple):
    """What a server did between two samples, and its state in the second. None for what is unknown."""

    calls_per_s: float | None = None
    failed_per_s: float | None = None
    #: Percentiles of the durations of unary calls.
    p50_ms: float | None = None
    p99_ms: float | None = None
    open_streams: int | None = None
    lag_ms: float | None = None


def rates(before: service_pb2.Load | None, after: service_pb2.Load | None) -> Rates:
    """The rates between two loads of a server. Without the first, or if it has restarted since, only its state."""
    if after is None:
        return Rates()
    state = Rates(open_streams=sum(method.open_streams for method in after.methods), lag_ms=after.lag_us / 1000)
    seconds = 0.0 if before is None else (after.uptime_ms - before.uptime_ms) / 1000
    if before is None or seconds <= 0:
        return state
    earlier = {method.method: method for method in before.methods}
    calls = failed = 0
    durations = [0] * (len(after.duration_bounds_us) + 1)
    for method in after.methods:
        previous = earlier.get(method.method, service_pb2.Load.Method())
        calls += method.calls - previous.calls
        failed += method.failed - previous.failed
        if method.method not in STREAMS:
            previous_durations = previous.durations or [0] * len(method.durations)
            new = [count - old for count, old in zip(method.durations, previous_durations, strict=False)]
            durations = [one + other for one, other in zip(durations, new, strict=False)]
    bounds_ms = [bound / 1000 for bound in after.duration_bounds_us]
    return state._replace(
        calls_per_s=calls / seconds,
        failed_per_s=failed / seconds,
        p50_ms=quantile(0.5, durations, bounds_ms),
        p99_ms=quantile(0.99, durations, bounds_ms),
    )


def hit_rate(before: Sequence[Mapping[str, Any]] | None, after: Sequence[Mapping[str, Any]] | None) -> float | None:
    """The part of the reads between two samples of the tiers of a store that a tier above the last one answered."""
    if not before or not after or len(before) != len(after):
        return None
    hits = [new["hits"] - old["hits"] for old, new in zip(before, after, strict=True)]
    reads = hits[0] + after[0]["misses"] - before[0]["misses"]
    return sum(hits[:-1]) / reads if reads > 0 else None
