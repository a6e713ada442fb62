"""Histograms of latencies, the schedule of calls, and the popularity of keys."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore_server.bench.latencies import PERCENTILES, Latencies, bucket_of, highest_in
from datastore_server.bench.popularity import Popularity
from datastore_server.bench.samples import Measured, Sample
from datastore_server.bench.schedule import Schedule, second_of, share

#: Microseconds, up to a month.
LATENCIES = st.integers(0, 2**41)
SECONDS = st.floats(0.001, 10_000)


def latencies_of(each_us: list[int]) -> Latencies:
    latencies = Latencies()
    for us in each_us:
        latencies.add(us / 1_000_000)
    return latencies


@given(LATENCIES)
def test_a_bucket_has_its_latencies_and_is_at_most_a_256th_wide(us: int) -> None:
    bucket = bucket_of(us)
    assert us <= highest_in(bucket) <= us + us / 256
    assert bucket_of(highest_in(bucket)) == bucket
    assert bucket_of(highest_in(bucket) + 1) == bucket + 1


@given(st.lists(LATENCIES, min_size=1), st.lists(st.integers(0, 100_000), min_size=1))
def test_a_percentile_is_never_too_low_and_at_most_a_256th_too_high(each_us: list[int], parts: list[int]) -> None:
    ordered = sorted(each_us)
    for part, found in zip(sorted(parts), latencies_of(each_us).at(*sorted(parts)), strict=True):
        exact = ordered[max(math.ceil(len(ordered) * part / 100_000) - 1, 0)]
        assert exact <= found <= exact + exact / 256


def test_the_percentiles_of_a_thousand_latencies() -> None:
    found = latencies_of(list(range(1, 501)) * 2).at(*PERCENTILES.values())
    # The 999th of 1,000 is the highest 99.9 %.
    assert list(PERCENTILES) == ["p50", "p90", "p99", "p99.9", "p99.99"]
    assert list(found) == [250, 450, 495, 500, 500]


@given(st.lists(st.lists(LATENCIES)))
def test_samples_of_many_workers_are_as_if_one_had_measured_all(parts: list[list[int]]) -> None:
    def sample(each_us: list[int]) -> Sample:
        sample = Sample(lags=latencies_of(each_us), busy_s=len(each_us))
        for us in each_us:
            sample.of("get").succeed(2, us / 1_000_000)
            sample.of("put").fail("UNAVAILABLE" if us % 2 else "STORE_FULL")
        return sample

    merged = Sample()
    for part in parts:
        merged.merge(msgspec.json.decode(msgspec.json.encode(sample(part)), type=Sample))
    whole = sample([us for part in parts for us in part])
    for each in (merged, whole):
        each.of("get"), each.of("put")
    assert merged == whole
    total = merged.total()
    assert (total.succeeded, total.items) == (whole.of("get").succeeded, 2 * whole.of("get").succeeded)
    assert total.failed == sum(whole.of("put").failures.values())
    # Another total is not changed by the first.
    assert merged == whole


def test_measured_calls_are_counted_by_how_they_ended() -> None:
    measured = Measured()
    measured.succeed(10, 0.001)
    measured.fail("ABSENT")
    measured.fail("ABSENT", 2)
    assert (measured.succeeded, measured.items, measured.failed, measured.failures) == (1, 10, 3, {"ABSENT": 3})


@given(rate=SECONDS, workers=st.integers(1, 7), warm_up_s=st.floats(0, 10))
def test_the_calls_of_all_workers_are_equally_spaced(rate: float, workers: int, warm_up_s: float) -> None:
    schedules = [Schedule(rate, workers, worker) for worker in range(workers)]
    due = sorted(schedule.due_s(number) for schedule in schedules for number in range(10))
    assert due == [number / rate for number in range(10 * workers)]
    for schedule in schedules:
        first = schedule.due_s(schedule.first(warm_up_s))
        # Within the warm-up, and so early that no earlier call would be.
        assert -warm_up_s - 1e-6 <= first - schedule.worker / rate
        assert first - schedule.worker / rate - workers / rate < -warm_up_s + 1e-6
        assert schedule.first(warm_up_s) <= 0


@given(total=st.integers(0, 1000), workers=st.integers(1, 50))
def test_calls_in_flight_are_shared_fairly(total: int, workers: int) -> None:
    shares = [share(total, workers, worker) for worker in range(workers)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("elapsed_s", "duration_s", "second"), [(0.0, 3.0, 0), (2.999, 3.0, 2), (3.0, 3.0, 3), (9.0, 2.5, 3), (2.4, 2.5, 2)]
)
def test_what_happens_after_the_measurement_is_in_its_own_second(
    elapsed_s: float, duration_s: float, second: int
) -> None:
    assert second_of(elapsed_s, duration_s) == second


@given(keys=st.integers(1, 10**10), exponent=st.floats(0, 10), seed=st.integers())
def test_every_drawn_key_exists(keys: int, exponent: float, seed: int) -> None:
    popularity = Popularity(keys, exponent, Random(seed))
    assert all(0 <= popularity.draw() < keys for _ in range(20))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.99, 1.0, 2.0])
def test_keys_are_drawn_as_often_as_the_law_says(exponent: float) -> None:
    keys, draws = 100, 20_000
    popularity = Popularity(keys, exponent, Random(1))
    drawn = Counter(popularity.draw() for _ in range(draws))
    weights = [rank**-exponent for rank in range(1, keys + 1)]
    expected = [draws * weight / sum(weights) for weight in weights]
    found = [count for _, count in drawn.most_common()] + [0] * keys
    # Each of the most popular ten, and all others together; five standard deviations, and those of the sorting.
    for count, mean in zip(found[:10], expected[:10], strict=True):
        assert abs(count - mean) <= 5 * math.sqrt(mean) + 5
    assert abs(sum(found[10:]) - sum(expected[10:])) <= 5 * math.sqrt(sum(expected[10:])) + 50


def test_popular_keys_are_not_neighbours() -> None:
    popularity = Popularity(1000, 2.0, Random(1))
    most, second, third = (key for key, _ in Counter(popularity.draw() for _ in range(5000)).most_common(3))
    assert min(abs(most - second), abs(second - third)) > 100
