"""Edge cases of RemoteDatastore: programs that abandon cursors, old connections, large batches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from datastore import aio, wire
from datastore.model.entries import Batch, Position
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client import RemoteDatastore
from datastore_client.aio import RemoteDatastore as AsyncRemoteDatastore
from datastore_server import transport
from datastore_server.app import serve
from tests.support.serving import Endless
from tests.support.waiting import PATIENCE_S

ABANDONED_BY_A_TASK = """
import asyncio, sys
from datastore import Key, Query
from datastore_client.aio import connect

async def main():
    global store, cursor
    store = connect(sys.argv[1])
    cursor = store.query(Query(Key("/")))
    await anext(cursor)

asyncio.run(main())
"""
LEFT_BY_BREAK = """
import asyncio, sys
from datastore import Key, Query
from datastore_client.aio import connect

async def main():
    async with connect(sys.argv[1]) as store:
        async for _ in store.query(Query(Key("/"))):
            break

asyncio.run(main())
"""
ABANDONED_BY_A_THREAD = """
import sys
from datastore import Key, Query
from datastore_client import connect

store = connect(sys.argv[1])
cursor = store.query(Query(Key("/")))
next(cursor)
"""


@pytest.mark.parametrize(
    "program", [ABANDONED_BY_A_TASK, LEFT_BY_BREAK, ABANDONED_BY_A_THREAD], ids=["task", "break", "thread"]
)
async def test_a_program_that_leaves_a_cursor_open_exits_silently_and_ends_the_call(program: str) -> None:
    store = Endless(entry_bytes=1000)
    async with serve(store, grace_s=0.2) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-c", program, server.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert said == b""
        assert process.returncode == 0
        await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


class Numbered(aio.Datastore):
    """Twenty entries, one per batch, each with a short delay."""

    ordered_queries = True

    def __init__(self) -> None:
        self.queries = 0

    def query(self, query: Any) -> aio.Cursor:
        self.queries += 1
        first = 0 if query.start_after is None else int(query.start_after.key.name) + 1
        return aio.Cursor.from_batches(query, self._batches(first))

    async def _batches(self, first: int) -> AsyncGenerator[Batch]:
        for number in range(first, 20):
            await asyncio.sleep(0.11)
            key = Key(f"/N:{number:02}")
            yield Batch([key], [wire.encode_value(number)], position=Position(b"", key), scanned=1)


async def test_a_stream_outlives_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_CONNECTION_AGE_MS", 300)
    monkeypatch.setattr(transport, "MAX_CONNECTION_AGE_GRACE_MS", 300)

    def read(url: str) -> tuple[list[int], Any]:
        with RemoteDatastore(url) as store:
            cursor = store.query(Query(Key("/N")))
            return list(cursor), cursor.summary

    numbered = Numbered()
    async with serve(numbered, grace_s=0.2) as server, AsyncRemoteDatastore(server.url) as store:
        reading = asyncio.create_task(asyncio.to_thread(read, server.url))
        cursor = store.query(Query(Key("/N")))
        seen = [value async for value in cursor]
        for values, summary in [(seen, cursor.summary), await reading]:
            assert values == list(range(20))
            assert (summary.entries, summary.scanned) == (20, 20)
        # Two readers, each of which needed more than one call.
        assert numbered.queries >= 4


class Counting(aio.DictDatastore):
    """Counts the entries that batches read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def batch_get(self, keys: Any) -> Any:
        self.asked += len(keys)
        return await super().batch_get(keys)


async def test_large_values_are_read_little_more_often_than_they_are_sent() -> None:
    store = Counting()
    keys = [Key(f"/L:{index:03}") for index in range(120)]
    value = wire.encode_value(b"x" * 1_500_000)
    for key in keys:
        await store.put(key, value)
    async with serve(store, grace_s=0.2) as server:
        async with AsyncRemoteDatastore(server.url, lazy=True) as remote:
            outcomes = await remote.batch_get(keys)
            assert all(outcome.value.data == value.data for outcome in outcomes)
            assert store.asked <= 4 * len(keys)
        store.asked = 0

        def read() -> Any:
            with RemoteDatastore(server.url, lazy=True) as remote:
                return remote.batch_get(keys)

        assert all(outcome.value.data == value.data for outcome in await asyncio.to_thread(read))
        assert store.asked <= 4 * len(keys)
