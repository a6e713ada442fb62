"""The Datastore contract, and the stores that need nothing below them.

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
from datastore.core.batch import Batch, Outcome, Position, Write, places
from datastore.core.composition import Description, Durability, PushDown
from datastore.core.errors import DatastoreError, InvalidValueError, QueryNotSupportedError, UnsupportedTypeError
from datastore.core.key import Key
from datastore.core.limits import BATCH_ENTRIES
from datastore.core.query import Query
from datastore.core.room import read_room
from datastore.core.spellings import TwoNames, definer_of

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

#: The first batch of a scan is small, so that the first results come at once.
FIRST_SCAN_ENTRIES = 64
#: Operations, and those that they must go through where a class changes these alone.
_IMPLIED = {
    "contains": ("get",),
    "batch_get": ("get",),
    "batch_write": ("put", "delete"),
}
#: To find the first of so many times as many entries is faster than to sort them all.
_FEW = 100


class Datastore(TwoNames):
    """One small interface in front of any storage.

    Absent keys: `get` answers None, `contains` False, `delete` is silent; none raises, none changes anything.
    Atomicity: `put` replaces one entry whole or not at all; a refused value leaves the old one.
    None: `put(key, None)` is `delete(key)`; every other value is stored, however empty.
    Order: every query answers in one total order, by its orders and then by key.
    Safety: calls may come from many threads (tasks, under asyncio) at once and act, per key, as if in
    sequence. A cursor belongs to one of them.
    Closing: whoever made the store closes it, `with` does so too; closing closes what it is built on.
    Errors: TypeError for what is no Key or no Query, else classes of `datastore.core.errors`.

    A custom store overrides `get`, `put`, `delete` and `query`; everything else has defaults here. What a subclass
    overrides is what all of the library calls, and a method with a documented name beside its own may be overridden
    under either.
    """

    #: Whether `query` answers exactly: filters, orders, offset and limit applied. Collections trust no other. A class
    #: with a `query` of its own says so itself.
    ordered_queries: bool = False
    #: The methods that queries are answered with.
    _answering: ClassVar[tuple[str, ...]] = ("query",)

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Have the operations that a class does not mention go through those that it changes.

        Trust its queries only if the class that defines them, or one below it, says so.
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
        """Store `value` under `key`, in place of what was there. None deletes."""
        raise NotImplementedError(f"{type(self).__name__} does not implement put")

    async def delete(self, key: Key) -> None:
        """Remove the entry of `key`, if there is one."""
        raise NotImplementedError(f"{type(self).__name__} does not implement delete")

    async def contains(self, key: Key) -> bool:
        """Whether `key` has a value: exactly if `get(key)` is not None."""
        return await self.get(key) is not None

    def query(self, query: Query) -> Cursor:
        """A cursor over what `query` selects. Nothing is read before its first item.

        Raises QueryNotSupportedError (a NotImplementedError), with the reason, where a store cannot answer.
        """
        check_query(query)
        raise QueryNotSupportedError(f"{type(self).__name__} does not support queries")

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries: an Outcome for each key, in their order. One failure does not fail the others."""
        room = read_room()
        return [room.left_out() if room.is_full else room.take(await outcome_of(self.get, key)) for key in keys]

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes: an Outcome for each, in their order, which is also the order of their effect.

        Not atomic: each write succeeds or fails by itself.
        """
        return [
            await (outcome_of(self.delete, key) if value is None else outcome_of(self.put, key, value))
            for key, value in writes
        ]

    def listed_key(self, key: Key) -> Key:
        """The key under which queries give the entry of `key`: itself, unless the store keeps entries under others."""
        return key

    def describe(self) -> Description:
        """What this store is made of and what its answers promise."""
        return Description(type(self).__name__)

    async def aclose(self) -> None:
        """Release what the store holds. May be repeated; what needs it afterwards raises DatastoreClosedError."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def outcome_of(call: Callable[..., Any], *arguments: Any) -> Outcome:
    """Make one call of a batch, keeping its refusal or failure as its outcome. Faults of the program raise."""
    try:
        return Outcome(await call(*arguments))
    except (DatastoreError, TypeError, ValueError) as error:
        return refusal(error)


async def batch_of(keys: Sequence[Any], read: Callable[[list[Key]], Awaitable[Sequence[Any]]]) -> list[Outcome]:
    """Have the values of several keys read at once: an Outcome for each; what is no Key fails alone."""
    bad = bad_keys(keys)
    good = [check_key(key) for place, key in enumerate(keys) if place not in bad]
    values = iter(await read(good) if good else ())
    return [bad[place] if place in bad else Outcome(next(values)) for place in range(len(keys))]


