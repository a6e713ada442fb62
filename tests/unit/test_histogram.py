"""Histograms: what is counted where, and quantiles of what was counted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.histogram import SECONDS_BOUNDS, Histogram, quantile

DURATIONS = st.lists(st.floats(0, 60), min_size=1, max_size=100)


@pytest.mark.parametrize(("value", "place"), [(0.0, 0), (1.0, 0), (1.01, 1), (2.0, 1), (2.01, 2), (math.inf, 2)])
def test_a_value_counts_where_it_is_at_most_the_bound(value: float, place: int) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.add(value)
    assert histogram.counts == [int(index == place) for index in range(3)]
    assert (histogram.count, histogram.total) == (1, value)


@given(DURATIONS, DURATIONS)
def test_a_sum_counts_what_its_parts_do(one: list[float], other: list[float]) -> None:
    parts = [Histogram(), Histogram()]
    for part, values in zip(parts, (one, other), strict=True):
        for value in values:
            part.add(value)
    both = Histogram.sum(parts)
    assert both.count == len(one) + len(other)
    assert both.total == pytest.approx(sum(one) + sum(other))


@given(DURATIONS, st.floats(0.01, 1.0))
def test_a_quantile_is_in_the_range_of_the_value_at_its_rank(values: list[float], part: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ranked = sorted(values)[math.ceil(part * len(values)) - 1]
    upper = next((bound for bound in SECONDS_BOUNDS if bound >= ranked), SECONDS_BOUNDS[-1])
    lower = max((bound for bound in SECONDS_BOUNDS if bound < ranked), default=0.0)
    found = quantile(part, histogram.counts)
    assert found is not None
    assert lower <= found <= upper or found == pytest.approx(upper)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(0.5, Histogram().counts) is None
