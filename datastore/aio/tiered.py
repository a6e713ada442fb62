"""A complete store with caches above it, as one store. Knows only the Datastore contract."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from datastore.aio._concurrency import KeyLocks, Lock, run_to_completion
from datastore.aio.base import Datastore, bad_keys, check_key, check_query, exact_query
from datastore.aio.collections import DatastoreCollection
from datastore.aio.cursor import Cursor
from datastore.model.description import Description
from datastore.model.entries import Outcome, Write
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["TieredDatastore"]

_log = logging.getLogger("datastore")


class TieredDatastore(DatastoreCollection):
    """Stores in tiers: the last is complete, those above it are read-through caches.

    get: the first hit, which is then written to all tiers above it. contains: any tier. query: the last tier.
    put, delete: the last tier first; if it fails, the call fails and nothing above is touched; then upwards. After
    a call that was cancelled or whose outcome is unknown, the key is evicted from the tiers above.
    If an upper tier fails, it is logged and skipped, and never fails the call; after a failed put the key is deleted
    there, and if that fails too the tier may be stale until the next write. Within one object, a back-fill never
    overwrites a newer put or delete. Without stores: NoStoresError.
    """

    ordered_queries = True

    def __init__(self, stores: Iterable[Datastore] = ()) -> None:
        super().__init__(stores)
        self._guard = Lock()
        self._locks = KeyLocks()
        #: For each key that some `get` may back-fill: how many do, and how many writes ended meanwhile.
        self._filling: dict[Key, _Filling] = {}

    async def get(self, key: Key) -> Any:
        """The value in the first tier that has one."""
        key = check_key(key)
        tiers = self._held()
        if len(tiers) > 1:
            value = await self._best_effort(tiers[0].get, key)
            if value is not None:
                return value
        filling = self._begin_filling(key)
        try:
            return await self._get_below(tiers, key, filling)
        finally:
            self._end_filling(key, filling)

    async def _get_below(self, tiers: Sequence[Datastore], key: Key, filling: _Filling) -> Any:
        writes = filling.writes
        missed = list(tiers[:1])
        for tier in tiers[1:-1]:
            value = await self._best_effort(tier.get, key)
            if value is not None:
                break
            missed.append(tier)
        else:
            value = await tiers[-1].get(key)
        if value is not None and len(tiers) > 1:
            async with self._locks.hold(key):
                # A write that ended since the value was read put a newer one in these tiers.
                if filling.writes == writes:
                    for tier in reversed(missed):
                        await self._store_above(tier, key, value)
        return value

    async def contains(self, key: Key) -> bool:
        """Whether any tier has `key`; nothing is back-filled."""
        key = check_key(key)
        tiers = self._held()
        for tier in tiers[:-1]:
            if await self._best_effort(tier.contains, key):
                return True
        return await tiers[-1].contains(key)

    async def put(self, key: Key, value: Any) -> None:
        """Store in the last tier, then in those above it."""
        if value is None:
            await self.delete(key)
            return
        key = check_key(key)
        tiers = self._held()
        async with self._writing(tiers, [key]):
            await tiers[-1].put(key, value)
            for tier in reversed(tiers[:-1]):
                await self._store_above(tier, key, value)

    async def delete(self, key: Key) -> None:
        """Delete from the last tier, then from those above it."""
        key = check_key(key)
        tiers = self._held()
        async with self._writing(tiers, [key]):
            await tiers[-1].delete(key)
            for tier in reversed(tiers[:-1]):
                await self._best_effort(tier.delete, key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries, with one batch for each tier that is asked."""
        tiers = self._held()
        bad = bad_keys(keys)
        keys = [key if place in bad else check_key(key) for place, key in enumerate(keys)]
        wanted = list({key: None for place, key in enumerate(keys) if place not in bad})
        fillings = {key: self._begin_filling(key) for key in wanted}
        try:
            found = await self._batch_through(tiers, wanted, fillings)
        finally:
            for key, filling in fillings.items():
                self._end_filling(key, filling)
        return [bad[place] if place in bad else found[key] for place, key in enumerate(keys)]

    async def _batch_through(
        self, tiers: Sequence[Datastore], keys: list[Key], fillings: dict[Key, _Filling]
    ) -> dict[Key, Outcome]:
        writes = {key: filling.writes for key, filling in fillings.items()}
        found: dict[Key, Outcome] = {}
        missed: list[tuple[Datastore, list[Key]]] = []
        for tier in tiers[:-1]:
            outcomes = await self._best_effort(tier.batch_get, keys) or ()
            found.update((key, held) for key, held in zip(keys, outcomes, strict=False) if held.value is not None)
            keys = [key for key in keys if key not in found]
            missed.append((tier, keys))
        if keys:
            found.update(zip(keys, await tiers[-1].batch_get(keys), strict=True))
        fresh = [key for key in (missed[0][1] if missed else ()) if found[key].value is not None]
        async with self._locks.hold_all(fresh):
            # A write that ended since a value was read put a newer one in these tiers.
            fresh = [key for key in fresh if fillings[key].writes == writes[key]]
            for tier, absent in reversed(missed):
                lacking = set(absent)
                await self._write_above(tier, [Write(key, found[key].value) for key in fresh if key in lacking])
        return found

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes, with one batch for each tier; the last tier first."""
        tiers = self._held()
        bad = bad_keys([key for key, _ in writes])
        good = [Write(check_key(key), value) for place, (key, value) in enumerate(writes) if place not in bad]
        keys = list({key: None for key, _ in good})
        async with self._writing(tiers, keys):
            outcomes = await tiers[-1].batch_write(good) if good else []
            left: dict[Key, Any] = {}
            for (key, value), outcome in zip(good, outcomes, strict=True):
                if outcome.error is None:
                    left[key] = value
                elif _may_be_done(outcome.error):
                    left[key] = None
            for tier in reversed(tiers[:-1]):
                await self._write_above(tier, list(map(Write._make, left.items())))
        rest = iter(outcomes)
        return [bad[place] if place in bad else next(rest) for place in range(len(writes))]

    def query(self, query: Query) -> Cursor:
        """What the last tier answers."""
        check_query(query)
        return exact_query(self._held()[-1], query)

    def describe(self) -> Description:
        """Kind `tiered`; what it promises and pushes down is the last tier's part."""
        children = tuple(store.describe() for store in self._stores)
        last = children[-1] if children else Description("null")
        return Description("tiered", "the most complete last", last.durability, last.push_down, children)

    @asynccontextmanager
    async def _writing(self, tiers: Sequence[Datastore], keys: Sequence[Key]) -> AsyncIterator[None]:
        """Hold keys while the block writes them. Where it may be done or not, no tier above keeps what it had."""
        async with self._locks.hold_all(keys):
            try:
                yield
            except BaseException as error:
                if _may_be_done(error):
                    await run_to_completion(partial(self._forget, tiers[:-1], keys))
                raise
            finally:
                for key in keys:
                    self._end_write(key)

    async def _forget(self, tiers: Sequence[Datastore], keys: Sequence[Key]) -> None:
        for tier in tiers:
            await self._best_effort(tier.batch_write, [Write(key, None) for key in keys])

    async def _store_above(self, tier: Datastore, key: Key, value: Any) -> None:
        try:
            await tier.put(key, value)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            _log.warning("an upper tier, %s, did not store %s: %s", type(tier).__name__, key, error)
            await self._best_effort(tier.delete, key)

    async def _write_above(self, tier: Datastore, writes: list[Write]) -> None:
        if not writes:
            return
        outcomes = await self._best_effort(tier.batch_write, writes)
        failed = [key for place, (key, _) in enumerate(writes) if outcomes is None or outcomes[place].error is not None]
        if failed:
            _log.warning("an upper tier, %s, did not store %d entries", type(tier).__name__, len(failed))
            await self._best_effort(tier.batch_write, [Write(key, None) for key in failed])

    async def _best_effort(self, call: Callable[..., Awaitable[Any]], argument: Any) -> Any:
        """Call an upper tier with a key or a batch; its failure is logged and counts as no answer."""
        try:
            return await call(argument)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            subject = f"{len(argument)} entries" if isinstance(argument, list) else argument
            _log.warning("an upper tier failed and was skipped for %s: %s", subject, error)
            return None

    def _begin_filling(self, key: Key) -> _Filling:
        with self._guard:
            filling = self._filling.setdefault(key, _Filling())
            filling.readers += 1
            return filling

    def _end_filling(self, key: Key, filling: _Filling) -> None:
        with self._guard:
            filling.readers -= 1
            if not filling.readers:
                del self._filling[key]

    def _end_write(self, key: Key) -> None:
        with self._guard:
            filling = self._filling.get(key)
            if filling is not None:
                filling.writes += 1


def _may_be_done(error: BaseException) -> bool:
    """Whether a write that ended so may have been done: its answer was lost, or nobody waited for it."""
    # Those of the library, and of stores of anybody's.
    return not isinstance(error, Exception) or isinstance(error, (ConnectionError, TimeoutError))


class _Filling:
    __slots__ = ("readers", "writes")

    def __init__(self) -> None:
        self.readers = 0
        self.writes = 0
