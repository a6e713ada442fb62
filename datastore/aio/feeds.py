"""The feeds of stores that can be watched: of a log, of several stores in one, and through shims.

Knows the Datastore contract; `datastore.engine.feeds` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from datastore.aio._concurrency import Lock
from datastore.aio.cursor import close_all
from datastore.aio.scan import Scan, ask, exact
from datastore.aio.verbs import passes_changes
from datastore.engine.changelog import Log, LogPosition
from datastore.engine.feeds import Place, Progress, joined, parted, selected
from datastore.model.changes import Change, ChangeBatch, ChangeKind, Watch
from datastore.model.description import Description
from datastore.model.entries import Position
from datastore.model.errors import DatastoreError, UnsupportedError
from datastore.model.key import Key
from datastore.model.operations import ENTRIES, raise_error

__all__ = ["Feed", "LogFeed", "MappedFeed", "MergedFeed", "check_watched", "feed_of", "unlogged", "unwatched"]

#: The kinds of store that keep a log of their changes only if they are opened so.
_OPENED_WITH_LOG = frozenset({"lmdb", "redis"})


class Feed:
    """The changes of a store that a Watch asks for. For one reader.

    `take` never waits for changes: it returns the next batch, or None if there is none yet; after that, the store
    calls the `wake` with which the feed was made, from any thread, as soon as there may be one. Expired entries may be
    found only by another `take`. The first batch has no changes, and the position where the feed begins. Changes of one
    key come in their order; each comes once.
    Raises ChangesExpiredError once changes after its position have been discarded. The caller must close it.
    """

    @property
    def is_interrupted(self) -> bool:
        """Whether changes are late because a server below cannot be reached. The feed will continue by itself."""
        return False

    async def take(self) -> ChangeBatch | None:
        """The next batch, if there is one."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Stop. May be repeated."""
        raise NotImplementedError


def check_watched(store: Any) -> None:
    """Raise UnsupportedError, with the reason, unless a store can be watched."""
    _check_passed_on(store)
    if not store.capability.changes:
        raise unlogged(store)


def unwatched(store: Any, reason: str) -> UnsupportedError:
    """The error for a store that cannot be watched."""
    return UnsupportedError(f"{type(store).__name__} cannot be watched: {reason}")


def unlogged(store: Any) -> UnsupportedError:
    """The error for a store that keeps no log of its changes. It names what lacks one below it, and how to get one."""
    found: Description | None = store.describe()
    while found is not None:
        kind = found.kind
        # Of tiers, the last decides.
        found = next((child for child in reversed(found.children) if not child.capability.changes), None)
    how = (
        "; open it with ?changes=true in the store's URL, or with keep_changes=True" if kind in _OPENED_WITH_LOG else ""
    )
    return UnsupportedError(f"{kind} cannot be watched: it keeps no log of its changes{how}")


def feed_of(store: Any, watch: Watch, wake: Callable[[], None]) -> Feed:
    """The feed of a store. Stores ask their children with this.

    Raises UnsupportedError for a class that overrides how entries are read or written below the `changes` that it
    inherits: these would show what it hides.
    """
    _check_passed_on(store)
    feed: Feed = store.changes(watch, wake)
    return feed


def _check_passed_on(store: Any) -> None:
    if not passes_changes(store):
        raise unwatched(store, "it changes how entries are read or written, and has no `changes`")


class LogFeed(Feed):
    """The changes in the log of a store, which `lock` protects, after an initial listing of its entries if asked for.

    The listing leaves out entries with changes after its beginning: these come from the log. `sweep`, called with the
    lock held, removes entries that have expired, so that the log shows it.
    """

    def __init__(
        self,
        store: Any,
        log: Log,
        lock: Lock,
        watch: Watch,
        wake: Callable[[], None],
        *,
        sweep: Callable[[], None],
    ) -> None:
        self._store = store
        self._log = log
        self._lock = lock
        self._watch = watch
        self._wake = wake
        self._sweep = sweep
        self._has_begun = False
        self._scan: Scan | None = None
        with lock:
            if watch.position is None:
                self._position = LogPosition(log.log_id, log.last, "" if watch.initial else None)
            else:
                self._position = LogPosition.unpacked(watch.position)
            self._number = log.number_after(self._position)
            log.wakers.add(wake)

    async def take(self) -> ChangeBatch | None:
        """The next batch of the listing, then of the log."""
        if not self._has_begun:
            self._has_begun = True
            return ChangeBatch((), self._position.packed())
        if self._position.listed is not None:
            return await self._list(self._position.listed)
        with self._lock:
            self._sweep()
            changes, self._number = self._log.read(self._number)
        if not changes:
            return None
        self._position = self._position._replace(version=changes[-1].version)
        return ChangeBatch(selected(self._watch, changes), self._position.packed())

    async def _list(self, listed: str) -> ChangeBatch:
        """The next batch of the initial listing."""
        if self._scan is None:
            after = Position(b"", Key(listed)) if listed else None
            query = self._watch.query.replaced(keys_only=True, start_after=after)
            self._scan = exact(query, ask(self._store, query))
        batch = await anext(self._scan.batches, None)
        if batch is None:
            await self._scan.aclose()
            self._position = self._position._replace(listed=None)
            return ChangeBatch((), self._position.packed(), caught_up=True)
        puts = []
        for key, result in zip(batch.keys, await self._store.read(batch.keys, ENTRIES), strict=True):
            raise_error(result)
            if result.metadata is not None and result.metadata.version <= self._position.version:
                puts.append(Change(ChangeKind.PUT, key, result.metadata.version, result.value))
        if batch.keys:
            self._position = self._position._replace(listed=str(batch.keys[-1]))
        return ChangeBatch(selected(self._watch, puts), self._position.packed())

    async def aclose(self) -> None:
        """Take no more wakes from the log."""
        with self._lock:
            self._log.wakers.discard(self._wake)
        if self._scan is not None:
            await self._scan.aclose()


