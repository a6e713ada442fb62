"""One watch of one client: changes as messages, at the client's pace. Knows watchers and messages, but no stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from datastore import wire
from datastore.aio.watching import Watcher
from datastore.model.changes import ChangeBatch
from datastore.model.errors import DatastoreError, InternalError
from datastore.model.limits import BATCH_BYTES
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.limits import Limits

__all__ = ["WatchStream", "responses"]

#: How long a watch waits after each message, for each open stream, in seconds: then many watches share the work of many
#: writes in few messages, and leave most of the time to the writers. A single watch hardly waits.
LINGER_S = 0.0005
MOST_LINGER_S = 0.1


def responses(batch: ChangeBatch, limits: Limits) -> Iterator[bytes]:
    """The messages of a batch; the last has its token. Raises LimitExceededError for a change larger than a message."""
    frames: list[bytes] = []
    size = 0
    for frame in map(wire.encode_change, batch.changes):
        if size and size + len(frame) > BATCH_BYTES:
            yield _message(frames, limits)
            frames, size = [], 0
        frames.append(frame)
        size += len(frame)
    end = service_pb2.WatchResponse(resume_token=batch.token, caught_up=batch.caught_up)
    yield _message([*frames, end.SerializeToString()], limits)


def _message(frames: list[bytes], limits: Limits) -> bytes:
    # Serialized messages are merged by concatenation.
    message = b"".join(frames)
    checks.check_fits(len(message), limits, "a message of the changes")
    return message


class WatchStream:
    """One active watch. It ends when it is interrupted, its client leaves, or reading fails."""

    def __init__(
        self,
        watcher: Watcher,
        limits: Limits,
        send: Callable[[bytes], Awaitable[None]],
        open_streams: Callable[[], int],
    ) -> None:
        self._watcher = watcher
        self._limits = limits
        self._send = send
        self._open_streams = open_streams
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
                    await asyncio.sleep(min(LINGER_S * self._open_streams(), MOST_LINGER_S))
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
