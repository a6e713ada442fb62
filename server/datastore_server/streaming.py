"""A query's results as messages: cut by bytes, each with the token that continues after it.

`ResponseBuilder` decides and is pure; `QueryStream` performs: it pulls a batch only once the client has taken what was
cut from the one before, so that at most two are in memory. Knows batches, tokens and messages; knows no
store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence

import msgspec

from datastore.aio.cursor import Cursor
from datastore.model.entries import Batch, Position, Reason, ShardReport, Summary
from datastore.model.errors import DatastoreError, DeadlineExceededError, InternalError, QueryNotSupportedError
from datastore.model.limits import BATCH_BYTES, FIRST_BATCH_BYTES, LONG_SORT_KEY_BYTES
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.framing import entry_frame, entry_frames, framed
from datastore_server.interceptors import item_status
from datastore_server.limits import RESERVED_BYTES, Limits
from datastore_server.tokens import End, Token, encode_token

__all__ = [
    "BATCH_MOST_BYTES",
    "HEARTBEAT_S",
    "LINGER_S",
    "QueryStream",
    "ResponseBuilder",
    "expired",
    "is_long",
    "position_of",
    "shard_summary",
]

#: A message has at most this part of what was sent before it, until it has BATCH_BYTES.
_GROWTH_PART = 4
#: A message of many entries does not grow beyond this; only a single entry may.
BATCH_MOST_BYTES = 1024 * 1024
#: The heartbeat interval while nothing matches.
HEARTBEAT_S = 1.0
#: Maximum time to buffer entries.
LINGER_S = 0.1

_REASONS = {
    Reason.EXHAUSTED: (End.EXHAUSTED, service_pb2.QuerySummary.REASON_EXHAUSTED),
    Reason.LIMIT: (End.LIMIT, service_pb2.QuerySummary.REASON_LIMIT),
    Reason.PARTIAL: (End.PARTIAL, service_pb2.QuerySummary.REASON_PARTIAL),
}


def position_of(query: Query, batch: Batch, index: int) -> Position:
    """The place in the results of `query` after one entry of a batch.

    A place whose sort key is long is always that entry's own, which the client can send back.
    """
    key = batch.key_at(index)
    after = batch.position
    if index == len(batch) - 1 and after is not None and (after.key == key or not is_long(after.sort_key)):
        return after
    if not query.orders:
        return Position(b"", key)
    if batch.sort_keys is not None:
        return Position(batch.sort_keys[index], key)
    if query.keys_only:
        raise QueryNotSupportedError("this store orders keys without telling by what; ask for entries")
    return Position(query.order_sort_key(key, batch.values[index]), key)


def is_long(sort_key: bytes) -> bool:
    """Whether a sort key is too long to travel: the entry's value travels in its place."""
    return len(sort_key) > LONG_SORT_KEY_BYTES


