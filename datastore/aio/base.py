"""The Datastore contract, and the stores that do not wrap others.

Every store, shim, collection and remote store is a Datastore. Knows keys and queries; knows no backend,
no wire and no other store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from heapq import nsmallest
from itertools import chain, islice
from typing import Any, ClassVar, Self

from datastore.aio._concurrency import Lock
from datastore.aio.cursor import Cursor, refine
from datastore.engine.room import read_room
from datastore.model.description import Description, Durability, PushDown
from datastore.model.entries import Batch, Outcome, Position, Write, places
from datastore.model.errors import (
    DatastoreError,
    InvalidValueError,
    QueryNotSupportedError,
    UnsupportedTypeError,
    without_frames,
)
from datastore.model.key import Key
from datastore.model.limits import BATCH_ENTRIES
from datastore.model.query import Query
from datastore.model.spellings import TwoNames, definer_of

__all__ = [
    "Datastore",
    "DictDatastore",
    "InterfaceMappingDatastore",
    "NullDatastore",
    "bad_keys",
    "batch_of",
    "check_key",
    "check_query",
    "exact_query",
    "outcome_of",
    "refine",
    "refusal",
    "require_datastore",
    "scope_of",
]

#: The first batch of a scan is small, so that the first results come quickly.
FIRST_SCAN_ENTRIES = 64
#: Operations, and those that they must call if a class overrides only these.
_IMPLIED = {
    "contains": ("get",),
    "batch_get": ("get",),
    "batch_write": ("put", "delete"),
}
#: Selecting the first entries is faster than sorting all if there are this many times as many.
_FEW = 100


class Datastore(TwoNames):
    """One small interface in front of any storage.

    Absent keys: `get` returns None, `contains` returns False, and `delete` does nothing; none of them raises.
    Atomicity: `put` replaces one entry whole or not at all; if a value is refused, the old one stays.
    None: `put(key, None)` is `delete(key)`; every other value is stored, including falsy ones.
    Order: every query returns results in one total order, by its orders and then by key.
    Safety: many threads (tasks, under asyncio) may call concurrently; calls for the same key act as if in
    sequence. A cursor belongs to one of them.
    Closing: the caller that created the store must close it, e.g. by `with`; that also closes what it is built on.
    Errors: TypeError for an argument that is not a Key or Query, otherwise classes of `datastore.model.errors`.

    A custom store overrides `get`, `put`, `delete` and `query`; everything else has defaults. The library always calls
    the overrides. A method that also has a documented camelCase name can be overridden under either name.
    """

    #: Whether `query` is exact: filters, orders, offset and limit are applied. Collections do not rely on others. A
    #: class that overrides `query` must declare it again.
    ordered_queries: bool = False
    #: The methods that implement queries.
    _answering: ClassVar[tuple[str, ...]] = ("query",)

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Route the operations that a class does not override through those that it does.

        Its queries count as exact only if the class that defines them, or a subclass, declares it.
        """
        super().__init_subclass__(**arguments)
        for operation, causes in _IMPLIED.items():
            if min(definer_of(cls, cause) for cause in causes) < definer_of(cls, operation):
                setattr(cls, operation, vars(Datastore)[operation])
        if min(definer_of(cls, name) for name in cls._answering) < definer_of(cls, "ordered_queries"):
            cls.ordered_queries = False

    async def get(self, key: Key) -> Any:
        """The value of `key`, or None if there is none."""
        raise NotImplementedError(f"{type(self).__name__} does not implement get")

    async def put(self, key: Key, value: Any) -> None:
        """Store `value` under `key`, replacing any old value. None deletes."""
        raise NotImplementedError(f"{type(self).__name__} does not implement put")

    async def delete(self, key: Key) -> None:
        """Remove the entry of `key`, if there is one."""
        raise NotImplementedError(f"{type(self).__name__} does not implement delete")

    async def contains(self, key: Key) -> bool:
        """Whether `key` has a value, i.e. `get(key)` is not None."""
        return await self.get(key) is not None

    def query(self, query: Query) -> Cursor:
        """A cursor over what `query` selects. Nothing is read before its first item.

        Raises QueryNotSupportedError (a NotImplementedError), with the reason, if the store cannot answer it.
        """
        check_query(query)
        raise QueryNotSupportedError(f"{type(self).__name__} does not support queries")

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries: an Outcome for each key, in their order. One failure does not fail the others."""
        room = read_room()
        return [room.left_out() if room.is_full else room.take(await outcome_of(self.get, key)) for key in keys]

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes: an Outcome for each, in their order. They also take effect in this order.

        Not atomic: each write succeeds or fails by itself.
        """
        return [
            await (outcome_of(self.delete, key) if value is None else outcome_of(self.put, key, value))
            for key, value in writes
        ]

    def listed_key(self, key: Key) -> Key:
        """The key under which queries return the entry of `key`: itself, unless the store uses other keys."""
        return key

    def describe(self) -> Description:
        """What this store is composed of, and what it guarantees."""
        return Description(type(self).__name__)

    async def aclose(self) -> None:
        """Release what the store holds. May be repeated; later calls raise DatastoreClosedError."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def outcome_of(call: Callable[..., Any], *arguments: Any) -> Outcome:
    """Make one call of a batch, and return its refusal or failure as its outcome. Programming errors raise."""
    try:
        return Outcome(await call(*arguments))
    except (DatastoreError, TypeError, ValueError) as error:
        return refusal(error)


async def batch_of(keys: Sequence[Any], read: Callable[[list[Key]], Awaitable[Sequence[Any]]]) -> list[Outcome]:
    """Read the values of several keys in one call: an Outcome for each. An item that is not a Key fails alone."""
    bad = bad_keys(keys)
    good = [check_key(key) for place, key in enumerate(keys) if place not in bad]
    values = iter(await read(good) if good else ())
    return [bad[place] if place in bad else Outcome(next(values)) for place in range(len(keys))]


def bad_keys(keys: Sequence[Any]) -> dict[int, Outcome]:
    """The outcomes of those items of a batch that are not keys, by their positions."""
    outcomes: dict[int, Outcome] = {}
    for place, key in enumerate(keys):
        try:
            check_key(key)
        except UnsupportedTypeError as error:
            outcomes[place] = refusal(error)
    return outcomes


def refusal(error: Exception) -> Outcome:
    """The outcome of a failed item: a library error; of a builtin error, its text and notes joined.

    Without its frames, which hold the whole batch, and this outcome too.
    """
    without_frames(error)
    if isinstance(error, DatastoreError):
        return Outcome(error=error)
    kind = UnsupportedTypeError if isinstance(error, TypeError) else InvalidValueError
    refused = kind("; ".join([str(error), *getattr(error, "__notes__", ())]))
    refused.__cause__ = error
    return Outcome(error=refused)


def check_key(key: object) -> Key:
    """`key` as a Key, if it is one or has a Key's interface. Otherwise UnsupportedTypeError (a TypeError)."""
    if isinstance(key, Key):
        return key
    if not (hasattr(key, "path") and hasattr(key, "child")):
        raise UnsupportedTypeError(f"a key must be a Key, e.g. Key('/a/b'), got {type(key).__name__}", path="key")
    return Key(str(key))


