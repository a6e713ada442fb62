"""A bounded in-memory store for the top tier: it evicts the least recently used entry.

Knows the Datastore contract, and keeps its entries in a DictDatastore.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from datastore.aio._concurrency import Lock
from datastore.aio.base import Datastore
from datastore.aio.memory import DictDatastore
from datastore.aio.scan import Scan
from datastore.model.description import Description, Durability, PushDown
from datastore.model.errors import InvalidError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, Put, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query

__all__ = ["LRUCacheDatastore"]


class LRUCacheDatastore(Datastore):
    """Keeps the `size` most recently used entries in memory; a put beyond that evicts the least recently used one.

    `get` and `put` count as use, `contains` and `query` do not. Stored values are the objects themselves: do not modify
    them afterwards. `len()` counts the entries. Queries are those of DictDatastore.
    Raises UnsupportedTypeError (a TypeError) or InvalidError (a ValueError) unless `size` is an int of at least 1.
    """

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or isinstance(size, bool):
            raise UnsupportedTypeError(f"size must be an int, got {type(size).__name__}", path="size")
        if size < 1:
            raise InvalidError(f"size must be at least 1, got {size}", field="size")
        self.size = size
        self._held = DictDatastore()
        #: The keys, least recently used first.
        self._used: OrderedDict[Key, None] = OrderedDict()
        self._lock = Lock()

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values, the objects that were put."""
        if not options.values:
            return await self._held.read(keys, options)
        # The dict's calls never wait, so nothing else runs between them.
        with self._lock:
            results = await self._held.read(keys, options)
            for key, result in zip(keys, results, strict=True):
                if result.value is not None:
                    self._used.move_to_end(key)
            return results

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Keep the values themselves; beyond `size` entries, evict the least recently used ones."""
        with self._lock:
            for operation in operations:
                await self._held.write((operation,))
                if not isinstance(operation, Put):
                    self._used.pop(operation.key, None)
                    continue
                self._used[operation.key] = None
                self._used.move_to_end(operation.key)
                if len(self._used) > self.size:
                    oldest, _ = self._used.popitem(last=False)
                    await self._held.write((Delete(oldest),))
        return [WriteResult() for _ in operations]

    def scan(self, query: Query) -> Scan:
        """The entries of the scope. Does not count as use."""
        return self._held.scan(query)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held = DictDatastore()
            self._used.clear()

    def __len__(self) -> int:
        return len(self._used)

    def describe(self) -> Description:
        """Kind `lru`, in memory, with its size."""
        return Description("lru", f"at most {self.size} entries", Durability.MEMORY, frozenset({PushDown.SCOPE}))
