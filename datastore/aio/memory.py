"""Stores in memory: DictDatastore, and NullDatastore, which keeps nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

from datastore.aio._concurrency import Lock
from datastore.aio.atomic import none_made
from datastore.aio.base import Datastore
from datastore.aio.scan import Scan
from datastore.aio.verbs import delete_of, passed_on, put_of, split_options
from datastore.engine.expiries import Expiries
from datastore.engine.plan import COMPLETE
from datastore.engine.requests import Outcome, Requests, answers_together, note_together
from datastore.engine.versions import Versions
from datastore.model.arguments import check_count, check_key
from datastore.model.attempts import Attempt
from datastore.model.capability import Capability, Durability, Support
from datastore.model.description import Description
from datastore.model.durations import check_seconds
from datastore.model.entries import Batch, Position
from datastore.model.key import Key
from datastore.model.limits import (
    BATCH_ENTRIES,
    CHANGES_AGE_S,
    CHANGES_BYTES,
    CHANGES_KEPT,
    FIRST_SCAN_ENTRIES,
    REQUESTS_KEPT,
    REQUESTS_KEPT_S,
)
from datastore.model.metadata import Metadata, PutOptions, Stamp, WriteOptions, require
from datastore.model.operations import (
    Delete,
    Operation,
    Patch,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
    expires_us_after,
    is_plain,
    raise_error,
)
from datastore.model.query import Query

if TYPE_CHECKING:
    from datastore.aio.feeds import Feed
    from datastore.engine.changelog import ChangeLog
    from datastore.model.changes import Watch

__all__ = ["DictDatastore", "NullDatastore"]

#: If there are more than this many times as many entries as needed, selecting the first is faster than sorting all.
_FEW = 100
_EMPTY: Mapping[Any, Any] = MappingProxyType({})
#: The metadata of a value that was stored past the store's methods.
_OLDEST = (1, 0, 0)
#: A value and its metadata; of a deletion, None and its version.
_Entry = tuple[Any, Stamp]
#: The values of a collection, and the metadata by the texts of the keys.
_Collection = tuple[Mapping[Key, Any], Mapping[str, Stamp]]


class NullDatastore(Datastore):
    """Stores nothing: every key is absent, and every query is empty."""

    capability = Capability(
        scope=True,
        key_filters=Support.EXACT,
        field_filters=Support.EXACT,
        orders=Support.EXACT,
        limit=Support.EXACT,
        durability=Durability.MEMORY,
    )

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return [ReadResult() for _ in keys]

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return [WriteResult() for _ in operations]

    def scan(self, query: Query) -> Scan:
        return Scan(_nothing(), COMPLETE)

    def describe(self) -> Description:
        return Description("null", "keeps nothing", self.capability)


async def _nothing() -> AsyncGenerator[Batch]:
    if False:
        yield Batch([], [])


class DictDatastore(Datastore):
    """Keeps entries in memory, in one dict per collection.

    Stored values are the objects themselves: do not modify them afterwards. `len()` counts the entries.
    A query sees the entries as of the time when its first result is read: the first write to a collection after a query
    of it copies the collection's dict. Entries have versions, and can expire by `clock`, which returns seconds since
    1970. Expired entries are absent at once; writes and watchers remove them, some at a time.
    It can be watched, and keeps its latest changes for that: at most `most_changes`, `most_change_bytes` and those of
    `most_change_age_s` seconds, from the first watch on or, with `keep_changes`, from the beginning.
    It remembers the requests of writes that have an attempt, at most `most_requests` and for `most_request_age_s`
    seconds, and answers a later attempt of one that was made, instead of making it again.
    Raises InvalidError (a ValueError) or UnsupportedTypeError (a TypeError) for limits that are not above 0.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        keep_changes: bool = False,
        most_changes: int = CHANGES_KEPT,
        most_change_bytes: int = CHANGES_BYTES,
        most_change_age_s: float = CHANGES_AGE_S,
        most_requests: int = REQUESTS_KEPT,
        most_request_age_s: float = REQUESTS_KEPT_S,
    ) -> None:
        self._items: dict[str, dict[Key, Any]] = {}
        #: By the texts of the keys, because looking up a Key takes several times as long.
        self._stamps: defaultdict[str, dict[str, Stamp]] = defaultdict(dict)
        self._versions = Versions(clock=clock)
        self._expiries = Expiries()
        #: The collections whose dicts queries may be reading: a write changes a copy.
        self._read: set[str] = set()
        self._lock = Lock()
        #: Whether an atomic batch is being made, and how many were begun: for reads without the lock.
        self._is_changing = False
        self._begun = 0
        check_count("most_changes", most_changes)
        check_count("most_change_bytes", most_change_bytes)
        check_seconds("most_change_age_s", most_change_age_s)
        check_count("most_requests", most_requests)
        check_seconds("most_request_age_s", most_request_age_s)
        self._requests = Requests(most_requests, most_request_age_s)
        self._log_limits = (most_changes, most_change_bytes, most_change_age_s)
        #: None until somebody watches, so that writes cost nothing more.
        self._log: ChangeLog | None = None
        if keep_changes:
            self._keep_changes()

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values themselves, as of one moment between atomic batches."""
        begun = self._begun
        if not (options.metadata or self._expiries.at_us or self._is_changing):
            items = self._items
            results = [
                ReadResult(items[path].get(key)) if (path := key._path_text()) in items else ReadResult()
                for key in keys
            ]
            if self._begun == begun:
                return results
        with self._lock:
            if options.metadata:
                return [ReadResult(value, metadata=known) for value, known in map(self._entry, keys)]
            return [ReadResult(self._value(key)) for key in keys]

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        with self._lock:
            now_us = self._versions.now_us()
            return [self._apply(operation, now_us) for operation in operations]

    def _apply(self, operation: Operation, now_us: int | None = None) -> WriteResult:
        """Make one write, at this time or now. Call with the lock held."""
        key = operation.key
        if self._expiries.at_us:
            self._sweep(key)
        if not is_plain(operation):
            if operation.attempt is not None:
                made = attempt(self._make_once, operation, operation.attempt, now_us)
            else:
                made = attempt(self._make_dependent, operation, now_us)
            return made.value if made.error is None else WriteResult(made.error)
        if operation.value is None:
            self._remove(key)
            return WriteResult()
        # As `Metadata._make` does it, which takes twice as long.
        return WriteResult(None, tuple.__new__(Metadata, self._store(key, operation.value, now_us=now_us)))

    def _make_dependent(self, operation: Operation, now_us: int | None) -> WriteResult:
        """Make a write that depends on the entry or on the time. Raises if it is refused. Call with the lock held."""
        key = operation.key
        value, expires_us = self._decided(operation, *self._entry(key))
        if value is None:
            self._remove(key)
            return WriteResult()
        stamp = self._store(key, value, expires_us, now_us=now_us)
        return WriteResult(metadata=Metadata(*stamp), value=value if isinstance(operation, Patch) else None)

    def _decided(self, operation: Operation, old: Any, known: Metadata | None) -> tuple[Any, int]:
        """The value after a write, None for none, and when it expires, given the old entry. Raises if it is refused."""
        if operation.condition is not None:
            require(operation.condition, operation.key, 0 if known is None else known.version)
        if isinstance(operation, Delete):
            return None, 0
        value = operation.apply(old) if isinstance(operation, Patch) else operation.value
        now_us = self._versions.latest_us()
        expires_us = expires_us_after(operation, now_us, 0 if known is None else known.expires_us)
        return (None, 0) if 0 < expires_us <= now_us else (value, expires_us)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make all writes, unless another attempt of them was made before."""
        with self._lock:
            if self._expiries.at_us:
                for operation in operations:
                    self._sweep(operation.key)
            before = answers_together(operations, self._requests, lambda each: self._entry(each.key))
            if before:
                return before
            results = self._decide_and_make(operations)
            note_together(operations, results, self._requests)
            return results

    def _decide_and_make(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Decide about all writes, and then make them. Call with the lock held."""
        after: dict[Key, _Entry] = {}
        decisions: list[_Entry] = []
        for place, operation in enumerate(operations):
            decided = attempt(self._decide_after, operation, after)
            if decided.error is not None:
                return none_made({place: decided.error}, len(operations))
            decisions.append(decided.value)
        # Reads without the lock would see a part. They look at these in the opposite order.
        self._is_changing = True
        self._begun += 1
        try:
            return [self._make(*each) for each in zip(operations, decisions, strict=True)]
        finally:
            self._is_changing = False

    def _decide_after(self, operation: Operation, after: dict[Key, _Entry]) -> _Entry:
        """The entry after a write, given those after the writes before it. Raises if it is refused."""
        key = operation.key
        known_request = None if operation.attempt is None else self._requests.find(operation.attempt)
        if known_request is not None:
            self._answer(operation, known_request)
        if key in after:
            value, stamp = after[key]
            known = None if value is None else Metadata(*stamp)
        else:
            value, known = self._entry(key)
        value, expires_us = self._decided(operation, value, known)
        after[key] = (value, self._versions.stamp(None if value is None else known, expires_us))
        return after[key]

    def _make(self, operation: Operation, entry: _Entry) -> WriteResult:
        """Make a write that was decided."""
        value, stamp = entry
        if value is None:
            self._remove(operation.key, stamp=stamp)
            return WriteResult()
        metadata = Metadata(*stamp)
        self._store(operation.key, value, metadata.expires_us, stamp)
        return WriteResult(metadata=metadata, value=value if isinstance(operation, Patch) else None)

    def _make_once(self, operation: Operation, this: Attempt, now_us: int | None) -> WriteResult:
        """Make a write unless another attempt was made before. Raises if it is refused. Call with the lock held."""
        known = self._requests.find(this)
        if known is not None:
            return self._answer(operation, known)
        made = attempt(self._make_dependent, operation, now_us)
        result = made.value if made.error is None else WriteResult(made.error)
        self._requests.note(operation, result)
        return result

    def _answer(self, operation: Operation, known: Outcome) -> WriteResult:
        return known.answer(operation, lambda: self._entry(operation.key))

    # The same for one key, without the lists of keys and results, which take as long as the work itself.

    async def get(self, key: Key) -> Any:
        """The value itself."""
        key = check_key(key)
        if self._expiries.at_us or self._is_changing:
            with self._lock:
                return self._value(key)
        collection = self._items.get(key._path_text())
        return None if collection is None else collection.get(key)

    async def contains(self, key: Key) -> bool:
        """Whether `key` has a value."""
        return await self.get(key) is not None

    async def put(self, key: Key, value: Any, **options: Unpack[PutOptions]) -> None:
        """Keep the value itself."""
        if value is None:
            conditions, _ = split_options(options)
            await self.delete(key, **conditions)
            return
        key = check_key(key)
        with self._lock:
            if options or self._expiries.at_us:
                raise_error(self._apply(put_of(self, key, value, options)))
            else:
                self._store(key, value)

    async def delete(self, key: Key, **options: Unpack[WriteOptions]) -> None:
        """Remove the entry of `key`, if there is one."""
        key = check_key(key)
        with self._lock:
            raise_error(self._apply(delete_of(self, key, options)))

    @property
    def latest_version(self) -> int:
        """The latest version given to an entry, also to one that was deleted since; 0 if there is none."""
        return self._versions.last

    def raise_versions(self, version: int) -> None:
        """Give only versions above this one from now on, e.g. because entries come from a store that gave it."""
        with self._lock:
            self._versions.raise_to(version)

    def forget_requests(self) -> None:
        """Refuse repetitions of writes from before now that were not made here, because another store made some."""
        with self._lock:
            self._requests.forget_others()

    # With the lock held

    def _sweep(self, key: Key | None = None) -> None:
        """Remove the entry of `key` if it has expired, and some others that have."""
        now_us = self._versions.latest_us()
        passed = self._expiries.pop(now_us)
        if key is not None and self._expiries.has_passed(key, now_us):
            passed.append(key)
        for each in passed:
            self._remove(each, has_expired=True)

    def _value(self, key: Key) -> Any:
        if self._expiries.at_us and self._expiries.has_passed(key, self._versions.latest_us()):
            return None
        return self._items.get(key._path_text(), _EMPTY).get(key)

    def _entry(self, key: Key) -> tuple[Any, Metadata | None]:
        """The value and the metadata of a key, by one look at the clock; None for both if it has none.

        A subclass may have stored the value by itself.
        """
        value = self._value(key)
        if value is None:
            return None, None
        return value, Metadata(*self._stamps.get(key._path_text(), _EMPTY).get(key._string, _OLDEST))

    def _store(
        self, key: Key, value: Any, expires_us: int = 0, stamp: Stamp | None = None, *, now_us: int | None = None
    ) -> Stamp:
        """Store a value, with the `stamp` that was made for it, or with one of this time or now."""
        path, text = key._path_text(), key._string
        items = self._items.get(path)
        if items is None or path in self._read:
            items = self._writable(path)
        items[key] = value
        stamps = self._stamps[path]
        if stamp is None:
            stamp = self._versions.stamp(stamps.get(text), expires_us, now_us)
        stamps[text] = stamp
        if expires_us or self._expiries.at_us:
            self._expiries.put(key, expires_us)
        if self._log is not None:
            self._log.put(key, stamp[0], value)
        return stamp

    def _remove(self, key: Key, *, has_expired: bool = False, stamp: Stamp | None = None) -> None:
        path = key._path_text()
        if key in self._items.get(path, ()):
            collection = self._writable(path)
            del collection[key]
            self._stamps.get(path, {}).pop(key._string, None)
            self._expiries.put(key, 0)
            if not collection:
                del self._items[path]
                self._stamps.pop(path, None)
            if self._log is not None:
                note = self._log.expire if has_expired else self._log.delete
                note(key, (stamp or self._versions.stamp(None))[0])

    def _writable(self, path: str) -> dict[Key, Any]:
        """The dict of a collection, which no query is reading, nor that of its metadata."""
        if path in self._read:
            self._read.discard(path)
            self._items[path] = self._items[path].copy()
            self._stamps[path] = self._stamps[path].copy()
        return self._items.setdefault(path, {})

    def _readable(self, path: str) -> _Collection:
        """A collection that exists, which from now on does not change."""
        self._read.add(path)
        return self._items[path], self._stamps.get(path, _EMPTY)

    def scan(self, query: Query) -> Scan:
        """The entries of the scope, by key unless the query has orders, which sort them anyway."""
        return Scan(self._batches(query))

    async def _batches(self, query: Query) -> AsyncGenerator[Batch]:
        found, with_metadata = self._collections(query), query.needs_metadata
        keys: Iterator[Key] = chain.from_iterable(items for items, _ in found)
        values: Iterator[Any] = chain.from_iterable(items.values() for items, _ in found)
        stamps: Iterator[Stamp] = chain.from_iterable(map(_stamps_of, found)) if with_metadata else iter(())
        if not query.orders:
            # Sorting by orders breaks ties by key.
            keys, values, stamps = _by_key(list(keys), list(values), list(stamps), query.entries_needed())
        size = FIRST_SCAN_ENTRIES
        while part := list(islice(keys, size)):
            batch = Batch(part, list(islice(values, size)), scanned=len(part), position=Position(b"", part[-1]))
            if with_metadata:
                batch.metadata = list(islice(stamps, size))
            yield batch
            size = BATCH_ENTRIES

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feed of the log, which begins with the first one."""
        from datastore.aio.feeds import LogFeed

        with self._lock:
            log = self._keep_changes()
        return LogFeed(self, log, self._lock, watch, wake, sweep=self._sweep)

    def _keep_changes(self) -> ChangeLog:
        """Keep changes from now on. Returns their log."""
        # Loaded only where changes are kept: loading takes noticeable time.
        from datastore.engine.changelog import ChangeLog

        if self._log is None:
            self._log = ChangeLog(self._versions.last, *self._log_limits)
        return self._log

    def _collections(self, query: Query) -> list[_Collection]:
        """An immutable snapshot of the entries in the scope, unordered."""
        scope = str(query.key)
        with self._lock:
            if not query.recursive:
                return self._unexpired([self._readable(scope)] if scope in self._items else [])
            below = (scope + "/", scope + ":")
            # The instances of an instance, e.g. /a:b:c of /a:b, are in the same collection as the instance.
            beside = str(query.key.path)
            found = []
            for path in self._items:
                if scope in ("/", path) or path.startswith(below):
                    found.append(self._readable(path))
                elif path == beside:
                    items, stamps = self._items[path], self._stamps.get(path, _EMPTY)
                    own = [key for key in items if str(key).startswith(below)]
                    texts = [key._string for key in own] if query.needs_metadata else []
                    kept = {text: stamps[text] for text in texts if text in stamps}
                    found.append(({key: items[key] for key in own}, kept))
            return self._unexpired(found)

    def _unexpired(self, collections: list[_Collection]) -> list[_Collection]:
        """The collections without the entries that have expired by now. Call with the lock held."""
        passed = self._passed()
        if not passed:
            return collections
        return [
            ({key: value for key, value in items.items() if key not in passed}, stamps) for items, stamps in collections
        ]

    def _passed(self) -> set[Key]:
        """The entries that have expired and are not removed yet. Call with the lock held."""
        return self._expiries.passed(self._versions.latest_us()) if self._expiries.at_us else set()

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._items.values())) - len(self._passed())

    @property
    def capability(self) -> Capability:
        """A query reads only its scope. The reads of a subclass may suspend."""
        own = Capability(
            scope=True,
            durability=Durability.MEMORY,
            versions=True,
            expiry=True,
            changes=True,
            atomic=True,
            retries=True,
        )
        return passed_on(self, own._replace(reads_at_once=type(self) is DictDatastore))

    def describe(self) -> Description:
        with self._lock:
            now_us = self._versions.latest_us()
            figures = {} if self._log is None else self._log.figures(now_us)
        return Description("dict", "in memory", self.capability, entries=len(self), figures=figures)


def _stamps_of(collection: _Collection) -> Iterator[Stamp]:
    """The metadata of each entry of a collection. A subclass may have stored a value by itself."""
    items, stamps = collection
    return (stamps.get(key._string, _OLDEST) for key in items)


def _by_key(
    keys: list[Key], values: list[Any], stamps: list[Stamp], needed: int
) -> tuple[Iterator[Key], Iterator[Any], Iterator[Stamp]]:
    """The first entries by key; `stamps` may be empty."""
    # What is sorted are places, because a pair for each entry would be work for the garbage collector.
    text_of = [key._string for key in keys].__getitem__
    places = range(len(keys))
    few = needed * _FEW < len(keys)
    order = nsmallest(needed, places, key=text_of) if few else sorted(places, key=text_of)
    kept = map(stamps.__getitem__, order if stamps else ())
    return map(keys.__getitem__, order), map(values.__getitem__, order), kept
