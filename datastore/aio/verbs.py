"""The documented verbs over the waist, and the waist over the documented verbs.

A store class defines either `read`, `write` and `scan`, or `get`, `put`, `delete`, `query` and whatever it can do
better than the defaults. The others are derived here when the class is created, from the nearest definition among its
bases. A derived verb calls exactly the waist method that it was derived from, so that `super().get(key)` in a subclass
means the `get` of its base. Knows no stores.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any, TypeVar, Unpack
from weakref import WeakSet

from datastore.aio.atomic import all_made, atomic_of, not_atomic, passes_atomic
from datastore.aio.cursor import Cursor
from datastore.aio.scan import Scan, exact_batches, noted
from datastore.engine.plan import UNORDERED, WHOLE_VALUES
from datastore.engine.requests import forgotten
from datastore.engine.room import read_room
from datastore.model.arguments import check_key, check_query, check_versions
from datastore.model.attempts import check_attempt, check_together
from datastore.model.capability import Capability
from datastore.model.entries import Batch, Position, Write
from datastore.model.errors import UnsupportedError, UnsupportedTypeError
from datastore.model.expiry import Expiry, check_expiry, expiry_of
from datastore.model.key import Key
from datastore.model.metadata import PutOptions, WriteOptions, check_condition, condition_of, no_versions
from datastore.model.operations import (
    ENTRIES,
    PRESENCE,
    REFUSALS,
    VALUES,
    Delete,
    Operation,
    Patch,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
    is_plain,
    needs_versions,
    raise_error,
    refusal_of,
    value_of,
)
from datastore.model.query import Query
from datastore.model.spellings import definer_of, place_of, replaces

__all__ = [
    "DERIVED",
    "are_overridden",
    "batch_of_one",
    "cursor_of",
    "delete_of",
    "derive",
    "derive_again",
    "no_expiry",
    "no_versions",
    "on_made",
    "operation_of",
    "passed_on",
    "passes_changes",
    "put_of",
    "read_attempt",
    "scope_of",
    "split_options",
    "write_attempt",
]

#: The methods of the waist, and their arguments.
_WAIST = {"read": ("keys", "options"), "write": ("operations",), "scan": ("query",)}
_VERBS = ("get", "contains", "batch_get", "put", "delete", "batch_write", "query")
#: The methods from which others may be derived.
DERIVED = frozenset({*_WAIST, *_VERBS})


def derive(cls: Any) -> None:
    """Give a store class the verbs or waist methods that it lacks."""
    for name in _WAIST:
        _check_waist(cls, name, vars(cls.__mro__[_defined_at(cls, name)])[name], cls)
    _derive_all(cls)


def derive_again(store: Any, name: str) -> None:
    """Route all calls of a store through the method, one of DERIVED, that was assigned to this object."""
    if name in _WAIST:
        _check_waist(type(store), name, vars(store)[name])
    _derive_all(store)


def _check_waist(cls: type, name: str, method: Any, *bound: object) -> None:
    """Refuse an attribute that is named like a method of the waist but cannot be one."""
    if isinstance(method, FunctionType):
        # Almost always, and fast: a signature takes long, for each class of the library when it is loaded.
        code = method.__code__
        if (code.co_argcount, code.co_kwonlyargcount) == (len(bound) + len(_WAIST[name]), 0):
            return
    # Loaded here, because it takes long and is rarely needed.
    from inspect import signature

    try:
        signature(method).bind(*bound, *_WAIST[name])
    except TypeError:
        call = f"{name}({', '.join(_WAIST[name])})"
        raise UnsupportedTypeError(
            f"{cls.__name__}.{name} must be a method {call}, which every call goes through; for anything else, use"
            " another name",
            path=name,
        ) from None


def _derive_all(target: Any) -> None:
    _derive_reading(target)
    _derive_writing(target)
    _derive_querying(target)


def _derive_reading(target: Any) -> None:
    at = {name: _defined_at(target, name) for name in ("read", "get", "contains", "batch_get")}
    if at["get"] < at["read"]:
        if at["contains"] > at["get"]:
            _give(target, "contains", _contains_by(_own(target, "get")))
        read = _read_by(_own(target, "get"), _own(target, "contains"))
        if at["batch_get"] > at["get"]:
            _give(target, "batch_get", _batch_get_over(read))
            _give(target, "read", read)
        else:
            _give(target, "read", _read_around(read, batch_get=_own(target, "batch_get")))
        return
    contains = _own(target, "contains") if at["contains"] < at["read"] else None
    batch_get = _own(target, "batch_get") if at["batch_get"] < at["read"] else None
    if contains or batch_get:
        _give(target, "read", _read_around(_next(target, "read"), batch_get, contains))
    _give_missing(
        target, "read", at["read"], {"get": _get_over, "contains": _contains_over, "batch_get": _batch_get_over}
    )


def _derive_writing(target: Any) -> None:
    at = {name: _defined_at(target, name) for name in ("write", "put", "delete", "batch_write")}
    nearest = min(at["put"], at["delete"])
    if nearest < at["write"]:
        write = _write_by(_own(target, "put"), _own(target, "delete"))
        if at["batch_write"] > nearest:
            _give(target, "batch_write", _batch_write_over(write))
            _give(target, "write", write)
        else:
            _give(target, "write", _write_around(write, _own(target, "batch_write")))
        return
    if at["batch_write"] < at["write"]:
        _give(target, "write", _write_around(_next(target, "write"), _own(target, "batch_write")))
    _give_missing(
        target, "write", at["write"], {"put": _put_over, "delete": _delete_over, "batch_write": _batch_write_over}
    )


def _derive_querying(target: Any) -> None:
    at_query, at_scan = _defined_at(target, "query"), _defined_at(target, "scan")
    if at_query < at_scan:
        _give(target, "scan", _scan_by(_own(target, "query")))
        if isinstance(target, type) and at_query < definer_of(target, "ordered_queries"):
            target.ordered_queries = False  # type: ignore[attr-defined]
    _give_missing(target, "scan", at_scan, {"query": _query_over})


# Which methods a class or an object has. Methods derived for a base do not count: the methods that they call may be
# further up than those of other bases.


def _defined_at(target: Any, name: str) -> int:
    """How far up a method is defined: 0 for a class itself, -1 for an object itself."""
    if isinstance(target, type):
        places = [*enumerate(map(vars, target.__mro__))]
    else:
        places = [(-1, vars(target)), *enumerate(map(vars, type(target).__mro__))]
    return next(place for place, space in places if name in space and not _is_derived(target, space[name]))


#: Recognized by identity: a function that `functools.wraps` one has its attributes, but is not derived.
_derived: WeakSet[Any] = WeakSet()
#: Those methods of the waist that call verbs.
_by_verbs: WeakSet[Any] = WeakSet()


def _is_derived(target: Any, method: Any) -> bool:
    if isinstance(method, MethodType):
        return method.__self__ is target and method.__func__ in _derived
    return method in _derived


def _give(target: Any, name: str, method: Any) -> None:
    _derived.add(method)
    if isinstance(target, type):
        setattr(target, name, method)
    else:
        object.__setattr__(target, name, MethodType(method, target))


def _give_missing(target: Any, waist: str, at: int, verbs: dict[str, Callable[[Any], Any]]) -> None:
    """Derive the verbs that are defined further up than the method of the waist that they call."""
    found_at = partial(definer_of if isinstance(target, type) else place_of, target)
    for name, over in verbs.items():
        if at < found_at(name):
            _give(target, name, over(_own(target, waist)))


def _own(target: Any, name: str) -> Callable[..., Any]:
    """The method of this class, regardless of subclasses, as a function of the store."""
    found = vars(target).get(name) if isinstance(target, type) else None
    if isinstance(found, FunctionType):
        return found
    if not isinstance(target, type) or found is not None:
        return _looked_up(name)
    return _next(target, name)


def _next(target: Any, name: str) -> Callable[..., Any]:
    """The method of the next class in the MRO, as a function of the store."""
    if isinstance(target, type):
        return lambda store, *arguments: getattr(super(target, store), name)(*arguments)
    return lambda store, *arguments: getattr(type(store), name)(store, *arguments)


def _looked_up(name: str) -> Callable[..., Any]:
    """The method of the store itself, as a function of the store."""
    return lambda store, *arguments: getattr(store, name)(*arguments)


# The verbs over the waist

_Result = TypeVar("_Result", ReadResult, WriteResult)
_Operation = TypeVar("_Operation", Put, Delete, Operation)
_Read = Callable[[Any, Sequence[Key], ReadOptions], Awaitable[list[ReadResult]]]
_Write = Callable[[Any, Sequence[Operation]], Awaitable[list[WriteResult]]]


def _get_over(read: _Read) -> Any:
    async def get(self: Any, key: Key) -> Any:
        """The value of `key`, or None if it has none."""
        (result,) = await read(self, (check_key(key),), VALUES)
        return result.value if result.error is None else value_of(result)

    return get


def _contains_over(read: _Read) -> Any:
    async def contains(self: Any, key: Key) -> bool:
        """Whether `key` has a value."""
        (result,) = await read(self, (check_key(key),), PRESENCE)
        return (result.value if result.error is None else value_of(result)) is not None

    return contains


def _batch_get_over(read: _Read) -> Any:
    async def batch_get(self: Any, keys: Sequence[Key]) -> list[ReadResult]:
        """Read several entries: a ReadResult for each key, in their order. One failure does not fail the others."""
        return _settled(await on_made(check_key, keys, lambda good: read(self, good, VALUES), ReadResult.failed))

    return batch_get


def _put_over(write: _Write) -> Any:
    async def put(self: Any, key: Key, value: Any, **options: Unpack[PutOptions]) -> None:
        """Store `value` under `key`, replacing any old value. None deletes."""
        if value is None:
            conditions, _ = split_options(options)
            await self.delete(key, **conditions)
            return
        (result,) = await write(self, (put_of(self, check_key(key), value, options),))
        if result.error is not None:
            raise_error(result)

    return put


def _delete_over(write: _Write) -> Any:
    async def delete(self: Any, key: Key, **options: Unpack[WriteOptions]) -> None:
        """Remove the entry of `key`, if there is one."""
        (result,) = await write(self, (delete_of(self, check_key(key), options),))
        if result.error is not None:
            raise_error(result)

    return delete


def _batch_write_over(write: _Write) -> Any:
    async def batch_write(self: Any, writes: Sequence[Write | Operation], *, atomic: bool = False) -> list[WriteResult]:
        """Make several writes: a WriteResult for each, in their order. They also take effect in this order.

        With `atomic` all of them or none; otherwise each succeeds or fails by itself.
        """
        asked, checked = list(map(operation_of, writes)), partial(_checked, self)
        if atomic:
            if not self.capability.atomic:
                raise not_atomic(self)
            check_together(operation.attempt is not None for operation in asked)
            return _settled(await all_made(checked, asked, atomic_of(self)))
        return _settled(await on_made(checked, asked, lambda good: write(self, good), WriteResult))

    return batch_write


def _checked(store: Any, operation: Operation) -> Operation:
    """A write of a batch; raises if its key is not one, or if the store lacks the versions or the expiry it needs."""
    key = check_key(operation.key)
    if not is_plain(operation):
        supported(store, operation)
    return operation if key is operation.key else operation.at(key)


def _settled(results: list[_Result]) -> list[_Result]:
    """The results of a batch, each error a library error."""
    for result in results:
        if result.error is not None:
            result.error = refusal_of(result.error)
    return results


def _query_over(scan: Callable[[Any, Query], Scan]) -> Any:
    def query(self: Any, query: Query) -> Cursor:
        """A cursor over what `query` selects. Nothing is read before its first item.

        Raises QueryNotSupportedError (a NotImplementedError), with the reason, if the store cannot answer it.
        """
        check_query(query)
        # Answers the query as it is now, whatever the caller changes before reading.
        asked = query.frozen()
        check_versions(self, asked)
        answer = scan(self, asked)
        return cursor_of(query, asked, noted(self, asked, answer) if asked.explain else answer)

    return query


def cursor_of(query: Query, asked: Query, scan: Scan) -> Cursor:
    """A cursor of `query` over the scan of the query `asked`, with the remaining steps applied."""
    return Cursor.from_batches(query, exact_batches(asked, scan), shards=scan.shards, source=scan)


def operation_of(write: Write | Operation) -> Operation:
    """A write of a batch as an operation. A put of None is a delete."""
    if isinstance(write, Put):
        return write if write.value is not None else write.of(None)
    if isinstance(write, (Delete, Patch)):
        return write
    key, value = write
    return Delete(key) if value is None else Put(key, value)


def put_of(store: Any, key: Key, value: Any, options: PutOptions) -> Put:
    """A put with these keyword arguments. Raises like `supported`."""
    if not options:
        return Put(key, value)
    conditions, expiry = split_options(options)
    return supported(store, Put(key, value, condition_of(**conditions), expiry))


def delete_of(store: Any, key: Key, options: WriteOptions) -> Delete:
    """A delete with these keyword arguments. Raises like `supported`."""
    return supported(store, Delete(key, condition_of(**options))) if options else Delete(key)


def split_options(options: PutOptions) -> tuple[WriteOptions, Expiry | None]:
    """The conditions among the keyword arguments of a put, which are those of a delete, and the expiry."""
    rest: Any = dict(options)
    expiry = expiry_of(expires_in_s=rest.pop("expires_in_s", None), expire_time=rest.pop("expire_time", None))
    return rest, expiry


def supported(store: Any, operation: _Operation) -> _Operation:
    """The operation itself.

    Raises UnsupportedError if the store lacks what the operation needs; InvalidError or UnsupportedTypeError if its
    condition, expiry or attempt is invalid; RequestForgottenError for a repeat if the store remembers no requests.
    """
    can = store.capability
    if operation.condition is not None:
        check_condition(operation.condition)
    if needs_versions(operation) and not can.versions:
        raise no_versions(store)
    if operation.expiry is not None:
        check_expiry(operation.expiry)
        if not can.expiry:
            raise no_expiry(store)
    if operation.attempt is not None:
        check_attempt(operation.attempt)
        if operation.attempt.is_repeat and not can.retries:
            raise forgotten()
    return operation


def are_overridden(cls: type) -> bool:
    """Whether a class reads or writes by verbs, so that metadata and conditions do not pass through it."""
    return cls.read in _by_verbs or cls.write in _by_verbs  # type: ignore[attr-defined]


def passes_changes(store: Any) -> bool:
    """Whether a store's `changes` shows what its reads do: no verb or method of the waist is overridden below it."""
    return replaces(store, "changes", DERIVED)


