"""The documented verbs over the waist, and the waist over the documented verbs.

A class of stores defines either: `read`, `write` and `scan`, or `get`, `put`, `delete`, `query` and what it can do
better than the defaults. The other is derived here when the class is created, from whichever of its bases defines
nearest. A derived verb calls the very waist method that it was derived from, so that `super().get(key)` in a subclass
means the `get` of its base. Knows no store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from datastore.aio.cursor import Cursor
from datastore.aio.scan import Scan, exact_batches
from datastore.engine.plan import COMPLETE, UNORDERED
from datastore.engine.room import read_room
from datastore.model.arguments import bad_keys, check_key, check_query
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.operations import (
    PRESENCE,
    REFUSALS,
    VALUES,
    Delete,
    Operation,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    raise_error,
    refusal_of,
    value_of,
)
from datastore.model.query import Query
from datastore.model.spellings import definer_of

__all__ = ["cursor_of", "derive", "read_attempt", "scope_of", "write_attempt"]


def derive(cls: Any) -> None:
    """Give a class of stores the verbs, or the waist, that it lacks."""
    _derive_reading(cls)
    _derive_writing(cls)
    _derive_querying(cls)


def _derive_reading(cls: Any) -> None:
    at = {name: definer_of(cls, name) for name in ("read", "get", "contains", "batch_get")}
    if at["get"] < at["read"]:
        has_batches = at["batch_get"] <= at["get"]
        cls.read = _read_by_batches if has_batches else _read_by_get
        if at["contains"] > at["get"]:
            cls.contains = _contains_by_get
        if not has_batches:
            cls.batch_get = _batch_get_over(_read_by_get)
        return
    if min(at["contains"], at["batch_get"]) < at["read"]:
        cls.read = _read_around(cls.read, batches=at["batch_get"] < at["read"], presence=at["contains"] < at["read"])
    for name, over in (("get", _get_over), ("contains", _contains_over), ("batch_get", _batch_get_over)):
        if at["read"] < at[name]:
            setattr(cls, name, over(cls.read))


def _derive_writing(cls: Any) -> None:
    at = {name: definer_of(cls, name) for name in ("write", "put", "delete", "batch_write")}
    nearest = min(at["put"], at["delete"])
    if nearest < at["write"]:
        has_batches = at["batch_write"] <= nearest
        cls.write = _write_by_batches if has_batches else _write_by_verbs
        if not has_batches:
            cls.batch_write = _batch_write_over(_write_by_verbs)
        return
    if at["batch_write"] < at["write"]:
        cls.write = _write_around(cls.write)
    for name, over in (("put", _put_over), ("delete", _delete_over), ("batch_write", _batch_write_over)):
        if at["write"] < at[name]:
            setattr(cls, name, over(cls.write))


def _derive_querying(cls: Any) -> None:
    at_query, at_scan = definer_of(cls, "query"), definer_of(cls, "scan")
    if at_query < at_scan:
        cls.scan = _scan_by_query
        if at_query < definer_of(cls, "ordered_queries"):
            cls.ordered_queries = False
    elif at_scan < at_query:
        cls.query = _query_over(cls.scan)


# The verbs over the waist

_Read = Callable[[Any, Sequence[Key], ReadOptions], Awaitable[list[ReadResult]]]
_Write = Callable[[Any, Sequence[Operation]], Awaitable[list[WriteResult]]]


def _get_over(read: _Read) -> Any:
    async def get(self: Any, key: Key) -> Any:
        """The value of `key`, or None if there is none."""
        (result,) = await read(self, (check_key(key),), VALUES)
        return value_of(result)

    return get


def _contains_over(read: _Read) -> Any:
    async def contains(self: Any, key: Key) -> bool:
        """Whether `key` has a value."""
        (result,) = await read(self, (check_key(key),), PRESENCE)
        return value_of(result) is not None

    return contains


def _batch_get_over(read: _Read) -> Any:
    async def batch_get(self: Any, keys: Sequence[Key]) -> list[ReadResult]:
        """Read several entries: a ReadResult for each key, in their order. One failure does not fail the others."""
        bad = bad_keys(keys)
        good = [check_key(key) for place, key in enumerate(keys) if place not in bad]
        results = await read(self, good, VALUES) if good else []
        for result in results:
            if result.error is not None:
                result.error = refusal_of(result.error)
        if not bad:
            return results
        rest = iter(results)
        return [ReadResult(error=bad[place]) if place in bad else next(rest) for place in range(len(keys))]

    return batch_get


def _put_over(write: _Write) -> Any:
    async def put(self: Any, key: Key, value: Any) -> None:
        """Store `value` under `key`, replacing any old value. None deletes."""
        if value is None:
            await self.delete(key)
            return
        (result,) = await write(self, (Put(check_key(key), value),))
        raise_error(result)

    return put


def _delete_over(write: _Write) -> Any:
    async def delete(self: Any, key: Key) -> None:
        """Remove the entry of `key`, if there is one."""
        (result,) = await write(self, (Delete(check_key(key)),))
        raise_error(result)

    return delete


def _batch_write_over(write: _Write) -> Any:
    async def batch_write(self: Any, writes: Sequence[Write]) -> list[WriteResult]:
        """Do several writes: a WriteResult for each, in their order. They also take effect in this order.

        Not atomic: each write succeeds or fails by itself.
        """
        bad = bad_keys([key for key, _ in writes])
        operations = [
            Delete(check_key(key)) if value is None else Put(check_key(key), value)
            for place, (key, value) in enumerate(writes)
            if place not in bad
        ]
        results = await write(self, operations) if operations else []
        for result in results:
            if result.error is not None:
                result.error = refusal_of(result.error)
        if not bad:
            return results
        rest = iter(results)
        return [WriteResult(bad[place]) if place in bad else next(rest) for place in range(len(writes))]

    return batch_write


def _query_over(scan: Callable[[Any, Query], Scan]) -> Any:
    def query(self: Any, query: Query) -> Cursor:
        """A cursor over what `query` selects. Nothing is read before its first item.

        Raises QueryNotSupportedError (a NotImplementedError), with the reason, if the store cannot answer it.
        """
        check_query(query)
        # The answer is to the query as it is now, whatever the caller changes before it begins.
        asked = query.copy()
        return cursor_of(query, asked, scan(self, asked))

    return query


def cursor_of(query: Query, asked: Query, scan: Scan) -> Cursor:
    """A cursor of `query`, over a scan that was `asked`, with what remains of it applied."""
    return Cursor.from_batches(query, exact_batches(asked, scan), shards=scan.shards, source=scan)


# The waist over the verbs


async def read_attempt(call: Callable[..., Any], *arguments: Any) -> ReadResult:
    """Make one read of several, and return its refusal or failure as its result. Programming errors raise."""
    try:
        return ReadResult(await call(*arguments))
    except REFUSALS as error:
        return ReadResult(error=error)


async def write_attempt(call: Callable[..., Any], *arguments: Any) -> WriteResult:
    """Make one write of several, and return its refusal or failure as its result. Programming errors raise."""
    try:
        await call(*arguments)
    except REFUSALS as error:
        return WriteResult(error)
    return WriteResult()


async def _contains_by_get(self: Any, key: Key) -> bool:
    """Whether `key` has a value, i.e. `get(key)` is not None."""
    return await self.get(key) is not None


async def _read_by_get(self: Any, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
    """Read key by key, with the class's own `get` and `contains`."""
    if not options.values:
        return [_presence(await read_attempt(self.contains, key)) for key in keys]
    if len(keys) == 1:
        return [await read_attempt(self.get, keys[0])]
    room = read_room()
    return [room.left_out() if room.is_full else room.take(await read_attempt(self.get, key)) for key in keys]


