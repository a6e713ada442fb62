"""Helpers for tests of placement: placements of two or three shards, keys by their owner, a stub of a node."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Any

import grpc

from datastore import wire
from datastore.engine.placement import Member, Placement, ShardBy, first_placement
from datastore.model.key import Key
from datastore.v1 import placement_pb2, placement_pb2_grpc

SHARDS = ("a", "b", "c")


@cache
def placement(
    *shards: str, epoch: int = 1, cluster: str = "trial", shard_by: ShardBy = "key", **node_ids: str
) -> Placement:
    """A placement of these shards by rendezvous, of any epoch."""
    members = [Member(shard, node_id=node_ids.get(shard, "")) for shard in shards or SHARDS]
    first = first_placement(cluster, members, shard_by)
    return Placement(cluster, epoch, shard_by, first.members, first.owners)


@cache
def _keys_of(shard: str, placed: Placement, count: int, collection: str) -> tuple[Key, ...]:
    numbered = (Key(f"{collection}:{number:05}") for number in range(10**5))
    return tuple(islice((key for key in numbered if placed.owner_of(key) == shard), count))


def keys_of(shard: str, placed: Placement, count: int = 20, collection: str = "/Thing") -> list[Key]:
    """So many keys of a collection that a shard owns, in order."""
    return list(_keys_of(shard, placed, count, collection))


class PlacedServer:
    """A running server's placement, asked over the wire with the values of the library."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: Any = placement_pb2_grpc.PlacementServiceStub(channel)

    async def get(self) -> Any:
        """The response of GetPlacement."""
        return await self.stub.GetPlacement(placement_pb2.GetPlacementRequest())

    async def place(self, shard: str, placed: Placement, *, check_entries: bool = False) -> Any:
        """Place the node; its placement then."""
        request = placement_pb2.PlaceNodeRequest(
            shard=shard, placement=wire.encode_placement(placed), check_entries=check_entries
        )
        return wire.decode_node_placement((await self.stub.PlaceNode(request)).placement)

    async def prepare(self, shard: str, placed: Placement) -> Any:
        """Prepare a move; the node's placement then."""
        request = placement_pb2.PrepareMoveRequest(shard=shard, placement=wire.encode_placement(placed))
        return wire.decode_node_placement((await self.stub.PrepareMove(request)).placement)

    async def commit(self, epoch: int) -> Any:
        """Commit a move; the node's placement then."""
        answer = await self.stub.CommitMove(placement_pb2.CommitMoveRequest(epoch=epoch))
        return wire.decode_node_placement(answer.placement)

    async def abort(self, epoch: int) -> Any:
        """Abort a move; the node's placement then."""
        answer = await self.stub.AbortMove(placement_pb2.AbortMoveRequest(epoch=epoch))
        return wire.decode_node_placement(answer.placement)

    async def summarize(
        self, shard_by: ShardBy = "key", *, owned_only: bool = False
    ) -> dict[int, tuple[int, int, int]]:
        """The contents of each slot: entries, bytes, checksum."""
        request = placement_pb2.SummarizeSlotsRequest(shard_by=wire.encode_shard_by(shard_by), owned_only=owned_only)
        return {
            one.slot: (one.entries, one.bytes, one.checksum)
            async for message in self.stub.SummarizeSlots(request)
            for one in message.slots
        }

    async def read(self, slots: Iterable[int], shard_by: ShardBy = "key") -> list[Any]:
        """The entries of some slots, as messages."""
        request = placement_pb2.ReadSlotsRequest(shard_by=wire.encode_shard_by(shard_by), slots=slots)
        return [entry async for message in self.stub.ReadSlots(request) for entry in message.entries]

    async def write(self, epoch: int, entries: Iterable[Any]) -> None:
        """Store entries that move here."""
        await self.stub.WriteSlots(placement_pb2.WriteSlotsRequest(epoch=epoch, entries=entries))

    async def clear(self, epoch: int, slots: Iterable[int] = (), shard_by: ShardBy = "key") -> int:
        """Delete entries that the node does not own. Returns how many."""
        request = placement_pb2.ClearSlotsRequest(epoch=epoch, slots=slots, shard_by=wire.encode_shard_by(shard_by))
        deleted: int = (await self.stub.ClearSlots(request)).entries
        return deleted
