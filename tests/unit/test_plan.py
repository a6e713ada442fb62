"""What remains of a query after a scan: exactly the steps that the scan has not applied, and often none."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import Key, Query, core
from datastore.engine.plan import ALL_FILTERS, COMPLETE, RAW, WHOLE_VALUES, Applied, Support, remaining
from datastore.model.entries import Position

SCOPE = Key("/c")
START = Position(b"", Key("/c/1"))


def test_nothing_remains_of_a_query_for_its_scope() -> None:
    assert remaining(Query(SCOPE, recursive=True).frozen(), RAW) is None
    filtered = Query(SCOPE).filter("n", "=", 1).frozen()
    assert remaining(filtered, ALL_FILTERS) is None
    assert remaining(filtered, RAW) is filtered


@pytest.mark.parametrize(
    "step", [{"limit": 0}, {"limit": 5}, {"offset": 1}, {"keys_only": True}, {"fields": ["n"]}, {"start_after": START}]
)
def test_every_step_remains_after_a_scan_of_the_scope(step: dict[str, Any]) -> None:
    query = Query(SCOPE, **step).frozen()
    assert remaining(query, RAW) is query
    assert remaining(query, COMPLETE) is None


def test_orders_remain_unless_the_scan_sorts() -> None:
    query = Query(SCOPE).order("n").frozen()
    assert remaining(query, RAW) is query
    assert remaining(query, Applied(start_after=Support.EXACT)) is query
    assert remaining(query, Applied(orders=Support.EXACT)) is None


def test_a_start_remains_unless_the_scan_begins_there() -> None:
    query = Query(SCOPE, start_after=START).frozen()
    assert remaining(query, Applied(start_after=Support.INEXACT)) is query
    assert remaining(query, Applied(start_after=Support.EXACT)) is None


def test_only_a_projection_remains_after_a_scan_that_does_not_project() -> None:
    query = Query(SCOPE, limit=5, offset=1, fields=["n"]).filter("n", "=", 1).order("n").frozen()
    left = remaining(query, WHOLE_VALUES)
    assert left is not None
    assert (left.fields, left.limit, left.offset, left.filters) == (("n",), None, 0, ())


def test_a_query_for_its_scope_passes_batches_on_as_they_are() -> None:
    store = core.DictDatastore()
    store.put(Key("/c/1"), 1)
    batches = store.query(Query(SCOPE)).batches()
    assert [batch.position for batch in batches] == [Position(b"", Key("/c/1"))]
    assert store.explain(Query(SCOPE)).remaining is None
    assert store.explain(Query(SCOPE, limit=1)).remaining == 1
