"""The stores of a proxy, which only call verified nodes: one for each node, and one over all of them.

`membership` decides when a node may be used; this module only makes the calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from struct import Struct
from typing import TypeVar

from datastore import wire
from datastore.aio import Datastore, ShardedDatastore, ShimDatastore
from datastore.aio.aggregating import tally_of
from datastore.aio.atomic import atomic_of
from datastore.aio.feeds import Feed, feed_of
from datastore.aio.matching import matching_of
from datastore.aio.scan import Scan, exact
from datastore.engine.feeds import Place, Progress, joined, opened, placed, sealed
from datastore.engine.plan import COMPLETE
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.changes import ChangeBatch, Watch
from datastore.model.description import Description
from datastore.model.entries import Batch, ShardReport
from datastore.model.errors import (
    ChangesExpiredError,
    DatastoreError,
    DeadlineExceededError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    WrongShardError,
)
from datastore.model.explanation import Explanation
from datastore.model.key import Key
from datastore.model.matching import MatchingStep, MatchingWrite
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore_client.aio.remote import RemoteDatastore
from datastore_server.membership import LOOK_AGAIN_S, Membership
from datastore_server.silence import CALLS_UNANSWERED, Silence

__all__ = ["MemberDatastore", "MembersDatastore", "VerifiedDatastore"]

#: The errors of calls that did not reach the node, or that it has not answered.
_UNANSWERED = (UnavailableError, DeadlineExceededError)

#: The errors with which a node refuses a proxy whose token is unknown or has too few rights.
_REFUSALS = (UnauthenticatedError, PermissionDeniedError)

_EPOCH = Struct(">Q")

_Item = TypeVar("_Item")
_Part = TypeVar("_Part", Batch, MatchingStep)
_Result = TypeVar("_Result", ReadResult, WriteResult)


class MemberDatastore(ShimDatastore):
    """The node of one shard, verified before its first use and again whenever it could not be reached.

    Every call carries the expected identity, so that a different node at the address refuses it.
    """

    def __init__(self, remote: RemoteDatastore, membership: Membership, shard: str) -> None:
        super().__init__(remote)
        self._remote = remote
        self._membership = membership
        self._shard = shard
        self._silence = Silence()

    def _verified(self) -> AbstractAsyncContextManager[None]:
        return _Verified(self._membership, self._shard, self._refuses_proxy)

    def _refuses_proxy(self, error: Exception) -> UnavailableError:
        """The error for the proxy's callers, who have not done anything wrong."""
        return UnavailableError(
            f"shard {self._shard} refuses this proxy, whose token (auth.token_file) or certificate needs admin on /:"
            f" {error}",
            retry_after_s=LOOK_AGAIN_S,
            shard=self._shard,
        )

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

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return await self._answered(lambda: self._remote.read(keys, options))

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self._answered(lambda: self._remote.write(operations))

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self._answered(lambda: self._remote.write_atomic(operations))

    async def _answered(self, call: Callable[[], Awaitable[list[_Result]]]) -> list[_Result]:
        """The results of a call, which is not made if too many wait for the node already."""
        self._refuse_silent()
        self._silence.enter()
        try:
            async with self._verified():
                results = self._checked(await call())
            if not all(isinstance(result.error, _UNANSWERED) for result in results):
                self._silence.heard()
        except DatastoreError as error:
            if not isinstance(error, _UNANSWERED):
                self._silence.heard()
            raise
        finally:
            self._silence.leave()
        return results

    def _refuse_silent(self) -> None:
        """Raise UnavailableError if the node has stopped answering; nothing was done."""
        silent_s = self._silence.lasted_s()
        if silent_s is not None:
            raise UnavailableError(
                f"shard {self._shard} at {self._remote.url} has answered nothing for {silent_s:.0f} s,"
                f" and {CALLS_UNANSWERED} calls wait for it already",
                retry_after_s=LOOK_AGAIN_S if self._remote.is_expected_back else None,
                shard=self._shard,
            )

    def _checked(self, results: list[_Result]) -> list[_Result]:
        failed = [result for result in results if result.error is not None]
        if any(isinstance(result.error, UnavailableError) for result in failed):
            self._membership.lost(self._shard)
        for result in failed:
            if isinstance(result.error, _REFUSALS):
                result.error = self._refuses_proxy(result.error)
        return results

    def scan(self, query: Query) -> Scan:
        child = self._remote.scan(query)
        return Scan(self._batches(child), child.applied, source=child)

    async def _batches(self, child: Scan) -> AsyncGenerator[Batch]:
        async with aclosing(child):
            self._refuse_silent()
            async with self._verified():
                async for batch in child.batches:
                    yield batch

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The node's feed. It begins at b"" where the node began to own slots."""
        if watch.position == b"":
            name = self._membership.placement.expectation(self._shard)
            watch = watch._replace(position=sealed(watch, joined([Place(name, Progress.FOLLOWING, b"")])))
        # A token says of which node, log and time it is, so that a node that has left the cluster is read to its end.
        verified = self._verified if watch.position is None else nullcontext
        return _MemberFeed(self._remote.changes(watch, wake), watch, verified, self._refuses_proxy)

    async def tally(self, asked: Aggregate) -> Tally:
        self._refuse_silent()
        async with self._verified():
            return await self._remote.tally(asked)

    async def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        self._refuse_silent()
        async with self._verified(), aclosing(self._remote.write_matching(asked)) as steps:
            async for step in steps:
                yield step

    def describe(self) -> Description:
        return self._remote.describe()


