"""A query that ends early under asyncio closes what it was reading before the caller continues."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest

from datastore import aio
from datastore.engine.plan import ALL_FILTERS
from datastore.model.entries import Entry
from datastore.model.key import Key
from datastore.model.query import Query


class Rows(aio.Datastore):
    """Answers queries as docs/backends.md does, from a generator that must be closed."""

    def __init__(self) -> None:
        self.open = 0

    async def get(self, key: Key) -> Any:
        return None

    def scan(self, query: Query) -> aio.Scan:
        return aio.Scan.from_entries(self._rows(query.key), ALL_FILTERS)

    async def _rows(self, above: Key) -> AsyncGenerator[Entry]:
        self.open += 1
        try:
            for number in range(1000):
                yield Entry(above.child(f"{number:04}"), number)
        finally:
            self.open -= 1


STORES: dict[str, Callable[[Rows], aio.Datastore]] = {
    "itself": lambda rows: rows,
    "namespace": lambda rows: aio.NamespaceDatastore("/n", rows),
    "sharded": lambda rows: aio.ShardedDatastore([rows]),
    "mount": lambda rows: aio.MountDatastore({"/": rows}),
}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("query", [Query(Key("/")), Query(Key("/"), limit=40)], ids=["closed", "limited"])
async def test_a_query_that_ends_early_has_closed_the_entries_below(name: str, query: Query) -> None:
    rows = Rows()
    cursor = STORES[name](rows).query(query)
    await anext(cursor)
    assert rows.open == 1
    await cursor.aclose()
    assert rows.open == 0


async def test_the_values_of_shards_that_are_not_read_to_the_end_are_closed() -> None:
    rows = Rows()
    values: AsyncIterator[Any] = aio.ShardedDatastore([rows]).shard_query_generator(Query(Key("/")))
    await anext(values)
    assert rows.open == 1
    await values.aclose()  # type: ignore[attr-defined]
    assert rows.open == 0


async def test_a_query_of_the_root_of_a_namespace_closes_its_own_batches() -> None:
    below = aio.DictDatastore()
    for number in range(100):
        await below.put(Key(f"/n/{number}"), number)
    store = aio.NamespaceDatastore("/n", below)
    closed: list[str] = []
    renamed = store._renamed

    async def watched(child: Any) -> AsyncGenerator[Any]:
        try:
            async for batch in renamed(child):
                yield batch
        finally:
            closed.append("renamed")

    store._renamed = watched  # type: ignore[method-assign]
    async with store.query(Query(Key("/"))) as cursor:
        await anext(cursor)
    assert closed == ["renamed"]
