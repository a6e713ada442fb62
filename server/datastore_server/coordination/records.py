"""The system space of a proxy that is a node of another cluster: its own nodes store its records.

So the records survive the process, and every proxy over the same nodes shares them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from datastore.lmdb.directory import new_node_id
from datastore.model.errors import DatastoreError, StoreFormatError, UnavailableError
from datastore_client.tls import Credentials
from datastore_server.coordination.nodes import NodeClient
from datastore_server.placement.system import SystemSpace

__all__ = ["ProxySystemSpace"]

_T = TypeVar("_T")

#: Timeout in seconds for reading or storing a record at a node.
RECORD_TIMEOUT_S = 5.0
_NO_RECORD = (0, b"")


class ProxySystemSpace(SystemSpace):
    """Records that are copied to each node in `urls` (by shard), which are reached with `credentials`.

    A write goes to all nodes; a read returns the newest copy of any node, or raises UnavailableError if none answers.
    A node added since the last write has no copy.
    """

    in_memory = False

    def __init__(self, urls: Mapping[str, str], credentials: Credentials | None = None) -> None:
        self._urls = urls
        self._credentials = credentials
        #: Of a proxy without a placement; from the first one on it is part of that record.
        self._node_id = new_node_id()

    async def node_id(self) -> str:
        """A different one in each process, until the proxy has a placement."""
        return self._node_id

    async def read(self, name: str) -> bytes | None:
        """The newest copy, or None."""
        revision, content = await self._newest(name)
        return content if revision else None

    async def write(self, name: str, content: bytes) -> None:
        """Store a copy at every node."""
        revision, _ = await self._newest(name)
        await self._of_all(lambda node: node.put_record(name, revision + 1, content))

    async def _newest(self, name: str) -> tuple[int, bytes]:
        answers = await asyncio.gather(
            *(self._of_one(shard, lambda node: node.get_record(name)) for shard in self._urls), return_exceptions=True
        )
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not found:
            failure = next(answer for answer in answers if isinstance(answer, BaseException))
            raise failure
        return max((record or _NO_RECORD for record in found), key=lambda record: record[0])

    async def _of_all(self, call: Callable[[NodeClient], Awaitable[_T]]) -> list[_T]:
        return await asyncio.gather(*(self._of_one(shard, call) for shard in self._urls))

    async def _of_one(self, shard: str, call: Callable[[NodeClient], Awaitable[_T]]) -> _T:
        url = self._urls[shard]
        async with NodeClient(url, timeout_s=RECORD_TIMEOUT_S, credentials=self._credentials) as node:
            try:
                return await call(node)
            except StoreFormatError as error:
                # It runs a release without records. That this cannot be used is reported elsewhere.
                raise UnavailableError(str(error), shard=shard) from error
            except DatastoreError as error:
                error.shard = error.shard or shard
                raise
