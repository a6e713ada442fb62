"""What the readers of a server have measured, added up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from datastore.model.histogram import Histogram
from datastore_server.calls import STREAMS, Totals
from datastore_server.observation import Observation
from datastore_server.workers.messages import MethodReport, Report

__all__ = ["combined", "ended", "report_of", "summed"]


def report_of(seen: Observation) -> Report:
    """The report of one reader."""
    methods = {
        method: MethodReport(
            total.calls,
            dict(total.errors),
            total.seconds.counts,
            total.seconds.total,
            total.received_bytes,
            total.sent_bytes,
            total.entries,
            total.open_streams,
            total.oldest_stream_s,
        )
        for method, total in seen.totals.items()
    }
    return Report(methods, seen.calls_in_hand, seen.lag_s)


def ended(report: Report) -> Report:
    """What remains of a report after its reader has ended: what it had counted."""
    methods = {
        method: structs.replace(counted, open_streams=0, oldest_stream_s=0.0)
        for method, counted in report.methods.items()
    }
    return Report(methods)


def summed(reports: Iterable[Report]) -> Report:
    """The report of several readers: the sums of what they count, and the greatest ages and delays."""
    reports = list(reports)
    methods: dict[str, MethodReport] = {}
    for report in reports:
        for method, counted in report.methods.items():
            methods[method] = _sum(methods[method], counted) if method in methods else counted
    return Report(
        methods, sum(report.calls_in_hand for report in reports), max((report.lag_s for report in reports), default=0.0)
    )


def combined(seen: Observation, report: Report, running: int) -> Observation:
    """What is known of a server whose clients call its readers, `running` at the moment; `seen` is the writer's part.

    Calls that the readers have passed on count once.
    """
    return replace(
        seen,
        totals={method: _totals(method, counted) for method, counted in sorted(report.methods.items())},
        calls_in_hand=report.calls_in_hand,
        lag_s=max(seen.lag_s, report.lag_s),
        workers=running,
    )


def _sum(one: MethodReport, other: MethodReport) -> MethodReport:
    return MethodReport(
        one.calls + other.calls,
        dict(Counter(one.errors) + Counter(other.errors)),
        [mine + theirs for mine, theirs in zip(one.durations, other.durations, strict=True)],
        one.total_s + other.total_s,
        one.received_bytes + other.received_bytes,
        one.sent_bytes + other.sent_bytes,
        one.entries + other.entries,
        one.open_streams + other.open_streams,
        max(one.oldest_stream_s, other.oldest_stream_s),
    )


def _totals(method: str, counted: MethodReport) -> Totals:
    seconds = Histogram()
    seconds.counts, seconds.total = counted.durations, counted.total_s
    return Totals(
        counted.calls,
        Counter(counted.errors),
        seconds,
        counted.received_bytes,
        counted.sent_bytes,
        counted.entries,
        counted.open_streams,
        counted.oldest_stream_s,
        method in STREAMS,
    )
