"""The memory that calls share: the bytes of responses being built, and open streams. Knows no calls or messages."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress

from datastore.model.errors import DatastoreError, LimitExceededError, OverloadedError
from datastore.model.limits import BATCH_BYTES, FIRST_BATCH_BYTES
from datastore_server.limits import Limits

__all__ = ["AnswerBudget", "ByteBudget", "OpenStreams"]

#: The copies of a batch being sent: values, frames, a message, and gRPC's own.
_COPIES = 4
#: For how long responses are expected to be large after one was, in seconds.
LARGE_FOR_S = 60.0
#: How long a client is asked to wait before it retries a refused stream, in seconds.
_RETRY_AFTER_S = 1.0


class ByteBudget:
    """A number of bytes that may be in use at once. Callers that need more than is left wait, in order of arrival."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._left = total_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Use `count` bytes while the block runs, or all bytes if that is more than there are."""
        count = min(count, self._total)
        await self._take(count)
        try:
            yield
        finally:
            self._give_back(count)

    async def _take(self, count: int) -> None:
        if not self._waiting and count <= self._left:
            self._left -= count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It got its turn just before it was cancelled.
                self._give_back(count)
            else:
                with suppress(ValueError):
                    self._waiting.remove((count, turn))
                self._give_back(0)
            raise

    def _give_back(self, count: int) -> None:
        self._left += count
        while self._waiting and self._waiting[0][0] <= self._left:
            wanted, turn = self._waiting.popleft()
            # Its caller may have been cancelled just now, and have had no chance to leave.
            if not turn.done():
                self._left -= wanted
                turn.set_result(None)


class AnswerBudget(ByteBudget):
    """The bytes of the responses that are being read and built: each twice, in pieces and as a message.

    A proxy may also hold a response of each shard, but only while values are large, and the response has no room for
    all. While none is large, many small ones need not wait for that room.
    """

    def __init__(self, limits: Limits, shards: int) -> None:
        super().__init__(limits.read_bytes)
        self._message_bytes = limits.message_bytes
        self._shards = shards
        self._large_s = -math.inf

    def hold_answer(self) -> AbstractAsyncContextManager[None]:
        """Hold what one response may take while the block runs."""
        are_large = time.monotonic() - self._large_s < LARGE_FOR_S
        return self.hold(self._message_bytes * (2 + (self._shards if are_large else 0)))

    def note(self, read_bytes: int) -> None:
        """Note how much was read for a response."""
        if read_bytes > self._message_bytes // 2:
            self._large_s = time.monotonic()


#: The address of the workers of a server at its socket: they have counted the streams of each client.
_OF_WORKERS = "unix:"


class OpenStreams:
    """The open streams, limited in number, in total and per client, and in the bytes that they hold."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_client: Counter[str] = Counter()
        self._count = 0

    @contextmanager
    def one_more(self, client: str) -> Iterator[None]:
        """Count a stream of this client while the block runs.

        Raises LimitExceededError if the client has too many, which only it can end; OverloadedError if there are too
        many in total.
        """
        if not client.startswith(_OF_WORKERS) and self._by_client[client] >= self._limits.open_streams_per_client:
            raise _too_many_of_client(self._limits.open_streams_per_client)
        if self._count >= self._limits.open_streams:
            raise OverloadedError(
                f"{self._count:,} queries are open, which is the server's limit (open_streams)",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._by_client[client] += 1
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def share_bytes(self) -> int:
        """The bytes of results that one stream may hold at a time: its share of `stream_bytes`."""
        share = self._limits.stream_bytes // _COPIES // max(1, self._count)
        return min(max(share, FIRST_BATCH_BYTES), BATCH_BYTES)


def _too_many_of_client(most: int) -> DatastoreError:
    return LimitExceededError(
        f"at most {most:,} queries may be open on one connection; read some to the end, or close their cursors",
        limit="open_streams_per_client",
        maximum=most,
    )
