"""How a node's placement may change. Pure functions from a placement and a request to the new placement.

If a request changes nothing, e.g. because it is repeated, the functions return the same object. They raise
PlacementError if the request does not fit the current placement.
"""

from __future__ import annotations

from dataclasses import replace

from datastore.engine.placement import Member, NodePlacement, Placement
from datastore.model.errors import InvalidError, PlacementError

__all__ = [
    "abort_move",
    "check_epoch",
    "commit_move",
    "named",
    "pending_of",
    "place_node",
    "prepare_move",
    "starts_anew",
]


def starts_anew(node: NodePlacement, placement: Placement) -> bool:
    """Whether the node would accept this placement as its first one, for which it must be empty.

    True if the node has no placement, was removed from the cluster, or never completed its placement, e.g. because it
    placed itself from a configuration that has since changed.
    """
    if not node.shard or node.current is None:
        return True
    fits = _map_of(node.current) == _map_of(placement) or _follows(node.current, placement)
    return _is_provisional(node.current) and not fits


def place_node(node: NodePlacement, shard: str, placement: Placement) -> NodePlacement:
    """Give the node its first placement, or add missing identities to the one it has."""
    _check_member(node, shard, placement)
    if node.pending is not None:
        raise PlacementError(f"a move to epoch {node.pending.epoch} is being prepared here: apply it or abort it first")
    if starts_anew(node, placement) and _may_return(node, placement):
        return replace(node, shard=shard, current=placement, may_hold_foreign=False)
    current = node.current
    if current is None or node.shard != shard or _map_of(current) != _map_of(placement):
        raise PlacementError(f"this node is {named(node)}, and was asked to be {placement.expectation(shard)}")
    members = tuple(map(_completed, current.members, placement.members))
    return node if members == current.members else replace(node, current=replace(current, members=members))


def prepare_move(node: NodePlacement, shard: str, placement: Placement, *, joins: bool = False) -> NodePlacement:
    """Record the next placement. A node that `joins` owns nothing until the commit."""
    if shard:
        _check_member(node, shard, placement)
    if node.pending is not None:
        if node.pending == placement and node.pending_shard == shard:
            return node
        raise PlacementError(
            f"another move, to {node.pending.expectation(node.pending_shard)}, is being prepared here:"
            " apply it or abort it first"
        )
    if node.current is None and not shard:
        raise PlacementError("this node has no placement, and would have none: there is nothing to prepare")
    if joins and (not node.shard or node.current is None or _is_provisional(node.current)):
        return replace(node, shard="", current=None, pending=placement, pending_shard=shard, may_hold_foreign=True)
    follows = not joins and node.current is not None and bool(node.shard) and _follows(node.current, placement)
    if not follows and (joins or not starts_anew(node, placement) or not _may_return(node, placement)):
        raise PlacementError(
            f"this node is {named(node)}, which epoch {placement.epoch} of cluster {placement.cluster} cannot follow"
        )
    return replace(node, pending=placement, pending_shard=shard, may_hold_foreign=True)


def commit_move(node: NodePlacement, epoch: int) -> NodePlacement:
    """Make the pending placement the current one."""
    if node.pending is None and node.epoch == epoch:
        return node
    return replace(node, current=pending_of(node, epoch), shard=node.pending_shard, pending=None, pending_shard="")


def abort_move(node: NodePlacement, epoch: int) -> NodePlacement:
    """Drop the pending placement."""
    if node.pending is None and node.epoch < epoch:
        return node
    pending_of(node, epoch)
    # A node that is not a member yet has deleted the copies it received before this is recorded.
    return replace(node, pending=None, pending_shard="", may_hold_foreign=bool(node.shard))


def pending_of(node: NodePlacement, epoch: int) -> Placement:
    """The pending placement. Raises PlacementError unless it has this epoch."""
    if node.pending is None:
        raise PlacementError(f"no move to epoch {epoch} is being prepared here: this node is {named(node)}")
    if node.pending.epoch != epoch:
        raise PlacementError(f"the move that is being prepared here is to epoch {node.pending.epoch}, not {epoch}")
    return node.pending


def check_epoch(node: NodePlacement, epoch: int) -> None:
    """Raise unless `epoch` is that of the pending placement or, if there is none, of the current one."""
    expected = node.epoch if node.pending is None else node.pending.epoch
    if epoch != expected or not epoch:
        raise PlacementError(f"epoch {epoch} is neither current nor coming here: this node is {named(node)}")


def _check_member(node: NodePlacement, shard: str, placement: Placement) -> None:
    """Raise unless this node can be that shard in the placement."""
    member = placement.member(shard)
    if member is None:
        raise InvalidError(
            f"shard {shard!r} is not a member of the placement, which has {', '.join(placement.shards)}", field="shard"
        )
    if member.node_id not in ("", node.node_id):
        raise PlacementError(
            f"shard {shard} is the node {member.node_id} by that placement, and this is node {node.node_id}:"
            " another data directory, or the one of another shard"
        )


def _follows(current: Placement, placement: Placement) -> bool:
    return placement.cluster == current.cluster and placement.epoch == current.epoch + 1


def _may_return(node: NodePlacement, placement: Placement) -> bool:
    """Whether a former member may join again: another cluster, or a later placement of its own."""
    last = node.current
    return bool(node.shard) or last is None or placement.cluster != last.cluster or placement.epoch > last.epoch


def _is_provisional(placement: Placement) -> bool:
    """Whether no proxy has completed the placement yet: no member's identity is known."""
    return not any(member.node_id for member in placement.members)


def _map_of(placement: Placement) -> tuple[object, ...]:
    """The part of a placement that decides where keys are."""
    return placement.cluster, placement.epoch, placement.shard_by, placement.shards, placement.owners


def _completed(member: Member, given: Member) -> Member:
    """A member with newly known facts. Known facts do not change, except for the address, which is a hint."""
    if member.node_id and given.node_id and member.node_id != given.node_id:
        raise PlacementError(
            f"shard {member.shard} is the node {member.node_id}, and was asked to be the node {given.node_id}"
        )
    return Member(
        member.shard,
        node_id=member.node_id or given.node_id,
        url=given.url or member.url,
        in_memory=member.in_memory or given.in_memory,
    )


def named(node: NodePlacement) -> str:
    """A short description of a node."""
    if node.current is None:
        return "without a placement"
    if not node.shard:
        return f"no longer a member of cluster {node.current.cluster} (since epoch {node.epoch})"
    return node.current.expectation(node.shard)
