"""One set of generated entries and queries, and every way of storing them: all must give the same answers.

Order, entries, `skipped` and `returned` are compared with the naive model's, and so with one another's; a
position that one store gave must continue the query on every other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, wire
from datastore.aio.base import Datastore
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Entry, Position, Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing import cases, model
from datastore_client.aio import connect
from tests.support import clusters
from tests.support.capabilities import decoding

Stores = Mapping[str, Datastore]


def on_lmdb(directory: Path, serializer: Any = wire.codec) -> Datastore:
    return aio.SerializerShimDatastore(lift(LMDBDatastore(directory)), serializer)


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    """Every way of storing, all empty."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(clusters.node(tmp_path / "node"))
        proxy = await stack.enter_async_context(clusters.proxy(tmp_path))
        by_collection = await stack.enter_async_context(clusters.proxy(shard_by="collection"))
        mixed = [aio.DictDatastore(), on_lmdb(tmp_path / "mixed"), aio.ShardedDatastore([aio.DictDatastore()])]
        stores = {
            "dict": aio.DictDatastore(),
            "lmdb": on_lmdb(tmp_path / "lmdb"),
            "lmdb, values left in wire form": aio.SerializerShimDatastore(
                on_lmdb(tmp_path / "lazy", wire.lazy), decoding
            ),
            "files": aio.SerializerShimDatastore(lift(FileSystemDatastore(tmp_path / "files")), wire.codec),
            "namespace": aio.NamespaceDatastore("/n:s", aio.DictDatastore()),
            "identity": aio.KeyTransformDatastore(aio.DictDatastore()),
            "cache": aio.CacheShimDatastore(on_lmdb(tmp_path / "cached"), cache=aio.LRUCacheDatastore(3)),
            "links": aio.SymlinkDatastore(aio.DictDatastore()),
            "directories": aio.DirectoryDatastore(aio.DictDatastore()),
            "sharded": aio.ShardedDatastore([aio.DictDatastore() for _ in range(4)]),
            "shards of several kinds": aio.ShardedDatastore(mixed, lambda key: len(str(key))),
            "remote": connect(node.url),
            "proxy": connect(proxy.url),
            "proxy by collection": connect(by_collection.url),
        }
        for store in stores.values():
            stack.push_async_callback(store.aclose)
        yield stores


async def write(stores: Stores, writes: list[Write]) -> None:
    for name, store in stores.items():
        for outcome in await store.batch_write(writes):
            assert outcome.error is None, (name, outcome)


async def check(stores: Stores, query: Query, contents: Mapping[Key, Any], after: Entry | None = None) -> None:
    expected = model.answer(query, contents, after)
    for name, store in stores.items():
        cursor = store.query(query)
        found = [entry async for entry in cursor.entries()]
        problem = model.difference(found, expected.entries)
        assert problem is None, f"{name}: {query!r}: {problem}"
        counts = (cursor.returned, cursor.skipped)
        assert counts == (len(expected.entries), expected.skipped), f"{name}: {query!r}"


@given(data=st.data())
async def test_generated_queries_have_the_same_answers_everywhere(stores: Stores, data: st.DataObject) -> None:
    contents = data.draw(cases.contents(cases.wire_values(), max_size=24))
    await write(stores, [Write(*pair) for pair in contents.items()])
    try:
        for query in data.draw(st.lists(cases.queries(cases.wire_values()), min_size=1, max_size=5)):
            await check(stores, query, contents)
            whole = model.answer(query.replaced(keys_only=False, fields=None), contents).entries
            if whole and data.draw(st.booleans()):
                after = data.draw(st.sampled_from(whole))
                assert after.key is not None
                sort_key = query.sort_key_of(after.key, after.value) if query.orders else b""
                query.start_after = Position(sort_key, after.key)
                await check(stores, query, contents, after)
    finally:
        await write(stores, [Write(key, None) for key in contents])


@given(data=st.data())
async def test_generated_writes_leave_the_same_entries_everywhere(stores: Stores, data: st.DataObject) -> None:
    writes = [Write(*pair) for pair in data.draw(cases.writes(cases.wire_values()))]
    contents: dict[Key, Any] = {}
    for key, value in writes:
        contents.pop(key, None)
        if value is not None:
            contents[key] = value
    try:
        await write(stores, writes)
        await check(stores, Query(Key("/"), recursive=True), contents)
        await check(stores, Query(Key("/a"), recursive=True, keys_only=True).order("-n"), contents)
    finally:
        await write(stores, [Write(key, None) for key in {write.key for write in writes}])


@pytest.mark.parametrize(
    "orders",
    [["-n"], *(pytest.param(orders, marks=pytest.mark.long) for orders in ([], ["group", "-n"]))],
    ids=["by order", "by key", "by two orders"],
)
async def test_a_position_of_one_store_continues_the_query_on_every_other(stores: Stores, orders: list[str]) -> None:
    contents = cases.many_entries(150, filler=900)
    pairs = [Write(*pair) for pair in contents.items()]
    await write(stores, pairs)
    query = Query(Key("/many"))
    for order in orders:
        query.order(order)
    whole = model.answer(query, contents).keys
    for name, store in stores.items():
        read: list[Key] = []
        async for batch in store.query(query).batches():
            read += batch.keys
            if batch.position is None or not 0 < len(read) < len(whole):
                continue
            left = query.copy()
            left.start_after = batch.position
            for other_name, other in stores.items():
                rest = [entry.key async for entry in other.query(left).entries()]
                assert read + rest == whole, (name, other_name, len(read))
        assert read == whole, name
