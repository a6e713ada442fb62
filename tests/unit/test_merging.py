"""The exact merge of sorted shards."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datastore import Batch, Cursor, DictDatastore, Key, Query, ShardedDatastore
from datastore.engine.merge import BlockMerge
from datastore.model.entries import Position
from datastore.model.limits import COMPARED_DEPTH
from datastore.testing import cases, model

values = cases.wire_values()


def streams_of(query, contents, shards, size, *, sort_keys):
    """Each shard's own answer to a query, as batches of `size`."""
    asked = query.copy()
    asked.offset, asked.limit, asked.keys_only, asked.fields = 0, None, False, None
    if query.limit is not None:
        asked.limit = query.offset + query.limit
    for shard in range(shards):
        part = {key: value for key, value in contents.items() if hash(key) % shards == shard}
        entries = model.answer(asked, part).entries
        batches = []
        for start in range(0, len(entries), size):
            chunk = entries[start : start + size]
            batch = Batch([entry.key for entry in chunk], [entry.value for entry in chunk], scanned=len(chunk))
            if sort_keys and query.orders:
                batch.sort_keys = [query.sort_key_of(*entry) for entry in chunk]
            batches += [Batch([], [], scanned=1), batch]
        yield batches


def merged(query, streams):
    """The results of a merge, and the most entries that it held at once."""
    merge = BlockMerge(query, len(streams))
    feeds = [iter(stream) for stream in streams]
    given_out, held, most = [], 0, 0
    while not merge.done:
        for number in merge.wanted():
            batch = next(feeds[number], None)
            if batch is None:
                merge.end(number)
            else:
                held += len(batch)
                merge.feed(number, batch)
        most = max(most, held)
        block = merge.take()
        held -= len(block) + block.skipped
        given_out.append(block)
    return given_out, most


@given(cases.contents(values), cases.queries(values), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_the_merge_of_any_shards_is_the_answer_of_one_store(contents, query, shards, size, sort_keys):
    streams = list(streams_of(query, contents, shards, size, sort_keys=sort_keys))
    blocks, _ = merged(query, streams)
    expected = model.answer(query, contents)
    entries = [tuple(entry) for block in blocks for entry in block.entries()]
    assert model.same(entries, [tuple(entry) for entry in expected.entries])
    if query.limit != 0:
        assert sum(block.skipped for block in blocks) == expected.skipped


@given(cases.contents(values), cases.queries(values), st.integers(2, 4))
@example({Key(f"/a/{number}"): {"n": number} for number in range(8)}, Query(Key("/a")).order("n"), 2)
def test_the_position_of_each_block_is_that_of_its_last_entry(contents, query, shards):
    query.keys_only, query.fields = False, None
    blocks, _ = merged(query, list(streams_of(query, contents, shards, 2, sort_keys=True)))
    for block in blocks:
        if len(block):
            key, value = block.keys[-1], block.values[-1]
            assert block.position.key == key
            assert block.position.sort_key == (query.order_sort_key(key, value) if query.orders else b"")


@given(cases.contents(values), cases.queries(values), st.integers(2, 4))
@example({Key(f"/a/{name}"): {} for name in "abcdefgh"}, Query(Key("/a"), limit=3).order("n"), 2)
def test_blocks_have_the_sort_keys_that_their_streams_had(contents, query, shards):
    query.keys_only, query.fields = False, None
    for sort_keys in (False, True):
        blocks, _ = merged(query, list(streams_of(query, contents, shards, 2, sort_keys=sort_keys)))
        for block in blocks:
            if query.orders and sort_keys and len(block):
                assert block.sort_keys == [query.order_sort_key(*entry) for entry in block.entries()]
            else:
                assert not block.sort_keys
            if query.orders and not sort_keys and block.position is not None:
                # A position is computed only where a limit ends.
                key, value = block.keys[-1], block.values[-1]
                assert block.position == Position(query.order_sort_key(key, value), key)


def test_scanned_entries_are_counted_once():
    merge = BlockMerge(Query(Key("/a")), 2)
    assert merge.take().scanned == 0
    merge.feed(0, Batch([Key("/a/1")], [1], scanned=3))
    assert (len(merge.take()), merge.take().scanned) == (0, 0)
    merge.feed(1, Batch([Key("/a/2")], [2], scanned=4))
    assert (merge.take().scanned, merge.take().scanned) == (4, 0)


def test_ties_of_streams_without_keys_come_by_stream_whichever_ends_first():
    query = Query(Key("/a")).order("n")
    one, two = {"n": 1, "of": 0}, {"n": 1, "of": 1}
    merge = BlockMerge(query, 2)
    merge.feed(0, Batch([None, None], [one, one]))
    merge.feed(1, Batch([None, None], [two, two]))
    assert merge.take().values == [one, one]
    merge.end(0)
    assert merge.take().values == [two, two]


def test_streams_are_compared_by_values_if_one_has_no_sort_keys():
    query = Query(Key("/a")).order("n")
    merge = BlockMerge(query, 2)
    merge.feed(0, Batch([Key("/a/1")], [{"n": 2}], sort_keys=[query.order_sort_key(None, {"n": 2})]))
    merge.feed(1, Batch([Key("/a/2")], [{"n": object}]))
    merge.end(0)
    merge.end(1)
    block = merge.take()
    assert (block.values, block.sort_keys, block.position) == ([{"n": 2}, {"n": object}], None, None)


def nested(depth, innermost):
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [COMPARED_DEPTH - 1, COMPARED_DEPTH, COMPARED_DEPTH + 1, 150])
@pytest.mark.parametrize("order", ["v", "-v"])
def test_shards_of_deep_values_answer_as_one_store(depth, order):
    shards = ShardedDatastore([DictDatastore(), DictDatastore()], shardingfn=lambda key: int(key.name))
    one = DictDatastore()
    for number in range(8):
        for store in (shards, one):
            store.put(Key(f"/a/{number}"), {"v": nested(depth, 100 - number)})
    for limit, offset in ((None, 0), (3, 2)):
        query = Query(Key("/a"), limit, offset).order(order)
        batches = list(islice(shards.query(query).batches(), 1000))
        keys = [key for batch in batches for key in batch.keys]
        assert keys == [entry.key for entry in one.query(query).entries()]