def require_datastore(store: object, what: str) -> Datastore:
    """`store` itself; UnsupportedTypeError (a TypeError), beginning with `what`, if it is not a Datastore here."""
    if isinstance(store, Datastore):
        return store
    kind = type(store)
    if any(base.__name__ == "Datastore" for base in kind.__mro__):
        raise UnsupportedTypeError(
            f"{what}, got {kind.__module__}.{kind.__name__}: async and blocking stores do not mix;"
            " `datastore.aio.lift.lift` makes an async store of a blocking one"
        )
    raise UnsupportedTypeError(f"{what}, got {kind.__name__}")


def check_query(query: object) -> None:
    """Raise UnsupportedTypeError (a TypeError) unless `query` is a Query."""
    if not isinstance(query, Query):
        raise UnsupportedTypeError(f"a query must be a Query, got {type(query).__name__}", path="query")


def scope_of(query: Query) -> Query:
    """The query for everything in the scope of `query`, without its other steps."""
    return Query(query.key, recursive=query.recursive, allow_partial=query.allow_partial)


def exact_query(store: Datastore, query: Query) -> Cursor:
    """Query a store exactly, even if its own queries are not exact (`ordered_queries` is False).

    Such a store is asked only for the scope, and may return any iterable; the result is sorted by key in memory.
    Raises QueryNotSupportedError immediately if the store does.
    """
    check_query(query)
    if store.ordered_queries:
        return store.query(query)
    scope = scope_of(query)
    answer: Any = store.query(scope)
    found = answer if isinstance(answer, Cursor) else Cursor(scope, answer)
    return Cursor.from_batches(query, refine(query, _sorted_batches(found)), shards=found.shards)


