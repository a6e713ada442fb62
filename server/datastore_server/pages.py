"""Pages of a query's results, for ListEntries. Knows batches, tokens and messages, but no stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

from datastore.aio.cursor import Cursor
from datastore.model.entries import Batch, Position
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.framing import entry_frames, result_frames, whole_frame
from datastore_server.limits import RESERVED_BYTES, Limits
from datastore_server.streaming import is_long, position_of, shard_summary
from datastore_server.tokens import Token, encode_page_token

__all__ = ["Page"]


class Page:
    """Collects one page of at most `items` entries, which starts at `token`."""

    def __init__(self, query: Query, token: Token, items: int, limits: Limits) -> None:
        self._query = query
        self._token = token
        self._items = items
        self._limits = limits
        self._frames: list[bytes] = []
        self._size = 0
        #: The last entry, with its value if that is needed to continue after it.
        self._last_frame = b""
        self._position: Position | None = None
        self._is_last = True

    async def fill(self, cursor: Cursor) -> None:
        """Read until the page is full, in entries or bytes, or the results end."""
        batches = cursor.batches()
        async with aclosing(batches):
            async for batch in batches:
                if self._take(batch):
                    self._is_last = False
                    return
                # Other calls run between batches.
                await asyncio.sleep(0)

    def _take(self, batch: Batch) -> bool:
        """Take what fits of a batch. Returns whether there is more."""
        room = self._limits.message_bytes - RESERVED_BYTES
        for index, frame in enumerate(self._parts(batch)):
            whole = self._with_value(batch, index) or frame
            if len(self._frames) == self._items or (self._frames and self._size + len(whole) > room):
                if index:
                    self._position = position_of(self._query, batch, index - 1)
                return True
            self._frames.append(frame)
            self._size += len(frame)
            self._last_frame = whole
        if len(batch):
            self._position = position_of(self._query, batch, len(batch) - 1)
        return False

    def _parts(self, batch: Batch) -> Iterator[bytes]:
        if any(map(is_long, batch.sort_keys or ())):
            return result_frames(self._query, batch)
        return entry_frames(batch, keys_only=self._query.keys_only)

    def _with_value(self, batch: Batch, index: int) -> bytes | None:
        """An entry of a query for less than its value, with that if it is needed to continue after it."""
        if self._query.returns_whole_values or batch.sort_keys is None or not is_long(batch.sort_keys[index]):
            return None
        return whole_frame(batch, index)

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return len(self._frames)

    def response(self, cursor: Cursor) -> bytes:
        """The serialized response, with the token of the next page unless this is the last one."""
        response = service_pb2.ListEntriesResponse()
        self._token = self._token.without(cursor.shards)
        if not self._is_last and self._position is not None:
            limit = None if self._token.limit is None else self._token.limit - len(self._frames)
            following = self._token.at(self._position, limit=limit, offset=max(0, self._token.offset - cursor.skipped))
            response.next_page_token = encode_page_token(following)
            response.needs_last_entry = following.needs_last_entry
            if following.needs_last_entry and self._frames:
                self._frames[-1] = self._last_frame
        shards = [*cursor.shards, *self._token.missing_before(cursor.shards)]
        response.unreachable.extend(shard_summary(report) for report in shards if report.error)
        message = b"".join([*self._frames, response.SerializeToString()])
        checks.check_fits(len(message), self._limits, "a page, with its token,")
        return message