class ResponseBuilder:
    """Cuts batches of results into messages of a good size, and knows what continues after each.

    `token` is where this call starts. The first entries go out at once, then about `batch_bytes()` a message.
    `share_bytes` is the most that a message should have just now.
    """

    def __init__(
        self,
        query: Query,
        token: Token,
        limits: Limits,
        *,
        sort_keys: bool = False,
        share_bytes: Callable[[], int] = lambda: BATCH_BYTES,
    ) -> None:
        self._share_bytes = share_bytes
        self._sent_bytes = 0
        self._query = query
        self._limits = limits
        self._send_sort_keys = sort_keys and bool(query.orders)
        #: What continues after the last message.
        self._token = token
        self._limit, self._offset = token.limit, token.offset
        self._position: Position | None = None
        #: The entries of the next message: serialized, and how many there are.
        self._frames: list[bytes] = []
        self._count = 0
        self._sort_keys: list[bytes] = []
        #: The last of them with its value, where a query for keys only needs that to be continued.
        self._last_frame: bytes | None = None
        self._size = 0
        self._skipped = 0
        self._scanned = 0
        self._has_sent = False

    def batch_bytes(self) -> int:
        """How many bytes of results the next message should have: a part of what was sent.

        A reader that stops early has then only small messages waiting for it, and one that reads on soon gets large
        ones.
        """
        return min(max(FIRST_BATCH_BYTES, self._sent_bytes // _GROWTH_PART), self._share_bytes())

    def feed(self, batch: Batch) -> Iterator[bytes]:
        """Take one batch; the messages that are full now. Read them all before the next batch."""
        self._skipped += batch.skipped
        self._scanned += batch.scanned
        self._offset = max(0, self._offset - batch.skipped)
        keys_only = self._query.keys_only
        # A long sort key is left out: it is made from the value, which travels for it in a query for keys only.
        sort_keys = [b"" if is_long(each) else each for each in self._sort_keys_of(batch)]
        sort_key_bytes = sum(map(len, sort_keys))
        # A batch goes out whole up to here: its place is known at its end, and cutting costs time.
        whole_bytes = self.batch_bytes() * 3 // 2
        if keys_only and any(map(is_long, batch.sort_keys or ())):
            yield from self._cut_keys(batch, sort_keys)
        elif (frames := framed(batch, whole_bytes - sort_key_bytes, keys_only=keys_only)) is None:
            yield from self._cut(batch, entry_frames(batch, keys_only=keys_only), sort_keys)
        elif frames:
            size = len(frames) + sort_key_bytes
            if self._count and self._size + size > whole_bytes:
                yield self.flush()
            self._take(frames, len(batch), sort_keys, size)
        if len(batch):
            self._position = position_of(self._query, batch, len(batch) - 1)
        elif batch.position is not None and self._is_place(batch.position):
            self._position = batch.position
        if self._size >= self.batch_bytes():
            yield self.flush()

    def _cut(self, batch: Batch, frames: Iterable[bytes], sort_keys: Sequence[bytes]) -> Iterator[bytes]:
        """Take a batch entry by entry, and give what is full before the last of them."""
        for index, frame in enumerate(frames):
            part = sort_keys[index : index + 1]
            size = len(frame) + sum(map(len, part))
            is_full = self._size >= self.batch_bytes() or self._size + size > BATCH_MOST_BYTES
            if self._count and is_full:
                if index:
                    self._position = position_of(self._query, batch, index - 1)
                yield self.flush()
            self._take(frame, 1, part, size)

    def _cut_keys(self, batch: Batch, sort_keys: Sequence[bytes]) -> Iterator[bytes]:
        """As `_cut`, for keys of which some have long sort keys: then the value goes with what is last in a message."""
        room = self._limits.message_bytes - RESERVED_BYTES
        keys = entry_frames(batch, keys_only=True)
        for index, (frame, sort_key) in enumerate(zip(keys, batch.sort_keys or (), strict=True)):
            whole = entry_frame(batch.texts[index], batch.values[index]) if is_long(sort_key) else None
            part = sort_keys[index : index + 1]
            if whole is not None and self._send_sort_keys:
                frame = whole
            is_full = self._size >= self.batch_bytes() or self._size + len(whole or frame) + sum(map(len, part)) > room
            if self._count and is_full:
                if index:
                    self._position = position_of(self._query, batch, index - 1)
                yield self.flush()
            self._take(frame, 1, part, len(frame) + sum(map(len, part)))
            self._last_frame = whole

    def _is_place(self, position: Position) -> bool:
        """Whether the position of a batch without entries is where the results stand.

        While an ordered query still collects, it has no place in them yet; and one whose sort key is long could only be
        told by an entry that the client does not have.
        """
        return bool(position.sort_key) == bool(self._query.orders) and not is_long(position.sort_key)

    def _take(self, frames: bytes, count: int, sort_keys: Iterable[bytes], size: int) -> None:
        self._last_frame = None
        self._frames.append(frames)
        self._count += count
        self._sort_keys += sort_keys
        self._size += size

    def is_due(self, waited_s: float) -> bool:
        """Whether something should be sent now, that long after the last message."""
        if self._limit is not None and self._count >= self._limit > 0:
            # The end is next, and these go with it.
            return False
        if self._count:
            return not self._has_sent or waited_s >= LINGER_S
        return waited_s >= HEARTBEAT_S

    @property
    def has_news(self) -> bool:
        """Whether a message now would carry a client further."""
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
        response = service_pb2.QueryResponse()
        response.summary.reason = reason
        response.summary.entries = summary.entries
        response.summary.skipped = summary.skipped
        response.summary.scanned = summary.scanned
        shards = [*summary.shards, *self._token.missing_before(summary.shards)]
        response.summary.shards.extend(map(shard_summary, shards))
        return self._message(response, end)

    def finish_again(self) -> bytes:
        """The last message of results that had ended when the client came back for more."""
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
        # Serialized messages join by concatenation: the entries, as prepared bytes, and all else.
        message = b"".join([*self._frames, response.SerializeToString()])
        self._frames.clear()
        self._sort_keys.clear()
        self._last_frame = None
        self._count = self._size = 0
        self._has_sent = True
        self._sent_bytes += len(message)
        checks.check_fits(len(message), self._limits, "a message of the results, with its entry and token,")
        return message

    def _advance(self, end: End) -> None:
        """Move the token to the last known place, with what is left of limit and offset there."""
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
    """One shard's part, as it is sent."""
    shown = service_pb2.ShardSummary(shard=report.shard, entries=report.entries, scanned=report.scanned)
    if report.error is not None:
        shown.status.CopyFrom(item_status(report.error, "Query"))
    return shown


class QueryStream:
    """One query on its way to one client.

    `interrupt` ends it from outside: the server drains, or its time is over. A client that has stopped
    reading then keeps its call, which only its reading can end, but no longer a cursor.
    """

    def __init__(self, cursor: Cursor, builder: ResponseBuilder, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._cursor = cursor
        self._builder = builder
        self._send_message = send
        self._error: DatastoreError | None = None
        self._pulling: asyncio.Timeout | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self, time_limit_s: float) -> None:
        """Send all results and the summary. Closes the cursor, whatever happens.

        Raises DeadlineExceededError at the time limit, after which the client can continue by its token.
        """
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(time_limit_s, self.interrupt, expired(time_limit_s))
        batches = self._cursor.batches()
        try:
            await self._send_batches(batches)
        finally:
            expiry.cancel()
            # Once it was raised it holds this stream in turn.
            self._error = None
            try:
                await (self._closing or self._cursor.aclose())
            finally:
                await batches.aclose()

    def interrupt(self, error: DatastoreError) -> None:
        """End the stream with this error, after what was found so far."""
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
            # While a message waits for its reader, those after it take a fraction of what their entries would.
            messages = deque(self._builder.feed(batch))
            batch.clear()
            while messages:
                await self._send(messages.popleft())
                sent_at = clock()
            if self._builder.is_due(clock() - sent_at):
                await self._send(self._builder.flush())
                sent_at = clock()
            # One batch is one step: other calls come in between, however fast the client reads.
            await asyncio.sleep(0)
        summary = self._cursor.summary
        if summary is None:
            raise InternalError("the cursor ended without a summary")
        await self._send_message(self._builder.finish(summary))

    async def _pull(self, batches: AsyncGenerator[Batch]) -> Batch | None:
        if self._error is not None:
            raise self._error
        try:
            async with asyncio.timeout(None) as self._pulling:
                return await anext(batches, None)
        except TimeoutError:
            if self._pulling is None or not self._pulling.expired() or self._error is None:
                raise
            if self._builder.has_news:
                await self._send_message(self._builder.flush())
            raise self._error from None
        finally:
            self._pulling = None

    async def _send(self, message: bytes) -> None:
        await self._send_message(message)
        if self._error is not None:
            raise self._error


def expired(time_limit_s: float) -> DeadlineExceededError:
    """The error of a query whose time is over."""
    return DeadlineExceededError(
        f"a query may run for {time_limit_s:g} s here (query_time_ms); continue it by its last token"
    )
