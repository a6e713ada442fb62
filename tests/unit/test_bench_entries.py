"""The entries of a benchmark: written, deleted, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from datastore import aio
from datastore.model.errors import QueryNotSupportedError
from datastore.model.key import Key
from datastore.model.operations import Delete
from datastore.model.query import Query
from datastore_server.bench.entries import BATCH_ENTRIES, BenchEntries
from datastore_server.bench.plan import Plan
from datastore_server.bench.requests import key_text

PLAN = Plan(
    mix={"get": 1},
    rate=1.0,
    in_flight=1,
    duration_s=1.0,
    warm_up_s=0.0,
    keys=BATCH_ENTRIES + 1,
    zipf=0.0,
    value_bytes=(3, 3),
    batch_items=1,
    query_entries=1,
    workers=1,
)


class Held(aio.DictDatastore):
    """Writes once it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.released = asyncio.Event(), asyncio.Event()

    async def batch_write(self, operations: Sequence[Any]) -> Any:
        self.begun.set()
        await self.released.wait()
        return await super().batch_write(operations)


class Late(aio.DictDatastore):
    """Stores an entry again that has just been deleted, once."""

    is_written_again = False

    async def batch_write(self, operations: Sequence[Any]) -> Any:
        results = await super().batch_write(operations)
        if isinstance(operations[0], Delete) and not self.is_written_again:
            self.is_written_again = True
            await self.put(operations[0].key, 1)
        return results


async def keys_of(store: aio.Datastore) -> list[str]:
    return [str(entry.key) async for entry in store.query(Query(Key("/"), recursive=True)).entries()]


async def test_entries_are_written_and_deleted_in_batches() -> None:
    store = aio.DictDatastore()
    await store.put(Key("/Bench/other"), 1)
    entries = BenchEntries(store, PLAN, Key("/Bench"))
    batches: list[int] = []
    await entries.write(batches.append)
    written = await keys_of(store)
    assert [key for key in written if key != "/Bench/other"] == [
        key_text(str(entries.root), number) for number in range(PLAN.keys)
    ]
    assert len(await store.get(Key(written[0]))) == 3
    assert (batches, entries.left) == ([BATCH_ENTRIES, 1], PLAN.keys)
    await entries.delete(batches.append)
    assert (batches[2:], entries.left) == ([BATCH_ENTRIES, 1], 0)
    assert await keys_of(store) == ["/Bench/other"]


def test_each_run_has_entries_of_its_own() -> None:
    store = aio.DictDatastore()
    roots = {BenchEntries(store, PLAN, Key("/Bench")).root for _ in range(10)}
    assert len(roots) == 10
    assert all(Key("/Bench").is_ancestor_of(root) for root in roots)


async def test_large_values_are_written_a_few_at_a_time() -> None:
    store = aio.DictDatastore()
    plan = msgspec.structs.replace(PLAN, keys=5, value_bytes=(500_000, 500_000))
    batches: list[int] = []
    await BenchEntries(store, plan, Key("/Bench")).write(batches.append)
    assert batches == [2, 2, 1]


async def test_a_write_that_is_interrupted_is_deleted_too() -> None:
    store = Held()
    entries = BenchEntries(store, PLAN, Key("/Bench"))
    writing = asyncio.create_task(entries.write(lambda _: None))
    await store.begun.wait()
    writing.cancel()
    asyncio.get_running_loop().call_soon(store.released.set)
    with pytest.raises(asyncio.CancelledError):
        await writing
    await entries.delete(lambda _: None)
    assert await keys_of(store) == []


async def test_what_a_late_call_wrote_again_is_deleted() -> None:
    store = Late()
    entries = BenchEntries(store, PLAN, Key("/Bench"))
    await entries.write(lambda _: None)
    await entries.delete(lambda _: None)
    assert store.is_written_again
    assert await keys_of(store) == []


async def test_a_store_without_queries_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    store = aio.DictDatastore()

    def refuse(query: Query) -> Any:
        raise QueryNotSupportedError("no")

    entries = BenchEntries(store, PLAN, Key("/Bench"))
    await entries.write(lambda _: None)
    with monkeypatch.context() as patched:
        patched.setattr(store, "query", refuse)
        await entries.delete(lambda _: None)
    assert await keys_of(store) == []
