"""Keeps caches up to date by the changes of the complete store below them. Knows tiers and feeds.

A value that was read before a change must not be cached after it. So a key is deleted from each cache, the last first,
and before each deletion the flights of the key are outdated: they may have read what is deleted next.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context

from datastore.aio._concurrency import Background, Lock, Signal
from datastore.aio.base import Datastore
from datastore.aio.feeds import feed_of
from datastore.aio.flights import Flights
from datastore.aio.tier import Tier, warn
from datastore.aio.verbs import passes_changes
from datastore.model.capability import Durability
from datastore.model.changes import Watch
from datastore.model.errors import DatastoreClosedError, UnavailableError, UnsupportedError
from datastore.model.key import Key
from datastore.model.operations import Delete
from datastore.model.query import Query

__all__ = ["FOLLOW_AGAIN_S", "REFUSED_AGAIN_S", "Invalidation", "check_invalidated"]

#: After a failure, the time until the changes are followed again, in seconds.
FOLLOW_AGAIN_S = 1.0
#: The same if the last tier cannot be watched, until its server is configured differently.
REFUSED_AGAIN_S = 60.0
#: How often to read a feed that has not called `wake`, in seconds, in case it has been interrupted.
_POLL_S = 1.0
_EVERYTHING = Watch(Query(Key("/"), recursive=True).frozen(), values=False)


def check_invalidated(stores: Sequence[Datastore]) -> None:
    """Raise UnsupportedError, naming the tier, unless the last can be watched and the others are caches in memory.

    Another process could fill any other cache with an old value just after its deletion.
    """
    needs = 'invalidate = "watch" needs that'
    *caches, last = stores
    if not (last.capability.changes and passes_changes(last)):
        raise UnsupportedError(f"the last tier, {_kind(last)}, cannot be watched: {needs}")
    for number, cache in enumerate(caches, 1):
        if not (cache.capability.queries and cache.capability.durability is Durability.MEMORY):
            raise UnsupportedError(
                f"tier {number}, {_kind(cache)}, does not keep its entries in the memory of this process, as lru does:"
                f" {needs}"
            )


def _kind(store: Datastore) -> str:
    """What a tier is, below the shims that only serialize for it."""
    found = store.describe()
    while found.kind in ("shim", "serializer") and len(found.children) == 1:
        found = found.children[0]
    return found.kind


class Invalidation:
    """Follows the changes of the last of some tiers, from the first `is_current` on, and deletes what changed above it.

    While it does not follow, no flight is current and `is_current` is False: the tiers above may be stale. They are
    cleared before they are current again.
    """

    def __init__(self, flights: Flights) -> None:
        self._flights = flights
        self._guard = Lock()
        self._background: Background | None = None
        self._signal: Signal | None = None
        self._is_closed = False
        #: Whether a failure has been logged, and no success since.
        self._has_failed = False
        #: The tiers of the latest call, and those whose last one is followed.
        self._wanted: Sequence[Tier] = ()
        self._current: Sequence[Tier] | None = None

    def is_current(self, tiers: Sequence[Tier]) -> bool:
        """Whether the tiers above the last have no older values than its feed."""
        if self._current is not tiers:
            self._begin(tiers)
        return self._current is tiers

    @property
    def is_following(self) -> bool:
        """Whether it follows the changes now."""
        return self._current is not None

    def _begin(self, tiers: Sequence[Tier]) -> None:
        with self._guard:
            self._wanted = tiers
            if self._background is None and not self._is_closed:
                # In an empty context: the deadline of this call is not that of the feed.
                self._background = Context().run(Background, self._run)

    async def _run(self) -> None:
        self._signal = Signal()
        try:
            while not self._is_closed:
                await self._try_to_follow(self._wanted, self._signal)
        finally:
            with self._guard:
                self._background = None

    async def _try_to_follow(self, tiers: Sequence[Tier], signal: Signal) -> None:
        """Follow the last of these tiers until that fails, or others are in use. Waits after a failure."""
        wait_s = 0.0
        try:
            await self._follow(tiers, signal)
        except DatastoreClosedError:
            self._is_closed = True
        except Exception as error:  # noqa: BLE001 - a store may fail in any way
            if not self._has_failed:
                kind = tiers[-1].store.describe().kind
                warn("the caches are not used while the changes of %s cannot be followed: %s", kind, error)
            self._has_failed = True
            wait_s = REFUSED_AGAIN_S if isinstance(error, UnsupportedError) else FOLLOW_AGAIN_S
            signal.clear()
        finally:
            self._current = None
            self._flights.outdate_all()
        if wait_s and not self._is_closed:
            await signal.wait(wait_s)

    async def _follow(self, tiers: Sequence[Tier], signal: Signal) -> None:
        feed = feed_of(tiers[-1].store, _EVERYTHING, signal.set)
        try:
            while not self._is_closed and self._wanted is tiers:
                signal.clear()
                batch = await feed.take()
                if feed.is_interrupted:
                    raise UnavailableError("the connection was interrupted")
                if batch is None:
                    await signal.wait(_POLL_S)
                elif self._current is not tiers:
                    await self._use_again(tiers)
                elif batch.changes:
                    await self._forget(tiers, list(dict.fromkeys(change.key for change in batch.changes)))
        finally:
            await feed.aclose()

    async def _use_again(self, tiers: Sequence[Tier]) -> None:
        """Use the caches, emptied, now that the feed has begun and will have all later changes."""
        for tier in tiers[:-1]:
            await tier.clear()
        self._current = tiers
        if self._has_failed:
            warn("the caches are used again")
        self._has_failed = False

    async def _forget(self, tiers: Sequence[Tier], keys: Sequence[Key]) -> None:
        for tier in reversed(tiers[:-1]):
            self._flights.outdate(keys)
            await tier.write_above(list(map(Delete, keys)))

    async def aclose(self) -> None:
        """Stop following. May be repeated."""
        with self._guard:
            self._is_closed = True
            background = self._background
        if self._signal is not None:
            self._signal.set()
        if background is not None:
            background.cancel()
            await background.join()
