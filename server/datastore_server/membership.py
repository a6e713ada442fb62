"""The node of one shard, which a proxy asks who it is: one that is set up to be another must not be used.

Else a slip in a configuration would make entries seem lost. Knows what DescribeStore answers; knows no placement.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from datastore.aio import Cursor, ShimDatastore
from datastore.core.batch import Batch, Outcome, Write
from datastore.core.composition import Description
from datastore.core.errors import StoreFormatError, UnavailableError
from datastore.core.key import Key
from datastore.core.query import Query
from datastore_client.aio.remote import RemoteDatastore

__all__ = ["MemberDatastore"]


class MemberDatastore(ShimDatastore):
    """Asks a node who it is before it is first used, and anew after it could not be reached.

    A node that is set up to be another shard, or a part of another cluster, raises StoreFormatError, which says what
    differs, from every call. One that was not told what it is, as `datastore serve memory:`, is taken for the shard.
    All else is as `remote` has it.
    """

    ordered_queries = True

    def __init__(self, remote: RemoteDatastore, *, cluster: str, shard: str) -> None:
        super().__init__(remote)
        self._remote = remote
        self._expected = {"cluster": cluster, "shard": shard}
        self._is_known = False

    @asynccontextmanager
    async def _known(self) -> AsyncIterator[None]:
        """The node as it is expected, while the block uses it."""
        try:
            if not self._is_known:
                await self._ask()
            yield
        except UnavailableError:
            # What answers at its address next may be another.
            self._is_known = False
            raise

    async def check(self) -> None:
        """Raise unless the node serves, and is the one that is expected."""
        await self._remote.check_health()
        await self._ask()

    async def _ask(self) -> None:
        told = await self._remote.describe_store()
        for what, name in (("cluster", told.cluster_name), ("shard", told.shard_name)):
            if name and name != self._expected[what]:
                raise StoreFormatError(
                    f"{self._remote.url} is set up as {what} {name!r}, and the configuration has"
                    f" {self._expected[what]!r} there",
                    shard=self._expected["shard"],
                )
        self._is_known = True

    async def get(self, key: Key) -> Any:
        """The node's value of `key`."""
        async with self._known():
            return await self._remote.get(key)

    async def put(self, key: Key, value: Any) -> None:
        """Put into the node."""
        async with self._known():
            await self._remote.put(key, value)

    async def delete(self, key: Key) -> None:
        """Delete from the node."""
        async with self._known():
            await self._remote.delete(key)

    async def contains(self, key: Key) -> bool:
        """Whether the node has `key`."""
        async with self._known():
            return await self._remote.contains(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries of the node's."""
        async with self._known():
            return self._looked_at(await self._remote.batch_get(keys))

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes to the node."""
        async with self._known():
            return self._looked_at(await self._remote.batch_write(writes))

    def _looked_at(self, outcomes: list[Outcome]) -> list[Outcome]:
        if any(isinstance(outcome.error, UnavailableError) for outcome in outcomes):
            self._is_known = False
        return outcomes

    def query(self, query: Query) -> Cursor:
        """The node's answer."""
        cursor = self._remote.query(query)
        return Cursor.from_batches(query, self._batches(cursor), shards=cursor.shards)

    async def _batches(self, cursor: Cursor) -> AsyncGenerator[Batch]:
        try:
            async with self._known():
                async for batch in cursor.batches():
                    yield batch
        finally:
            await cursor.aclose()

    def describe(self) -> Description:
        """As the node's client describes it."""
        return self._remote.describe()
