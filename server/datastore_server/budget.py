"""The memory that calls share: bytes of answers in the making, and open streams. Knows no call and no message."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from datastore.model.errors import DatastoreError, LimitExceededError, OverloadedError
from datastore.model.limits import BATCH_BYTES, FIRST_BATCH_BYTES
from datastore_server.limits import Limits

__all__ = ["ByteBudget", "OpenStreams"]

#: A batch on its way is there as values, as frames, as a message, and in gRPC.
_COPIES = 4
#: What a client is asked to wait before it opens a stream that did not fit.
_RETRY_AFTER_S = 1.0


class ByteBudget:
    """A number of bytes that may be in use at once. Who needs more than are left waits, first come, first served."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._left = total_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Use `count` bytes while the block runs. What is more than all there are counts as all."""
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
                # It was this one's turn at the moment that it left.
                self._give_back(count)
            else:
                self._waiting.remove((count, turn))
                self._give_back(0)
            raise

    def _give_back(self, count: int) -> None:
        self._left += count
        while self._waiting and self._waiting[0][0] <= self._left:
            wanted, turn = self._waiting.popleft()
            self._left -= wanted
            turn.set_result(None)


class OpenStreams:
    """The streams that are open, bounded in number, in all and for each client, and in what they hold."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_client: Counter[str] = Counter()
        self._count = 0

    @contextmanager
    def one_more(self, client: str) -> Iterator[None]:
        """Count a stream of this client while the block runs.

        Raises LimitExceededError where the client has too many, which only it can end, and OverloadedError where all
        together have.
        """
        if self._by_client[client] >= self._limits.open_streams_per_client:
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
        """How many bytes of results one stream may hold at a time: its share of `stream_bytes`."""
        share = self._limits.stream_bytes // _COPIES // max(1, self._count)
        return min(max(share, FIRST_BATCH_BYTES), BATCH_BYTES)


def _too_many_of_client(most: int) -> DatastoreError:
    return LimitExceededError(
        f"at most {most:,} queries may be open on one connection; read some to the end, or close their cursors",
        limit="open_streams_per_client",
        maximum=most,
    )
