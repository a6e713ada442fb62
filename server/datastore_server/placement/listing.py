"""The contents of a node's store, for its placement: whether it is empty, and each entry once.

Queries everything; an engine without queries is listed by its own means, if it has any. Knows stores and their engines,
but no placements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from itertools import compress
from typing import Any

from datastore.aio.base import Datastore, exact_query
from datastore.model.capability import Durability
from datastore.model.entries import Batch
from datastore.model.errors import PlacementError, QueryNotSupportedError
from datastore.model.key import Key
from datastore.model.metadata import Stamp
from datastore.model.operations import ENTRIES, VALUES, raise_error
from datastore.model.query import Query

__all__ = ["Listing"]


class Listing:
    """The entries of `store`. `engine` is the blocking store below it, whose `list_keys` is used if it has that."""

    def __init__(self, store: Datastore, engine: Any = None) -> None:
        self._store = store
        self._list_keys: Callable[[], Iterator[list[Key]]] | None = getattr(engine, "list_keys", None)

    async def is_empty(self) -> bool:
        """Whether the store is empty.

        A store that cannot list its entries counts as empty if it may lose them at any time, like a cache, otherwise as
        not empty.
        """
        try:
            async with aclosing(self.scan(keys_only=True, most=1)) as batches:
                async for batch in batches:
                    if batch.keys:
                        return False
        except QueryNotSupportedError:
            return self._store.capability.durability is Durability.MEMORY
        return True

    async def require(self, what: str) -> None:
        """Raise PlacementError, which begins with `what`, if the store cannot list its entries."""
        try:
            async with aclosing(self.scan(keys_only=True, most=1)) as batches:
                async for _ in batches:
                    return
        except QueryNotSupportedError as error:
            raise PlacementError(f"{what}: {error}") from error

    def scan(
        self, wanted: Callable[[Key], bool] | None = None, *, keys_only: bool = False, most: int | None = None
    ) -> AsyncGenerator[Batch]:
        """The entries whose keys are wanted, batch by batch; at least those among the first `most` entries.

        With their metadata, if they can expire, unless only the keys are asked for.
        Raises QueryNotSupportedError, when it is read, if the store cannot list them.
        """
        if self._list_keys is None:
            batches = self._queried(keys_only=keys_only, most=most)
        else:
            batches = self._listed(self._list_keys(), keys_only=keys_only)
        return _wanted(batches, wanted)

    async def _queried(self, *, keys_only: bool, most: int | None) -> AsyncGenerator[Batch]:
        metadata = self._store.capability.expiry and not keys_only
        query = Query(Key("/"), limit=most, recursive=True, keys_only=keys_only, metadata=metadata)
        cursor = exact_query(self._store, query)
        async with aclosing(cursor):
            async for batch in cursor.batches():
                yield batch

    async def _listed(self, lists: Iterator[list[Key]], *, keys_only: bool) -> AsyncGenerator[Batch]:
        # An engine may list a key twice.
        seen: set[Key] = set()
        while (keys := await asyncio.to_thread(next, lists, None)) is not None:
            keys = [key for key in dict.fromkeys(keys) if key not in seen]
            seen.update(keys)
            if keys_only:
                yield Batch(keys, [None] * len(keys))
                continue
            can_expire = self._store.capability.expiry
            results = await self._store.read(keys, ENTRIES if can_expire else VALUES)
            for result in results:
                raise_error(result)
            held = [result.value is not None for result in results]
            found = list(compress(results, held))
            metadata: list[Stamp] | None
            metadata = [result.metadata for result in found if result.metadata is not None] if can_expire else None
            yield Batch(list(compress(keys, held)), [result.value for result in found], metadata=metadata)


async def _wanted(batches: AsyncGenerator[Batch], wanted: Callable[[Key], bool] | None) -> AsyncGenerator[Batch]:
    async with aclosing(batches):
        async for batch in batches:
            held = [True] * len(batch) if wanted is None else list(map(wanted, batch.keys))
            yield batch.selected(held)
            # A store in memory never waits: let other calls run between batches.
            await asyncio.sleep(0)
