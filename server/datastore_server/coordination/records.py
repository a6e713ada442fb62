"""The system space of a proxy: its own nodes keep the records that it has as a node of another cluster.

So what such a proxy is outlasts its process, and is the same for any proxy over the same nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from datastore.lmdb.directory import new_node_id
from datastore.model.errors import DatastoreError, StoreFormatError, UnavailableError
from datastore_server.coordination.nodes import NodeClient
from datastore_server.placement.system import SystemSpace

__all__ = ["ProxySystemSpace"]

_T = TypeVar("_T")

#: How long a node may take to answer with a record, or to store one.
RECORD_TIMEOUT_S = 5.0
_NO_RECORD = (0, b"")


class ProxySystemSpace(SystemSpace):
    """Records of which each of the nodes at `urls`, by shard, has a copy.

    A record is written to all nodes, and read as the newest that any of them has: UnavailableError if none answers. A
    node that was added since has none until the next write.
    """

    in_memory = False

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        #: Of a proxy without a placement; from the first one on it is part of that record.
        self._node_id = new_node_id()

    async def node_id(self) -> str:
        """Another one in each process, until the proxy has a placement."""
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
        async with NodeClient(self._urls[shard], timeout_s=RECORD_TIMEOUT_S) as node:
            try:
                return await call(node)
            except StoreFormatError as error:
                # A release that keeps no records. That it cannot be used is said elsewhere.
                raise UnavailableError(str(error), shard=shard) from error
            except DatastoreError as error:
                error.shard = error.shard or shard
                raise
