"""The reads and single writes of a client that share messages. Knows operations, and leaves sending to the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

from datastore.model.errors import own_error
from datastore.model.key import Key
from datastore.model.limits import MESSAGE_BYTES
from datastore.model.operations import (
    ENTRIES,
    VALUES,
    Operation,
    Patch,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
)
from datastore.wire import WireValue
from datastore_client._gather import BATCHES_AT_ONCE
from datastore_client._messages import content_of
from datastore_client.aio._connection import Connection
from datastore_client.aio._gathering import Gathering

__all__ = ["Coalesced"]

#: What a value is expected to take in an answer, in bytes, unless values turn out to be larger.
_VALUE_BYTES = 1024

_Result = TypeVar("_Result", ReadResult, WriteResult)
_BatchGet: TypeAlias = Callable[[Sequence[Key], ReadOptions], Awaitable[list[ReadResult]]]


class Coalesced:
    """Reads, and writes of single entries; those made while others of their kind are in flight are made together."""

    def __init__(
        self,
        connection: Connection,
        *,
        get: Callable[[ReadOptions, Key], Awaitable[ReadResult]],
        batch_get: _BatchGet,
        write_one: Callable[[Operation], Awaitable[WriteResult]],
        write: Callable[[Sequence[Operation]], Awaitable[list[WriteResult]]],
    ) -> None:
        self._batch_get = batch_get
        self._write = write
        self._reads: dict[ReadOptions, Gathering[Key, ReadResult]] = {
            options: Gathering(connection, partial(get, options), partial(self._read_all, options))
            for options in (VALUES, ENTRIES)
        }
        self._batches: dict[ReadOptions, Gathering[Sequence[Key], list[ReadResult]]] = {
            options: Gathering(
                connection,
                partial(self._read_batch, options),
                partial(self._read_batches, options),
                at_once=BATCHES_AT_ONCE,
            )
            for options in (VALUES, ENTRIES)
        }
        self._writes: Gathering[Operation, WriteResult] = Gathering(connection, write_one, self._write_all)
        self._value_bytes = _VALUE_BYTES

    async def get(self, options: ReadOptions, key: Key) -> ReadResult:
        """The entry of a key. Raises nothing that `get` does not raise, and OverloadedError."""
        return await self._reads[options].call(key, size=self._value_bytes)

    async def batch_get(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The results of the first keys, at least one."""
        results = await self._batches[options].call(keys, size=len(keys) * self._value_bytes)
        # The batches before it may have filled the answer.
        return results or await self._batch_get(keys, options)

    async def write(self, operation: Operation) -> WriteResult:
        """Make one write. A patch is sent alone, because the results of a batch have no values."""
        if isinstance(operation, Patch):
            is_alone = bool(operation.changes)
            return await self._writes.call(operation, order=operation.key, size=0, is_alone=is_alone)
        content = attempt(content_of, operation)
        if content.error is not None:
            return WriteResult(content.error)
        data: bytes = content.value or b""
        if isinstance(operation, Put):
            operation = operation.of(WireValue(data))
        return await self._writes.call(operation, order=operation.key, size=len(data))

    async def _read_batch(self, options: ReadOptions, keys: Sequence[Key]) -> list[ReadResult]:
        return await self._batch_get(keys, options)

    async def _read_batches(self, options: ReadOptions, batches: Sequence[Sequence[Key]]) -> list[list[ReadResult]]:
        """The results of each batch; fewer than it has keys, or none, if the answer has no room for more."""
        results = iter(await self._answered(options, [key for keys in batches for key in keys]))
        return [list(islice(results, len(keys))) for keys in batches]

    async def _answered(self, options: ReadOptions, keys: Sequence[Key]) -> list[ReadResult]:
        """The results of the first keys, of which each caller gets its own."""
        results = await self._batch_get(keys, options)
        if len(results) == len(keys):
            self._value_bytes = max(self._value_bytes // 2, _VALUE_BYTES)
        else:
            # So few values fill an answer.
            self._value_bytes = MESSAGE_BYTES // len(results)
        return _each_its_own(results)

    async def _read_all(self, options: ReadOptions, keys: Sequence[Key]) -> list[ReadResult]:
        results = await self._answered(options, keys)
        while len(results) < len(keys):
            results += _each_its_own(await self._batch_get(keys[len(results) :], options))
        return results

    async def _write_all(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return _each_its_own(await self._write(operations))


def _each_its_own(results: list[_Result]) -> list[_Result]:
    """The results; the error of a message is that of all of them, and each caller raises it."""
    for result in results:
        if result.error is not None:
            result.error = own_error(result.error)
    return results
