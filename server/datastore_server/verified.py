"""The stores of a proxy, which call no node that was not verified: one over each node, and one over all of them.

When a node may be used is decided in `membership`; here are only the calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from datastore.aio import Cursor, ShardedDatastore, ShimDatastore
from datastore.aio.base import check_query
from datastore.model.description import Description
from datastore.model.entries import Batch, Outcome, ShardReport, Write
from datastore.model.errors import DatastoreError, UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio.remote import RemoteDatastore
from datastore_server.membership import Membership

__all__ = ["MemberDatastore", "VerifiedDatastore"]

_T = TypeVar("_T")


class MemberDatastore(ShimDatastore):
    """The node of one shard: verified before it is first used, and anew after it could not be reached.

    What the node must be travels with every call, so that another one that answers at its address refuses it.
    """

    ordered_queries = True

    def __init__(self, remote: RemoteDatastore, membership: Membership, shard: str) -> None:
        super().__init__(remote)
        self._remote = remote
        self._membership = membership
        self._shard = shard

    @asynccontextmanager
    async def _verified(self) -> AsyncIterator[None]:
        await self._membership.member_ready(self._shard)
        try:
            yield
        except UnavailableError:
            self._membership.lost(self._shard)
            raise

    async def check(self) -> None:
        """Raise unless the node serves, and is the one that is expected."""
        await self._remote.check_health()
        await self._membership.member_ready(self._shard)

    async def get(self, key: Key) -> Any:
        """The node's value of `key`."""
        async with self._verified():
            return await self._remote.get(key)

    async def put(self, key: Key, value: Any) -> None:
        """Put into the node."""
        async with self._verified():
            await self._remote.put(key, value)

    async def delete(self, key: Key) -> None:
        """Delete from the node."""
        async with self._verified():
            await self._remote.delete(key)

    async def contains(self, key: Key) -> bool:
        """Whether the node has `key`."""
        async with self._verified():
            return await self._remote.contains(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries of the node's."""
        async with self._verified():
            return self._checked(await self._remote.batch_get(keys))

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes to the node."""
        async with self._verified():
            return self._checked(await self._remote.batch_write(writes))

    def _checked(self, outcomes: list[Outcome]) -> list[Outcome]:
        if any(isinstance(outcome.error, UnavailableError) for outcome in outcomes):
            self._membership.lost(self._shard)
        return outcomes

    def query(self, query: Query) -> Cursor:
        """The node's answer."""
        cursor = self._remote.query(query)
        return Cursor.from_batches(query, self._batches(cursor), shards=cursor.shards)

    async def _batches(self, cursor: Cursor) -> AsyncGenerator[Batch]:
        try:
            async with self._verified():
                async for batch in cursor.batches():
                    yield batch
        finally:
            await cursor.aclose()

    def describe(self) -> Description:
        """As the node's client describes it."""
        return self._remote.describe()


class VerifiedDatastore(ShimDatastore):
    """All nodes as one store, if they are what the configuration says. If not, every call raises WrongShardError.

    Where a node refuses a call because it is not what was expected, nothing was done: all nodes are asked what they
    are, and if they fit the call is made once more.
    """

    ordered_queries = True

    def __init__(self, sharded: ShardedDatastore, membership: Membership) -> None:
        super().__init__(sharded)
        self._membership = membership

    async def _verified(self, call: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
        await self._membership.ready()
        try:
            return await call(*arguments)
        except WrongShardError:
            await self._membership.verify_again()
            return await call(*arguments)

    async def get(self, key: Key) -> Any:
        """The value of `key` on its shard."""
        return await self._verified(self.child_datastore.get, key)

    async def put(self, key: Key, value: Any) -> None:
        """Store on the key's shard."""
        await self._verified(self.child_datastore.put, key, value)

    async def delete(self, key: Key) -> None:
        """Delete on the key's shard."""
        await self._verified(self.child_datastore.delete, key)

    async def contains(self, key: Key) -> bool:
        """Whether the key's shard has it."""
        return await self._verified(self.child_datastore.contains, key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries, with one batch for each shard."""
        return await self._batch(self.child_datastore.batch_get, keys)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes, with one batch for each shard; writes to one key keep their order."""
        return await self._batch(self.child_datastore.batch_write, writes)

    async def _batch(
        self, call: Callable[[Sequence[_T]], Awaitable[list[Outcome]]], items: Sequence[_T]
    ) -> list[Outcome]:
        try:
            await self._membership.ready()
        except DatastoreError as error:
            return [Outcome(error=error)] * len(items)
        outcomes = await call(items)
        refused = [place for place, outcome in enumerate(outcomes) if isinstance(outcome.error, WrongShardError)]
        if refused:
            again = await self._again(call, [items[place] for place in refused])
            for place, outcome in zip(refused, again, strict=True):
                outcomes[place] = outcome
        return outcomes

    async def _again(
        self, call: Callable[[Sequence[_T]], Awaitable[list[Outcome]]], items: Sequence[_T]
    ) -> list[Outcome]:
        """The outcomes of refused items after the nodes were asked what they are."""
        try:
            await self._membership.verify_again()
        except DatastoreError as error:
            return [Outcome(error=error)] * len(items)
        return await call(items)

    async def aclose(self) -> None:
        """Close the connections to all nodes."""
        await self._membership.aclose()
        await self.child_datastore.aclose()

    def query(self, query: Query) -> Cursor:
        """What all nodes together hold. A placement that changes meanwhile ends it with WrongShardError."""
        check_query(query)
        reports: list[ShardReport] = []
        # The answer is to the query as it is now, whatever becomes of the caller's before it begins.
        return Cursor.from_batches(query, self._batches(query.copy(), reports), shards=reports)

    async def _batches(self, query: Query, reports: list[ShardReport]) -> AsyncGenerator[Batch]:
        await self._membership.ready()
        is_begun = False
        try:
            async with aclosing(self._under_one_placement(query, reports)) as batches:
                async for batch in batches:
                    is_begun = is_begun or len(batch) > 0 or batch.skipped > 0
                    yield batch
            return
        except WrongShardError:
            if is_begun:
                # Entries that were to come may have moved behind those that came.
                self._membership.suspect()
                raise
            await self._membership.verify_again()
        async with aclosing(self._under_one_placement(query, reports)) as batches:
            async for batch in batches:
                yield batch

    async def _under_one_placement(self, query: Query, reports: list[ShardReport]) -> AsyncGenerator[Batch]:
        placement = self._membership.placement
        cursor = self.child_datastore.query(query.copy())
        try:
            async for batch in cursor.batches():
                if self._membership.placement is not placement:
                    self._membership.require_same_map(placement)
                    placement = self._membership.placement
                # Told at once: what continues these results elsewhere must know that they lack a shard.
                reports[:] = cursor.shards
                yield batch
            reports[:] = cursor.shards
        finally:
            await cursor.aclose()
