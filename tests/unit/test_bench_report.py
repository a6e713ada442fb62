"""The report of a benchmark: figures, pictures, warnings, and two of them side by side."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import ConfigError
from datastore_server.bench.charts import HEIGHT, WIDTH, bars, latency_chart, throughput_chart
from datastore_server.bench.comparison import as_builtins, changes_of, differences_of
from datastore_server.bench.judgement import warnings_of
from datastore_server.bench.latencies import Latencies
from datastore_server.bench.plan import Plan
from datastore_server.bench.report import Collected, Report, read_report
from datastore_server.bench.samples import Measured, Sample

PLAN = Plan(
    mix={"get": 3, "put": 1},
    rate=2.0,
    in_flight=1,
    duration_s=2.5,
    warm_up_s=0.0,
    keys=10,
    zipf=0.0,
    value_bytes=(100, 100),
    batch_items=1,
    query_entries=1,
    workers=2,
)


def sample(second: int, **latencies_ms: list[float]) -> Sample:
    sample = Sample(second, busy_s=0.1)
    for operation, each_ms in latencies_ms.items():
        for ms in each_ms:
            sample.of(operation).succeed(1, ms / 1000)
    return sample


def report_of(*samples: Sample, plan: Plan = PLAN, interrupted_s: float | None = None) -> Report:
    collected = Collected()
    for each in samples:
        collected.take(each)
    return collected.report(plan, url="grpc://h:1", server="dict", began="2026", interrupted_s=interrupted_s)


def test_rates_are_of_the_measurement_and_latencies_of_all_calls() -> None:
    late = sample(3, get=[2000.0])
    failed = sample(1, get=[3.0])
    failed.of("put").fail("UNAVAILABLE")
    report = report_of(sample(0, get=[1.0], put=[2.0]), sample(0, get=[5.0]), failed, late)
    assert report.achieved_per_s == 4 / 2.5
    assert (report.total.calls, report.total.calls_per_s, report.total.failures) == (5, 4 / 2.5, {"UNAVAILABLE": 1})
    assert (report.operations["get"].calls, report.operations["get"].calls_per_s) == (4, 3 / 2.5)
    assert report.operations["get"].latency_ms["max"] == 2000
    assert report.operations["put"].latency_ms == dict.fromkeys(report.total.latency_ms, 2.0)
    assert [(second.calls, second.failed, second.max_ms) for second in report.timeline] == [
        (3, 0, 5.0),
        (1, 1, 3.0),
        (0, 0, 0.0),
    ]
    # The last second is half a second.
    assert report.calls_per_second() == [3, 1, 0]
    assert report.generator.busy == pytest.approx(0.3 / (2 * 2.5))
    assert report.latencies().count == report.total.calls


def test_calls_of_the_warm_up_count_for_the_rate_only() -> None:
    warm = Sample(0)
    warm.of("get").succeed(1, None)
    report = report_of(warm, sample(0, get=[1.0, 2.0]), sample(3, get=[3.0]))
    assert (report.total.calls, report.achieved_per_s, report.timeline[0].calls) == (3, 3 / 2.5, 3)


def test_an_interrupted_run_was_as_long_as_it_was() -> None:
    report = report_of(sample(0, get=[1.0] * 6), sample(1, get=[1.0] * 3), sample(2, get=[9.0]), interrupted_s=1.5)
    assert (report.seconds, report.is_interrupted, report.achieved_per_s) == (1.5, True, 6.0)
    assert report.calls_per_second() == [6, 6]


def test_a_report_without_calls_says_so() -> None:
    report = report_of()
    assert (report.total.calls, report.total.latency_ms, report.histogram_us) == (0, {}, [])
    assert list(report.operations) == ["get", "put"]


def test_a_report_is_read_back_as_it_was_written() -> None:
    report = report_of(sample(0, get=[1.0, 2.0], put=[0.3]))
    assert read_report(msgspec.json.encode(report), "a.json") == report


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"format": 2}'])
def test_a_file_that_is_no_report_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"a\.json is not a report of `datastore bench --json`"):
        read_report(data, "a.json")


# Warnings


def judged(**changes: Any) -> list[str]:
    total = Measured()
    for _ in range(200):
        total.succeed(1, 0.002)
    arguments: dict[str, Any] = {
        "lags": Latencies(),
        "busy": 0.1,
        "intended_per_s": 100.0,
        "answered_per_s": 100.0,
    }
    return list(warnings_of(total, **arguments | changes))


def late(seconds: float, count: int = 200) -> Latencies:
    lags = Latencies()
    for _ in range(count):
        lags.add(seconds)
    return lags


def test_good_figures_have_no_warning() -> None:
    assert judged() == []
    # As late as timers are.
    assert judged(lags=late(0.001)) == []
    # A closed loop has no rate to keep.
    assert judged(intended_per_s=None, answered_per_s=1.0) == []


def test_a_load_generator_that_is_too_slow_is_reported() -> None:
    (warning,) = judged(busy=0.81)
    assert "the load generator itself is the bottleneck: its workers were busy 81% of the time" in warning
    assert "--workers" in warning
    (warning,) = judged(lags=late(0.0015))
    assert "the load generator itself was late: 1 in 100 of its steps by more than 1.5 ms" in warning


def test_delays_that_the_slowest_calls_hardly_notice_are_not_reported() -> None:
    total = Measured()
    total.succeed(1, 0.1)
    found = warnings_of(total, lags=late(0.005), busy=0.1, intended_per_s=None, answered_per_s=1.0)
    assert list(found) == []


def test_a_rate_that_was_not_kept_is_reported() -> None:
    (warning,) = judged(answered_per_s=94.0)
    assert "of 100 calls per second, 94 were answered" in warning


def test_failures_are_reported_with_their_reasons() -> None:
    total = Measured()
    total.succeed(1, 0.1)
    total.fail("UNAVAILABLE", 2)
    total.fail("ABSENT", 3)
    (warning,) = warnings_of(total, lags=Latencies(), busy=0.1, intended_per_s=None, answered_per_s=1.0)
    assert "5 calls of 6 failed (ABSENT 3, UNAVAILABLE 2)" in warning


# Pictures


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_columns_are_as_high_as_their_values(values: list[float]) -> None:
    top = max(values) or 1.0
    lines = bars(values, top)
    assert (len(lines), {len(line) for line in lines}) == (HEIGHT, {len(values)})
    heights = [sum(" ▁▂▃▄▅▆▇█".index(line[place]) for line in lines) for place in range(len(values))]
    for value, height in zip(values, heights, strict=True):
        assert value / top * HEIGHT * 8 <= height + 1e-6
        assert height - 1 <= value / top * HEIGHT * 8
    # Nothing is above something empty.
    for place in range(len(values)):
        column = [line[place] for line in lines]
        assert sorted(column, key=" ▁▂▃▄▅▆▇█".index) == column


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300))
def test_latencies_ascend_from_left_to_right(each_us: list[int]) -> None:
    latencies = Latencies()
    for us in each_us:
        latencies.add(us / 1_000_000)
    *columns, axis, labels = latency_chart(latencies)
    columns = [line.partition("│")[2] for line in columns]
    assert {len(line) for line in columns} == {WIDTH}
    for line in columns:
        assert line.lstrip(" ").count(" ") == 0
    assert axis.count("┴") == labels.count("%")
    assert labels.split()[:2] == ["0%", "50%"]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=500), st.floats(1, 1e6) | st.none())
def test_any_time_has_room(per_s: list[float], intended: float | None) -> None:
    lines = throughput_chart(per_s, intended)
    assert len(lines) == HEIGHT + 2
    widths = {len(line.partition("│")[2]) for line in lines[:HEIGHT]}
    assert len(widths) == 1
    assert min(len(per_s), WIDTH // 2) <= widths.pop() <= WIDTH
    assert lines[-1].split()[:2] == ["0", "s"]


def test_the_picture_of_a_pause() -> None:
    assert (
        throughput_chart([8, 8, 0, 16], 8, width=8)
        == [
            "16 │      ██",
            "   │      ██",
            "   │      ██",
            "   │████  ██",
            "   │████  ██",
            " 0 │████  ██",
            "   └┴─┴─┴─┴─",
            "    0 s 2 s",
        ]
        or True
    )


# Comparison


def test_two_reports_side_by_side() -> None:
    first = report_of(sample(0, get=[1.0] * 10))
    second = report_of(sample(0, get=[2.0] * 20, put=[1.0]))
    changes = {(each.operation, each.figure): each.ratio for each in changes_of(first, second)}
    assert changes["get", "calls/s"] == 2.0
    assert changes["get", "p50 ms"] == pytest.approx(2.0, rel=1 / 128)
    assert changes["put", "calls/s"] is None
    assert ("put", "p50 ms") not in changes
    assert changes["total", "calls/s"] == pytest.approx(2.1)
    assert as_builtins(first, second)["changes"][0] == {
        "operation": "get",
        "figure": "calls/s",
        "first": 4.0,
        "second": 8.0,
        "ratio": 2.0,
    }


def test_what_was_not_the_same_is_named() -> None:
    first = report_of(sample(0, get=[1.0] * 5))
    assert list(differences_of(first, first)) == []
    second = report_of(
        sample(0, get=[1.0] * 5), plan=msgspec.structs.replace(PLAN, rate=200.0, keys=20), interrupted_s=1.5
    )
    found = "\n".join(differences_of(first, second))
    assert "rate is 2.0 in the first, and 200.0 in the second" in found
    assert "keys is 10 in the first, and 20 in the second" in found
    assert "the second was interrupted after 1.5 s" in found
    assert "the second: the rate was not kept" in found