async def _sorted_batches(found: Cursor) -> AsyncGenerator[Batch]:
    try:
        entries = [entry async for entry in found.entries()]
    finally:
        await found.aclose()
    # An entry without a key stays after its predecessor.
    texts = places(entry.key for entry in entries)
    order = sorted(range(len(entries)), key=texts.__getitem__)
    for start in range(0, len(order), BATCH_ENTRIES):
        part = [entries[place] for place in order[start : start + BATCH_ENTRIES]]
        yield Batch([key for key, _ in part], [value for _, value in part], scanned=len(part))


class NullDatastore(Datastore):
    """Stores nothing: every key is absent, and every query is empty."""

    ordered_queries = True

    async def get(self, key: Key) -> Any:
        """None."""
        check_key(key)

    async def put(self, key: Key, value: Any) -> None:
        """Discard the value."""
        if value is None:
            await self.delete(key)
            return
        check_key(key)

    async def delete(self, key: Key) -> None:
        """Nothing to do."""
        check_key(key)

    def query(self, query: Query) -> Cursor:
        """An empty cursor."""
        check_query(query)
        return Cursor(query, ())

    def describe(self) -> Description:
        """Kind `null`."""
        return Description("null", "keeps nothing", Durability.MEMORY, frozenset(PushDown))


class DictDatastore(Datastore):
    """Keeps entries in memory, in one dict per collection.

    Stored values are the objects themselves: do not modify them afterwards. `len()` counts the entries.
    A query sees the entries as they are when its first result is read, whatever is written afterwards:
    the first write to a collection after a query of it copies the collection's dict.
    """

    ordered_queries = True

    def __init__(self) -> None:
        self._items: dict[str, dict[Key, Any]] = {}
        #: The collections whose dicts queries may be reading: a write changes a copy.
        self._read: set[str] = set()
        self._lock = Lock()

    async def get(self, key: Key) -> Any:
        """The value of `key`, the object that was put, or None."""
        key = check_key(key)
        collection = self._items.get(str(key.path))
        return None if collection is None else collection.get(key)

    async def put(self, key: Key, value: Any) -> None:
        """Keep `value` itself under `key`."""
        if value is None:
            await self.delete(key)
            return
        key = check_key(key)
        with self._lock:
            self._writable(str(key.path))[key] = value

    async def delete(self, key: Key) -> None:
        """Delete the entry of `key`."""
        key = check_key(key)
        path = str(key.path)
        with self._lock:
            if key not in self._items.get(path, ()):
                return
            collection = self._writable(path)
            del collection[key]
            if not collection:
                del self._items[path]

    def _writable(self, path: str) -> dict[Key, Any]:
        """The dict of a collection, which no query is reading. Call with the lock held."""
        if path in self._read:
            self._read.discard(path)
            self._items[path] = self._items[path].copy()
        return self._items.setdefault(path, {})

    def query(self, query: Query) -> Cursor:
        """A cursor over the entries that `query` selects."""
        check_query(query)
        return Cursor.from_batches(query, refine(query, self._scan(query)))

    async def _scan(self, query: Query) -> AsyncGenerator[Batch]:
        found = self._collections(query)
        keys: Iterator[Key] = chain.from_iterable(found)
        values: Iterator[Any] = chain.from_iterable(map(dict.values, found))
        if not query.orders:
            # Orders break their ties by key themselves.
            needed, entries = query.entries_needed(), zip(keys, values, strict=True)
            few = needed * _FEW < sum(map(len, found))
            ordered = nsmallest(needed, entries, key=_text_of) if few else sorted(entries, key=_text_of)
            keys, values = (key for key, _ in ordered), (value for _, value in ordered)
        size = FIRST_SCAN_ENTRIES
        while part := list(islice(keys, size)):
            yield Batch(part, list(islice(values, size)), scanned=len(part), position=Position(b"", part[-1]))
            size = BATCH_ENTRIES

    def _collections(self, query: Query) -> list[dict[Key, Any]]:
        """An immutable snapshot of the entries in the scope, unordered."""
        scope = str(query.key)
        below = (scope + "/", scope + ":")
        # The instances of an instance, e.g. /a:b:c of /a:b, are in the same collection as the instance.
        beside = str(query.key.path)
        found = []
        with self._lock:
            for path in self._items if query.recursive else {scope} & self._items.keys():
                if scope in ("/", path) or path.startswith(below):
                    self._read.add(path)
                    found.append(self._items[path])
                elif path == beside:
                    entries = self._items[path].items()
                    found.append({key: value for key, value in entries if str(key).startswith(below)})
        return found

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._items.values()))

    def describe(self) -> Description:
        """Kind `dict`, in memory."""
        return Description("dict", "in memory", Durability.MEMORY, frozenset({PushDown.SCOPE}), entries=len(self))


