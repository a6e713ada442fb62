"""A complete store with caches above it, as one store. Knows only the Datastore contract."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from datastore.aio._concurrency import KeyLocks, Lock, run_to_completion
from datastore.aio.base import Datastore
from datastore.aio.collections import DatastoreCollection
from datastore.aio.scan import Scan
from datastore.model.description import Description
from datastore.model.key import Key
from datastore.model.operations import (
    PRESENCE,
    VALUES,
    Delete,
    Operation,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
)
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

    def __init__(self, stores: Iterable[Datastore] = ()) -> None:
        super().__init__(stores)
        self._guard = Lock()
        self._locks = KeyLocks()
        #: For each key that some `get` may back-fill: how many do, and how many writes ended meanwhile.
        self._filling: dict[Key, _Filling] = {}

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values in the first tier that has each, with one call for each tier that is asked."""
        tiers = self._held()
        if not options.values:
            return await self._read_presence(tiers, keys)
        wanted = list(dict.fromkeys(keys))
        if len(tiers) > 1:
            # What the first tier has needs no care for what is written meanwhile.
            found = await self._read_above(tiers[0], wanted)
            wanted = [key for key in wanted if key not in found]
            if not wanted:
                return [found[key] for key in keys]
        else:
            found = {}
        fillings = {key: self._begin_filling(key) for key in wanted}
        try:
            found.update(await self._read_below(tiers, wanted, fillings))
        finally:
            for key, filling in fillings.items():
                self._end_filling(key, filling)
        return [found[key] for key in keys]

    async def _read_presence(self, tiers: Sequence[Datastore], keys: Sequence[Key]) -> list[ReadResult]:
        """Which keys any tier has; nothing is back-filled."""
        found: dict[Key, ReadResult] = {}
        left = list(dict.fromkeys(keys))
        for tier in tiers[:-1]:
            results = await self._best_effort(tier.read, left, PRESENCE) or ()
            found.update((key, held) for key, held in zip(left, results, strict=False) if held.value is not None)
            left = [key for key in left if key not in found]
            if not left:
                break
        if left:
            found.update(zip(left, await tiers[-1].read(left, PRESENCE), strict=True))
        return [found[key] for key in keys]

    async def _read_above(self, tier: Datastore, keys: list[Key]) -> dict[Key, ReadResult]:
        """What a tier above the last has of some keys."""
        results = await self._best_effort(tier.read, keys, VALUES) or ()
        return {key: held for key, held in zip(keys, results, strict=False) if held.value is not None}

    async def _read_below(
        self, tiers: Sequence[Datastore], keys: list[Key], fillings: dict[Key, _Filling]
    ) -> dict[Key, ReadResult]:
        """What the tiers below the first have of keys that it lacks; the tiers above are filled with it."""
        writes = {key: filling.writes for key, filling in fillings.items()}
        found: dict[Key, ReadResult] = {}
        missed = [(tier, keys) for tier in tiers[:1] if len(tiers) > 1]
        for tier in tiers[1:-1]:
            if not keys:
                break
            found.update(await self._read_above(tier, keys))
            keys = [key for key in keys if key not in found]
            missed.append((tier, keys))
        if keys:
            found.update(zip(keys, await tiers[-1].read(keys, VALUES), strict=True))
        fresh = [key for key in (missed[0][1] if missed else ()) if found[key].value is not None]
        async with self._locks.hold_all(fresh):
            # A write that ended since a value was read put a newer one in these tiers.
            fresh = [key for key in fresh if fillings[key].writes == writes[key]]
            for tier, absent in reversed(missed):
                lacking = set(absent)
                await self._write_above(tier, [Put(key, found[key].value) for key in fresh if key in lacking])
        return found

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the last tier, then to those above it, with one call for each."""
        tiers = self._held()
        keys = list(dict.fromkeys(operation.key for operation in operations))
        async with self._writing(tiers, keys):
            results = await tiers[-1].write(operations)
            left: dict[Key, Operation] = {}
            for operation, result in zip(operations, results, strict=True):
                if result.error is None:
                    left[operation.key] = operation
                elif _may_be_done(result.error):
                    left[operation.key] = Delete(operation.key)
            for tier in reversed(tiers[:-1]):
                await self._write_above(tier, list(left.values()))
        return results

    def scan(self, query: Query) -> Scan:
        """What the last tier answers."""
        return self._held()[-1].scan(query)

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
            await self._best_effort(tier.write, list(map(Delete, keys)))

    async def _write_above(self, tier: Datastore, operations: list[Operation]) -> None:
        """Write to a tier above the last; what it does not store is deleted there."""
        if not operations:
            return
        try:
            results = await tier.write(operations)
            failures = [
                (operation.key, result.error)
                for operation, result in zip(operations, results, strict=True)
                if result.error is not None
            ]
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            failures = [(operation.key, error) for operation in operations]
        if failures:
            keys = [key for key, _ in failures]
            _log.warning("an upper tier, %s, did not store %s: %s", type(tier).__name__, _named(keys), failures[0][1])
            await self._best_effort(tier.write, list(map(Delete, keys)))

    async def _best_effort(self, call: Callable[..., Awaitable[Any]], items: Sequence[Any], *options: Any) -> Any:
        """Call an upper tier with keys or operations; its failure is logged and counts as no answer."""
        try:
            return await call(items, *options)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            _log.warning("an upper tier failed and was skipped for %s: %s", _named(items), error)
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


def _named(items: Sequence[Any]) -> str:
    """Keys or operations, for the log."""
    return str(getattr(items[0], "key", items[0])) if len(items) == 1 else f"{len(items)} entries"


def _may_be_done(error: BaseException) -> bool:
    """Whether a write that ended so may have been done: its answer was lost, or nobody waited for it."""
    # Those of the library, and of stores of anybody's.
    return not isinstance(error, Exception) or isinstance(error, (ConnectionError, TimeoutError))


class _Filling:
    __slots__ = ("readers", "writes")

    def __init__(self) -> None:
        self.readers = 0
        self.writes = 0
