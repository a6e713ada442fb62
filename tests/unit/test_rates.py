"""What a server did between two samples."""

from __future__ import annotations

from typing import Any

import pytest

from datastore.v1 import service_pb2
from datastore_server.cli.rates import Rates, hit_rate, rates

BOUNDS_US = [1000, 2000, 4000]


def load(uptime_ms: int, **methods: dict[str, Any]) -> service_pb2.Load:
    found = service_pb2.Load(uptime_ms=uptime_ms, duration_bounds_us=BOUNDS_US, lag_us=1500)
    for name, method in methods.items():
        found.methods.add(method=name, **method)
    return found


def test_rates_are_differences_divided_by_the_server_s_own_time() -> None:
    before = load(10_000, Get={"calls": 100, "failed": 1, "durations": [100, 0, 0, 0]})
    after = load(
        12_000,
        Get={"calls": 160, "failed": 5, "durations": [100, 60, 0, 0]},
        Put={"calls": 40, "failed": 0, "durations": [0, 0, 40, 0]},
    )
    found = rates(before, after)
    assert (found.calls_per_s, found.failed_per_s) == (50, 2)
    # 60 calls took 1 to 2 ms, and 40 took 2 to 4 ms.
    assert found.p50_ms == pytest.approx(1 + 50 / 60)
    assert found.p99_ms == pytest.approx(2 + 2 * 39 / 40)
    assert (found.open_streams, found.lag_ms) == (0, 1.5)


def test_streams_count_as_calls_but_how_long_they_are_read_is_not_a_latency() -> None:
    before = load(1000, Get={"calls": 0, "durations": [0, 0, 0, 0]})
    after = load(
        2000,
        Get={"calls": 1, "durations": [1, 0, 0, 0]},
        Query={"calls": 9, "durations": [0, 0, 0, 9], "open_streams": 3},
    )
    found = rates(before, after)
    assert (found.calls_per_s, found.open_streams) == (10, 3)
    assert (found.p99_ms or 99) <= 1


@pytest.mark.parametrize("before", [None, load(10_000, Get={"calls": 5}), load(3000, Get={"calls": 5})])
def test_the_first_sample_and_one_after_a_restart_have_only_a_state(before: service_pb2.Load | None) -> None:
    after = load(3000, Get={"calls": 1, "durations": [1, 0, 0, 0], "open_streams": 2})
    assert rates(before, after) == Rates(open_streams=2, lag_ms=1.5)


def test_a_server_that_cannot_be_reached_has_none() -> None:
    assert rates(load(1000), None) == Rates()


def test_without_calls_there_are_no_percentiles() -> None:
    found = rates(load(1000), load(2000))
    assert (found.calls_per_s, found.p50_ms, found.p99_ms) == (0, None, None)


def tiers(*counts: tuple[int, int]) -> list[dict[str, int]]:
    return [{"hits": hits, "misses": misses} for hits, misses in counts]


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        (None, tiers((1, 1), (1, 0)), None),
        (tiers((1, 1), (1, 0)), None, None),
        (tiers((1, 1), (1, 0)), tiers((1, 1), (1, 0)), None),
        (tiers((0, 0), (0, 0)), tiers((3, 1), (1, 0)), 0.75),
        # Two caches before a store: 4 reads, one answered by each cache.
        (tiers((10, 0), (5, 5), (0, 0)), tiers((11, 3), (6, 7), (2, 0)), 0.5),
    ],
)
def test_a_hit_is_an_answer_above_the_last_tier(before: Any, after: Any, rate: float | None) -> None:
    assert hit_rate(before, after) == rate
