"""A complete store with caches above it, as one store. Knows only the Datastore contract."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

from datastore.aio._concurrency import KeyLocks, Lock, run_to_completion
from datastore.aio.aggregating import tally_of
from datastore.aio.atomic import atomic_of
from datastore.aio.base import Datastore
from datastore.aio.collections import DatastoreCollection
from datastore.aio.cursor import close_all
from datastore.aio.feeds import Feed, feed_of
from datastore.aio.flights import Flight, Flights
from datastore.aio.invalidation import Invalidation, check_invalidated
from datastore.aio.scan import Scan, ask
from datastore.aio.tier import Tier, is_outage
from datastore.aio.verbs import passed_on
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.capability import Capability
from datastore.model.deadline import check_timeout
from datastore.model.description import Description
from datastore.model.errors import ConditionFailedError, InvalidError, RequestForgottenError, UnsupportedError
from datastore.model.key import Key
from datastore.model.operations import (
    ENTRIES,
    VALUES,
    Delete,
    Operation,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    uncached,
)
from datastore.model.query import Query

if TYPE_CHECKING:
    from datastore.model.changes import Watch

__all__ = ["SKIP_FAILED_S", "TIER_TIMEOUT_S", "TieredDatastore"]

#: How long an upper tier is skipped after a failure, in seconds: long enough that few calls wait out the timeout of a
#: tier that is down, and short enough that the last tier is relieved soon after the tier is back.
SKIP_FAILED_S = 5.0
#: How long an upper tier may take to answer, in seconds. A cache that is slower than this is not worth waiting for, and
#: waiting must not use up the caller's deadline, by default 10 s.
TIER_TIMEOUT_S = 1.0


class TieredDatastore(DatastoreCollection):
    """Stores in tiers: the last is complete, those above it are read-through caches.

    get: the first hit, which is then written to all tiers above it. Concurrent gets of one key that the first tier
    lacks share one call to the tiers below; if it fails, all of them raise its error. contains: any tier. query: the
    last tier. put, delete: the last tier first, then upwards; if the last tier fails, the call fails and the tiers
    above are not touched. After a call that was cancelled, whose outcome is unknown or whose condition failed, the key
    is deleted from the tiers above. Conditions are decided, atomic batches made, and entries with metadata read, in the
    last tier; a reader may see a part of a batch in the tiers above. An entry that expires is only in the last tier, so
    that none above returns it afterwards: each get of it reads there. Within one object, a back-fill never overwrites a
    newer put or delete.
    If an upper tier fails or, under asyncio, does not answer within `timeout_s`, it is logged and skipped for
    `skip_failed_s` seconds; it never fails the call. The keys written meanwhile, at most the latest OWED_KEYS, are
    deleted there before it is used again. A blocking store must limit its own calls.
    With `invalidate="watch"` the changes of the last tier are followed, from the first read on until this is closed,
    and what others write is deleted from the tiers above; writes through this object delete there too, instead of
    putting. While the changes cannot be followed, every read asks the last tier; then the tiers above are cleared.
    `describe` counts the hits and misses of each tier. `clock` returns seconds.
    Raises NoStoresError without stores, InvalidError (a ValueError) for times that are not above 0, UnsupportedError
    for `invalidate="watch"` unless the last store can be watched and the others are caches in memory.
    """

    def __init__(
        self,
        stores: Iterable[Datastore] = (),
        *,
        skip_failed_s: float = SKIP_FAILED_S,
        timeout_s: float = TIER_TIMEOUT_S,
        invalidate: Literal["watch"] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stores)
        check_timeout(skip_failed_s, "skip_failed_s")
        check_timeout(timeout_s, "timeout_s")
        self._tier_of = partial(Tier, skip_s=skip_failed_s, timeout_s=timeout_s, clock=clock)
        self._guard = Lock()
        self._locks = KeyLocks()
        self._flights = Flights()
        if invalidate not in (None, "watch"):
            raise InvalidError(f'invalidate must be "watch" or None, got {invalidate!r}', field="invalidate")
        self._invalidation = None if invalidate is None else Invalidation(self._flights)
        if self._invalidation is not None and self._stores:
            check_invalidated(self._stores)
        #: A list of stores and their tiers, from the last call.
        self._known: tuple[list[Datastore], list[Tier]] = ([], [])

    def _tiers(self) -> list[Tier]:
        """The tiers, each with its state from earlier calls."""
        stores, (known_stores, known) = self._held(), self._known
        if stores is known_stores or list(map(id, stores)) == list(map(id, known_stores)):
            return known
        if self._invalidation is not None:
            check_invalidated(stores)
        with self._guard:
            found = {id(tier.store): tier for tier in self._known[1]}
            for store in stores:
                if id(store) not in found:
                    found[id(store)] = self._tier_of(store)
            tiers = [found[id(store)] for store in stores]
            self._known = (stores, tiers)
            return tiers

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The value of each key in the first tier that has it, with at most one call per tier."""
        tiers = self._tiers()
        if options.metadata or not self._caches_are_current(tiers):
            # Caches do not know versions.
            return await tiers[-1].read_last(keys, options)
        if not options.values or len(tiers) == 1:
            found = await self._read_down(tiers, list(dict.fromkeys(keys)), options)
            return [found[key] for key in keys]
        results = await tiers[0].read_above(keys, VALUES)
        missed = [key for key, result in zip(keys, results, strict=True) if result.value is None]
        if not missed:
            return results
        found = await self._read_missed(tiers, list(dict.fromkeys(missed)))
        return [found.get(key, result) for key, result in zip(keys, results, strict=True)]

    def _caches_are_current(self, tiers: list[Tier]) -> bool:
        return self._invalidation is None or len(tiers) == 1 or self._invalidation.is_current(tiers)

    async def _read_down(self, tiers: Sequence[Tier], keys: list[Key], options: ReadOptions) -> dict[Key, ReadResult]:
        """The result of each key from the first of some tiers that has it. The last one is complete."""
        found: dict[Key, ReadResult] = {}
        for tier in tiers[:-1]:
            found.update(await tier.find_above([key for key in keys if key not in found], options))
        left = [key for key in keys if key not in found]
        if left:
            found.update(zip(left, await tiers[-1].read_last(left, options), strict=True))
        return found

    async def _read_missed(self, tiers: Sequence[Tier], keys: list[Key]) -> dict[Key, ReadResult]:
        """The lower tiers' results for keys that the first lacks."""
        found: dict[Key, ReadResult] = {}
        while missed := [key for key in keys if key not in found]:
            led, joined = self._flights.begin(missed)
            if led:
                found.update(await self._lead(tiers, led))
            for key, flight in joined.items():
                await flight.done.wait()
                result = flight.result()
                if result is not None:
                    found[key] = result
            # If the reader of a flight gave up, another may have filled the first tier meanwhile.
            found.update(await tiers[0].find_above([key for key in joined if key not in found], VALUES))
        return found

    async def _lead(self, tiers: Sequence[Tier], flights: dict[Key, Flight]) -> dict[Key, ReadResult]:
        """Read for all waiters of these flights, and fill the tiers above each result."""
        try:
            lacking: list[tuple[Tier, set[Key]]] = [(tiers[0], set(flights))]
            found: dict[Key, ReadResult] = {}
            for tier in tiers[1:-1]:
                found.update(await tier.find_above([key for key in flights if key not in found], VALUES))
                lacking.append((tier, flights.keys() - found.keys()))
            found.update(await self._read_last(tiers[-1], [key for key in flights if key not in found]))
            for key, flight in flights.items():
                flight.land(found[key])
            await self._fill(lacking, found, flights)
            return found
        except BaseException as error:
            for flight in flights.values():
                flight.fail(error)
            raise
        finally:
            self._flights.end(flights)

    async def _read_last(self, tier: Tier, keys: list[Key]) -> dict[Key, ReadResult]:
        """The last tier's results, with the metadata of entries that may expire; see `_fill`."""
        if not tier.store.capability.expiry:
            return await self._read_down([tier], keys, VALUES)
        found = await self._read_down([tier], keys, ENTRIES)
        # Only the answer of a server says that its store keeps no metadata. Its entries do not expire.
        without = [key for key, result in found.items() if isinstance(result.error, UnsupportedError)]
        if without:
            found.update(await self._read_down([tier], without, VALUES))
        return found

    async def _fill(
        self, lacking: list[tuple[Tier, set[Key]]], found: dict[Key, ReadResult], flights: dict[Key, Flight]
    ) -> None:
        """Write results to the tiers that lack them, unless they expire, or a write has ended since they were read."""
        fresh = [key for key in flights if found[key].value is not None and not _expires(found[key])]
        if not fresh:
            return
        async with self._locks.hold_all(fresh):
            fresh = [key for key in fresh if self._flights.is_current(key, flights[key])]
            try:
                for tier, absent in reversed(lacking):
                    await tier.write_above([Put(key, found[key].value) for key in fresh if key in absent])
            finally:
                # The key of a change is not held: it may have come just before the value was written.
                late = [key for key in fresh if not self._flights.is_current(key, flights[key])]
                if late:
                    await run_to_completion(partial(self._forget, [tier for tier, _ in lacking], late))

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the last tier, then to those above it, with one call for each."""
        tiers = self._tiers()
        return await self._write(tiers, operations, tiers[-1].store.write)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Like `write`; atomic is what happens in the last tier."""
        tiers = self._tiers()
        return await self._write(tiers, operations, atomic_of(tiers[-1].store))

    async def _write(
        self,
        tiers: Sequence[Tier],
        operations: Sequence[Operation],
        write: Callable[[Sequence[Operation]], Awaitable[list[WriteResult]]],
    ) -> list[WriteResult]:
        keys = list(dict.fromkeys(operation.key for operation in operations))
        async with self._writing(tiers, keys):
            results = await write(operations)
            left: dict[Key, Operation] = {}
            for operation, result in zip(operations, results, strict=True):
                if result.error is None:
                    left[operation.key] = self._cached(operation, result)
                elif is_outage(result.error) or isinstance(result.error, (ConditionFailedError, RequestForgottenError)):
                    # The caller may have seen an old value here.
                    left[operation.key] = Delete(operation.key)
            for tier in reversed(tiers[:-1]):
                await tier.write_above(list(left.values()))
        return results

    def _cached(self, operation: Operation, result: WriteResult) -> Operation:
        """What to do in the caches after a write."""
        if self._invalidation is None:
            return uncached(operation, result)
        # The next change of the key may have come already, and would not come again to delete this value.
        return Delete(operation.key)

    @asynccontextmanager
    async def _writing(self, tiers: Sequence[Tier], keys: Sequence[Key]) -> AsyncIterator[None]:
        """Hold keys while the block writes them. If the outcome is unknown, no tier above keeps its old values."""
        async with self._locks.hold_all(keys):
            try:
                yield
            except BaseException as error:
                if is_outage(error):
                    await run_to_completion(partial(self._forget, tiers[:-1], keys))
                raise
            finally:
                self._flights.outdate(keys)

    async def _forget(self, tiers: Sequence[Tier], keys: Sequence[Key]) -> None:
        for tier in tiers:
            await tier.write_above(list(map(Delete, keys)))

    def scan(self, query: Query) -> Scan:
        return ask(self._held()[-1], query)

    async def tally(self, asked: Aggregate) -> Tally:
        return await tally_of(self._held()[-1], asked)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        return feed_of(self._held()[-1], watch, wake)

    async def aclose(self) -> None:
        stop = [] if self._invalidation is None else [self._invalidation.aclose]
        await close_all([*stop, super().aclose])

    @property
    def capability(self) -> Capability:
        return passed_on(self, Capability.common(store.capability for store in self._stores[-1:]))

    def describe(self) -> Description:
        children = self.described() if self._stores else ()
        last = (children[-1] if children else Description("null")).storage
        return Description(
            "tiered",
            self._text(),
            self.capability,
            children,
            entries=last.entries,
            stored_bytes=last.stored_bytes,
        )

    def _text(self) -> str:
        text = "the most complete last"
        if self._invalidation is None:
            return text
        return f"{text}, whose changes are {'' if self._invalidation.is_following else 'not '}followed"

    def described(self) -> tuple[Description, ...]:
        """The descriptions of the tiers, each with its hits and misses."""
        tiers = self._tiers()
        return tuple(tier.store.describe()._replace(hits=tier.hits, misses=tier.misses) for tier in tiers)


def _expires(result: ReadResult) -> bool:
    return result.metadata is not None and result.metadata.expires_us > 0
