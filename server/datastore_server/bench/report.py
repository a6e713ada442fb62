"""What a benchmark found, for people and programs: made from samples, written as JSON and read back. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Literal

import msgspec

from datastore.model.errors import ConfigError
from datastore_server.bench.judgement import warnings_of
from datastore_server.bench.latencies import PERCENTILES, Latencies, bucket_of, highest_in
from datastore_server.bench.plan import Plan
from datastore_server.bench.samples import Measured, Sample

__all__ = ["Collected", "Figures", "Generator", "Report", "Second", "read_report"]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of one operation, or of all."""

    #: How many were due in the measurement and succeeded.
    calls: int
    #: How many ended during the measurement and succeeded, and the entries that they read or wrote, per second.
    calls_per_s: float
    entries_per_s: float
    #: How many failed, by reason.
    failures: dict[str, int]
    #: The mean, percentiles and the maximum of the latencies of calls that succeeded; empty if none did.
    latency_ms: dict[str, float]


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """The calls that ended in one second of the measurement. The last one may be shorter."""

    calls: int
    failed: int
    max_ms: float


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """How the workers fared."""

    #: The part of the time in which the thread of a worker that makes the calls used a processor.
    busy: float
    #: How late the workers made their calls.
    lag_ms: dict[str, float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found."""

    format: Literal[1] = 1
    url: str
    #: What answered there.
    server: str
    began: str
    #: How long was measured: the duration of the plan, unless it was interrupted.
    seconds: float
    is_interrupted: bool
    plan: Plan
    #: The calls that ended during the measurement and succeeded, per second, beside `plan.rate`.
    achieved_per_s: float
    operations: dict[str, Figures]
    total: Figures
    timeline: list[Second]
    #: The latencies of all calls that succeeded: the longest of each bucket, and how many are in it.
    histogram_us: list[tuple[int, int]]
    generator: Generator
    #: What to know before relying on the figures.
    warnings: list[str]

    def latencies(self) -> Latencies:
        """The latencies of all calls that succeeded."""
        return Latencies({bucket_of(us): count for us, count in self.histogram_us}, longest_us=self.histogram_us[-1][0])

    def calls_per_second(self) -> list[float]:
        """The calls of each second that succeeded, per second."""
        return [each.calls / min(self.seconds - place, 1.0) for place, each in enumerate(self.timeline)]


class Collected:
    """The samples of all workers."""

    def __init__(self) -> None:
        self._all = Sample()
        #: Without the latencies but the longest, which take much memory.
        self._seconds: defaultdict[int, Sample] = defaultdict(Sample)

    def take(self, sample: Sample) -> None:
        """Add a sample."""
        self._all.merge(sample)
        self._seconds[sample.second].merge(_without_latencies(sample))

    @property
    def calls(self) -> int:
        """How many calls have ended since the measurement began."""
        total = self._all.total()
        return total.succeeded + total.failed

    def report(self, plan: Plan, *, url: str, server: str, began: str, interrupted_s: float | None) -> Report:
        """The report; `interrupted_s` is the time into the measurement at which it was interrupted."""
        seconds = plan.duration_s if interrupted_s is None else interrupted_s
        during = Sample()
        for second in range(math.ceil(seconds)):
            during.merge(self._seconds[second])
        total, total_during = self._all.total(), during.total()
        busy = during.busy_s / (plan.workers * seconds)
        warnings = warnings_of(
            total,
            lags=self._all.lags,
            busy=busy,
            intended_per_s=plan.rate,
            answered_per_s=(total_during.succeeded + total_during.failed) / seconds,
        )
        return Report(
            url=url,
            server=server,
            began=began,
            seconds=seconds,
            is_interrupted=interrupted_s is not None,
            plan=plan,
            achieved_per_s=total_during.succeeded / seconds,
            operations={name: _figures(self._all.of(name), during.of(name), seconds) for name in plan.mix},
            total=_figures(total, total_during, seconds),
            timeline=[_second(self._seconds[second].total()) for second in range(math.ceil(seconds))],
            histogram_us=[(highest_in(bucket), count) for bucket, count in sorted(total.latencies.counts.items())],
            generator=Generator(busy=busy, lag_ms=_latency_ms(self._all.lags)),
            warnings=list(warnings),
        )


def read_report(data: bytes, name: str) -> Report:
    """The report in the JSON of `bench --json`. Raises ConfigError, with the `name` of the file, for anything else."""
    try:
        return msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not a report of `datastore bench --json`: {error}") from error


def _figures(all_: Measured, during: Measured, seconds: float) -> Figures:
    return Figures(
        calls=all_.latencies.count,
        calls_per_s=during.succeeded / seconds,
        entries_per_s=during.items / seconds,
        failures=all_.failures,
        latency_ms=_latency_ms(all_.latencies),
    )


def _latency_ms(latencies: Latencies) -> dict[str, float]:
    """The mean, the percentiles and the maximum in milliseconds; empty without latencies."""
    if not latencies.counts:
        return {}
    percentiles = zip(PERCENTILES, latencies.at(*PERCENTILES.values()), strict=True)
    return {
        "mean": latencies.total_us / latencies.count / 1000,
        **{name: us / 1000 for name, us in percentiles},
        "max": latencies.longest_us / 1000,
    }


def _second(total: Measured) -> Second:
    return Second(calls=total.succeeded, failed=total.failed, max_ms=total.latencies.longest_us / 1000)


def _without_latencies(sample: Sample) -> Sample:
    return Sample(
        operations={
            name: Measured(each.succeeded, each.items, Latencies(longest_us=each.latencies.longest_us), each.failures)
            for name, each in sample.operations.items()
        },
        busy_s=sample.busy_s,
    )
