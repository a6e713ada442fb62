"""A bounded in-memory store for the top tier: it evicts the least recently used entry.

Knows the Datastore contract, and keeps its entries in a DictDatastore.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from datastore.aio._concurrency import Lock
from datastore.aio.base import Datastore, DictDatastore, check_key
from datastore.aio.cursor import Cursor
from datastore.model.description import Description, Durability, PushDown
from datastore.model.errors import InvalidError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["LRUCacheDatastore"]


class LRUCacheDatastore(Datastore):
    """Keeps the `size` most recently used entries in memory; a put beyond that evicts the least recently used one.

    `get` and `put` count as use, `contains` and `query` do not. Stored values are the objects themselves: do not modify
    them afterwards. `len()` counts the entries. Queries are those of DictDatastore.
    Raises UnsupportedTypeError (a TypeError) or InvalidError (a ValueError) unless `size` is an int of at least 1.
    """

    ordered_queries = True

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

    async def get(self, key: Key) -> Any:
        """The value of `key`, the object that was put, or None. Counts as use."""
        key = check_key(key)
        # The dict's calls never wait, so nothing else runs between them.
        with self._lock:
            value = await self._held.get(key)
            if value is not None:
                self._used.move_to_end(key)
            return value

    async def put(self, key: Key, value: Any) -> None:
        """Keep `value` itself under `key`; beyond `size` entries, evict the least recently used one."""
        key = check_key(key)
        if value is None:
            await self.delete(key)
            return
        with self._lock:
            await self._held.put(key, value)
            self._used[key] = None
            self._used.move_to_end(key)
            if len(self._used) > self.size:
                oldest, _ = self._used.popitem(last=False)
                await self._held.delete(oldest)

    async def delete(self, key: Key) -> None:
        """Forget the entry of `key`."""
        key = check_key(key)
        with self._lock:
            await self._held.delete(key)
            self._used.pop(key, None)

    async def contains(self, key: Key) -> bool:
        """Whether `key` is held. Does not count as use."""
        return await self._held.contains(key)

    def query(self, query: Query) -> Cursor:
        """A cursor over the entries that `query` selects. Does not count as use."""
        return self._held.query(query)

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
