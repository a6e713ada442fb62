"""Sorting serialized values: in runs of bounded length, counted as they are held, and exact."""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Batch, Key, Query
from datastore.engine import pipeline, room, sorting, spilled
from datastore.engine.pipeline import Pipeline
from datastore.engine.room import SortBudget, SortRoom
from datastore.model.entries import Position
from datastore.model.errors import LimitExceededError, StoreError, StoreFullError
from datastore.model.limits import BATCH_ENTRIES, FIRST_BATCH_BYTES, LONG_SORT_KEY_BYTES, SORT_ENTRY_BYTES
from datastore.model.ordering import encode, encode_column
from datastore.testing import cases, model
from datastore.wire import WireValue, encode_value

values = cases.wire_values()


class MemoryFile:
    """A file in memory, for runs that do not stay there."""

    opened = []

    def __init__(self):
        self.data = bytearray()
        self.is_closed = False
        self.opened.append(self)

    def append(self, data):
        self.data += data

    def read(self, start, size):
        assert not self.is_closed
        return bytes(self.data[start : start + size])

    def truncate(self, size):
        del self.data[size:]

    def close(self):
        self.is_closed = True


@pytest.fixture(autouse=True, scope="module", params=["memory", "files"])
def small_runs(request):
    """Runs of a few entries, so that a few entries make many; and with files, most of them in files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SORT_MEMORY_BYTES", sys.maxsize if request.param == "memory" else 1000)
        patch.setattr(spilled, "BLOCK_BYTES", 300)
        patch.setattr(sorting, "RUN_ENTRIES", 4)
        patch.setattr(sorting, "STRIDE", 2)
        patch.setattr(sorting, "LEAD_ENTRIES", 3)
        patch.setattr(pipeline, "STEP_ENTRIES", 3)
        yield


def feed(step, batches):
    for batch in batches:
        for part in step.steps(batch):
            step.feed(part)
            if step.must_spill:
                deque(step.sort(), maxlen=0)
                step.spill()
    return step


def run(query, batches, new_file=MemoryFile):
    step = feed(Pipeline(query, new_file), batches)
    found = [batch for batch in step.finish() if len(batch)]
    step.close()
    while MemoryFile.opened:
        assert MemoryFile.opened.pop().is_closed
    return found


def entries_of(batches):
    return [
        (key, value.decode() if isinstance(value, WireValue) else value)
        for batch in batches
        for key, value in batch.entries()
    ]


def serialized(contents, size=5):
    """The contents as raw batches of serialized values."""
    entries = sorted(contents.items(), key=lambda entry: str(entry[0]))
    for start in range(0, len(entries), size):
        part = entries[start : start + size]
        yield Batch([key for key, _ in part], [encode_value(value) for _, value in part], scanned=len(part))


@given(cases.contents(values, max_size=40), cases.queries(values), st.integers(1, 9))
def test_any_ordered_query_over_serialized_values_matches_the_naive_model(contents, query, size):
    query.order("n")
    in_scope = {key: value for key, value in contents.items() if query.covers(key)}
    found = entries_of(run(query, serialized(in_scope, size)))
    assert model.same(found, [tuple(entry) for entry in model.answer(query, contents).entries])


@given(cases.contents(values, max_size=40), cases.queries(values), st.booleans())
def test_resuming_after_any_entry_returns_the_rest(contents, query, sort_keys):
    query.order("n")
    query.offset, query.limit, query.keys_only, query.fields, query.sort_keys = 0, None, False, None, sort_keys
    in_scope = {key: value for key, value in contents.items() if query.covers(key)}
    whole = entries_of(run(query, serialized(in_scope)))
    for index, (key, value) in enumerate(whole):
        query.start_after = Position(query.order_sort_key(key, value), key)
        assert model.same(entries_of(run(query, serialized(in_scope))), whole[index + 1 :])


def numbers(count, seed=0):
    choose = random.Random(seed)
    return {Key(f"/a/{number:05}"): {"n": choose.randrange(count)} for number in range(count)}


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 9, 50, 199, 200, 201])
@pytest.mark.parametrize("order", ["n", "-n", "m"])
def test_a_limit_keeps_the_first_and_holds_about_twice_as_many(limit, order):
    contents = numbers(200)
    query = Query(Key("/a"), limit).order(order)
    step, most = Pipeline(query), 0
    for batch in serialized(contents, 3):
        step.feed(batch)
        most = max(most, step._sorter._entries)
    # A few more come while those that are late are dropped.
    assert most <= (2 * limit + sorting.RUN_ENTRIES) * 5 // 4 + 3
    expected = model.answer(query, contents).entries
    assert entries_of(step.finish()) == [tuple(entry) for entry in expected]


@pytest.mark.parametrize("resumed", [False, True])
def test_no_step_sorts_more_than_a_run_and_the_first_results_need_no_sort_of_the_others(monkeypatch, resumed):
    contents = numbers(500)
    query = Query(Key("/a")).order("n")
    if resumed:
        query.start_after = Position(query.order_sort_key(None, {"n": 250}), Key("/a/00000"))
    step = Pipeline(query)
    assert sum(len(part) for part in step.steps(Batch([None] * 10, [None] * 10))) == 10
    assert max(len(part) for part in step.steps(Batch([None] * 10, [None] * 10))) <= pipeline.STEP_ENTRIES
    sorted_entries = []
    sort = sorting._Run.sort
    monkeypatch.setattr(sorting._Run, "sort", lambda run: sorted_entries.append(len(run)) or sort(run))
    feed(step, serialized(contents))
    results = step.finish()
    first = next(filter(len, results))
    assert sum(sorted_entries) < sorting.LEAD_ENTRIES
    assert 0 < len(first) < sorting.LEAD_ENTRIES
    rest = list(results)
    assert max(sorted_entries) <= sorting.RUN_ENTRIES
    everything = [tuple(entry) for entry in model.answer(Query(Key("/a")).order("n"), contents).entries]
    behind = [(key, value) for key, value in everything if value["n"] >= 250]
    assert entries_of([first, *rest]) == (behind if resumed else everything)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_results_are_exact_around_the_number_of_entries_selected_first(count):
    contents = numbers(count)
    query = Query(Key("/a")).order("-n")
    assert entries_of(run(query, serialized(contents))) == [tuple(e) for e in model.answer(query, contents).entries]


def test_entries_that_all_tie_are_not_taken_for_the_first():
    contents = {Key(f"/a/{number:03}"): {"n": 1} for number in range(50)}
    step = feed(Pipeline(Query(Key("/a")).order("n")), serialized(contents))
    assert entries_of(step.finish()) == list(contents.items())
    bare = [Batch([None] * 5, [encode_value({"n": 1, "at": 5 * part + n}) for n in range(5)]) for part in range(10)]
    found = [value["at"] for _, value in entries_of(run(Query(Key("/a")).order("n"), bare))]
    assert found == list(range(50))


def test_no_entry_before_a_start_position_is_held():
    contents = numbers(500)
    query = Query(Key("/a")).order("n")
    query.start_after = Position(query.order_sort_key(None, {"n": 400}), Key("/a/00000"))
    step = feed(Pipeline(query), serialized(contents))
    assert step._sorter._entries == sum(value["n"] >= 400 for value in contents.values())


@pytest.fixture
def long_runs(monkeypatch):
    """Runs of several large blocks."""
    monkeypatch.setattr(sorting, "RUN_ENTRIES", 1024)
    monkeypatch.setattr(sorting, "STRIDE", 256)


@pytest.mark.parametrize("limit", [None, 3000])
def test_held_entries_are_not_objects_of_their_own(long_runs, limit):
    """Python keeps the memory of small objects for as long as any other lives among them."""
    step = Pipeline(Query(Key("/a"), limit).order("n"))
    gc.collect()
    before = sys.getallocatedblocks()
    for start in range(0, 6000, 1000):
        feed(step, serialized({Key(f"/a/{n:05}"): {"n": -start} for n in range(start, start + 1000)}, 1000))
    gc.collect()
    entries = step._sorter._entries
    assert entries >= 3000
    assert sys.getallocatedblocks() - before < entries


def test_late_entries_are_dropped_in_short_steps(monkeypatch):
    dropped = []
    drop_after = sorting._Run.drop_after
    monkeypatch.setattr(sorting._Run, "drop_after", lambda *call: dropped.append(1) or drop_after(*call))
    step, most = Pipeline(Query(Key("/a"), 100).order("-n")), 0
    for batch in serialized(numbers(2000), 3):
        before = len(dropped)
        step.feed(batch)
        most = max(most, len(dropped) - before)
    assert most == sorting.RUNS_A_STEP
    assert len(dropped) > 10 * most


def test_held_entries_are_released_in_steps_and_the_budget_is_restored(monkeypatch):
    budget = SortBudget(10**6)
    with monkeypatch.context() as patch:
        patch.setattr(sorting, "sort_room", lambda most: SortRoom(budget, most))
        step = feed(Pipeline(Query(Key("/a")).order("n")), serialized(numbers(100)))
    held, runs = budget.held_bytes, len(step._sorter._runs)
    assert held > 0
    assert sum(1 for _ in step.release()) >= runs
    assert budget.held_bytes == 0
    # A thread that is still sorting finds the query closed.
    feed(step, serialized(numbers(100)))
    assert budget.held_bytes == 0
    step.close()
    assert budget.held_bytes == 0


def test_results_come_in_batches_bounded_by_bytes_the_first_small(monkeypatch):
    contents = {Key(f"/a/{number:05}"): {"n": number, "x": "x" * 1000} for number in range(600)}
    batches = run(Query(Key("/a")).order("-n"), serialized(contents, 100))
    sizes = [sum(len(value.data) for value in batch.values) for batch in batches]
    assert sizes[0] <= FIRST_BATCH_BYTES + 2000
    assert len(batches[0]) > 1
    assert max(sizes) <= sorting.BATCH_BYTES + 2000
    many = run(Query(Key("/a"), keys_only=True).order("n"), serialized(numbers(3 * BATCH_ENTRIES), 1000))
    assert max(map(len, many)) <= BATCH_ENTRIES
    assert {value for batch in many for value in batch.values} == {None}


def cost(contents, query):
    """The documented cost of sorting the entries."""
    return sum(
        len(query.order_sort_key(key, value))
        + len(str(key).encode())
        + (0 if query.keys_only else len(encode_value(value).data))
        + 4
        + SORT_ENTRY_BYTES
        for key, value in contents.items()
    )


@pytest.fixture
def files(monkeypatch):
    """Runs in files, and what their files take."""
    monkeypatch.setattr(room, "SORT_MEMORY_BYTES", 1000)
    MemoryFile.opened.clear()
    yield lambda: sum(len(file.data) for file in MemoryFile.opened if not file.is_closed)
    MemoryFile.opened.clear()


@pytest.mark.parametrize("limit", [2, 50, 100])
def test_a_limit_bounds_the_files_even_if_each_entry_precedes_all_before_it(files, limit):
    contents = {Key(f"/a/{number:05}"): {"n": number} for number in range(2000)}
    query = Query(Key("/a"), limit).order("-n")
    step, most = Pipeline(query, MemoryFile), 0
    for batch in serialized(contents):
        feed(step, [batch])
        most = max(most, files())
    assert entries_of(step.finish()) == list(reversed(contents.items()))[:limit]
    step.close()
    assert (files(), most < 20_000) == (0, True)


def test_files_beyond_the_limit_end_the_query(files, monkeypatch):
    monkeypatch.setattr(room, "SORT_DISK_BYTES", 5000)
    step = Pipeline(Query(Key("/a")).order("n"), MemoryFile)
    with pytest.raises(StoreFullError, match=r"more than 5,000 bytes of temporary files \(sort_disk_bytes\); give"):
        feed(step, serialized(numbers(500)))
    step.close()
    assert files() == 0


def test_a_file_that_fails_ends_the_query(files, monkeypatch):
    def fail(self, data):
        raise StoreFullError("full")

    monkeypatch.setattr(MemoryFile, "append", fail)
    step = Pipeline(Query(Key("/a")).order("n"), MemoryFile)
    with pytest.raises(StoreFullError, match="full"):
        feed(step, serialized(numbers(500)))
    assert all(file.is_closed for file in MemoryFile.opened)
    step.close()


def test_without_a_place_for_files_entries_stay_in_memory(files):
    def refuse():
        raise StoreError("no place")

    contents = numbers(500)
    query = Query(Key("/a")).order("n")
    expected = [tuple(entry) for entry in model.answer(query, contents).entries]
    assert entries_of(run(query, serialized(contents), refuse)) == expected


def test_values_in_files_do_not_count_for_memory(files):
    budget = SortBudget(10**6, memory_bytes=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "sort_room", lambda most: SortRoom(budget, most))
        step = feed(Pipeline(Query(Key("/a")).order("n"), MemoryFile), serialized(numbers(500)))
    assert budget.held_bytes <= 2000
    assert files() > 10_000
    # Reading them does not release what others hold.
    assert sum(map(len, step.finish())) == 500
    assert budget.held_bytes >= 0
    step.close()
    assert budget.held_bytes == 0


@pytest.mark.parametrize("keys_only", [False, True])
def test_sorting_holds_so_many_bytes_and_no_more(monkeypatch, keys_only):
    contents = {Key(f"/a/{number:02}"): {"n": number, "x": "x" * number} for number in range(21)}
    fitting = dict(list(contents.items())[:20])
    query = Query(Key("/a"), keys_only=keys_only).order("-n")
    most = cost(fitting, query)
    monkeypatch.setattr(sorting, "SORT_BYTES", most)
    assert len(entries_of(run(query, serialized(fitting), None))) == 20
    smaller = {**fitting, Key("/a/19"): {"n": 19, "x": "x" * 18}}
    assert len(entries_of(run(query, serialized(smaller), None))) == 20
    monkeypatch.setattr(sorting, "SORT_BYTES", most - 1)
    with pytest.raises(LimitExceededError, match="limit") as raised:
        run(query, serialized(fitting), None)
    assert (raised.value.limit, raised.value.maximum) == ("sort_bytes", most - 1)
    monkeypatch.setattr(sorting, "SORT_BYTES", most)
    with pytest.raises(LimitExceededError):
        run(query, serialized(contents), None)
    # With a limit, only entries that can be among the first are held.
    assert len(entries_of(run(Query(Key("/a"), 3).order("-n"), serialized(contents)))) == 3


@pytest.mark.parametrize("keys_only", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_counted_bytes_are_the_bytes_held(long_runs, keys_only):
    rows = [(f"/a/{number:08}".encode(), encode_value({"n": number}).data) for number in range(2300)]
    step = Pipeline(Query(Key("/a"), keys_only=keys_only).order("-n"))
    gc.collect()
    tracemalloc.start()
    for start in range(0, len(rows), 250):
        part = rows[start : start + 250]
        # Distinct bytes, like those read from storage.
        texts, held = [bytes(bytearray(text)) for text, _ in part], [WireValue(bytes(bytearray(v))) for _, v in part]
        feed(step, [Batch.of_texts(texts, held)])
    del texts, held
    gc.collect()
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held_bytes <= step._sorter._bytes <= 3 * held_bytes


def test_values_of_a_keys_only_query_are_held_only_in_place_of_a_long_sort_key():
    contents = {Key("/a/1"): {"n": "x" * LONG_SORT_KEY_BYTES}, Key("/a/2"): {"n": "x"}}
    batches = run(Query(Key("/a"), keys_only=True).order("n"), serialized(contents))
    assert [value for batch in batches for value in batch.values] == [None, None]
    step = feed(Pipeline(Query(Key("/a"), keys_only=True).order("n")), serialized(contents))
    assert step._sorter._bytes < 2 * LONG_SORT_KEY_BYTES


def test_entries_without_keys_keep_their_sequence():
    batches = [Batch([None] * 5, [encode_value({"n": n % 2, "at": (part, n)}) for n in range(5)]) for part in range(4)]
    found = [value["at"] for _, value in entries_of(run(Query(Key("/a")).order("n"), batches))]
    assert found == [[part, n] for parity in (0, 1) for part in range(4) for n in range(5) if n % 2 == parity]


def test_foreign_values_among_serialized_ones_are_sorted_with_them():
    batches = [Batch([Key("/a/1")], [encode_value({"n": 2})]), Batch([Key("/a/2"), Key("/a/3")], [{"n": 1}, b"raw"])]
    found = entries_of(run(Query(Key("/a")).order("n"), batches))
    assert found == [(Key("/a/3"), b"raw"), (Key("/a/2"), {"n": 1}), (Key("/a/1"), {"n": 2})]


def test_sort_keys_and_positions_are_those_of_the_entries():
    query = Query(Key("/a"), sort_keys=True).order("n").order("-m")
    contents = {Key(f"/a/{number}"): {"n": number % 2, "m": number} for number in range(9)}
    for batch in run(query, serialized(contents)):
        expected = [query.order_sort_key(key, value) for key, value in batch.entries()]
        assert batch.sort_keys == expected
        assert batch.position == Position(expected[-1], batch.keys[-1])
        assert all(one < other for one, other in pairwise(zip(batch.sort_keys, map(str, batch.keys), strict=True)))


@given(
    st.one_of(
        st.lists(values, max_size=6),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6),
        st.lists(st.integers(-(2**53), 2**53), max_size=6),
        st.lists(st.floats(), max_size=6),
        st.lists(st.text(), max_size=6),
    ),
    st.booleans(),
)
def test_a_column_of_sort_keys_is_that_of_each_value(column, descending):
    assert encode_column(column, descending=descending) == [encode(value, descending=descending) for value in column]


@pytest.mark.parametrize("column", [[2**53 + 1], [-(2**53) - 1, 5], [-0.0], [float("nan"), 1.0], [True, 1], [1, 1.5]])
def test_columns_at_the_edges_of_the_fast_paths(column):
    assert encode_column(column) == list(map(encode, column))