def bad_keys(keys: Sequence[Any]) -> dict[int, Outcome]:
    """What becomes of those items of a batch that are no keys, by their places."""
    outcomes: dict[int, Outcome] = {}
    for place, key in enumerate(keys):
        try:
            check_key(key)
        except UnsupportedTypeError as error:
            outcomes[place] = Outcome(error=error)
    return outcomes


def refusal(error: Exception) -> Outcome:
    """The outcome of an item that failed: an error of the library as it is, a builtin's text and notes in one."""
    if isinstance(error, DatastoreError):
        return Outcome(error=error)
    kind = UnsupportedTypeError if isinstance(error, TypeError) else InvalidValueError
    refused = kind("; ".join([str(error), *getattr(error, "__notes__", ())]))
    refused.__cause__ = error
    return Outcome(error=refused)


def check_key(key: object) -> Key:
    """The Key that `key` is, or stands for if it has a Key's interface. Else UnsupportedTypeError (a TypeError)."""
    if isinstance(key, Key):
        return key
    if not (hasattr(key, "path") and hasattr(key, "child")):
        raise UnsupportedTypeError(f"a key must be a Key, as Key('/a/b'), got {type(key).__name__}", path="key")
    return Key(str(key))


def require_datastore(store: object, what: str) -> Datastore:
    """`store` itself; UnsupportedTypeError (a TypeError), whose text begins with `what`, if it is no Datastore here."""
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
    """The query for all that `query` looks at, its own steps left out."""
    return Query(query.key, recursive=query.recursive, allow_partial=query.allow_partial)


def exact_query(store: Datastore, query: Query) -> Cursor:
    """Ask a store, and answer exactly also where the store itself does not (`ordered_queries` is False).

    Such a store is asked for the bare scope, and may answer with any iterable; it is sorted by key in memory.
    Raises QueryNotSupportedError at once where the store does.
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
    # One without a key stays behind the one that it came after.
    texts = places(entry.key for entry in entries)
    order = sorted(range(len(entries)), key=texts.__getitem__)
    for start in range(0, len(order), BATCH_ENTRIES):
        part = [entries[place] for place in order[start : start + BATCH_ENTRIES]]
        yield Batch([key for key, _ in part], [value for _, value in part], scanned=len(part))


class NullDatastore(Datastore):
    """Stores nothing: every key is absent, every query empty."""

    ordered_queries = True

    async def get(self, key: Key) -> Any:
        """None."""
        check_key(key)

    async def put(self, key: Key, value: Any) -> None:
        """Forget the value."""
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
    """Keeps entries in memory, in a dict for each collection.

    Values are the objects themselves: treat what is stored as frozen. `len()` counts the entries.
    A query answers from the entries as they are when its first result is asked for, whatever is written meanwhile:
    the first write to a collection after a query of it makes a copy of the collection's dict.
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
        """Forget the entry of `key`."""
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
        """The dict of a collection, which nothing reads. Under the lock."""
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
            # Orders sort by key themselves, what is left to sort.
            needed, entries = query.entries_needed(), zip(keys, values, strict=True)
            few = needed * _FEW < sum(map(len, found))
            ordered = nsmallest(needed, entries, key=_text_of) if few else sorted(entries, key=_text_of)
            keys, values = (key for key, _ in ordered), (value for _, value in ordered)
        size = FIRST_SCAN_ENTRIES
        while part := list(islice(keys, size)):
            yield Batch(part, list(islice(values, size)), scanned=len(part), position=Position(b"", part[-1]))
            size = BATCH_ENTRIES

    def _collections(self, query: Query) -> list[dict[Key, Any]]:
        """The entries in the scope as they are now and stay, in no order."""
        scope = str(query.key)
        below = (scope + "/", scope + ":")
        # Of an instance, as /a:b, the further instances, /a:b:c, are in the collection that it is in itself.
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
    """Puts the Datastore's interface in front of a service with methods of its own names.

    `get`, `put`, `delete` name the service's methods, which are looked up at once (AttributeError if one is
    missing); `key` makes the service's key from a Key. A KeyError of the service on get or delete means
    absent; a put that answers False raises DatastoreError. Safety is that of the service. No queries.
    The service is its maker's to close.
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
        """What the service has for `key`, or None."""
        name = self._service_key(check_key(key))
        try:
            return self._service_get(name)
        except KeyError:
            return None

    async def put(self, key: Key, value: Any) -> None:
        """Hand `value` to the service."""
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