class Unsorted(DictDatastore):
    """Claims that its results are in order, but they are not."""

    ordered_queries = True

    def query(self, query):
        entries = list(super().query(query).entries())
        keys, values = [entry.key for entry in entries], [entry.value for entry in entries]
        half = len(keys) // 2
        turned = Batch(keys[half:] + keys[:half], values[half:] + values[:half])
        return Cursor.from_batches(query, (batch for batch in [turned]))


@pytest.mark.parametrize("orders", [[], ["n"], ["-n"]], ids=str)
def test_a_merge_of_unordered_streams_ends_and_loses_nothing(orders):
    shards = ShardedDatastore([Unsorted(), Unsorted()], shardingfn=lambda key: int(key.name))
    for number in range(10):
        shards.put(Key(f"/a/{number}"), {"n": number})
    query = Query(Key("/a"))
    for order in orders:
        query.order(order)
    batches = list(islice(shards.query(query).batches(), 1000))
    assert sorted(key.name for batch in batches for key in batch.keys) == [str(number) for number in range(10)]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=2, max_size=3))
def test_a_block_is_never_empty_once_every_stream_has_a_batch(numbers):
    merge = BlockMerge(Query(Key("/a")), len(numbers))
    for number, stream in enumerate(numbers):
        merge.feed(number, Batch([Key(f"/a/{item}") for item in stream], list(stream)))
    given_out = []
    while not merge.done:
        block = merge.take()
        assert len(block)
        given_out += block.values
        for number in merge.wanted():
            merge.end(number)
    assert sorted(given_out) == sorted(item for stream in numbers for item in stream)


def shard_batches(numbers, size):
    keys = [Key(f"/a/{number:05}") for number in numbers]
    return [Batch(keys[i : i + size], [0] * len(keys[i : i + size])) for i in range(0, len(keys), size)]


def test_memory_is_bounded_by_a_batch_a_stream():
    streams = [shard_batches(range(shard, 8000, 8), 50) for shard in range(8)]
    blocks, most = merged(Query(Key("/a")), streams)
    assert sum(map(len, blocks)) == 8000
    assert most <= 2 * 8 * 50


def test_a_stream_far_ahead_waits_and_does_not_grow():
    streams = [shard_batches(range(1000), 50), shard_batches(range(50_000, 50_100), 50)]
    blocks, most = merged(Query(Key("/a")), streams)
    assert most <= 2 * 2 * 50
    keys = [str(key) for block in blocks for key in block.keys]
    assert keys == sorted(keys)
    assert len(keys) == 1100


def test_streams_that_no_longer_matter_are_not_asked():
    merge = BlockMerge(Query(Key("/a"), limit=1), 2)
    for number, batches in enumerate([shard_batches([1, 3], 2), shard_batches([2, 4], 2)]):
        merge.feed(number, batches[0])
    assert len(merge.take()) == 1
    assert merge.done
    nothing = BlockMerge(Query(Key("/a"), limit=0), 2)
    assert nothing.done


def test_entries_without_keys_come_first_and_by_stream():
    merge = BlockMerge(Query(Key("/a")), 2)
    merge.feed(0, Batch([None, Key("/a/2")], ["x", 2]))
    merge.feed(1, Batch([None, Key("/a/1")], ["y", 1]))
    merge.end(0)
    merge.end(1)
    assert merge.wanted() == []
    assert merge.take().values == ["x", "y", 1, 2]
    assert merge.done


def test_a_single_stream_passes_unchanged():
    merge = BlockMerge(Query(Key("/a"), limit=3, offset=1), 1)
    merge.feed(0, Batch([], [], position=Position(b"", Key("/a/0")), scanned=9))
    life = merge.take()
    assert (len(life), life.position, life.scanned) == (0, Position(b"", Key("/a/0")), 9)
    batch = Batch([Key("/a/1"), Key("/a/2")], [1, 2], position=Position(b"", Key("/a/3")))
    merge.feed(0, batch)
    block = merge.take()
    assert (block.values, block.skipped, block.position) == ([2], 1, Position(b"", Key("/a/3")))
    assert merge.wanted() == [0]
    merge.end(0)
    assert merge.done
