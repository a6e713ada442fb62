"""Directories: for each key, the list of the keys directly below it.

Knows the Datastore contract and where the child stores the lists.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from datastore.aio._concurrency import KeyLocks
from datastore.aio.atomic import atomic_of, none_made
from datastore.aio.base import Datastore
from datastore.aio.cursor import Cursor
from datastore.aio.scan import Scan, ask, exact
from datastore.aio.shims import ShimDatastore
from datastore.aio.verbs import passed_on, read_attempt, scope_of, write_attempt
from datastore.engine.plan import COMPLETE
from datastore.model.arguments import check_key
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.entries import Batch, Position
from datastore.model.errors import (
    BatchAbortedError,
    ConditionFailedError,
    InvalidKeyError,
    QueryNotSupportedError,
    UnsupportedError,
)
from datastore.model.key import Key
from datastore.model.limits import FIRST_SCAN_ENTRIES, KEY_BYTES
from datastore.model.metadata import require
from datastore.model.operations import (
    ENTRIES,
    VALUES,
    Delete,
    Operation,
    Patch,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
    raise_error,
    value_of,
)
from datastore.model.query import Query
from datastore.model.spellings import is_overridden

__all__ = ["DirectoryDatastore"]

#: Refusals of a value or its condition: the entry is certainly not stored.
_NOT_STORED = (TypeError, ValueError, ConditionFailedError, UnsupportedError)
_RESERVED = ":directory"
_ROOT = Key("/")


class DirectoryDatastore(ShimDatastore):
    """Lists every key in the directory of its parent, in order of arrival, as a file system does.

    `get` of a key without a value returns its directory, `[]` if nothing is below it. So this store must be the
    outermost: a cache, a tier or a serializer above would mistake the list for a value. `contains` checks only for
    a value. The root is not listed anywhere.
    The lists are stored in the child, at `parent:directory`: a put of a key with this ending raises InvalidKeyError (a
    ValueError), and all other calls see no value there. A put lists the key and then stores the value, a delete removes
    the value and then the key from the list: a failure in between leaves a name without a value, which is skipped, and
    never loses a value. An atomic batch changes the lists together with the values. There is one lock per directory;
    other objects and processes must not write to the same child meanwhile.
    Only recursive queries need the child to support queries; if it loses keys, e.g. a shim that drops
    values, they return lists as values. A put raises InvalidKeyError if the key of its parent's list would be too long.
    If a subclass overrides `directory_values_generator`, queries of a collection are answered from the values that it
    yields, whose keys are not known.
    """

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self._locks = KeyLocks()

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values; for a key without one, the list of the keys directly below it, which `contains` ignores."""
        results = [ReadResult() for _ in keys]
        asked = [place for place, key in enumerate(keys) if not _is_reserved(key)]
        if asked:
            found = await self.child_datastore.read([keys[place] for place in asked], options)
            for place, result in zip(asked, found, strict=True):
                results[place] = result
        if not options.values or options.metadata:
            return results
        return [
            await read_attempt(self.directory, key) if result.value is None and result.error is None else result
            for key, result in zip(keys, results, strict=True)
        ]

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return [await write_attempt(self._write, operation) for operation in operations]

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Change the values and the lists by one atomic batch of the child."""
        write = atomic_of(self.child_datastore)
        records = {record for each in operations if (record := _record_of(each.key.parent)) is not None}
        async with self._locks.hold_all(records):
            before = {record: await self._listed(record) for record in records}
            lists = {record: list(names) for record, names in before.items()}
            made = [attempt(_listed_in, operation, lists) for operation in operations]
            failed = {place: result.error for place, result in enumerate(made) if result.error is not None}
            if failed:
                return none_made(failed, len(made))
            asked = {place: result.value for place, result in enumerate(made) if result.value is not None}
            changed = [_list_write(record, names) for record, names in lists.items() if names != before[record]]
            answers = await write([*asked.values(), *changed])
        for place, answer in zip(asked, answers, strict=False):
            if answer.error is not None and not isinstance(answer.error, BatchAbortedError):
                return none_made({place: answer.error}, len(made))
        for answer in answers[len(asked) :]:
            raise_error(answer)
        found = dict(zip(asked, answers, strict=False))
        return [found.get(place) or WriteResult() for place in range(len(made))]

    async def _write(self, operation: Operation) -> WriteResult:
        return await (self._delete(operation) if isinstance(operation, Delete) else self._put(operation))

    async def _put(self, put: Put | Patch) -> WriteResult:
        """List the key in its parent's directory, and store the value."""
        key = put.key
        record = _record_for_put(key)
        if record is None:
            return await self._write_one(put)
        async with self._locks.hold(record):
            before = await self._listed(record)
            if str(key) not in before:
                await self.child_datastore.put(record, [*before, str(key)])
            result = await self._write_one(put)
            if isinstance(result.error, _NOT_STORED):
                await self._write_list(record, before)
            return result

    async def _delete(self, delete: Delete) -> WriteResult:
        """Remove the value, and the key from its parent's directory."""
        key = delete.key
        record = _record_for_delete(delete)
        if record is None:
            return WriteResult()
        async with self._locks.hold(record):
            result = await self._write_one(delete)
            before = await self._listed(record)
            if result.error is None and str(key) in before:
                await self._write_list(record, [name for name in before if name != str(key)])
            return result

    async def directory(self, key: Key) -> list[str]:
        """The texts of the keys directly below `key`, in order of arrival, as a new list."""
        key = check_key(key)
        record = _record_of(key)
        return [] if record is None else await self._listed(record)

    async def directory_values_generator(self, key: Key) -> AsyncIterator[Any]:
        """The values of the keys directly below `key`, in order of arrival; names without a value are skipped."""
        for name in await self.directory(key):
            value = await self.child_datastore.get(Key(name))
            if value is not None:
                yield value

    async def _listed(self, record: Key) -> list[str]:
        held = await self.child_datastore.get(record)
        return list(held) if isinstance(held, (list, tuple)) else []

    async def _write_list(self, record: Key, names: list[str]) -> None:
        await self.child_datastore.put(record, names or None)

    def scan(self, query: Query) -> Scan:
        """The entries of the scope, without the lists."""
        if not query.recursive and is_overridden(self, DirectoryDatastore, "directory_values_generator"):
            return self._scan_of_values(query)
        if not query.recursive:
            return Scan(self._listed_entries(query))
        scope = scope_of(query)
        child = exact(scope, ask(self.child_datastore, scope))
        return Scan(_without_records(child), source=child)

    def _scan_of_values(self, query: Query) -> Scan:
        if query.start_after is not None:
            raise QueryNotSupportedError(
                f"{type(self).__name__} overrides directory_values_generator, so its values have no positions to "
                "continue from"
            )
        cursor = Cursor(query, self.directory_values_generator(query.key))
        cursor._apply("filters", "orders", "offset", "limit", "keys_only", "fields")
        return Scan(cursor.batches(), COMPLETE, source=cursor)

    async def _listed_entries(self, query: Query) -> AsyncGenerator[Batch]:
        """The entries of a collection: its instances are listed in its parent's directory, all others in its own."""
        names = {"/", *await self.directory(query.key)}
        if query.key != _ROOT:
            instances = f"{query.key}:"
            names.update(name for name in await self.directory(query.key.parent) if name.startswith(instances))
        found = sorted(key for key in map(Key, names) if key.path == query.key)
        for start in range(0, len(found), FIRST_SCAN_ENTRIES):
            part = found[start : start + FIRST_SCAN_ENTRIES]
            results = await self.child_datastore.read(part, ENTRIES if query.needs_metadata else VALUES)
            values = list(map(value_of, results))
            batch = Batch(part, values, scanned=len(part), position=Position(b"", part[-1]))
            if query.needs_metadata:
                batch.metadata = [result.metadata or () for result in results]
            yield batch.kept([value is not None for value in values])

    @property
    def capability(self) -> Capability:
        """The child is asked only for the scope of a query. Its changes are not those of the caller's entries.

        Entries cannot expire: their names would stay listed. Requests are not remembered, as a list is another entry.
        """
        below = self.child_datastore.capability.scope_only()
        return passed_on(self, below._replace(expiry=False, changes=False, retries=False))

    def describe(self) -> Description:
        return self._described("directory")


