"""The results of a query as messages, split by size, each with the token that continues after it.

`ResponseBuilder` decides and is pure. `QueryStream` does the I/O: it pulls a batch only when the client has taken the
messages of the previous one, so that at most two are in memory. Knows batches, tokens and messages, but no stores.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import NoReturn

import msgspec

from datastore.aio.cursor import Cursor
from datastore.model.entries import Batch, Position, Reason, ShardReport, Summary
from datastore.model.errors import DatastoreError, DeadlineExceededError, InternalError, QueryNotSupportedError
from datastore.model.limits import BATCH_BYTES, FIRST_BATCH_BYTES, LONG_SORT_KEY_BYTES
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import EntryFrames, encode_explanation
from datastore_server import checks
from datastore_server.framing import entry_frames, framed, result_frames, whole_frame
from datastore_server.interceptors import item_status
from datastore_server.limits import RESERVED_BYTES, Limits
from datastore_server.tokens import End, Token, encode_token

__all__ = [
    "BATCH_MOST_BYTES",
    "CONTINUE",
    "HEARTBEAT_S",
    "LINGER_S",
    "QueryStream",
    "ResponseBuilder",
    "expired",
    "is_long",
    "position_of",
    "shard_summary",
]

#: A message has at most this fraction (1/4) of the bytes sent before it, until it reaches BATCH_BYTES.
_GROWTH_PART = 4
#: The largest message in bytes, unless it has a single entry.
BATCH_MOST_BYTES = 1024 * 1024
#: What to do about a query that has reached its time limit, for its error.
CONTINUE = "continue it by its last token"
#: The heartbeat interval while nothing matches, in seconds.
HEARTBEAT_S = 1.0
#: The maximum time to buffer entries, in seconds.
LINGER_S = 0.1

_REASONS = {
    Reason.EXHAUSTED: (End.EXHAUSTED, service_pb2.QuerySummary.REASON_EXHAUSTED),
    Reason.LIMIT: (End.LIMIT, service_pb2.QuerySummary.REASON_LIMIT),
    Reason.PARTIAL: (End.PARTIAL, service_pb2.QuerySummary.REASON_PARTIAL),
}


def position_of(query: Query, batch: Batch, index: int) -> Position:
    """The position in the results of `query` after one entry of a batch.

    If its sort key is long, it is always that of the entry, which the client can send back.
    """
    key = batch.key_at(index)
    after = batch.position
    if index == len(batch) - 1 and after is not None and (after.key == key or not is_long(after.sort_key)):
        return after
    if not query.orders:
        return Position(b"", key)
    if batch.sort_keys is not None:
        return Position(batch.sort_keys[index], key)
    if not query.returns_whole_values:
        raise QueryNotSupportedError(
            "this store does not return the sort keys of a query for keys or fields; query whole entries instead"
        )
    return Position(query.sort_key_of(key, batch.values[index], batch.metadata_at(index)), key)


def is_long(sort_key: bytes) -> bool:
    """Whether a sort key is too long to be sent: the value of the entry is sent instead."""
    return len(sort_key) > LONG_SORT_KEY_BYTES


class ResponseBuilder:
    """Splits batches of results into messages, each with the token that continues after it.

    `token` is the start of this call. The first entries are sent immediately, then about `batch_bytes()` per message.
    `share_bytes` returns the maximum size of a message at the moment. `count` is called with the number of
    entries of each message.
    """

    def __init__(
        self,
        query: Query,
        token: Token,
        limits: Limits,
        *,
        sort_keys: bool = False,
        share_bytes: Callable[[], int] = lambda: BATCH_BYTES,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._share_bytes = share_bytes
        self._count_sent = count
        self._sent_bytes = 0
        self._query = query
        self._limits = limits
        self._send_sort_keys = sort_keys and bool(query.orders)
        #: The token that continues after the last message.
        self._token = token
        self._limit, self._offset = token.limit, token.offset
        self._position: Position | None = None
        #: The entries of the next message: serialized, and how many there are.
        self._frames: list[bytes] = []
        self._count = 0
        self._sort_keys: list[bytes] = []
        #: The last of them with its value, if a keys-only query needs that to continue.
        self._last_frame: bytes | None = None
        self._size = 0
        self._skipped = 0
        self._scanned = 0
        #: Over the whole call: how many entries were examined, and how many of them are results.
        self._all_scanned = self._all_found = 0
        self._has_sent = False

    def batch_bytes(self) -> int:
        """The target size of the next message in bytes: a fraction of what was sent so far.

        So little is read ahead for a client that stops early, and one that reads on soon gets large messages.
        """
        return min(max(FIRST_BATCH_BYTES, self._sent_bytes // _GROWTH_PART), self._share_bytes())

    def read_bytes(self) -> int:
        """The size of the next read, in bytes of keys and values: enough for about one message of results.

        If few entries match, little is sent, and the reads must grow all the same.
        """
        return min(self.batch_bytes() * (self._all_scanned + 1) // (self._all_found + 1), self._share_bytes())

    def feed(self, batch: Batch) -> Iterator[bytes]:
        """Take one batch, and yield the messages that are full. Exhaust it before the next batch."""
        # Cutting it here, rather than entry by entry, takes a fraction of the time.
        for part in batch.parts(self._part_entries(batch)):
            yield from self._feed(part)

    def _part_entries(self, batch: Batch) -> int:
        """The entries of a large serialized batch that fill a message; all those of another."""
        size = batch.encoded.size_bytes if isinstance(batch.encoded, EntryFrames) else 0
        messages = max(1, round(size / self.batch_bytes()))
        return max(1, -(-len(batch) // messages))

    def _feed(self, batch: Batch) -> Iterator[bytes]:
        self._skipped += batch.skipped
        self._scanned += batch.scanned
        self._all_scanned += batch.scanned
        self._all_found += len(batch)
        self._offset = max(0, self._offset - batch.skipped)
        keys_only = self._query.keys_only
        # A long sort key is left out: the client computes it from the value, which a keys-only query then sends.
        sort_keys = [b"" if is_long(each) else each for each in self._sort_keys_of(batch)]
        sort_key_bytes = sum(map(len, sort_keys))
        # Up to this size a batch is sent whole: its position is known at its end, and splitting takes time.
        whole_bytes = self.batch_bytes() * 3 // 2
        if not self._query.returns_whole_values and any(map(is_long, batch.sort_keys or ())):
            yield from self._cut_parts(batch, sort_keys)
        elif (frames := framed(batch, whole_bytes - sort_key_bytes, keys_only=keys_only)) is None:
            yield from self._cut(batch, entry_frames(batch, keys_only=keys_only), sort_keys)
        elif frames:
            size = sum(map(len, frames)) + sort_key_bytes
            if self._count and self._size + size > whole_bytes:
                yield self.flush()
            self._take(frames, len(batch), sort_keys, size)
        if len(batch):
            self._position = position_of(self._query, batch, len(batch) - 1)
        elif batch.position is not None and self._is_place(batch.position):
            self._position = batch.position
        if self._size >= self.batch_bytes() and not self._is_last:
            yield self.flush()

    def _cut(self, batch: Batch, frames: Iterable[bytes], sort_keys: Sequence[bytes]) -> Iterator[bytes]:
        """Take a batch entry by entry, and yield the messages that are full before its last one."""
        for index, frame in enumerate(frames):
            part = sort_keys[index : index + 1]
            size = len(frame) + sum(map(len, part))
            is_full = self._size >= self.batch_bytes() or self._size + size > BATCH_MOST_BYTES
            if self._count and is_full:
                if index:
                    self._position = position_of(self._query, batch, index - 1)
                yield self.flush()
            self._take([frame], 1, part, size)

    def _cut_parts(self, batch: Batch, sort_keys: Sequence[bytes]) -> Iterator[bytes]:
        """Like `_cut`, for keys or fields with long sort keys: the last entry of a message then has its value."""
        room = self._limits.message_bytes - RESERVED_BYTES
        parts = result_frames(self._query, batch)
        for index, (frame, sort_key) in enumerate(zip(parts, batch.sort_keys or (), strict=True)):
            whole = whole_frame(batch, index) if is_long(sort_key) else None
            part = sort_keys[index : index + 1]
            if whole is not None and self._send_sort_keys:
                frame = whole
            is_full = self._size >= self.batch_bytes() or self._size + len(whole or frame) + sum(map(len, part)) > room
            if self._count and is_full:
                if index:
                    self._position = position_of(self._query, batch, index - 1)
                yield self.flush()
            self._take([frame], 1, part, len(frame) + sum(map(len, part)))
            self._last_frame = whole

    def _is_place(self, position: Position) -> bool:
        """Whether the position of a batch without entries is a position in the results.

        It is not while an ordered query is still sorting. One with a long sort key would need an entry that the client
        does not have.
        """
        return bool(position.sort_key) == bool(self._query.orders) and not is_long(position.sort_key)

    def _take(self, frames: Iterable[bytes], count: int, sort_keys: Iterable[bytes], size: int) -> None:
        self._last_frame = None
        self._frames += frames
        self._count += count
        self._sort_keys += sort_keys
        self._size += size

    def is_due(self, waited_s: float) -> bool:
        """Whether to send a message now, `waited_s` after the last one."""
        if self._is_last:
            return False
        if self._count:
            return not self._has_sent or waited_s >= LINGER_S
        return waited_s >= HEARTBEAT_S

    @property
    def _is_last(self) -> bool:
        """Whether the limit is reached, so that the summary is next, and these entries are sent with it."""
        return self._limit is not None and self._count >= self._limit > 0

    @property
    def has_news(self) -> bool:
        """Whether a message now would have entries or a later token."""
        return bool(self._count) or self._position is not None

    def note_shards(self, shards: Iterable[ShardReport]) -> None:
        """Record shards that could not be reached, so that a continued query reports them too."""
        self._token = self._token.without(shards)

    def flush(self) -> bytes:
        """A message with the buffered entries; without entries, a heartbeat."""
        return self._message(service_pb2.QueryResponse())

    def finish(self, summary: Summary) -> bytes:
        """The last message."""
        self.note_shards(summary.shards)
        end, reason = _REASONS[Reason.PARTIAL if self._token.missing else summary.reason]
        message = service_pb2.QuerySummary(
            reason=reason,
            entries=summary.entries,
            skipped=summary.skipped,
            scanned=summary.scanned,
            explanation=None if summary.explanation is None else encode_explanation(summary.explanation),
            shards=map(shard_summary, [*summary.shards, *self._token.missing_before(summary.shards)]),
        )
        return self._message(service_pb2.QueryResponse(summary=message), end)

    def finish_again(self) -> bytes:
        """The last message again, for a client that continues after the end of the results."""
        response = service_pb2.QueryResponse()
        response.summary.reason = dict(_REASONS.values())[self._token.end]
        response.summary.shards.extend(map(shard_summary, self._token.missing_before(())))
        return self._message(response, self._token.end)

    def _message(self, response: service_pb2.QueryResponse, end: End = End.OPEN) -> bytes:
        self._advance(end)
        response.resume_token = encode_token(self._token)
        response.needs_last_entry = self._token.needs_last_entry
        if self._token.needs_last_entry and self._last_frame is not None:
            self._frames[-1] = self._last_frame
        response.skipped, self._skipped = self._skipped, 0
        response.scanned, self._scanned = self._scanned, 0
        response.sort_keys.extend(self._sort_keys)
        # Serialized messages are merged by concatenation: here the prepared entries and all other fields.
        message = b"".join([*self._frames, response.SerializeToString()])
        self._frames.clear()
        self._sort_keys.clear()
        self._last_frame = None
        self._count_sent(self._count)
        self._count = self._size = 0
        self._has_sent = True
        self._sent_bytes += len(message)
        checks.check_fits(len(message), self._limits, "a message of the results, with its entry and token,")
        return message

    def _advance(self, end: End) -> None:
        """Move the token to the last known position, with the limit and offset that remain there."""
        if self._limit is not None:
            self._limit = max(0, self._limit - self._count)
        position, self._position = self._position, None
        if position is not None:
            self._token = self._token.at(position, limit=self._limit, offset=self._offset)
        if end is not End.OPEN:
            self._token = msgspec.structs.replace(self._token, end=end)

    def _sort_keys_of(self, batch: Batch) -> list[bytes]:
        if not self._send_sort_keys:
            return []
        if batch.sort_keys is not None:
            return batch.sort_keys
        return [position_of(self._query, batch, index).sort_key for index in range(len(batch))]


def shard_summary(report: ShardReport) -> service_pb2.ShardSummary:
    """The message for the report of one shard."""
    shown = service_pb2.ShardSummary(shard=report.shard, entries=report.entries, scanned=report.scanned)
    if report.error is not None:
        shown.status.CopyFrom(item_status(report.error, "Query"))
    return shown


class QueryStream:
    """One active query of one client.

    `interrupt` ends it when the server drains or its time is over. If the client has stopped reading, the call remains
    until it reads on or disconnects, but the cursor is closed.
    """

    def __init__(self, cursor: Cursor, builder: ResponseBuilder, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._cursor = cursor
        self._builder = builder
        self._send_message = send
        self._error: DatastoreError | None = None
        self._pulling: asyncio.Timeout | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self, time_limit_s: float) -> None:
        """Send all results and the summary. Closes the cursor in any case.

        Raises DeadlineExceededError at the time limit; the client can continue by its last token.
        """
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(time_limit_s, self.interrupt, expired(time_limit_s))
        batches = self._cursor.batches()
        try:
            await self._send_batches(batches)
        finally:
            expiry.cancel()
            # Once raised, the error references this stream, which would be a cycle.
            self._error = None
            async with aclosing(batches):
                await (self._closing or self._cursor.aclose())

    def interrupt(self, error: DatastoreError) -> None:
        """End the stream with this error, after the results found so far."""
        if self._error is not None:
            return
        self._error = error
        if self._pulling is not None:
            self._pulling.reschedule(asyncio.get_running_loop().time())
        else:
            self._closing = asyncio.ensure_future(self._cursor.aclose())

    async def _send_batches(self, batches: AsyncGenerator[Batch]) -> None:
        clock = asyncio.get_running_loop().time
        sent_at = clock()
        while (batch := await self._pull(batches)) is not None:
            self._builder.note_shards(self._cursor.shards)
            # While a message waits for the client, the next ones take much less memory than the batch.
            messages = deque(self._builder.feed(batch))
            batch.clear()
            while messages:
                await self._send(messages.popleft())
                sent_at = clock()
            if self._builder.is_due(clock() - sent_at):
                await self._send(self._builder.flush())
                sent_at = clock()
            # Other calls run between batches, however fast the client reads.
            await asyncio.sleep(0)
        summary = self._cursor.summary
        if summary is None:
            raise InternalError("the cursor ended without a summary")
        await self._send_message(self._builder.finish(summary))

    async def _pull(self, batches: AsyncGenerator[Batch]) -> Batch | None:
        if self._error is not None:
            await self._end(self._error)
        try:
            async with asyncio.timeout(None) as self._pulling:
                return await anext(batches, None)
        except TimeoutError:
            if self._pulling is None or not self._pulling.expired() or self._error is None:
                raise
            await self._end(self._error)
        finally:
            self._pulling = None

    async def _end(self, error: DatastoreError) -> NoReturn:
        """Send what was found so far, or at least how far the query has come, and raise the error."""
        if self._builder.has_news:
            await self._send_message(self._builder.flush())
        raise error from None

    async def _send(self, message: bytes) -> None:
        await self._send_message(message)
        if self._error is not None:
            raise self._error


def expired(time_limit_s: float, advice: str = CONTINUE) -> DeadlineExceededError:
    """The error of a query that has reached its time limit."""
    return DeadlineExceededError(f"a query may run for {time_limit_s:g} s here (query_time_ms); {advice}")
