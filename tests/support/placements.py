"""What tests of placement share: placements of two or three shards, keys by their owner, a stub of a node."""

from __future__ import annotations

from typing import Any

from datastore import wire
from datastore.core.key import Key
from datastore.core.placement import Member, Placement, ShardBy, first_placement
from datastore.v1 import placement_pb2, placement_pb2_grpc
from tests.support.serving import Running

SHARDS = ("a", "b", "c")


def placement(
    *shards: str, epoch: int = 1, cluster: str = "trial", shard_by: ShardBy = "key", **node_ids: str
) -> Placement:
    """A placement of these shards by rendezvous, of any epoch."""
    members = [Member(shard, node_id=node_ids.get(shard, "")) for shard in shards or SHARDS]
    first = first_placement(cluster, members, shard_by)
    return Placement(cluster, epoch, shard_by, first.members, first.owners)


def keys_of(shard: str, placed: Placement, count: int = 20, collection: str = "/Thing") -> list[Key]:
    """So many keys of a collection that a shard owns, in order."""
    found: list[Key] = []
    number = 0
    while len(found) < count:
        key = Key(f"{collection}:{number:05}")
        if placed.owner_of(key) == shard:
            found.append(key)
        number += 1
    return found


class PlacedServer:
    """A running server's placement, asked over the wire with the values of the library."""

    def __init__(self, running: Running) -> None:
        self.stub: Any = placement_pb2_grpc.PlacementServiceStub(running.channel)

    async def get(self) -> Any:
        """What GetPlacement answers."""
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
