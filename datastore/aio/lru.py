"""A bounded in-memory store for the top tier: it evicts the least recently used entry.

Knows the Datastore contract, and keeps its entries in a DictDatastore.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from datastore.aio._concurrency import Lock
from datastore.aio.base import Datastore
from datastore.aio.memory import DictDatastore
from datastore.aio.scan import Scan
from datastore.model.arguments import check_count, check_key
from datastore.model.capability import Capability, Durability
from datastore.model.description import Description
from datastore.model.durations import check_seconds
from datastore.model.entries import Batch, value_bytes
from datastore.model.errors import InvalidError
from datastore.model.key import Key
from datastore.model.operations import Operation, Put, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore.model.text import size_text

__all__ = ["LRUCacheDatastore"]


class LRUCacheDatastore(Datastore):
    """Keeps the most recently used entries in memory; a put beyond a bound evicts the least recently used ones.

    `size` bounds the number of entries, and `max_bytes` the total size of their keys and values: serialized values,
    bytes and str count exactly, other objects as 200 bytes. At least one of the two is required. An entry that alone
    exceeds `max_bytes` is not kept. An entry whose last put was `max_age` seconds ago is absent to every call; a query
    sees the entries as of the time when its first result is read. `clock` returns seconds. `get` and `put` count as
    use, `contains` and `query` do not. Stored values are the objects themselves: do not modify them afterwards. `len()`
    counts the entries. Queries behave as in DictDatastore. Raises UnsupportedTypeError (a TypeError) or InvalidError (a
    ValueError) unless `size` and `max_bytes` are ints of at least 1, and `max_age` is a number above 0.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        max_bytes: int | None = None,
        max_age: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if size is None and max_bytes is None:
            raise InvalidError("size or max_bytes is required: a cache needs a bound", field="size")
        for name, bound in (("size", size), ("max_bytes", max_bytes)):
            if bound is not None:
                check_count(name, bound)
        if max_age is not None:
            check_seconds("max_age", max_age)
        self.size = size
        self.max_bytes = max_bytes
        self.max_age = max_age
        self._clock = clock
        self._held = DictDatastore()
        #: The keys, least recently used first, with the size of each entry if bytes are bounded.
        self._used: OrderedDict[Key, int] = OrderedDict()
        self._bytes = 0
        #: How many entries had to make room for others.
        self._evicted = 0
        #: If ages are bounded, when each entry was put, the oldest first.
        self._put_at: OrderedDict[Key, float] = OrderedDict()
        self._lock = Lock()

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values, the objects that were put."""
        # The dict's calls never wait, so nothing else runs between them.
        with self._lock:
            if self.max_age is not None:
                await self._drop_old()
            results = await self._held.read(keys, options)
            if options.values:
                for key, result in zip(keys, results, strict=True):
                    if result.value is not None:
                        self._used.move_to_end(key)
            return results

    async def get(self, key: Key) -> Any:
        """The value, the object that was put. Like `read`, but without its lists, which take as long as the lookup."""
        key = check_key(key)
        with self._lock:
            if self.max_age is not None:
                await self._drop_old()
            value = await self._held.get(key)
            if value is not None:
                self._used.move_to_end(key)
            return value

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Keep the values themselves; beyond a bound, evict the least recently used ones."""
        with self._lock:
            if self.max_age is not None:
                await self._drop_old()
            for operation in operations:
                if isinstance(operation, Put):
                    await self._keep(operation)
                else:
                    await self._drop(operation.key)
        return [WriteResult() for _ in operations]

    async def _keep(self, put: Put) -> None:
        """Store an entry and make room for it. This and the methods below must be called with the lock held."""
        size = 0
        if self.max_bytes is not None:
            size = len(str(put.key).encode()) + value_bytes(put.value)
            if size > self.max_bytes:
                await self._drop(put.key)
                return
        await self._held.put(put.key, put.value)
        self._bytes += size - self._used.get(put.key, 0)
        self._used[put.key] = size
        self._used.move_to_end(put.key)
        if self.max_age is not None:
            self._put_at[put.key] = self._clock()
            self._put_at.move_to_end(put.key)
        while self._is_over():
            self._evicted += 1
            await self._drop(next(iter(self._used)))

    def _is_over(self) -> bool:
        return (self.size is not None and len(self._used) > self.size) or (
            self.max_bytes is not None and self._bytes > self.max_bytes
        )

    async def _drop_old(self) -> None:
        """Remove the entries that are too old."""
        if self.max_age is None:
            return
        latest = self._clock() - self.max_age
        while self._put_at and next(iter(self._put_at.values())) <= latest:
            await self._drop(next(iter(self._put_at)))

    async def _drop(self, key: Key) -> None:
        """Remove an entry, if it exists."""
        size = self._used.pop(key, None)
        if size is not None:
            self._bytes -= size
            self._put_at.pop(key, None)
            await self._held.delete(key)

    def scan(self, query: Query) -> Scan:
        """The entries of the scope. Does not count as use."""
        if self.max_age is None:
            return self._held.scan(query)
        return Scan(self._young(query))

    async def _young(self, query: Query) -> AsyncGenerator[Batch]:
        with self._lock:
            await self._drop_old()
            found = self._held.scan(query).batches
        async with aclosing(found):
            async for batch in found:
                yield batch

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held = DictDatastore()
            self._used.clear()
            self._put_at.clear()
            self._bytes = 0

    def __len__(self) -> int:
        if self.max_age is None:
            return len(self._used)
        with self._lock:
            latest = self._clock() - self.max_age
            return sum(put_at > latest for put_at in self._put_at.values())

    @property
    def capability(self) -> Capability:
        """A query reads only its scope. The reads of a subclass may suspend."""
        at_once = type(self) is LRUCacheDatastore
        return Capability(scope=True, durability=Durability.MEMORY, reads_at_once=at_once)

    def describe(self) -> Description:
        bounds = [f"at most {self.size} entries"] if self.size is not None else []
        bounds += [f"at most {size_text(self.max_bytes)}"] if self.max_bytes is not None else []
        bounds += [f"for {self.max_age:g} s"] if self.max_age is not None else []
        figures = {"evictions_total": self._evicted} | ({} if self.max_bytes is None else {"held_bytes": self._bytes})
        return Description("lru", ", ".join(bounds), self.capability, entries=len(self), figures=figures)