class MappedFeed(Feed):
    """A feed whose changes are converted, batch by batch: into keys and values of the store above."""

    def __init__(self, feed: Feed, convert: Callable[[Sequence[Change]], Sequence[Change]]) -> None:
        self._feed = feed
        self._convert = convert

    @property
    def is_interrupted(self) -> bool:
        return self._feed.is_interrupted

    async def take(self) -> ChangeBatch | None:
        batch = await self._feed.take()
        return batch if batch is None or not batch.changes else batch._replace(changes=self._convert(batch.changes))

    async def aclose(self) -> None:
        await self._feed.aclose()


class MergedFeed(Feed):
    """The feeds of several stores in one. There is no order between changes of different stores in one stage.

    `open_feed(index, watch)` opens the feed of one store; `names` are theirs, unique, and part of the positions.
    `failed` is called with the index and the error of a feed that fails, before the error is raised. If entries
    `can_move` between the stores, one that the position does not contain is opened at b"", and one that it contains may
    be missing from `names` once its last batch has been read.
    """

    def __init__(
        self,
        names: Sequence[str],
        watch: Watch,
        open_feed: Callable[[int, Watch], Feed],
        failed: Callable[[int, DatastoreError], None],
        *,
        can_move: bool = False,
    ) -> None:
        self._failed = failed
        self._asked = watch
        self._open_feed = open_feed
        if watch.position is None:
            begun = Progress.LISTING if watch.initial else Progress.FOLLOWING
            self._places = [Place(name, begun, b"") for name in names]
        else:
            self._places = parted(watch.position, names, can_move=can_move)
        #: Opened one by one by the first `take`, so that if one fails, the others can be closed.
        self._feeds: list[Feed] = []
        #: The feeds whose positions are not known yet.
        self._silent = list(range(len(names)))
        self._has_begun = False
        #: The latest stage of each feed, and the batches that wait until all others have reached theirs.
        self._stages = [0] * len(names)
        self._held: dict[int, ChangeBatch] = {}
        #: Listings first, so that they end however often a watch is continued among changes.
        self._turn = next((index for index, place in enumerate(self._places) if place.is_listing), 0)

    @property
    def is_interrupted(self) -> bool:
        return any(feed.is_interrupted for feed in self._feeds)

    async def take(self) -> ChangeBatch | None:
        """The next batch of one of the stores, which take turns."""
        for index in range(len(self._feeds), len(self._places)):
            self._feeds.append(self._opened(index))
        while self._silent:
            batch = await self._take_from(self._silent[-1])
            if batch is None:
                return None
            self._move(self._silent.pop(), batch)
        if not self._has_begun:
            self._has_begun = True
            return ChangeBatch((), joined(self._places), stage=min(self._stages, default=0))
        for _ in self._feeds:
            index, self._turn = self._turn, (self._turn + 1) % len(self._feeds)
            batch = self._held.pop(index, None) or await self._take_from(index)
            if batch is None:
                continue
            stage = min(self._stages)
            if batch.stage > stage:
                self._held[index] = batch
                continue
            self._move(index, batch)
            # All of a stage begins at once: then a position says that the stores without entries have ended.
            for place, held in list(self._held.items()):
                if held.stage <= stage and not held.changes:
                    self._move(place, self._held.pop(place))
            caught_up = batch.caught_up and not any(place.is_listing for place in self._places)
            return ChangeBatch(batch.changes, joined(self._places), caught_up, stage)
        return None

    def _opened(self, index: int) -> Feed:
        position = None if self._asked.position is None else self._places[index].position
        try:
            return self._open_feed(index, self._asked._replace(position=position))
        except DatastoreError as error:
            self._failed(index, error)
            raise

    async def _take_from(self, index: int) -> ChangeBatch | None:
        try:
            batch = await self._feeds[index].take()
        except DatastoreError as error:
            self._failed(index, error)
            raise
        if batch is not None:
            self._stages[index] = batch.stage
        return batch

    def _move(self, index: int, batch: ChangeBatch) -> None:
        """Note that a batch has been returned."""
        place = self._places[index]
        progress = Progress.FOLLOWING if batch.caught_up else place.progress
        self._places[index] = Place(place.name, Progress.ENDED if batch.is_last else progress, batch.token)

    async def aclose(self) -> None:
        await close_all([feed.aclose for feed in self._feeds])