def passed_on(store: Any, capability: Capability) -> Capability:
    """A capability without changes or atomic batches if the store does not pass them on."""
    changes, atomic = passes_changes(store), passes_atomic(store)
    if changes and atomic:
        return capability
    return capability._replace(changes=capability.changes and changes, atomic=capability.atomic and atomic)


def no_expiry(store: Any) -> UnsupportedError:
    """The error for an expiry in a store whose entries cannot expire."""
    return UnsupportedError(f"entries in {type(store).__name__} cannot expire")


# The waist over the verbs


async def on_made(
    make: Callable[[Any], Any],
    items: Sequence[Any],
    call: Callable[[list[Any]], Awaitable[list[_Result]]],
    failed: Callable[[Any], _Result],
    *,
    catching: type[Exception] | tuple[type[Exception], ...] = REFUSALS,
) -> list[_Result]:
    """Call with what `make` returns for each item. Returns the results of all items, in order.

    An item for which `make` raises one of `catching` fails by itself. In that case `make` is called again for all.
    """
    try:
        inner = list(map(make, items))
    except catching:
        made = [attempt(make, item, catching=catching) for item in items]
    else:
        return await call(inner) if inner else []
    good = [item.value for item in made if item.error is None]
    results = iter(await call(good) if good else ())
    return [next(results) if item.error is None else failed(item.error) for item in made]