class _Verified(AbstractAsyncContextManager[None]):
    """Calls of a shard's node, which is verified before. Not a generator, which takes as long as the rest of `read`."""

    __slots__ = ("_membership", "_refuses_proxy", "_shard")

    def __init__(
        self, membership: Membership, shard: str, refuses_proxy: Callable[[Exception], UnavailableError]
    ) -> None:
        self._membership = membership
        self._shard = shard
        self._refuses_proxy = refuses_proxy

    async def __aenter__(self) -> None:
        try:
            await self._membership.member_ready(self._shard)
        except _REFUSALS as error:
            raise self._refuses_proxy(error) from error

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, UnavailableError):
            self._membership.lost(self._shard)
        elif isinstance(error, _REFUSALS):
            raise self._refuses_proxy(error) from error


class _MemberFeed(Feed):
    """The feed of a node that is verified first. Its stages are the epochs that the node's tokens have."""

    def __init__(
        self,
        feed: Feed,
        watch: Watch,
        verified: Callable[[], AbstractAsyncContextManager[None]],
        refuses_proxy: Callable[[Exception], UnavailableError],
    ) -> None:
        self._feed = feed
        self._watch = watch
        self._verified = verified
        self._refuses_proxy = refuses_proxy
        self._has_begun = False

    @property
    def is_interrupted(self) -> bool:
        return self._feed.is_interrupted

    async def take(self) -> ChangeBatch | None:
        try:
            async with nullcontext() if self._has_begun else self._verified():
                batch = await self._feed.take()
        except _REFUSALS as error:
            raise self._refuses_proxy(error) from error
        self._has_begun = self._has_begun or batch is not None
        return self._staged(batch)

    def _staged(self, batch: ChangeBatch | None) -> ChangeBatch | None:
        if batch is None:
            return None
        (place,) = placed(opened(self._watch, batch.token))
        # CLUSTER/SHARD/EPOCH, without a shard if the node has been removed.
        _, shard, epoch = place.name.rsplit("/", 2)
        return batch._replace(stage=int(epoch), is_last=not shard)

    async def aclose(self) -> None:
        await self._feed.aclose()


