"""Metadata on its way through queries: columns of batches, sorting, merging, cursors, links and tiers."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import (
    Batch,
    DictDatastore,
    Entry,
    InvalidQueryError,
    Key,
    LRUCacheDatastore,
    Max,
    NullDatastore,
    Query,
    ShardedDatastore,
    ShimDatastore,
    StoredEntry,
    SymlinkDatastore,
    TieredDatastore,
    UnsupportedError,
)
from datastore.engine import sorting
from datastore.engine.merge import BlockMerge
from datastore.engine.pipeline import Pipeline
from datastore.filesystem import FileSystemDatastore
from datastore.model.entries import Position
from datastore.model.fields import Filter, Order, column_of, object_getattr
from datastore.model.metadata import Metadata
from datastore.model.operations import ENTRIES
from datastore.testing import cases, model
from datastore.wire import WireValue, encode_value

A, B, C, D = map(Key, ("/c/a", "/c/b", "/c/c", "/c/d"))
STAMPS = [(3, 10, 30), Metadata(1, 10, 10), (2, 10, 20, 99)]


def a_batch(*, by_text=False):
    keys, values = [A, B, C], [1, 2, 3]
    if by_text:
        return Batch.of_texts([str(key).encode() for key in keys], values, metadata=list(STAMPS))
    return Batch(keys, values, metadata=list(STAMPS))


# The query itself


def test_a_query_for_metadata_is_told_from_one_without():
    query = Query(A, metadata=True)
    assert query != Query(A)
    assert repr(query) == "Query(Key('/c/a'), metadata=True)"
    assert query.dict() == {"key": "/c/a", "metadata": True}
    for twin in (Query.from_dict(query.dict()), copy.copy(query), query.frozen(), pickle.loads(pickle.dumps(query))):
        assert twin == query
        assert twin.metadata is True
    assert query.replaced(metadata=False) == Query(A)


def test_a_query_needs_metadata_if_it_returns_or_reads_it():
    assert not Query(A).filter("version", "=", 1).order("__key__").needs_metadata
    assert Query(A, metadata=True).needs_metadata
    assert Query(A).filter("__version__", ">", 1).needs_metadata
    assert Query(A).filter(~(Filter("n", "=", 1) | Filter("__create_time__", ">", 1))).needs_metadata
    assert Query(A).order("n").order("-__update_time__").needs_metadata
    assert not Query(A, keys_only=True).filter("__version__", ">", 1).order("__update_time__").reads_values


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_whether_to_return_metadata_is_a_bool(wrong):
    with pytest.raises(TypeError, match="metadata must be True or False"):
        Query(A, metadata=wrong)
    with pytest.raises(TypeError, match="metadata must be True or False"):
        Query(A).metadata = wrong


@pytest.mark.parametrize("field", ["__version__", "__create_time__", "__update_time__"])
def test_metadata_is_not_among_the_fields_of_values(field):
    with pytest.raises(InvalidQueryError, match="metadata=True"):
        Query(A, fields=["n", field])


def test_the_position_in_an_order_of_metadata_needs_the_metadata():
    query = Query(A).order("-__version__")
    with pytest.raises(InvalidQueryError, match="without its metadata"):
        query.order_sort_key(B, {"n": 1})
    assert query.order_sort_key(B, None, (2, 1, 1)) < query.order_sort_key(B, None, (1, 1, 1))


def test_a_column_of_metadata_reads_nothing_else():
    version, updated = (column_of(object_getattr, field) for field in ("__version__", "__update_time__"))
    assert version([], [1, 2, 3], STAMPS) == [3, 1, 2]
    assert updated([], [1, 2, 3], STAMPS) == [datetime(1970, 1, 1, 0, 0, 0, each, UTC) for each in (30, 10, 20)]
    assert version([], [], None) == []
    with pytest.raises(UnsupportedError, match="__version__"):
        version([A], [1], None)


# Batches


@pytest.mark.parametrize("by_text", [False, True])
def test_every_change_of_a_batch_keeps_each_entry_with_its_metadata(by_text):
    expected = {key: Metadata(*stamp) for key, stamp in zip((A, B, C), STAMPS, strict=True)}

    def held(batch):
        return {entry.key: entry.metadata for entry in batch.entries()}

    assert held(a_batch(by_text=by_text)) == expected
    cut = a_batch(by_text=by_text)
    cut.cut(1, 3)
    assert held(cut) == {B: expected[B], C: expected[C]}
    assert held(a_batch(by_text=by_text).selected([True, False, True])) == {A: expected[A], C: expected[C]}
    assert held(a_batch(by_text=by_text).kept([False, False, True])) == {C: expected[C]}
    assert held(a_batch(by_text=by_text).renamed([D, None, C], None)) == {D: expected[A], C: expected[C]}
    parts = list(a_batch(by_text=by_text).parts(2))
    assert [held(part) for part in parts] == [{A: expected[A], B: expected[B]}, {C: expected[C]}]
    stripped = a_batch(by_text=by_text)
    stripped.strip_prefix("/c")
    assert held(stripped) == {Key("/a"): expected[A], Key("/b"): expected[B], Key("/c"): expected[C]}
    cleared = a_batch(by_text=by_text)
    cleared.clear()
    assert (len(cleared), cleared.metadata) == (0, [])
    assert list(Batch.of_entries(list(a_batch(by_text=by_text).entries())).entries()) == [(A, 1), (B, 2), (C, 3)]
    assert held(Batch.of_entries(list(a_batch(by_text=by_text).entries()))) == expected


def test_a_batch_of_entries_has_metadata_only_if_all_have_it():
    known = StoredEntry.read(A, 1, (1, 1, 1))
    assert Batch.of_entries([known, Entry(B, 2)]).metadata is None
    assert Batch.of_entries([known, known]).metadata == [(1, 1, 1, 0)] * 2
    with pytest.raises(UnsupportedError, match="keeps no versions"):
        Batch.of_entries([Entry(B, 2)]).required_metadata()
    assert Batch([], []).required_metadata() == []


# Sorting and merging


def with_metadata(contents):
    """Some metadata for each key."""
    return {key: Metadata(7 * place % 11 + 1, place % 3, place % 5) for place, key in enumerate(contents)}


def raw_batches(contents, metadata, form, size):
    entries = sorted(contents.items(), key=lambda entry: str(entry[0]))
    for start in range(0, len(entries), size):
        keys = [key for key, _ in entries[start : start + size]]
        yield Batch(
            keys, [form(contents[key]) for key in keys], metadata=[metadata[key] for key in keys], scanned=len(keys)
        )


@pytest.mark.parametrize("form", [encode_value, lambda value: value], ids=["serialized", "objects"])
@given(data=st.data())
def test_any_query_sorts_and_filters_by_metadata_like_the_naive_model(form, data):
    contents = data.draw(cases.contents(cases.wire_values(), max_size=40))
    metadata = with_metadata(contents)
    query = data.draw(cases.queries(cases.wire_values()))
    query.metadata = data.draw(st.booleans())
    for condition in data.draw(cases.metadata_filters(metadata.values())):
        query.filter(condition)
    for place, order in data.draw(cases.metadata_orders()):
        query.orders.insert(place, order)
    in_scope = {key: value for key, value in contents.items() if query.covers(key)}
    pipeline = Pipeline(query)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "RUN_ENTRIES", 4)
        patch.setattr(sorting, "STRIDE", 2)
        patch.setattr(sorting, "LEAD_ENTRIES", 3)
        for batch in raw_batches(in_scope, metadata, form, data.draw(st.integers(1, 9))):
            found += [pipeline.feed(part) for part in pipeline.steps(batch)]
        found += pipeline.finish()
    entries = [entry for batch in found if batch is not None for entry in batch.entries()]
    plain = [
        StoredEntry.read(key, _plain(value), entry.metadata) if entry.metadata else Entry(key, _plain(value))
        for entry in entries
        for key, value in [entry]
    ]
    problem = model.difference(plain, model.answer(query, contents, metadata=metadata).entries)
    assert problem is None, (query, problem)


def _plain(value):
    return value.decode() if isinstance(value, WireValue) else value


@pytest.mark.parametrize("values", [[1, 2, 3], list(map(encode_value, [1, 2, 3]))], ids=["objects", "serialized"])
def test_a_sort_that_should_return_metadata_refuses_entries_without_it(values):
    pipeline = Pipeline(Query(Key("/c"), metadata=True).order("n"))
    with pytest.raises(UnsupportedError, match="keeps no versions"):
        pipeline.feed(Batch([A, B, C], values))


@pytest.mark.parametrize("sort_keys", [False, True])
def test_merged_entries_keep_their_metadata(sort_keys):
    query = Query(Key("/c"), metadata=True).order("-__version__")
    merge = BlockMerge(query, 2)
    for number, entries in enumerate([[(A, 1, (9, 1, 1)), (B, 2, (4, 1, 1))], [(C, 3, (7, 1, 1)), (D, 4, (2, 1, 1))]]):
        batch = Batch([key for key, _, _ in entries], [value for _, value, _ in entries])
        batch.metadata = [stamp for _, _, stamp in entries]
        if sort_keys:
            batch.sort_keys = [query.sort_key_of(*entry) for entry in entries]
        merge.feed(number, batch)
    merged = list(merge.take().entries())
    for number in range(2):
        merge.end(number)
    merged += merge.take().entries()
    assert [(entry.key, entry.version) for entry in merged] == [(A, 9), (C, 7), (B, 4), (D, 2)]


def test_shards_whose_values_have_no_sort_keys_are_merged_by_metadata():
    class Odd:
        pass

    store = ShardedDatastore([DictDatastore() for _ in range(3)])
    keys = [Key(f"/c/{number}") for number in range(12)]
    for key in reversed(keys):
        # On the wire this object would have no place in an order.
        store.put(key, {"odd": Odd()})
    query = Query(Key("/c"), keys_only=True).order("missing").order("__version__").order("odd")
    assert [entry.key for entry in store.query(query).entries()] == keys[::-1]


# Cursors


@pytest.fixture
def store():
    store = DictDatastore()
    for number, key in enumerate((A, B, C, D)):
        store.put(key, {"n": number})
    return store


def test_entries_are_known_after_next_and_in_the_batches_that_follow(store):
    known = {key: store.entry(key).metadata for key in (A, B, C, D)}
    cursor = store.query(Query(Key("/c"), metadata=True))
    assert next(cursor) == {"n": 0}
    assert {entry.key: entry.metadata for entry in cursor.entries()} == {key: known[key] for key in (B, C, D)}
    cursor = store.query(Query(Key("/c"), metadata=True))
    next(cursor)
    assert [batch.metadata for batch in cursor.batches()] == [[known[key] for key in (B, C, D)]]


def test_values_that_are_replaced_in_step_keep_their_metadata(store):
    cursor = store.query(Query(Key("/c"), metadata=True))
    values = cursor._iterable
    cursor._iterable = (value["n"] for value in values)
    found = list(cursor.entries())
    assert found == [(A, 0), (B, 1), (C, 2), (D, 3)]
    assert [entry.version for entry in found] == [store.entry(key).version for key in (A, B, C, D)]
    cursor = store.query(Query(Key("/c"), metadata=True))
    cursor._iterable = [1, 2]
    with pytest.raises(UnsupportedError, match="keeps no versions"):
        list(cursor.entries())


def test_a_query_applies_to_entries_with_metadata(store):
    entries = [store.entry(key) for key in (C, A, D, B)]
    query = Query(Key("/c"), metadata=True, limit=2).filter("n", "<", 3).order("-__version__")
    found = list(query.apply(entries).entries())
    assert found == [entries[0], entries[3]]
    assert [entry.metadata for entry in found] == [entries[0].metadata, entries[3].metadata]
    # Without a time zone, a datetime means UTC.
    updated = entries[0].update_time.replace(tzinfo=None)
    assert A in [
        entry.key for entry in Query(Key("/c")).filter("__update_time__", "<=", updated).apply(entries).entries()
    ]
    with pytest.raises(UnsupportedError):
        list(query.apply([Entry(A, {"n": 1})]))
    with pytest.raises(UnsupportedError):
        list(query([{"n": 1}]))


def test_a_position_in_an_order_of_metadata_leads_on(store):
    query = Query(Key("/c"), metadata=True, limit=2).order("-__update_time__").order("-__version__")
    first = list(store.query(query).entries())
    query.start_after = Position(query.order_sort_key(*first[-1], first[-1].metadata), first[-1].key)
    found = [entry.key for entry in [*first, *store.query(query).entries()]]
    assert found == [D, C, B, A]


# Stores


def test_stores_without_versions_refuse_what_needs_metadata(tmp_path):
    stores = [LRUCacheDatastore(9), NullDatastore(), FileSystemDatastore(tmp_path)]
    for plain in (*stores, ShardedDatastore([DictDatastore(), stores[0]]), SymlinkDatastore(stores[0])):
        for query in (
            Query(Key("/c"), metadata=True),
            Query(Key("/c")).filter("__version__", ">", 1),
            Query(Key("/c")).order("__update_time__"),
        ):
            with pytest.raises(UnsupportedError, match="keeps no versions"):
                plain.query(query)
        with pytest.raises(UnsupportedError, match="keeps no versions"):
            plain.aggregate(Query(Key("/c")), {"last": Max("__update_time__")})


def test_a_watch_reads_no_metadata(store):
    for query in (Query(Key("/c"), metadata=True), Query(Key("/c")).filter("__version__", ">", 1)):
        with pytest.raises(InvalidQueryError, match="metadata"):
            store.watch(query)


def test_a_store_that_promises_versions_must_return_metadata():
    class Forgetful(DictDatastore):
        def query(self, query):
            return query.apply(Entry(key, 1) for key in (A, B))

    with pytest.raises(UnsupportedError, match="keeps no versions"):
        list(Forgetful().query(Query(Key("/c"), metadata=True)))


def test_a_shim_that_reads_or_writes_by_verbs_promises_no_versions():
    class Reads(ShimDatastore):
        def get(self, key):
            return self.child_datastore.get(key)

        def batch_get(self, keys):
            return self.child_datastore.batch_get(keys)

    class Writes(ShimDatastore):
        def put(self, key, value):
            self.child_datastore.put(key, value)

        def batch_write(self, writes):
            return self.child_datastore.batch_write(writes)

    assert not Reads(DictDatastore()).capability.versions
    assert not Writes(DictDatastore()).capability.versions


def test_metadata_of_several_entries_is_not_read_by_a_batch_get_without_it():
    class Batches(DictDatastore):
        def batch_get(self, keys):
            return super().batch_get(keys)

    store = Batches()
    store.put(A, 1)
    results = store.read([A, B], ENTRIES)
    assert [result.metadata for result in results] == [store.entry(A).metadata, None]


def test_a_link_has_the_metadata_of_the_entry_that_it_refers_to():
    links = SymlinkDatastore(DictDatastore())
    links.put(A, {"n": 1})
    links.put(C, {"n": 3})
    links.link(A, B)
    links.link(Key("/c/missing"), D)
    links.put(A, {"n": 2})
    found = list(links.query(Query(Key("/c"), metadata=True).order("-__version__")).entries())
    assert found == [(A, {"n": 2}), (B, {"n": 2}), (C, {"n": 3})]
    assert [entry.metadata for entry in found] == [links.entry(key).metadata for key in (A, B, C)]
    assert found[0].metadata == found[1].metadata


def test_the_last_tier_answers_queries_for_metadata():
    last = DictDatastore()
    store = TieredDatastore([DictDatastore(), last])
    store.put(A, 1)
    store.put(A, 2)
    store.get(A)
    (entry,) = store.query(Query(Key("/c"), metadata=True)).entries()
    assert (entry, entry.metadata) == (last.entry(A), last.entry(A).metadata)


def test_a_value_that_a_subclass_stored_by_itself_is_the_oldest():
    store = DictDatastore()
    store.put(A, 1)
    store._items["/c"][B] = 2
    found = list(store.query(Query(Key("/c"), metadata=True).order("__version__")).entries())
    assert list(map(attrgetter("key", "version"), found)) == [(B, 1), (A, store.entry(A).version)]


def test_orders_compare_times_and_other_datetimes():
    order = Order("t")
    column = [{"t": datetime(2020, 1, 2)}, {"t": datetime(2020, 1, 1, tzinfo=UTC)}]
    assert [value["t"].day for value in Query(A).order(order)(column)] == [1, 2]
