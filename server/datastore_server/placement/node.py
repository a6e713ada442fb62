"""A node's placement: stored in its system space, enforced by its store, changed by one request at a time.

It guarantees two orderings: a change is on disk before it is acknowledged, and no write is active when the placement
changes. Knows placements, a store and a system space, but no messages or calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from datastore.aio.base import Datastore
from datastore.aio.feeds import feed_of
from datastore.engine.placement import NodePlacement, Placement
from datastore.model.changes import Watch
from datastore.model.entries import Batch
from datastore.model.errors import DatastoreError, PlacementError, StoreFormatError, WrongShardError
from datastore.model.key import Key
from datastore.model.operations import Put
from datastore.model.query import Query
from datastore_server.counting import counted
from datastore_server.placement import record, slots, transitions
from datastore_server.placement.listing import Listing
from datastore_server.placement.owned import OwnedDatastore, Ownership, nothing
from datastore_server.placement.system import MemorySystemSpace, SystemSpace

__all__ = ["PlacedNode"]

#: The prefix of proxies' records in the system space, which separates them from the node's own.
_PROXY_RECORDS = "outer."
#: The record of what the node owned before its last move.
_FORMER = "former"
#: The key that health checks look up.
_PROBED = Key("/datastore/health")


class PlacedNode:
    """Any store as a node, in a cluster or on its own.

    Serve `datastore`; nothing else may write to `store`. Call `load` first. Requests are idempotent, and raise
    PlacementError if they do not fit the current placement. `look` is as for OwnedDatastore.
    """

    def __init__(
        self,
        store: Datastore,
        system: SystemSpace | None = None,
        listing: Listing | None = None,
        look: Callable[[], object] = nothing,
    ) -> None:
        self.store = store
        self.listing = listing or Listing(store)
        self.system = system or MemorySystemSpace()
        self.datastore = OwnedDatastore(store, NodePlacement(node_id=""), look)
        #: Held during each change.
        self.changing = asyncio.Lock()
        #: What the node owned before its last move, and the latest version of that time.
        self._former: tuple[NodePlacement, int] | None = None
        #: The coordinator of the prepared move.
        self._coordinator = ""
        #: The names the node was started with; empty if none were given.
        self.started_cluster = ""
        self.started_shard = ""

    @property
    def placement(self) -> NodePlacement:
        """The placement in force. Raises while calls are refused because the store does not answer."""
        return self.datastore.placed_ownership.placement

    @property
    def known_placement(self) -> NodePlacement:
        """The placement in force, or the last one known."""
        return self.datastore.known_ownership.placement

    async def check_store(self) -> None:
        """Raise unless the store answers, and is the one that the placement was loaded from."""
        try:
            await self.store.contains(_PROBED)
        except WrongShardError:
            # A server that refuses a key is reachable.
            return
        known, node_id = self.known_placement, await self.system.node_id()
        if node_id == known.node_id:
            return
        if known.current is None and known.pending is None:
            # It was emptied meanwhile, including records: nothing depends on them yet.
            self.datastore.become(replace(known, node_id=node_id))
        else:
            raise StoreFormatError(
                "the record of this node's placement is gone: another store, or an emptied one, answers in its place;"
                " bring the old one back, or start the node again to serve this one"
            )

    def require_expected(self, expected: str) -> None:
        """Raise WrongShardError unless this is the node that a caller expects."""
        self.datastore.ownership.require_expected(expected)

    async def load(self, *, cluster: str = "", shard: str = "") -> None:
        """Load and enforce the stored placement. Raises CorruptDataError if it cannot be read.

        `cluster` and `shard` are the names the node was started with, if any: StoreFormatError if others are stored.
        """
        placement = await self._kept()
        await self._load_former(placement)
        self.started_cluster, self.started_shard = cluster, shard
        if placement.current is not None and placement.shard:
            wrong = self._not_as_started(placement.current.cluster, placement.shard)
            if wrong:
                raise StoreFormatError(
                    f"the data belong to {wrong}: name the right directory; `datastore placement apply` renames shards"
                )
        self.datastore.become(placement, self._former)
        if placement.current is not None and not self.system.forgets_requests:
            # Slots may have come while this was another process.
            self.datastore.forget_requests()

    async def _load_former(self, placement: NodePlacement) -> None:
        """Load what the node owned before its last move, if that led to this placement."""
        kept = await self.system.read(_FORMER)
        if kept is not None and placement.current is not None:
            cut, former = record.unpack_revision(kept)
            before = record.unpack(former)
            if before.epoch in (0, placement.epoch - 1):
                self._former = (before, cut)

    async def _kept(self) -> NodePlacement:
        """The stored placement."""
        kept = await self.system.read(record.RECORD_NAME)
        return NodePlacement(await self.system.node_id()) if kept is None else record.unpack(kept)

    def _not_as_started(self, cluster: str, shard: str) -> str:
        """How a placement differs from the names the node was started with; '' if it does not."""
        for what, started, found in (("cluster", self.started_cluster, cluster), ("shard", self.started_shard, shard)):
            if started and started != found:
                return f"{what} {found!r}, not to {what} {started!r}, which this node was started as"
        return ""

    async def is_empty(self) -> bool:
        """Whether the store has no entries."""
        return await self.listing.is_empty()

    async def place(self, shard: str, placement: Placement, *, check_entries: bool = False) -> NodePlacement:
        """Give the node its first placement, or add missing identities to it.

        A node with entries is placed only with `check_entries`, and only if it owns all of them.
        """
        change = partial(transitions.place_node, shard=shard, placement=placement)
        async with self.changing, self.datastore.without_writes():
            self._require_not_restored()
            before = self.placement
            if change(before) is not before and transitions.starts_anew(before, placement):
                await self._check_start(shard, placement, check_entries=check_entries)
            return await self._change(change)

    async def place_if_new(self, shard: str, placement: Placement) -> None:
        """Place the node if it is empty and has no placement; otherwise do nothing."""
        is_placed = self.placement.current is not None or self.placement.pending is not None
        if not is_placed and self.datastore.refusal is None and await self.is_empty():
            await self.place(shard, placement)

    async def prepare(
        self, shard: str, placement: Placement, *, joins: bool = False, coordinator: str = "", version: int = 0
    ) -> NodePlacement:
        """Record the next placement. When this returns, no write is active and new ones are refused.

        From then on only this `coordinator` may continue the move, and entries get only versions above `version`.
        """
        change = partial(transitions.prepare_move, shard=shard, placement=placement, joins=joins)
        async with self.changing, self.datastore.without_writes():
            self._require_not_restored()
            before = self.placement
            if change(before) is not before:
                await self.listing.require("entries cannot be moved to or from this node")
            if change(before) is not before and (joins or transitions.starts_anew(before, placement)):
                await self._check_start(shard, placement, check_entries=False)
            prepared = await self._change(change)
            if version:
                await self.system.raise_versions(version)
            await self._begin_log()
            self._coordinator = coordinator
            return prepared

    def _require_not_restored(self) -> None:
        if self.datastore.refusal is not None:
            raise PlacementError(f"the placement cannot be changed now: {self.datastore.refusal}")

    async def _begin_log(self) -> None:
        """Make a store in memory keep its changes from now on, so that watches can continue here after the move."""
        if self.store.capability.changes:
            await feed_of(self.store, Watch(Query(Key("/")).frozen()), lambda: None).aclose()

    def _check_coordinator(self, coordinator: str) -> None:
        """Raise PlacementError if a move is prepared whose coordinator is another one, or unknown since a restart."""
        if self.placement.pending is not None and coordinator != self._coordinator:
            raise PlacementError(
                "another command has continued this move, or the node was restarted: run the command again"
            )

    async def commit(self, epoch: int, *, coordinator: str = "") -> NodePlacement:
        """Make the pending placement the current one, and allow writes again.

        The old owners of slots that have come remember their requests; repetitions from before the move are refused.
        """
        change = partial(transitions.commit_move, epoch=epoch)
        async with self.changing:
            self._check_coordinator(coordinator)
            if change(self.placement) is not self.placement:
                if self.system.forgets_requests:
                    await self.system.forget_requests()
                else:
                    self.datastore.forget_requests()
                # Before the placement: a record that does not lead to it is not used.
                before = replace(self.placement, pending=None, pending_shard="")
                cut = await self.system.latest_version()
                await self.system.write(_FORMER, record.pack_revision(cut, record.pack(before)))
                self._former = (before, cut)
            return await self._change(change)

    async def abort(self, epoch: int, *, coordinator: str = "") -> NodePlacement:
        """Drop the pending placement, and allow writes again. A new node first deletes the copies it received."""
        change = partial(transitions.abort_move, epoch=epoch)
        async with self.changing:
            self._check_coordinator(coordinator)
            if change(self.placement) is not self.placement and not self.placement.shard:
                await slots.clear(self.store, self.listing, lambda _: False)
            return await self._change(change)

    async def write(self, epoch: int, entries: Sequence[Put], *, coordinator: str = "") -> None:
        """Store entries in slots that this node owns in the pending placement but not in the current one."""
        async with self.changing:
            self._check_coordinator(coordinator)
            pending = transitions.pending_of(self.placement, epoch)
            coming = Ownership(replace(self.placement, current=pending, shard=self.placement.pending_shard))
            for put in entries:
                coming.require(put.key)
                if self.datastore.ownership.owns(put.key):
                    raise PlacementError(
                        f"{put.key} is this node's already; only entries that move to it can be written"
                    )
            await slots.write(self.store, entries)

    async def clear(self, epoch: int, chosen: Callable[[Key], bool] | None, *, coordinator: str = "") -> int:
        """Delete entries outside the node's current slots, all or only the `chosen`. Returns the number deleted.

        `epoch` is that of the pending placement or, if there is none, of the current one.
        """
        async with self.changing:
            self._check_coordinator(coordinator)
            placement = self.placement
            transitions.check_epoch(placement, epoch)
            owns = self.datastore.ownership.owns
            cleared = await slots.clear(
                self.store, self.listing, lambda key: owns(key) or not (chosen is None or chosen(key))
            )
            if chosen is None and placement.pending is None and placement.may_hold_foreign:
                await self._change(partial(replace, may_hold_foreign=False))
            return cleared

    def scan(self, *, owned_only: bool, chosen: Callable[[Key], bool] | None = None) -> AsyncGenerator[Batch]:
        """The entries in key order, in batches: all of them, only the `chosen`, or only those currently owned."""
        owns = self.datastore.ownership.owns
        return self.listing.scan(lambda key: (chosen is None or chosen(key)) and (not owned_only or owns(key)))

    async def read_record(self, name: str) -> tuple[int, bytes] | None:
        """The revision and content of a proxy's record, or None."""
        kept = await self.system.read(_PROXY_RECORDS + name)
        return None if kept is None else record.unpack_revision(kept)

    async def write_record(self, name: str, revision: int, data: bytes) -> None:
        """Store a proxy's record. Raises PlacementError if a higher revision is stored."""
        async with self.changing:
            kept = await self.read_record(name)
            if kept is not None and kept[0] > revision:
                raise PlacementError(f"the record {name} has revision {kept[0]} here, which is above {revision}")
            await self.system.write(_PROXY_RECORDS + name, record.pack_revision(revision, data))

    async def _change(self, change: Callable[[NodePlacement], NodePlacement]) -> NodePlacement:
        """Store a changed placement, then enforce it. The caller holds the lock."""
        before = self.placement
        after = change(before)
        if after is not before:
            try:
                await self.system.write(record.RECORD_NAME, record.pack(after))
            except DatastoreError:
                # It may have been stored nevertheless: enforce what a restart would find.
                self.datastore.become(await self._kept())
                raise
            self.datastore.become(after, self._former)
        return after

    async def _check_start(self, shard: str, placement: Placement, *, check_entries: bool) -> None:
        """Raise PlacementError unless the node may start with a placement.

        It must have been started as that shard or without a name, and be empty or, with `check_entries`, own all of its
        entries.
        """
        wrong = self._not_as_started(placement.cluster, shard)
        if wrong:
            raise PlacementError(f"the placement is for {wrong}")
        if not check_entries:
            if not await self.is_empty():
                raise PlacementError(
                    f"this node holds entries and is {transitions.named(self.placement)}: `datastore placement apply"
                    " CONFIG --adopt` checks that they belong to its slots, and places it"
                )
            return
        await self.listing.require("this node's entries cannot be checked")
        owned = Ownership(replace(self.placement, shard=shard, current=placement))
        async with aclosing(self.listing.scan(lambda key: not owned.owns(key), keys_only=True)) as batches:
            owners = Counter([placement.owner_of(key) async for batch in batches for key in batch.keys])
        if owners:
            of_each = ", ".join(f"{count:,} to {owner}" for owner, count in sorted(owners.items()))
            raise PlacementError(
                f"this node holds {counted(owners.total(), 'entries')} of other shards than {shard}: {of_each};"
                " nothing was changed"
            )