class _VerifiedFeed(Feed):
    """The feeds of all nodes as one, under one placement.

    Once the placement has changed, it raises UnavailableError; the watch can be continued under the next one, which
    knows all nodes that have slots. A position has its epoch, and has expired unless that is the current or former one.
    """

    def __init__(self, open_feed: Callable[[Watch], Feed], membership: Membership, watch: Watch) -> None:
        self._open_feed = open_feed
        self._membership = membership
        self._watch = watch
        self._feed: Feed | None = None
        self._stage = 0

    @property
    def is_interrupted(self) -> bool:
        return self._feed is not None and self._feed.is_interrupted

    async def take(self) -> ChangeBatch | None:
        try:
            if self._feed is None:
                await self._ready()
                self._placement = self._membership.placement
                self._feed = self._open_feed(self._at_home())
            if self._membership.placement is not self._placement:
                self._membership.require_same_map(self._placement)
            if self._stage > self._placement.epoch:
                raise WrongShardError("entries have moved between the nodes", epoch=self._stage)
            batch = await self._feed.take()
        except WrongShardError as error:
            self._membership.suspect()
            if self._feed is None and self._watch.position is None:
                raise
            raise UnavailableError(
                f"the placement of the cluster has changed: continue by the last token ({error})",
                retry_after_s=LOOK_AGAIN_S,
                shard=error.shard,
            ) from error
        if batch is None:
            return None
        self._stage = batch.stage
        return batch._replace(token=_EPOCH.pack(self._placement.epoch) + batch.token)

    async def _ready(self) -> None:
        """Wait until the nodes may be used. A watch continues over a move that this proxy does not know yet."""
        try:
            await self._membership.ready()
        except WrongShardError:
            if self._watch.position is None or not self._membership.has_served:
                raise

    def _at_home(self) -> Watch:
        """The watch as the nodes take it: its position without the epoch."""
        position, epoch = self._watch.position, self._placement.epoch
        if position is None:
            return self._watch
        (begun,) = _EPOCH.unpack(position[: _EPOCH.size].ljust(_EPOCH.size, b"\0"))
        if begun > epoch:
            raise WrongShardError(f"the resume token is of epoch {begun}, and this proxy knows {epoch}", epoch=begun)
        if begun < epoch - 1:
            raise ChangesExpiredError(
                f"the placement of the cluster had epoch {begun} and has {epoch}, and a watch continues only over one"
                " change: list the entries again, e.g. watch with initial=True"
            )
        return self._watch._replace(position=position[_EPOCH.size :])

    async def aclose(self) -> None:
        if self._feed is not None:
            await self._feed.aclose()