async def _read_by_batches(self: Any, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
    """Read with the class's own `batch_get` where there are several keys, otherwise with its `get` or `contains`."""
    if options.values and len(keys) != 1:
        return list(await self.batch_get(keys))
    return await _read_by_get(self, keys, options)


def _read_around(read: _Read, *, batches: bool, presence: bool) -> Any:
    async def read_around(self: Any, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """As the base, except for what the class's own `contains` and `batch_get` do."""
        if presence and not options.values:
            return [_presence(await read_attempt(self.contains, key)) for key in keys]
        if batches and options.values and len(keys) != 1:
            return list(await self.batch_get(keys))
        return await read(self, keys, options)

    return read_around


def _presence(result: ReadResult) -> ReadResult:
    """The result of `contains` as that of a read: False is no value."""
    if result.value is False:
        result.value = None
    return result


async def _write_by_verbs(self: Any, operations: Sequence[Operation]) -> list[WriteResult]:
    """Write one by one, with the class's own `put` and `delete`."""
    return [
        await (
            write_attempt(self.put, operation.key, operation.value)
            if isinstance(operation, Put)
            else write_attempt(self.delete, operation.key)
        )
        for operation in operations
    ]


async def _write_by_batches(self: Any, operations: Sequence[Operation]) -> list[WriteResult]:
    """Write with the class's own `batch_write` if there are several operations, otherwise with `put` or `delete`."""
    if len(operations) == 1:
        return await _write_by_verbs(self, operations)
    return list(await self.batch_write([Write(operation.key, operation.value) for operation in operations]))


def _write_around(write: _Write) -> Any:
    async def write_around(self: Any, operations: Sequence[Operation]) -> list[WriteResult]:
        """As the base, except for what the class's own `batch_write` does."""
        if len(operations) == 1:
            return await write(self, operations)
        return list(await self.batch_write([Write(operation.key, operation.value) for operation in operations]))

    return write_around


def _scan_by_query(self: Any, query: Query) -> Scan:
    """What the class's own `query` answers: everything if it declares `ordered_queries`, otherwise the scope alone."""
    asked = query if self.ordered_queries else scope_of(query)
    answer: Any = self.query(asked)
    found = answer if isinstance(answer, Cursor) else Cursor(asked, answer)
    return Scan(found.batches(), COMPLETE if self.ordered_queries else UNORDERED, source=found)


def scope_of(query: Query) -> Query:
    """The query for everything in the scope of `query`, without its other steps."""
    return Query(query.key, recursive=query.recursive, allow_partial=query.allow_partial)


async def _read(self: Any, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
    results: list[ReadResult] = await self.read(keys, options)
    return results


async def _write(self: Any, operations: Sequence[Operation]) -> list[WriteResult]:
    results: list[WriteResult] = await self.write(operations)
    return results


#: The batch verbs of a class that has no waist of its own.
_batch_get, _batch_write = _batch_get_over(_read), _batch_write_over(_write)
