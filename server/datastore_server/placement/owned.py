"""The store of a node that owns some slots: refuses other keys, and leaves them out of query results.

Knows placements as values and the Datastore contract, but not how a node gets its placement.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from copy import copy
from typing import Any

from datastore.aio import ShimDatastore
from datastore.aio.aggregating import scanned_tally, tally_of
from datastore.aio.atomic import all_made, atomic_of
from datastore.aio.base import Datastore
from datastore.aio.feeds import Feed, feed_of
from datastore.aio.matching import matching_of, scanned_matching
from datastore.aio.scan import Scan, exact
from datastore.aio.verbs import on_made, passed_on
from datastore.engine.placement import SLOTS, NodePlacement, slot_of
from datastore.engine.plan import ALL_FILTERS
from datastore.engine.requests import require_within
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.arguments import check_key
from datastore.model.attempts import elapsed_us
from datastore.model.capability import Capability
from datastore.model.changes import Watch
from datastore.model.description import Description
from datastore.model.entries import Batch
from datastore.model.errors import DatastoreError, UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore.model.matching import MatchingStep, MatchingWrite
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore_server.placement.feed import OwnedFeed

__all__ = ["MOVING_RETRY_S", "OwnedDatastore", "Ownership", "nothing"]

#: Retry delay in seconds for writes refused because entries are being moved.
MOVING_RETRY_S = 1.0
#: Retry delay in seconds for resuming a query that a move ended.
RESUME_RETRY_S = 0.05

#: How many characters of a caller's expectation an error repeats; more than any valid one has.
EXPECTED_SHOWN = 200

_NOTHING = bytes(SLOTS)


def nothing() -> None:
    """Nothing but this process changes the placement."""


class Ownership:
    """What a placement means for calls. Immutable; a new placement makes a new one."""

    __slots__ = ("_shard_by", "_slots", "expectation", "is_moving", "is_open", "leaves_out", "name", "placement")

    def __init__(self, placement: NodePlacement) -> None:
        current, pending = placement.current, placement.pending
        self.placement = placement
        #: Whether the node has no placement and accepts every key.
        self.is_open = current is None and pending is None
        #: The expectation that this node fulfils; '' if none.
        self.expectation = "" if current is None or not placement.shard else current.expectation(placement.shard)
        #: The name of this time in positions of the node's feed. A node that owns nothing has one too.
        self.name = self.expectation or ("" if current is None else f"{current.cluster}//{current.epoch}")
        #: Whether a move is prepared, so that writes are refused.
        self.is_moving = pending is not None
        #: Whether queries must filter out entries of other nodes.
        self.leaves_out = placement.may_hold_foreign or self.is_moving
        self._shard_by = "key" if current is None else current.shard_by
        self._slots = _NOTHING if current is None else current.owned_by(placement.shard)

    def owns(self, key: Key) -> bool:
        """Whether the node owns the slot of `key`, or has no placement."""
        return self.is_open or self._slots[slot_of(key, self._shard_by)] == 1

    def require(self, key: Key) -> Key:
        """`key` itself; raises WrongShardError unless the node owns it."""
        if not self.owns(key):
            raise self.refusal(key)
        return key

    def refusal(self, key: Key) -> WrongShardError:
        """The error for a key that the node does not own."""
        placement, current = self.placement, self.placement.current
        if current is None:
            return WrongShardError(f"{key} is not this node's: its first slots come with a move that is being prepared")
        owner = current.owner_of(key)
        here = f"shard {placement.shard}" if placement.shard else "a node that was removed"
        return WrongShardError(
            f"{key} belongs to shard {owner} of cluster {current.cluster} (epoch {current.epoch}), and this is {here}:"
            f" ask shard {owner}, or a proxy of the cluster",
            owner=owner,
            epoch=current.epoch,
            shard=placement.shard or None,
        )

    def require_expected(self, expected: str) -> None:
        """Raise WrongShardError unless this node fulfils a caller's expectation, `CLUSTER/SHARD/EPOCH`."""
        if not expected or expected != self.expectation:
            raise WrongShardError(
                f"this server is {self.expectation or 'not placed in a cluster'}, and the caller expects"
                f" {expected[:EXPECTED_SHOWN]} (CLUSTER/SHARD/EPOCH): `datastore placement check` says what differs",
                epoch=self.placement.epoch,
                shard=self.placement.shard or None,
            )

    def keep_owned(self, batch: Batch) -> Batch:
        """The batch without entries that the node does not own. Its position and counts are unchanged."""
        held = list(map(self.owns, batch.keys))
        return batch if all(held) else batch.kept(held)


