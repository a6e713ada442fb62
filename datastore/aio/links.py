"""Symbolic links: several keys for one value.

Knows the Datastore contract and the stored form of a link.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any

from datastore.aio._concurrency import KeyLocks, iterate
from datastore.aio.atomic import all_made, atomic_of
from datastore.aio.base import Datastore
from datastore.aio.scan import Scan, ask, exact
from datastore.aio.shims import ShimDatastore
from datastore.aio.verbs import passed_on, read_attempt, scope_of, write_attempt
from datastore.model.arguments import check_key
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.entries import Batch, Position
from datastore.model.errors import CircularLinkError, InvalidKeyError, UnsupportedError
from datastore.model.key import Key
from datastore.model.metadata import Metadata
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
    raise_error,
    value_of,
)
from datastore.model.query import Query

__all__ = ["SymlinkDatastore"]

#: The prefix for stored text that would otherwise look like a link.
_TEXT = "@datastore_link:text:"
#: The name of the lock for creating links; it cannot be a key.
_LINKING = ""


class SymlinkDatastore(ShimDatastore):
    """Symbolic links between keys: `link(source, target)` makes `target` refer to `source`.

    get, contains and put follow links, any number of them; a put through a link whose source is missing creates the
    source. delete, and putting None, remove only the link, and with a condition raise UnsupportedError. A circle of
    links raises CircularLinkError (an AssertionError). Queries return entries under their own keys, links with the
    values and the metadata of the entries that they refer to; dangling links are left out.
    A link is stored as text, `source/datastore_link`, so the store below must store text: put serializers below this
    store, and caches too, because a cache above would keep an old value under the entry's other keys.
    A caller's text that looks like a link is stored with a prefix, and read back unchanged.
    Calls on one object take effect one after another, so two concurrent `link` calls cannot form a circle. Those of
    several objects or processes can.
    """

    sentinel = "datastore_link"

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self._locks = KeyLocks()

    async def link(self, source: Key, target: Key) -> None:
        """Make `target` a link to `source`, replacing any old value. The source may be missing.

        Raises CircularLinkError, and stores nothing, if following `source` leads to `target`.
        """
        source, target = check_key(source), check_key(target)
        # One link at a time: two could form a circle that neither of them sees.
        async with self._locks.hold(_LINKING), self._locks.hold(target):
            passed = {target}
            key: Key | None = source
            while key is not None:
                if key in passed:
                    raise CircularLinkError(f"a link at {target} to {source} would lead back to {key}")
                passed.add(key)
                key = self._link_for_value(await self.child_datastore.get(key))
            await self.child_datastore.put(target, self._link_value_for_key(source))

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read from the child in one batch, and follow links one by one."""
        results = await self.child_datastore.read(keys, ENTRIES if options.metadata else VALUES)
        return [result if result.value is None else await self._followed_result(result) for result in results]

    async def _followed_result(self, stored: ReadResult) -> ReadResult:
        """The result for what was read under some key. A link has the metadata of the entry that it refers to."""
        source = None if stored.metadata is None else self._link_for_value(stored.value)
        if source is None:
            result = await read_attempt(self._follow_link, stored.value)
            result.metadata = stored.metadata
            return result
        end = await read_attempt(self._end_of, source)
        if end.error is not None:
            return end
        [found] = await self.child_datastore.read([end.value[0]], ENTRIES)
        # Should it be a link by now, it is followed too.
        return found if found.value is None else await self._followed_result(found)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes, one by one, because each may follow a link. A delete removes the link itself."""
        return [await write_attempt(self._do, operation) for operation in operations]

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Follow all links, each as it is after the writes before, and then write to where they lead."""
        write, held = atomic_of(self.child_datastore), {operation.key for operation in operations}
        while True:
            async with self._locks.hold_all(held):
                led, passed = await self._led(operations)
                if passed <= held:
                    return list(map(self._as_read, await all_made(value_of, led, write)))
            # The keys on the way must not change before the writes: begin again with their locks.
            held |= passed

    async def _led(self, operations: Sequence[Operation]) -> tuple[list[ReadResult], set[Key]]:
        """Each write under the key that its links lead to, or why it is refused; and the keys that were looked at."""
        passed: set[Key] = set()
        #: Links, if they were, that writes before have removed.
        removed: set[Key] = set()

        async def source_of(key: Key) -> Key | None:
            passed.add(key)
            return None if key in removed else await self._source_at(key)

        led: list[ReadResult] = []
        for operation in operations:
            led.append(await read_attempt(self._led_by, source_of, operation))
            if isinstance(operation, Delete):
                removed.add(operation.key)
        return led, passed

    async def _led_by(self, source_of: Callable[[Key], Awaitable[Key | None]], operation: Operation) -> Operation:
        key = operation.key
        if isinstance(operation, Delete):
            if operation.condition is not None and await source_of(key) is not None:
                raise _refused_link(key)
            return operation
        passed = {key}
        while (source := await source_of(key)) is not None:
            if source in passed:
                raise CircularLinkError(f"the link at {key} leads back to {source}")
            passed.add(source)
            key = source
        return operation.at(key).of(self._stored(operation.value)) if isinstance(operation, Put) else operation.at(key)

    async def _do(self, operation: Operation) -> WriteResult:
        if not isinstance(operation, Delete):
            return await self._put(operation)
        async with self._locks.hold(operation.key):
            if operation.condition is not None and await self._source_at(operation.key) is not None:
                raise _refused_link(operation.key)
            return await self._written(operation)

    async def _put(self, put: Put | Patch) -> WriteResult:
        """Store under the key of `put`, following links."""
        end = put.key
        passed: set[Key] = set()
        while True:
            if end in passed:
                # Raises, unless the links were changed meanwhile; in that case, start again.
                await self._end_of(put.key)
                end = put.key
                passed.clear()
            passed.add(end)
            found = await self._put_or_follow(put.at(end))
            if isinstance(found, WriteResult):
                return found
            end = found

    async def _put_or_follow(self, put: Put | Patch) -> WriteResult | Key:
        """Store under the key of `put`; if it is a link, return the key that it refers to instead."""
        async with self._locks.hold(put.key):
            source = await self._source_at(put.key)
            if source is not None:
                return source
            return await self._written(put.of(self._stored(put.value)) if isinstance(put, Put) else put)

    async def _written(self, operation: Operation) -> WriteResult:
        return self._as_read(await self._write_one(operation))

    @staticmethod
    def _as_read(result: WriteResult) -> WriteResult:
        """A child's result, with the value as it is read."""
        if isinstance(result.value, str):
            # Of text, a patch can change only the expiry.
            result.value = result.value.removeprefix(_TEXT)
        return result

    async def _source_at(self, key: Key) -> Key | None:
        """The key that the entry of `key` links to, or None if it is not a link."""
        return self._link_for_value(await self.child_datastore.get(key))

    def scan(self, query: Query) -> Scan:
        """The scope, with links resolved, under the links' own keys."""
        scope = scope_of(query)
        if query.start_after is not None and not query.orders:
            scope = scope.replaced(start_after=Position(b"", query.start_after.key))
        child = exact(scope, ask(self.child_datastore, scope))
        return Scan(self._followed(child), source=child)

    async def _followed(self, child: Scan) -> AsyncGenerator[Batch]:
        async with aclosing(child):
            async for batch in child.batches:
                if batch.metadata is None:
                    batch.values = [await self._value_or_none(value) for value in batch.values]
                else:
                    stored = zip(batch.values, batch.metadata, strict=True)
                    found = [await self._entry_or_none(value, Metadata(*stamp)) for value, stamp in stored]
                    batch.values = [result.value for result in found]
                    batch.metadata = [result.metadata or () for result in found]
                yield batch.kept([value is not None for value in batch.values])

    async def _value_or_none(self, stored: Any) -> Any:
        """Like `_follow_link`, but None for a link in a circle."""
        try:
            return await self._follow_link(stored)
        except CircularLinkError:
            return None

    async def _entry_or_none(self, stored: Any, metadata: Metadata) -> ReadResult:
        """Like `_value_or_none`, with the metadata of the entry that a link refers to."""
        result = await self._followed_result(ReadResult(stored, metadata=metadata))
        if not isinstance(result.error, CircularLinkError):
            raise_error(result)
        return result

    # Stored forms, and following them

    def _link_value_for_key(self, key: Key) -> str:
        """The stored form of a link to `key`."""
        return f"{'' if str(key) == '/' else key}/{self.sentinel}"

    def _link_for_value(self, value: Any) -> Key | None:
        """The key that a stored value links to, or None if it is not a link."""
        ending = f"/{self.sentinel}"
        if not isinstance(value, str) or not value.endswith(ending):
            return None
        text = value.removesuffix(ending) or "/"
        try:
            key = Key(text)
        except InvalidKeyError:
            return None
        return key if self._link_value_for_key(key) == value else None

    def _stored(self, value: Any) -> Any:
        """The stored form of a caller's value."""
        if isinstance(value, str) and (value.startswith(_TEXT) or self._link_for_value(value) is not None):
            return _TEXT + value
        return value

    async def _end_of(self, key: Key) -> tuple[Key, Any]:
        """The key that `key` finally refers to (itself if it is not a link), and the value stored there."""
        with suppress(CircularLinkError):
            return await self._walk(key)
        # Links that are changed meanwhile may look like a circle; while none can be made, only a circle does.
        async with self._locks.hold(_LINKING):
            return await self._walk(key)

    async def _walk(self, key: Key) -> tuple[Key, Any]:
        passed = {key}
        while True:
            stored = await self.child_datastore.get(key)
            source = self._link_for_value(stored)
            if source is None:
                return key, stored
            if source in passed:
                raise CircularLinkError(f"the link at {key} leads back to {source}")
            passed.add(source)
            key = source

    async def _follow_link(self, value: Any) -> Any:
        """The value that a stored value refers to: itself if it is not a link, None if the link is dangling."""
        source = self._link_for_value(value)
        if source is not None:
            _, value = await self._end_of(source)
        # Text without the prefix is returned as the stored object itself, which may be of a subclass of str.
        return value.removeprefix(_TEXT) if isinstance(value, str) and value.startswith(_TEXT) else value

    async def _follow_link_gen(self, iterable: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterator[Any]:
        """The value that each stored value refers to; dangling and circular links are left out."""
        async for stored in iterate(iterable):
            value = await self._value_or_none(stored)
            if value is not None:
                yield value

    @property
    def capability(self) -> Capability:
        """The child is asked only for the scope of a query. Its changes are not those of the caller's entries.

        Requests are not remembered: a repeated write could follow a link to another entry, on another shard.
        """
        return passed_on(self, self.child_datastore.capability.scope_only()._replace(changes=False, retries=False))

    def describe(self) -> Description:
        return self._described("symlink")


def _refused_link(key: Key) -> UnsupportedError:
    """The error for deleting a link on a condition: it shows the version of another entry, which a delete leaves."""
    return UnsupportedError(f"{key} is a link, which cannot be deleted on a condition; delete it without one")
