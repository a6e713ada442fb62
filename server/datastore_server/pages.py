"""One page of a query's results, for ListEntries. Knows batches, tokens and messages; knows no store."""

from __future__ import annotations

import msgspec

from datastore.aio.cursor import Cursor
from datastore.core.batch import Batch, Position
from datastore.core.query import Query
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.checks import RESERVED_BYTES, Limits
from datastore_server.framing import entry_frames
from datastore_server.streaming import position_of, shard_summary
from datastore_server.tokens import Token, encode_page_token

__all__ = ["Page"]


class Page:
    """Collects one page. `token` is where it starts; `items` is the most it holds."""

    def __init__(self, query: Query, token: Token, items: int, limits: Limits) -> None:
        self._query = query
        self._token = token
        self._items = items
        self._limits = limits
        self._frames: list[bytes] = []
        self._size = 0
        self._position: Position | None = None
        self._is_last = True

    async def fill(self, cursor: Cursor) -> None:
        """Read until the page is full, in entries or in bytes, or the results end."""
        batches = cursor.batches()
        try:
            async for batch in batches:
                if self._take(batch):
                    self._is_last = False
                    return
        finally:
            await batches.aclose()

    def _take(self, batch: Batch) -> bool:
        """Take what fits of a batch; whether there is more."""
        room = self._limits.message_bytes - RESERVED_BYTES
        for index, frame in enumerate(entry_frames(batch, keys_only=self._query.keys_only)):
            if len(self._frames) == self._items or (self._frames and self._size + len(frame) > room):
                if index:
                    self._position = position_of(self._query, batch, index - 1)
                return True
            self._frames.append(frame)
            self._size += len(frame)
        if len(batch):
            self._position = position_of(self._query, batch, len(batch) - 1)
        return False

    def response(self, cursor: Cursor) -> bytes:
        """The serialized answer, with the token of the next page unless this is the last."""
        response = service_pb2.ListEntriesResponse()
        self._token = self._token.without(cursor.shards)
        if not self._is_last and self._position is not None:
            limit = None if self._token.limit is None else self._token.limit - len(self._frames)
            following = msgspec.structs.replace(
                self._token,
                key=str(self._position.key),
                sort_key=self._position.sort_key,
                limit=limit,
                offset=max(0, self._token.offset - cursor.skipped),
            )
            response.next_page_token = encode_page_token(following)
        shards = [*cursor.shards, *self._token.missing_before(cursor.shards)]
        response.unreachable.extend(shard_summary(report) for report in shards if report.error)
        message = b"".join([*self._frames, response.SerializeToString()])
        checks.check_fits(len(message), self._limits, "a page, with its token,")
        return message