def _is_reserved(key: Key) -> bool:
    return str(key).endswith(_RESERVED)


def _record_of(key: Key) -> Key | None:
    """The key that stores the directory of `key`; None if it would be too long, so that nothing can be listed."""
    with suppress(InvalidKeyError):
        return key.instance("directory")
    return None


def _record_for_put(key: Key) -> Key | None:
    """The key of the list that names a key; None for the root. Raises InvalidKeyError if the key cannot be listed."""
    if _is_reserved(key):
        raise InvalidKeyError(f"{key}: keys that end in {_RESERVED!r} are kept for directories")
    if key == _ROOT:
        return None
    record = _record_of(key.parent)
    if record is None:
        raise InvalidKeyError(
            f"{key}: a directory's list is stored under its key with {_RESERVED!r} appended, which here exceeds"
            f" {KEY_BYTES:,} bytes; use a shorter parent",
            field="key",
        )
    return record


def _record_for_delete(delete: Delete) -> Key | None:
    """The key of the list that names a key to delete; None if the key cannot have a value.

    Raises ConditionFailedError in that case if the condition needs an entry.
    """
    record = _record_of(delete.key.parent)
    if _is_reserved(delete.key) or record is None:
        if delete.condition is not None:
            require(delete.condition, delete.key, 0)
        return None
    return record


def _listed_in(operation: Operation, lists: dict[Key, list[str]]) -> Operation | None:
    """The write of an atomic batch, None if there is nothing to write; adds its key to `lists`, or removes it there."""
    name = str(operation.key)
    if isinstance(operation, Delete):
        record = _record_for_delete(operation)
        if record is None:
            return None
        if name in lists[record]:
            lists[record].remove(name)
    else:
        record = _record_for_put(operation.key)
        if record is not None and name not in lists[record]:
            lists[record].append(name)
    return operation


def _list_write(record: Key, names: list[str]) -> Operation:
    return Put(record, names) if names else Delete(record)


async def _without_records(child: Scan) -> AsyncGenerator[Batch]:
    async with aclosing(child):
        async for batch in child.batches:
            yield batch.kept([key is None or not _is_reserved(key) for key in batch.keys])
