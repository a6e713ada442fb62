"""A query's own steps over batches, against the naive model."""

from __future__ import annotations

from functools import cmp_to_key

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Batch, Filter, Key, Order, Query
from datastore.engine.pipeline import Pipeline
from datastore.model.encoded import decoded
from datastore.model.entries import Position
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES, FIRST_BATCH_BYTES
from datastore.testing import cases, model
from datastore.wire import WireValue, encode_value

values = cases.wire_values()


def raw_batches(query, contents, sizes):
    """The scope of a query in key order, in batches of these sizes in turn."""
    scope = Query(query.key, recursive=query.recursive)
    entries = model.answer(scope, contents).entries
    start, turn = 0, 0
    while start < len(entries):
        part = entries[start : start + sizes[turn % len(sizes)]]
        yield Batch(
            [entry.key for entry in part],
            [entry.value for entry in part],
            scanned=len(part),
            position=Position(b"", part[-1].key),
        )
        start, turn = start + len(part), turn + 1


def run(query, batches):
    """The output of a pipeline for raw batches, batch by batch."""
    pipeline = Pipeline(query)
    feed = iter(batches)
    while not pipeline.done:
        batch = next(feed, None)
        if batch is None:
            break
        refined = pipeline.feed(batch)
        if refined is not None:
            yield refined
    yield from pipeline.finish()


def test_no_batch_has_a_position_before_the_one_to_start_after():
    contents = {Key(f"/a/{number}"): number for number in range(9)}
    query = Query(Key("/a"))
    query.start_after = Position(b"", Key("/a/6"))
    positions = [batch.position for batch in run(query, raw_batches(Query(Key("/a")), contents, [2]))]
    assert [str(position.key) for position in positions] == ["/a/6", "/a/6", "/a/6", "/a/7", "/a/8"]


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@given(cases.contents(values), cases.queries(values), sizes)
def test_any_query_over_any_batches_matches_the_naive_model(contents, query, sizes):
    batches = list(run(query, raw_batches(query, contents, sizes)))
    entries = [entry for batch in batches for entry in batch.entries()]
    expected = model.answer(query, contents)
    assert model.same([tuple(entry) for entry in entries], [tuple(entry) for entry in expected.entries])
    if query.limit != 0:
        assert sum(batch.skipped for batch in batches) == expected.skipped


def serialized(batches):
    """The same batches with their values as bytes."""
    for batch in batches:
        batch.values = [encode_value(value).data for value in batch.values]
        batch.encode_as(WireValue)
        yield batch


@given(cases.contents(values), cases.queries(values), sizes)
def test_any_query_over_serialized_values_gives_the_same(contents, query, sizes):
    batches = run(query, serialized(raw_batches(query, contents, sizes)))
    entries = [(entry.key, decoded(entry.value)) for batch in batches for entry in batch.entries()]
    assert model.same(entries, [tuple(entry) for entry in model.answer(query, contents).entries])