class _WritesUnderWay:
    """Counts writes. Not in the store itself, whose attributes are slow to set, as methods can be assigned to it."""

    __slots__ = ("are_done", "count")

    def __init__(self) -> None:
        self.count = 0
        self.are_done = asyncio.Event()


class OwnedDatastore(ShimDatastore):
    """A node's store, restricted to the entries that the node owns.

    Every key outside the node's slots raises WrongShardError, per item in batches. While a move is prepared, writes
    raise UnavailableError with a retry delay, and reads continue. A query that is active when a move is prepared ends
    with UnavailableError, to be resumed by its token. One that is active when the placement changes ends with
    WrongShardError, because entries it has not reached yet may have moved.

    If another process changes the placement, `look` is called before the placement is looked at, in any thread; it
    calls `become`, or sets `refusal`, if they have changed.
    """

    def __init__(self, datastore: Datastore, placement: NodePlacement, look: Callable[[], object] = nothing) -> None:
        super().__init__(datastore)
        self._look = look
        self._ownership = Ownership(placement)
        #: What the node owned before the last move, and the version up to which changes are of that time; 0 if unknown.
        self.former: tuple[Ownership, int] = (self._ownership, 0)
        self._failure: DatastoreError | None = None
        #: What every call for entries raises while they are restored.
        self.refusal: DatastoreError | None = None
        self._writes = _WritesUnderWay()
        self._is_held = False
        #: Repetitions of writes from before this moment are refused; None to refuse none.
        self._remembers_since_us: int | None = None

    @property
    def ownership(self) -> Ownership:
        """The ownership in force. Raises if it is unknown, or calls for entries are refused."""
        self._look()
        if self.refusal is not None:
            raise copy(self.refusal)
        return self._placed()

    @property
    def placed_ownership(self) -> Ownership:
        """The ownership in force, also while calls for entries are refused. Raises if it is unknown."""
        self._look()
        return self._placed()

    def _placed(self) -> Ownership:
        if self._failure is not None:
            raise copy(self._failure)
        return self._ownership

    @property
    def known_ownership(self) -> Ownership:
        """The ownership in force, or the last one known."""
        return self._ownership

    def become_known(self) -> None:
        """Enforce the last known placement again."""
        self._failure = None

    def become(self, placement: NodePlacement, former: tuple[NodePlacement, int] | None = None) -> None:
        """Enforce this placement from now on. `former` is the one before the last move, with its latest version."""
        self._ownership = Ownership(placement)
        if former is not None:
            self.former = (Ownership(former[0]), former[1])
        self._failure = None

    def become_unknown(self, failure: DatastoreError) -> None:
        """Make every call fail with this error, because the placement is not known yet."""
        self._failure = failure

    def forget_requests(self) -> None:
        """Refuse repetitions of writes from before now, whatever the store remembers."""
        self._remembers_since_us = elapsed_us()

    @asynccontextmanager
    async def without_writes(self) -> AsyncIterator[None]:
        """Wait for active writes; new ones raise UnavailableError until the block ends."""
        self._is_held = True
        try:
            while self._writes.count:
                self._writes.are_done.clear()
                await self._writes.are_done.wait()
            yield
        finally:
            self._is_held = False

    # Reading

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read from the child; a key of another shard fails alone."""
        ownership = self.ownership
        results = await on_made(
            ownership.require, keys, lambda owned: self.child_datastore.read(owned, options), ReadResult.failed
        )
        now = self.ownership
        if now is not ownership:
            # A key may have moved, and been deleted here, before it was read.
            for place, key in enumerate(keys):
                if results[place].error is None and not now.owns(key):
                    results[place] = ReadResult(error=now.refusal(key))
        return results

    async def get(self, key: Key) -> Any:
        """Read from the child. Like `read`, but without its lists."""
        key = check_key(key)
        ownership = self.ownership
        ownership.require(key)
        value = await self.child_datastore.get(key)
        now = self.ownership
        if now is not ownership:
            now.require(key)
        return value

    # Writing

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child; a key of another shard fails alone."""
        self._begin_write()
        try:
            return await on_made(self._requirement(), operations, self.child_datastore.write, WriteResult)
        finally:
            self._end_write()

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child; a key of another shard fails all."""
        self._begin_write()
        try:
            return await all_made(self._requirement(), operations, atomic_of(self.child_datastore))
        finally:
            self._end_write()

    async def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        """The steps of the owned entries, each batch a write like others. Without a placement, those of the child."""
        ownership = self.ownership
        if not ownership.is_open:
            async with aclosing(scanned_matching(self, asked)) as owned_steps:
                async for step in owned_steps:
                    yield step
            return
        async with aclosing(matching_of(self.child_datastore, asked)) as steps:
            while self._ownership is ownership:
                self._begin_write()
                try:
                    next_step = await anext(steps, None)
                finally:
                    self._end_write()
                if next_step is None:
                    return
                yield next_step
        raise UnavailableError(
            "this server has just got a placement; continue by the last token", retry_after_s=RESUME_RETRY_S
        )

    def _requirement(self) -> Callable[[Operation], Operation]:
        """What returns an operation of this moment, or raises if it is refused."""
        ownership, since_us = self.ownership, self._remembers_since_us

        def required(operation: Operation) -> Operation:
            if not ownership.is_open:
                ownership.require(operation.key)
            if operation.attempt is not None and since_us is not None:
                require_within(operation.attempt, since_us)
            return operation

        return required

    def _begin_write(self) -> None:
        if self._is_held or self.ownership.is_moving:
            raise UnavailableError(
                "entries are being moved between the nodes of the cluster, and writes are refused until that is"
                " finished; nothing was changed",
                retry_after_s=MOVING_RETRY_S,
                shard=self._ownership.placement.shard or None,
            )
        self._writes.count += 1

    def _end_write(self) -> None:
        self._writes.count -= 1
        if not self._writes.count:
            self._writes.are_done.set()

    # Queries

    def scan(self, query: Query) -> Scan:
        """The query's results among the owned entries."""
        ownership = self.ownership
        if not ownership.leaves_out:
            child = self.child_datastore.scan(query)
            return Scan(self._checked(child, ownership), child.applied, source=child)
        # Filters look at one entry at a time, so they may run first; order, offset and limit apply to what is left.
        asked = query.replaced(orders=(), sort_keys=False, offset=0, limit=None, fields=None)
        asked = asked.replaced(metadata=query.needs_metadata)
        if query.orders:
            asked = asked.replaced(start_after=None, keys_only=False)
        child = exact(asked, self.child_datastore.scan(asked))
        return Scan(self._checked(child, ownership), ALL_FILTERS, source=child)

    async def _checked(self, child: Scan, ownership: Ownership) -> AsyncGenerator[Batch]:
        """The child's batches, while the placement under which the query began is in force."""
        async with aclosing(child):
            async for batch in child.batches:
                self._check_continues(ownership)
                yield ownership.keep_owned(batch) if ownership.leaves_out else batch
            # The end may be premature: the remaining entries may have moved and been deleted here.
            self._check_continues(ownership)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The changes of owned entries. Positions have the node's identity, because another owns other entries."""
        return OwnedFeed(self, lambda asked: feed_of(self.child_datastore, asked, wake), watch)

    async def tally(self, asked: Aggregate) -> Tally:
        """The tally of the owned entries, under one placement from beginning to end."""
        ownership = self.ownership
        if ownership.leaves_out:
            return await scanned_tally(self, asked)
        tally = await tally_of(self.child_datastore, asked)
        self._check_continues(ownership)
        return tally

    def _check_continues(self, begun: Ownership) -> None:
        now = self.ownership
        if now is begun:
            return
        if not begun.is_open and begun.expectation != now.expectation:
            raise WrongShardError(
                f"this server was {begun.expectation} when the query began, and is now"
                f" {now.expectation or 'without slots'}: ask the cluster again",
                epoch=now.placement.epoch,
                shard=now.placement.shard or None,
            )
        if now.leaves_out and not begun.leaves_out:
            raise UnavailableError(
                "entries are about to be moved; continue by the last token", retry_after_s=RESUME_RETRY_S
            )

    @property
    def capability(self) -> Capability:
        return passed_on(self, self.child_datastore.capability)

    def describe(self) -> Description:
        return self.child_datastore.describe()
