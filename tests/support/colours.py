"""The client of either colour behind one interface, so that a test is written once for threads and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any

from datastore.model.entries import Entry
from datastore_client import RemoteDatastore
from datastore_client.aio import RemoteDatastore as AsyncRemoteDatastore


async def _next_values(cursor: Any, most: int) -> AsyncIterator[Any]:
    for _ in range(most):
        value = await anext(cursor, None)
        if value is None:
            return
        yield value


class Tasks:
    """The client for asyncio."""

    name = "tasks"
    remote: Any = AsyncRemoteDatastore

    async def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """The result of a method."""
        return await function(*arguments, **options)

    async def read(self, cursor: Any, most: int | None = None) -> list[Entry]:
        """The entries of a cursor: all, or so many, after which it stays open."""
        if most is not None:
            return [Entry(None, await anext(cursor)) for _ in range(most)]
        return [entry async for entry in cursor.entries()]

    async def next_values(self, cursor: Any, most: int) -> list[Any]:
        """The next values of a cursor, fewer than `most` at its end."""
        return [value async for value in _next_values(cursor, most)]

    async def close(self, closes: Any) -> None:
        """Close a cursor or a store."""
        await closes.aclose()


class Threads:
    """The client for threads. Blocking calls run in a thread, because the server may be on the test's loop."""

    name = "threads"
    remote: Any = RemoteDatastore

    async def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """The result of a method."""
        return await asyncio.to_thread(function, *arguments, **options)

    async def read(self, cursor: Any, most: int | None = None) -> list[Entry]:
        """The entries of a cursor: all, or so many, after which it stays open."""
        if most is not None:
            return await asyncio.to_thread(lambda: [Entry(None, next(cursor)) for _ in range(most)])
        return await asyncio.to_thread(lambda: list(cursor.entries()))

    async def next_values(self, cursor: Any, most: int) -> list[Any]:
        """The next values of a cursor, fewer than `most` at its end."""
        return await asyncio.to_thread(lambda: list(islice(iter(partial(next, cursor, None), None), most)))

    async def close(self, closes: Any) -> None:
        """Close a cursor or a store."""
        await asyncio.to_thread(closes.close)


@asynccontextmanager
async def connected(colour: Any, url: str, **settings: Any) -> AsyncIterator[Any]:
    """A store of that colour, closed at the end."""
    store = colour.remote(url, **settings)
    try:
        yield store
    finally:
        await colour.close(store)