@pytest.mark.parametrize("op", ["=", "!=", "<=", "starts_with", "contains"])
@pytest.mark.parametrize("wanted", ["Zürich", "Z", "ric", "", "\x00", b"Z\xc3", "\ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["a", "a.b", "__value__"])
def test_filters_by_a_part_find_it_wherever_a_value_has_it(op, wanted, field):
    parts = [
        "Zürich",
        "Z",
        "ric",
        "",
        "x\x00",
        b"Z\xc3\xbcrich",
        ["Zürich"],
        ["ric", b"Z\xc3"],
        {"b": "Zürich"},
        None,
        5,
    ]
    contents = {
        Key(f"/a/{number:02}"): value for number, value in enumerate([*parts, *({"a": each} for each in parts)])
    }
    query = Query(Key("/a")).filter(field, op, wanted)
    found = [key for batch in run(query, serialized(raw_batches(query, contents, [4]))) for key in batch.keys]
    assert found == model.answer(query, contents).keys


@given(cases.contents(values), cases.queries(values), sizes)
def test_resuming_after_any_position_loses_and_repeats_nothing(contents, query, sizes):
    query.keys_only, query.fields = False, None
    whole = [entry for batch in run(query, raw_batches(query, contents, sizes)) for entry in batch.entries()]
    seen = skipped = 0
    for batch in run(query, raw_batches(query, contents, sizes)):
        seen += len(batch)
        skipped += batch.skipped
        if batch.position is None:
            continue
        rest = query.copy()
        rest.start_after = batch.position
        rest.offset = query.offset - skipped
        rest.limit = None if query.limit is None else query.limit - seen
        after = [entry for part in run(rest, raw_batches(query, contents, sizes)) for entry in part.entries()]
        assert model.same([tuple(e) for e in after], [tuple(e) for e in whole[seen:]])


@given(cases.contents(values), cases.queries(values))
def test_sort_keys_are_in_order_with_the_keys(contents, query):
    query.sort_keys = True
    query.keys_only, query.fields = False, None
    for batch in run(query, raw_batches(query, contents, [3])):
        if query.orders and len(batch):
            pairs = list(zip(batch.sort_keys, map(str, batch.keys), strict=True))
            assert pairs == sorted(pairs)
            assert batch.sort_keys == [query.order_sort_key(key, value) for key, value in batch.entries()]


def many(count, value):
    keys = [Key(f"/a/{number:06}") for number in range(count)]
    for start in range(0, count, 500):
        part = keys[start : start + 500]
        yield Batch(part, [value] * len(part), scanned=len(part), position=Position(b"", part[-1]))


def test_a_limit_ends_the_reading():
    taken = []

    def source():
        for batch in many(5000, 1):
            taken.append(batch)
            yield batch

    assert sum(map(len, run(Query(Key("/a"), limit=700), source()))) == 700
    assert len(taken) == 2
    assert not list(run(Query(Key("/a"), limit=0), source()))
    assert len(taken) == 2


def test_an_ordered_query_with_a_limit_holds_few_entries():
    pipeline = Pipeline(Query(Key("/a"), limit=5, offset=5).order("-n"))
    most = 0
    for number, batch in enumerate(many(50_000, None)):
        batch.values = [{"n": number}] * len(batch)
        pipeline.feed(batch)
        most = max(most, len(pipeline._sorter._keys))
    assert most <= 2 * 10 + BATCH_ENTRIES + 500
    assert [entry.value["n"] for batch in pipeline.finish() for entry in batch.entries()] == [99] * 5


def test_sorted_results_come_in_batches_bounded_by_bytes_the_first_small():
    value = "x" * 1000
    batches = list(run(Query(Key("/a")).order("n"), many(2000, value)))
    full = [batch for batch in batches if len(batch)]
    assert len(full[0]) * 1000 <= FIRST_BATCH_BYTES + 1000
    for batch in full[1:]:
        assert len(batch) * 1000 <= BATCH_BYTES + 1000
    assert sum(map(len, full)) == 2000


def test_values_not_of_the_wire_sort_in_process_and_have_no_sort_keys():
    query = Query(Key("/a"), sort_keys=True).order("n")
    big = [Batch([Key("/a/1"), Key("/a/2")], [{"n": 2**70}, {"n": 1}])]
    (batch,) = [batch for batch in run(query, big) if len(batch)]
    assert [value["n"] for value in batch.values] == [1, 2**70]
    assert batch.sort_keys is None


def test_entries_skipped_by_a_child_are_counted():
    batch = Batch([Key("/a/1"), Key("/a/2")], [1, 2], skipped=3, scanned=5)
    refined = Pipeline(Query(Key("/a"), offset=1)).feed(batch)
    assert (len(refined), refined.skipped, refined.scanned) == (1, 4, 5)


class Whole(Filter):
    """Tests the object, not a field."""

    def __call__(self, obj):
        return len(obj) > 1


class Near(Filter):
    """Tests the field in a custom way."""

    def value_passes(self, value):
        return abs(value - self.value) <= 1


class ByLength(Order):
    def keyfn(self, obj):
        return len(obj[self.field])


class Negative(Order):
    def keyfn(self, obj):
        return -super().keyfn(obj)


def test_overridden_methods_of_filters_and_orders_are_used():
    def answer(query, *objects):
        batches = [Batch([Key(f"/a/{number}")], [obj]) for number, obj in enumerate(objects)]
        return [value for batch in run(query, batches) for value in batch.values]

    assert answer(Query(Key("/a")).filter(Whole("n", "=", 0)), {"n": 1}, {"n": 1, "m": 2}) == [{"n": 1, "m": 2}]
    assert answer(Query(Key("/a")).filter(Near("n", "=", 3)), {"n": 1}, {"n": 2}) == [{"n": 2}]
    by_length = Query(Key("/a")).order(ByLength("-n"))
    assert answer(by_length, {"n": "b"}, {"n": "aa"}) == [{"n": "aa"}, {"n": "b"}]
    assert by_length.has_custom_code
    # An overridden key function is used whatever the query's getter is, and looks fields up with it.
    custom = Query(Key("/a"), object_getattr=lambda obj, field: obj["m"]).order(ByLength("n"))
    assert answer(custom, {"n": "bb", "m": 1}, {"n": "a", "m": 2}) == [{"n": "a", "m": 2}, {"n": "bb", "m": 1}]
    custom = Query(Key("/a"), object_getattr=lambda obj, field: obj["m"]).order(Negative("n"))
    assert answer(custom, {"n": "a", "m": 1}, {"n": "bb", "m": 2}) == [{"n": "bb", "m": 2}, {"n": "a", "m": 1}]


@given(st.lists(st.one_of(st.integers(-3, 3), st.floats(), st.booleans(), st.text(max_size=2)), max_size=12))
def test_columns_of_one_kind_and_of_many_sort_identically(column):
    for part in (column, [item for item in column if type(item) is float], [x for x in column if type(x) is str]):
        for text, sign in (("n", 1), ("-n", -1)):
            batch = Batch([Key(f"/a/{number:02}") for number in range(len(part))], [{"n": item} for item in part])
            found = [entry.value["n"] for out in run(Query(Key("/a")).order(text), [batch]) for entry in out.entries()]
            naive = sorted(part, key=cmp_to_key(lambda one, other, sign=sign: sign * model.compare(one, other)))
            assert model.same(found, naive)


#: The values for the first order of an entry: usually of one kind, or of several.
columns = st.one_of(
    st.just(st.integers(-20, 20)),
    st.just(st.text("ab", max_size=3)),
    st.just(st.floats()),
    st.just(st.one_of(st.integers(-3, 3), st.floats(), st.booleans(), st.none(), st.text(max_size=1))),
    st.just(st.one_of(st.integers(0, 3).map(lambda number: f"/{number}").map(Key), st.none())),
)


@given(st.data(), st.integers(1, 4), st.sampled_from(["n", "-n"]), st.integers(1, 7), st.booleans(), st.booleans())
def test_a_limit_selects_the_first_of_all_entries(data, limit, order, size, rising, custom):
    found = data.draw(st.lists(data.draw(columns), min_size=20, max_size=60))
    if rising:
        # Each comes before all previous ones, or each comes too late.
        found.sort(key=cmp_to_key(model.compare), reverse=data.draw(st.booleans()))
    contents = {Key(f"/a/{place:02}"): {"n": value, "m": place % 3} for place, value in enumerate(found)}
    query = Query(Key("/a"), limit, data.draw(st.integers(0, 3))).filter("m", "<", 2).order(order).order("-m")
    naive = model.answer(query, contents)
    seen = []
    if custom:
        query.filters[0] = Filter("m", "<", 2, lambda obj, field: seen.append(obj) or obj[field])
    batches = list(run(query, raw_batches(query, contents, [size])))
    entries = [tuple(entry) for batch in batches for entry in batch.entries()]
    assert model.same(entries, [tuple(entry) for entry in naive.entries])
    assert sum(batch.skipped for batch in batches) == naive.skipped
    # The caller's code sees all entries.
    assert len(seen) == (len(found) if custom else 0)


def test_a_batch_without_a_position_resumes_after_its_last_key():
    batch = Batch([Key("/a/1"), Key("/a/2")], [{"n": 1}, {"n": 2}])
    assert Pipeline(Query(Key("/a")).filter("n", "=", 1)).feed(batch).position == Position(b"", Key("/a/2"))
    assert Pipeline(Query(Key("/a"))).feed(Batch([None], [1])).position is None