async def read_attempt(call: Callable[..., Any], *arguments: Any) -> ReadResult:
    """Make one read of several, and return its refusal or failure as its result. Programming errors raise."""
    try:
        return ReadResult(await call(*arguments))
    except REFUSALS as error:
        return ReadResult(error=error)


async def write_attempt(call: Callable[..., Any], *arguments: Any) -> WriteResult:
    """Make one write of several, and return its refusal or failure as its result. Programming errors raise.

    The call may return the result itself.
    """
    try:
        result = await call(*arguments)
    except REFUSALS as error:
        return WriteResult(error)
    return result if isinstance(result, WriteResult) else WriteResult()


def _contains_by(get: Callable[..., Any]) -> Any:
    async def contains(self: Any, key: Key) -> bool:
        """Whether `key` has a value, i.e. `get(key)` is not None."""
        return await get(self, key) is not None

    return contains


def _read_by(get: Callable[..., Any], contains: Callable[..., Any]) -> Any:
    async def read(self: Any, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read key by key, with the class's own `get` and `contains`."""
        if not options.values:
            return [_presence(await read_attempt(contains, self, key)) for key in keys]
        if len(keys) == 1:
            return [await read_attempt(get, self, keys[0])]
        room = read_room()
        return [room.left_out() if room.is_full else room.take(await read_attempt(get, self, key)) for key in keys]

    _by_verbs.add(read)
    return read


def _read_around(read: _Read, batch_get: Any = None, contains: Any = None) -> Any:
    async def read_around(self: Any, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Use `read`, except for the class's own `contains`, and its own `batch_get` for several values."""
        if contains and not options.values:
            return [_presence(await read_attempt(contains, self, key)) for key in keys]
        if batch_get and options == VALUES and len(keys) != 1:
            return list(await batch_get(self, keys))
        return await read(self, keys, options)

    if read in _by_verbs:
        _by_verbs.add(read_around)
    return read_around


def _presence(result: ReadResult) -> ReadResult:
    """The result of `contains` as that of a read: False means no value."""
    if result.value is False:
        result.value = None
    return result


def _write_by(put: Callable[..., Any], delete: Callable[..., Any]) -> Any:
    async def write(self: Any, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write one by one, with the class's own `put` and `delete`."""
        return [await _write_one(self, operation) for operation in operations]

    async def _write_one(self: Any, operation: Operation) -> WriteResult:
        if needs_versions(operation):
            return WriteResult(no_versions(self))
        if operation.expiry is not None:
            return WriteResult(no_expiry(self))
        if operation.attempt is not None and operation.attempt.is_repeat:
            return WriteResult(forgotten())
        if isinstance(operation, Put):
            return await write_attempt(put, self, operation.key, operation.value)
        return await write_attempt(delete, self, operation.key)

    _by_verbs.add(write)
    return write


def _write_around(write: _Write, batch_write: Callable[..., Any]) -> Any:
    async def write_around(self: Any, operations: Sequence[Operation]) -> list[WriteResult]:
        """Use `write`, except for several plain puts and deletes: these go to the class's own `batch_write`."""
        if len(operations) == 1 or not all(map(is_plain, operations)):
            return await write(self, operations)
        return list(await batch_write(self, [Write(operation.key, operation.value) for operation in operations]))

    if write in _by_verbs:
        _by_verbs.add(write_around)
    return write_around


def _scan_by(query_of: Callable[..., Any]) -> Any:
    def scan(self: Any, query: Query) -> Scan:
        """The class's own `query`, for the scope only unless it declares `ordered_queries`."""
        # A copy, which the class may change.
        asked = (query if self.ordered_queries else scope_of(query)).copy()
        answer: Any = query_of(self, asked)
        found = answer if isinstance(answer, Cursor) else Cursor(asked, answer)
        # It may not support projections.
        return Scan(found.batches(), WHOLE_VALUES if self.ordered_queries else UNORDERED, source=found)

    return scan


def scope_of(query: Query) -> Query:
    """The query for the whole scope of `query`, without its other steps."""
    scope = Query(query.key, recursive=query.recursive, allow_partial=query.allow_partial)
    return scope.replaced(explain=query.explain, metadata=query.needs_metadata)


async def batch_of_one(store: Any, key: Key, query: Query, shown: Key) -> Batch | None:
    """A batch of the store's entry of `key` under the key `shown`, as read for `query`; None if it has none."""
    (result,) = await store.read([key], ENTRIES if query.needs_metadata else VALUES)
    value = value_of(result)
    if value is None:
        return None
    metadata = [result.metadata] if query.needs_metadata else None
    return Batch([shown], [value], metadata=metadata, scanned=1, position=Position(b"", shown))


#: The defaults of a class that defines neither.
read_by_get = _read_by(_looked_up("get"), _looked_up("contains"))
write_by_verbs = _write_by(_looked_up("put"), _looked_up("delete"))
scan_by_query = _scan_by(_looked_up("query"))
batch_get_by_get, batch_write_by_verbs = _batch_get_over(read_by_get), _batch_write_over(write_by_verbs)