class MembersDatastore(ShardedDatastore):
    """The nodes of a proxy as one store: slots move between them."""

    entries_move = True

    def __init__(self, stores: Iterable[Datastore], membership: Membership, *, names: Sequence[str]) -> None:
        super().__init__(stores, membership, names=names)
        self._membership = membership

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feeds of all nodes in one, under one placement. Positions have its epoch.

        Here rather than above the caches, because they may follow it too: a former proxy must not keep what has moved.
        """
        return _VerifiedFeed(lambda asked: super(MembersDatastore, self).changes(asked, wake), self._membership, watch)


class VerifiedDatastore(ShimDatastore):
    """All nodes, behind any caches, as one store.

    If the nodes do not match the configuration, every call raises WrongShardError, even reads of cached entries.
    If a node refuses a call because it is not the expected one, nothing was done: all nodes are verified again, and if
    they match, the call is retried once.
    """

    def __init__(self, nodes: Datastore, membership: Membership) -> None:
        super().__init__(nodes)
        self._membership = membership

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read with one call for each shard."""
        return await self._verified(keys, lambda part: self.child_datastore.read(part, options), ReadResult.failed)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write with one call for each shard; writes to one key keep their order."""
        return await self._verified(operations, self.child_datastore.write, WriteResult)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the shard that has all keys. If its node refuses one of them, none was written."""
        await self._membership.ready()
        write = atomic_of(self.child_datastore)
        try:
            results = await write(operations)
            if not any(isinstance(result.error, WrongShardError) for result in results):
                return results
        except WrongShardError:
            # The node refused the whole call.
            pass
        await self._membership.verify_again()
        return await write(operations)

    async def _verified(
        self,
        items: Sequence[_Item],
        call: Callable[[Sequence[_Item]], Awaitable[list[_Result]]],
        failed: Callable[[Exception], _Result],
    ) -> list[_Result]:
        """Make a call of several items; retry once those that a node refuses, after verifying all nodes again."""
        try:
            await self._membership.ready()
        except DatastoreError as error:
            return [failed(error) for _ in items]
        results = await call(items)
        refused = [place for place, result in enumerate(results) if isinstance(result.error, WrongShardError)]
        if refused:
            again = await self._again([items[place] for place in refused], call, failed)
            for place, result in zip(refused, again, strict=True):
                results[place] = result
        return results

    async def _again(
        self,
        items: Sequence[_Item],
        call: Callable[[Sequence[_Item]], Awaitable[list[_Result]]],
        failed: Callable[[Exception], _Result],
    ) -> list[_Result]:
        try:
            await self._membership.verify_again()
        except DatastoreError as error:
            return [failed(error) for _ in items]
        return await call(items)

    async def aclose(self) -> None:
        """Close the connections to all nodes."""
        await self._membership.aclose()
        await self.child_datastore.aclose()

    def describe(self) -> Description:
        return self.child_datastore.describe()

    def scan(self, query: Query) -> Scan:
        """The merged results of all nodes. The scan raises WrongShardError if the placement changes meanwhile."""
        reports: list[ShardReport] = []
        explained: list[Explanation] = []
        batches = self._begun_again(
            lambda: self._under_one_placement(query, reports, explained),
            lambda batch: len(batch) > 0 or batch.skipped > 0,
        )
        return Scan(batches, COMPLETE, shards=reports, explained=explained)

    async def _begun_again(
        self, begin: Callable[[], AsyncGenerator[_Part]], is_progress: Callable[[_Part], bool]
    ) -> AsyncGenerator[_Part]:
        """What `begin` yields. If the placement turns out to have changed before any progress, it begins again once."""
        await self._membership.ready()
        is_begun = False
        try:
            async with aclosing(begin()) as parts:
                async for part in parts:
                    is_begun = is_begun or is_progress(part)
                    yield part
            return
        except WrongShardError:
            if is_begun:
                # Entries that are still to come may have moved before the current position.
                self._membership.suspect()
                raise
            await self._membership.verify_again()
        async with aclosing(begin()) as parts:
            async for part in parts:
                yield part

    async def _under_one_placement(
        self, query: Query, reports: list[ShardReport], explained: list[Explanation]
    ) -> AsyncGenerator[Batch]:
        placement = self._membership.placement
        child = exact(query, self.child_datastore.scan(query))
        explained[:] = child.explained
        async with aclosing(child):
            async for batch in child.batches:
                if self._membership.placement is not placement:
                    self._membership.require_same_map(placement)
                    placement = self._membership.placement
                # Reported at once, because a resume token must record that these results lack a shard.
                reports[:] = child.shards
                yield batch
            reports[:] = child.shards

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feed of the nodes."""
        return feed_of(self.child_datastore, watch, wake)

    async def tally(self, asked: Aggregate) -> Tally:
        """The combined tallies of all nodes, under one placement from beginning to end."""
        await self._membership.ready()
        try:
            return await self._tally_under_one_placement(asked)
        except WrongShardError:
            await self._membership.verify_again()
        return await self._tally_under_one_placement(asked)

    async def _tally_under_one_placement(self, asked: Aggregate) -> Tally:
        placement = self._membership.placement
        tally = await tally_of(self.child_datastore, asked)
        if self._membership.placement is not placement:
            self._membership.require_same_map(placement)
        return tally

    def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        """The steps of all nodes. They end with WrongShardError if the placement changes meanwhile.

        A token continues them under the new placement: entries that have moved are passed over, like all that have been
        written since the beginning.
        """
        return self._begun_again(lambda: self._matching_under_one_placement(asked), lambda _: True)

    async def _matching_under_one_placement(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        placement = self._membership.placement
        async with aclosing(matching_of(self.child_datastore, asked)) as steps:
            async for step in steps:
                yield step
                if self._membership.placement is not placement:
                    self._membership.require_same_map(placement)
                    placement = self._membership.placement