def _text_of(entry: tuple[Key, Any]) -> str:
    return str(entry[0])


class InterfaceMappingDatastore(Datastore):
    """Adapts a service with other method names to the Datastore interface.

    `get`, `put` and `delete` name the service's methods, which are looked up immediately (AttributeError if one is
    missing); `key` converts a Key to the service's key. A KeyError from the service on get or delete means
    absent; a put that returns False raises DatastoreError. It is as thread-safe as the service. No queries.
    The caller must close the service.
    """

    def __init__(
        self,
        service: Any,
        get: str = "get",
        put: str = "put",
        delete: str = "delete",
        key: Callable[[Key], Any] = str,
    ) -> None:
        if not callable(key):
            raise UnsupportedTypeError(f"key must be callable with a Key, got {type(key).__name__}", path="key")
        self._service = service
        self._service_get = _method(service, "get", get)
        self._service_put = _method(service, "put", put)
        self._service_delete = _method(service, "delete", delete)
        self._service_key = key

    async def get(self, key: Key) -> Any:
        """The service's value for `key`, or None."""
        name = self._service_key(check_key(key))
        try:
            return self._service_get(name)
        except KeyError:
            return None

    async def put(self, key: Key, value: Any) -> None:
        """Pass `value` to the service."""
        if value is None:
            await self.delete(key)
            return
        if self._service_put(self._service_key(check_key(key)), value) is False:
            raise DatastoreError(f"{type(self._service).__name__} refused the value of {key}")

    async def delete(self, key: Key) -> None:
        """Have the service remove `key`."""
        name = self._service_key(check_key(key))
        with suppress(KeyError):
            self._service_delete(name)

    def query(self, query: Query) -> Cursor:
        """Not supported: QueryNotSupportedError."""
        check_query(query)
        raise QueryNotSupportedError(
            f"{type(self).__name__} does not support queries: its service cannot list the keys that it has"
        )

    def describe(self) -> Description:
        """Kind `mapping`, with the service's class."""
        return Description("mapping", type(self._service).__name__)


def _method(service: Any, argument: str, name: str) -> Callable[..., Any]:
    method = getattr(service, name, None) if isinstance(name, str) else None
    if not callable(method):
        raise AttributeError(  # noqa: TRY004 - as documented
            f"{argument}={name!r}: {type(service).__name__} has no such method; name the one that does it"
        )
    return method  # type: ignore[no-any-return]
