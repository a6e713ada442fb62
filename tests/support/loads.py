"""What many clients do while faults happen, and what must hold of all their answers.

A load runs until it is ended, survives every outage, and keeps what it was answered for `check`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

from datastore.aio.base import Datastore
from datastore.model.entries import Write
from datastore.model.errors import (
    DeadlineExceededError,
    RequestForgottenError,
    StoreFullError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, Put
from datastore.model.query import Query
from datastore.testing import model
from tests.support.histories import Call
from tests.support.registers import RegisterClient, check_histories

__all__ = ["Ledger", "Load", "Queries", "Registers", "under_load"]

#: What a client sees of an outage. The outcome of a write is unknown, unless the error says when to retry.
OUTAGES = (UnavailableError, DeadlineExceededError, RequestForgottenError)
#: Between two calls of a client, so that the machine has time for the servers.
PAUSE_S = 0.003


#: What one client does, without end.
Client: TypeAlias = Coroutine[Any, Any, None]


class Load(Protocol):
    """Clients of one kind."""

    #: How many of their calls were answered.
    answered: int

    async def prepare(self, store: Datastore) -> None:
        """Store what the clients read."""

    def clients(self, stores: Sequence[Datastore]) -> list[Client]:
        """Its clients; each runs until cancelled."""

    async def check(self, store: Datastore) -> None:
        """Check everything that was answered, once all servers are well."""


class Ledger:
    """Writes of new keys, and deletes. What was acknowledged holds ever after, and what was refused was not made."""

    def __init__(self, clients: int = 8) -> None:
        self.answered = 0
        self._clients = clients
        self._numbers = iter(range(10**9))
        #: What the store must hold under each key whose last write was acknowledged or refused; None: nothing.
        self._settled: dict[Key, int | None] = {}
        self._chooser = random.Random(0)

    async def prepare(self, store: Datastore) -> None:
        pass

    def clients(self, stores: Sequence[Datastore]) -> list[Client]:
        return [self._work(stores[number % len(stores)]) for number in range(self._clients)]

    async def _work(self, store: Datastore) -> None:
        while True:
            numbers = [next(self._numbers) for _ in range(self._chooser.choice([1, 1, 5]))]
            made = await self._write(store, [Put(Key(f"/Ledger:{number}"), number) for number in numbers])
            if self._chooser.random() < 0.3:
                await self._write(store, [Delete(key) for key in made])
            if self._settled:
                await self._read(store, self._chooser.choice(list(self._settled)[-500:]))
            await asyncio.sleep(PAUSE_S)

    async def _write(self, store: Datastore, writes: Sequence[Operation]) -> list[Key]:
        """Make writes, and note their outcomes. Returns the keys of those that were acknowledged."""
        before = {write.key: self._settled.pop(write.key, None) for write in writes}
        made = []
        for write, result in zip(writes, await store.batch_write(writes), strict=True):
            if result.error is None:
                made.append(write.key)
                self._settled[write.key] = write.value
                self.answered += 1
            elif isinstance(result.error, StoreFullError) or getattr(result.error, "retry_after_s", None) is not None:
                self._settled[write.key] = before[write.key]
            elif not isinstance(result.error, OUTAGES):
                raise result.error
        return made

    async def _read(self, store: Datastore, key: Key) -> None:
        expected = self._settled[key]
        try:
            found = await store.get(key)
        except OUTAGES:
            return
        self.answered += 1
        # Another client may be deleting it.
        if self._settled.get(key, found) == expected:
            assert found == expected, (key, found, expected)

    async def check(self, store: Datastore) -> None:
        keys = list(self._settled)
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            for key, outcome in zip(part, await store.batch_get(part), strict=True):
                assert outcome.error is None, (key, outcome.error)
                assert outcome.value == self._settled[key], (key, outcome.value, self._settled[key])


class Registers:
    """Reads, writes, deletes and conditional writes of a few keys: one order explains all answers."""

    def __init__(self, clients: int = 12, keys: int = 100) -> None:
        self.answered = 0
        self._clients = clients
        self._keys = keys
        self._history: dict[Key, list[Call]] = defaultdict(list)

    async def prepare(self, store: Datastore) -> None:
        pass

    def clients(self, stores: Sequence[Datastore]) -> list[Client]:
        stores = [stores[number % len(stores)] for number in range(self._clients)]
        clients = [RegisterClient(store, number, self._history, keys=self._keys) for number, store in enumerate(stores)]
        return [self._work(client) for client in clients]

    async def _work(self, client: RegisterClient) -> None:
        while True:
            self.answered += await client.call()
            await asyncio.sleep(PAUSE_S)

    async def check(self, store: Datastore) -> None:
        for key in list(self._history):
            last = Call("get", time.monotonic(), found=await store.get(key))
            last.end = time.monotonic()
            self._history[key].append(last)
        check_histories(self._history)


class Queries:
    """Queries of entries that nobody changes: each is answered whole, entry by entry, or fails after a correct part."""

    def __init__(self, readers: int = 2, entries: int = 3000) -> None:
        self.answered = 0
        self._readers = readers
        self._contents = {
            Key(f"/Thing:{number:05}"): {"n": number * 7919 % entries, "group": number % 5, "filler": "x" * 200}
            for number in range(entries)
        }
        self._queries = [
            Query(Key("/Thing")),
            Query(Key("/Thing")).order("group").order("-n"),
            Query(Key("/Thing"), offset=300, limit=2000).filter("group", "!=", 3),
        ]
        self._expected = [model.answer(query, self._contents) for query in self._queries]

    async def prepare(self, store: Datastore) -> None:
        for outcome in await store.batch_write([Write(*pair) for pair in self._contents.items()]):
            assert outcome.error is None, outcome.error

    def clients(self, stores: Sequence[Datastore]) -> list[Client]:
        return [self._work(stores[number % len(stores)]) for number in range(self._readers)]

    async def _work(self, store: Datastore) -> None:
        while True:
            for query, expected in zip(self._queries, self._expected, strict=True):
                await self._read(store, query.copy(), expected)
                await asyncio.sleep(PAUSE_S)

    async def _read(self, store: Datastore, query: Query, expected: model.Answer) -> None:
        cursor = store.query(query)
        seen = []
        try:
            async for entry in cursor.entries():
                seen.append(entry)
                if len(seen) % 100 == 0:
                    self.answered += 1
        except OUTAGES:
            assert cursor.summary is None
            expected = model.Answer(expected.entries[: len(seen)], expected.skipped)
        else:
            assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)
            assert cursor.summary is not None
        problem = model.difference(seen, expected.entries)
        assert problem is None, problem

    async def check(self, store: Datastore) -> None:
        for query, expected in zip(self._queries, self._expected, strict=True):
            await self._read(store, query.copy(), expected)


@asynccontextmanager
async def under_load(loads: Sequence[Load], stores: Sequence[Datastore], well: Datastore) -> AsyncIterator[None]:
    """Run loads while the block does, and check them after it. `well` is a store that no fault concerns by then.

    A client that is answered what cannot be ends the block.
    """
    for load in loads:
        await load.prepare(well)
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(client) for load in loads for client in load.clients(stores)]
        yield
        for client in clients:
            client.cancel()
    for load in loads:
        await load.check(well)
