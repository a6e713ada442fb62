"""One watch of one client: changes as messages, at the client's pace. Knows watchers and messages, but no stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from datastore import wire
from datastore.aio.watching import Watcher
from datastore.model.changes import ChangeBatch
from datastore.model.errors import DatastoreError, InternalError
from datastore.model.limits import BATCH_BYTES
from datastore.wire import raw
from datastore_server import checks
from datastore_server.limits import Limits

__all__ = ["WatchStream", "responses"]


def responses(batch: ChangeBatch, limits: Limits) -> Iterator[bytes]:
    """The messages of a batch; the last has its token. Raises LimitExceededError for a change larger than a message."""
    response, size = raw.WatchResponse(), 0
    for change in batch.changes:
        message = wire.encode_change(change)
        change_bytes = message.ByteSize()
        if size and size + change_bytes > BATCH_BYTES:
            yield _message(response, limits)
            response, size = raw.WatchResponse(), 0
        response.changes.append(message)
        size += change_bytes
    response.resume_token = batch.token
    response.caught_up = batch.caught_up
    yield _message(response, limits)


def _message(response: raw.WatchResponse, limits: Limits) -> bytes:
    message: bytes = response.SerializeToString()
    checks.check_fits(len(message), limits, "a message of the changes")
    return message


class WatchStream:
    """One active watch. It ends when it is interrupted, its client leaves, or reading fails."""

    def __init__(self, watcher: Watcher, limits: Limits, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._watcher = watcher
        self._limits = limits
        self._send = send
        self._error: DatastoreError | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Send the token of the beginning, then all changes. Closes the watcher."""
        try:
            async with self._watcher as watcher:
                if watcher.token is not None:
                    await self._send_batch(ChangeBatch((), watcher.token))
                async for batch in watcher.batches():
                    await self._send_batch(batch)
            if self._closing is not None:
                await self._closing
            raise self._error or InternalError("the watch ended without an error")
        finally:
            # Once raised, the error references this stream, which would be a cycle.
            self._error = None

    async def _send_batch(self, batch: ChangeBatch) -> None:
        for message in responses(batch, self._limits):
            await self._send(message)
            if self._error is not None:
                raise self._error

    def interrupt(self, error: DatastoreError) -> None:
        """End the watch with this error."""
        if self._error is None:
            self._error = error
            self._closing = asyncio.ensure_future(self._watcher.aclose())
