"""Converts placements to messages and back, and names the metadata of expectations. Knows no nodes or calls."""

from __future__ import annotations

from typing import Any

from datastore.engine.placement import Member, NodePlacement, Placement, ShardBy
from datastore.model.errors import InvalidError
from datastore.v1 import placement_pb2

__all__ = [
    "EXPECTATION",
    "decode_node_placement",
    "decode_placement",
    "decode_shard_by",
    "encode_node_placement",
    "encode_placement",
    "encode_shard_by",
]

#: The metadata of a call with the server that its caller expects: `CLUSTER/SHARD/EPOCH`.
EXPECTATION = "datastore-placement"

_SHARD_BY: dict[ShardBy, Any] = {"key": placement_pb2.SHARD_BY_KEY, "collection": placement_pb2.SHARD_BY_COLLECTION}
_SHARD_BY_NAMES = {number: name for name, number in _SHARD_BY.items()}


def encode_shard_by(shard_by: ShardBy) -> Any:
    """The wire enum of a rule."""
    return _SHARD_BY[shard_by]


def decode_shard_by(number: int) -> ShardBy:
    """The rule of a wire enum. Raises InvalidError if it is unknown."""
    name = _SHARD_BY_NAMES.get(number)
    if name is None:
        valid = ", ".join(placement_pb2.ShardBy.Name(number) for number in _SHARD_BY_NAMES)
        raise InvalidError(f"shard_by is not set, or unknown here ({number}); valid are {valid}", field="shard_by")
    return name


def encode_placement(placement: Placement) -> placement_pb2.Placement:
    """The message of a placement."""
    members = [
        placement_pb2.Placement.Member(
            shard=member.shard, node_id=member.node_id, url=member.url, in_memory=member.in_memory
        )
        for member in placement.members
    ]
    return placement_pb2.Placement(
        cluster=placement.cluster,
        epoch=placement.epoch,
        shard_by=encode_shard_by(placement.shard_by),
        members=members,
        owners=placement.owners,
    )


def decode_placement(message: placement_pb2.Placement) -> Placement:
    """The placement of a message. Raises InvalidError, with the field, if it is invalid."""
    members = tuple(
        Member(member.shard, node_id=member.node_id, url=member.url, in_memory=member.in_memory)
        for member in message.members
    )
    shard_by = decode_shard_by(message.shard_by)
    return Placement(message.cluster, message.epoch, shard_by, members, tuple(message.owners))


def encode_node_placement(placement: NodePlacement) -> placement_pb2.NodePlacement:
    """The message of a node's placement."""
    message = placement_pb2.NodePlacement(
        node_id=placement.node_id,
        shard=placement.shard,
        pending_shard=placement.pending_shard,
        may_hold_foreign=placement.may_hold_foreign,
    )
    if placement.current is not None:
        message.current.CopyFrom(encode_placement(placement.current))
    if placement.pending is not None:
        message.pending.CopyFrom(encode_placement(placement.pending))
    return message


def decode_node_placement(message: placement_pb2.NodePlacement) -> NodePlacement:
    """A node's placement from its message. Raises the errors of `decode_placement`."""
    return NodePlacement(
        node_id=message.node_id,
        shard=message.shard,
        current=decode_placement(message.current) if message.HasField("current") else None,
        pending=decode_placement(message.pending) if message.HasField("pending") else None,
        pending_shard=message.pending_shard,
        may_hold_foreign=message.may_hold_foreign,
    )
