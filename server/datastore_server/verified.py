"""The stores of a proxy, which only call verified nodes: one for each node, and one over all of them.

`membership` decides when a node may be used; this module only makes the calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from datastore import wire
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
    """The node of one shard, verified before its first use and again whenever it could not be reached.

    Every call carries the expected identity, so that a different node at the address refuses it.
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
        """Raise unless the node serves and is the expected one."""
        try:
            await self._remote.check_health()
        except UnavailableError:
            # It may say why: its store does not answer.
            answer = await self._remote.describe_store()
            if answer.HasField("status"):
                raise wire.status_to_error(answer.status) from None
            raise
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
        """Read several entries of the node."""
        async with self._verified():
            return self._checked(await self._remote.batch_get(keys))

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Make several writes to the node."""
        async with self._verified():
            return self._checked(await self._remote.batch_write(writes))

    def _checked(self, outcomes: list[Outcome]) -> list[Outcome]:
        if any(isinstance(outcome.error, UnavailableError) for outcome in outcomes):
            self._membership.lost(self._shard)
        return outcomes

    def query(self, query: Query) -> Cursor:
        """The node's results."""
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
    """All nodes as one store. If they do not match the configuration, every call raises WrongShardError.

    If a node refuses a call because it is not the expected one, nothing was done: all nodes are verified again, and if
    they match, the call is retried once.
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
        """Make several writes, with one batch for each shard; writes to the same key keep their order."""
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
        """The outcomes of refused items, after the nodes have been verified again."""
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
        """The merged results of all nodes. Raises WrongShardError if the placement changes meanwhile."""
        check_query(query)
        reports: list[ShardReport] = []
        # Later changes to the caller's query have no effect.
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
                # Entries not yet returned may have moved before the current position.
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
                # Reported at once, because a resume token must record that these results lack a shard.
                reports[:] = cursor.shards
                yield batch
            reports[:] = cursor.shards
        finally:
            await cursor.aclose()
