"""Compares a proxy's configuration with its nodes, and decides whether to serve, form a cluster, or refuse. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from datastore.engine.placement import Member, NodePlacement, Placement, first_placement
from datastore.model.errors import DatastoreError
from datastore_server.config import Config
from datastore_server.coordination.differences import Difference, Differences

__all__ = ["Answer", "Comparison", "Verdict", "agree", "cluster_placement", "compare", "first_of", "is_of"]


@dataclass(frozen=True)
class Answer:
    """What a node reports about its placement."""

    placement: NodePlacement
    is_empty: bool
    in_memory: bool
    #: The names the node was started with; empty if none were given.
    started_cluster: str = ""
    started_shard: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it knows the identity of every member, so that no other directory can replace one unnoticed."""
        current = self.placement.current
        return bool(self.placement.shard) and current is not None and current.is_complete

    @property
    def is_provisional(self) -> bool:
        """Whether the node placed itself on an empty directory, and no proxy has confirmed that it belongs there."""
        return self.placement.current is not None and not self.is_complete and not self.is_settled

    @property
    def owned_slots(self) -> int:
        """How many slots the node owns; 0 while its placement is provisional."""
        current = self.placement.current
        return 0 if current is None or self.is_provisional else current.slots_of(self.placement.shard)

    @property
    def is_settled(self) -> bool:
        """Whether its placement is binding: it has entries, or knows other members. Otherwise it may be replaced."""
        current = self.placement.current
        if current is None:
            return False
        others = any(member.node_id for member in current.members if member.shard != self.placement.shard)
        return not self.is_empty or (others and not self.in_memory)


@dataclass(frozen=True)
class Verdict:
    """The decision: refuse if there are `differences`; otherwise place the shards in `unplaced`, and serve."""

    #: The cluster's placement; None if not yet known.
    placement: Placement | None
    differences: tuple[Difference, ...] = ()
    #: The shards whose nodes must be given `placement` (PlaceNode), as their first or to complete it.
    unplaced: tuple[str, ...] = ()
    #: The shards whose nodes match; the others could not be reached.
    fitting: frozenset[str] = frozenset()
    #: A move to another configuration in progress: reads are answered, writes refused.
    move: Difference | None = None
    #: The shards whose nodes must answer before the placement is known.
    awaited: tuple[str, ...] = ()


Answers = Mapping[str, Answer | DatastoreError]


def compare(config: Config, answers: Answers, source: str = "CONFIG") -> Verdict:
    """Compare a configuration with what the nodes at its addresses report.

    `answers` has the answer of each configured shard's node, or the error of asking it. `source` is the path of the
    configuration, quoted in commands.

    Nodes without a complete placement cannot show whether their cluster is new or keeps its entries on the nodes that
    did not answer. Until those answer, nothing is placed or served.
    """
    in_order = [(shard.name, answers[shard.name]) for shard in config.shards]
    reached = {name: answer for name, answer in in_order if isinstance(answer, Answer)}
    awaited = tuple(name for name, _ in in_order if name not in reached)
    believed = {name: answer for name, answer in reached.items() if answer.is_complete or not awaited}
    placement = cluster_placement(believed) or first_of(config, reached)
    comparison = Comparison(config, reached, placement, source)
    differences = comparison.all()
    if differences:
        return Verdict(placement, tuple(differences))
    if not believed:
        return Verdict(None, awaited=awaited)
    completed = _completed(placement, reached)
    unplaced = tuple(
        name
        for name, answer in reached.items()
        if answer.placement.current is None or _identities(answer.placement.current) != _identities(completed)
    )
    return Verdict(completed, (), unplaced, frozenset(reached), comparison.move())


def first_of(config: Config, reached: Mapping[str, Answer]) -> Placement:
    """The first placement of a new cluster with this configuration, with the identities known so far."""
    members = [Member(shard.name, url=shard.url) for shard in config.shards]
    return _completed(first_placement(config.cluster.name, members, config.cluster.shard_by), reached)


def cluster_placement(reached: Mapping[str, Answer]) -> Placement | None:
    """The newest binding placement; ties go to the one most nodes have, then to the most complete one."""
    placed = {name: answer.placement.current for name, answer in reached.items() if answer.placement.current}
    if not placed:
        return None
    votes = Counter(_essence(placement) for placement in placed.values())

    def weight(name: str) -> tuple[bool, int, int, int]:
        placement = placed[name]
        known = sum(bool(member.node_id) for member in placement.members)
        return reached[name].is_settled, placement.epoch, votes[_essence(placement)], known

    return placed[max(sorted(placed), key=weight)]


def agree(one: Placement | None, other: Placement | None) -> bool:
    """Whether two placements are the same, ignoring addresses and identities, which may still be unknown."""
    if one is None or other is None:
        return one is other
    return _essence(one) == _essence(other)


def is_of(config: Config, placement: Placement) -> bool:
    """Whether a configuration matches a placement in cluster, shards and rule."""
    names = tuple(shard.name for shard in config.shards)
    wanted = (config.cluster.name, config.cluster.shard_by, names)
    return wanted == (placement.cluster, placement.shard_by, placement.shards)


def _identities(placement: Placement) -> list[tuple[str, str, bool]]:
    return [(member.shard, member.node_id, member.in_memory) for member in placement.members]


def _essence(placement: Placement) -> tuple[object, ...]:
    """All but the members' identities and hints. Not a Placement, because creating one checks all its slots."""
    return placement.cluster, placement.epoch, placement.shard_by, placement.shards, placement.owners


def _completed(placement: Placement, reached: Mapping[str, Answer]) -> Placement:
    """The placement with the identities known so far."""

    def known(member: Member) -> Member:
        answer = reached.get(member.shard)
        if answer is None or member.node_id or member.in_memory:
            return member
        if answer.in_memory:
            return replace(member, in_memory=True)
        return replace(member, node_id=answer.placement.node_id)

    return replace(placement, members=tuple(known(member) for member in placement.members))


class Comparison:
    """The differences between a configuration, the nodes, and the cluster's `placement`."""

    def __init__(self, config: Config, reached: Mapping[str, Answer], placement: Placement, source: str) -> None:
        self._config = config
        self._reached = reached
        self._placement = placement
        names = [shard.name for shard in config.shards]
        self._added = [name for name in names if name not in placement.shards]
        self._removed = [name for name in placement.shards if name not in names]
        #: New names by old ones, of shards whose nodes still report the old name at the address of the new one.
        self.renamed = {
            reached[name].placement.shard: name
            for name in self._added
            if name in reached and reached[name].placement.shard in self._removed
        }
        self._differ = Differences(config, placement, source, self.renamed)

    def all(self) -> list[Difference]:
        """All differences; only the name if the cluster is a different one, only the move if one is being finished."""
        if self._placement.cluster != self._config.cluster.name:
            return [self._differ.other_name()]
        if finishing := list(self._finishing()):
            return finishing
        found = [*self.copies(), *self._shard_by(), *self.names(), *self.nodes()]
        move = self.move() if self._added or self._removed else None
        return [*found, move] if move is not None else found

    def copies(self) -> Iterable[Difference]:
        """Shards that share a data directory, or use copies of one."""
        seen: dict[str, str] = {}
        for name, answer in self._reached.items():
            other = seen.setdefault(answer.placement.node_id, name)
            if other != name:
                yield self._differ.copies(other, name)

    def _shard_by(self) -> Iterable[Difference]:
        if self._placement.shard_by != self._config.cluster.shard_by:
            yield self._differ.shard_by()

    def names(self) -> Iterable[Difference]:
        """Shards that only the configuration or only the cluster has."""
        for old, new in self.renamed.items():
            yield self._differ.renamed(old, new)
        for name in self._added:
            if name not in self.renamed.values():
                yield self._differ.added(name)
        for name in self._removed:
            if name not in self.renamed:
                yield self._differ.removed(name)

    def nodes(self) -> Iterable[Difference]:
        """Nodes that do not match their shard."""
        for name, answer in self._reached.items():
            current = answer.placement.current
            if current is None and answer.placement.pending is not None:
                # A new member that is still being filled.
                continue
            if name not in self._added:
                found = self._unplaced(name, answer) if current is None else self._placed(name, answer, current)
                if found is not None:
                    yield found
            elif current is None and not answer.is_empty:
                yield self._differ.not_adopted(name)
            elif current is not None and answer.placement.shard and self._is_foreign(answer, current):
                yield self._differ.other_placement(name, current.epoch)

    def _is_foreign(self, answer: Answer, current: Placement) -> bool:
        """Whether a node belongs to another cluster, even one of the same name, and so cannot join this one."""
        return answer.is_settled and answer.placement.pending is None and not agree(current, self._placement)

    def _member(self, name: str) -> Member:
        return self._placement.member(name) or Member(name)

    def _unplaced(self, name: str, answer: Answer) -> Difference | None:
        if answer.started_cluster not in ("", self._placement.cluster):
            return self._differ.other_cluster(name, answer.started_cluster)
        if answer.started_shard not in ("", name):
            return self._misplaced(name, answer.started_shard)
        member = self._member(name)
        if member.in_memory or member.node_id in ("", answer.placement.node_id):
            return None if answer.is_empty else self._differ.not_adopted(name)
        return self._differ.lost(name, member.node_id, is_empty=answer.is_empty)

    def _placed(self, name: str, answer: Answer, current: Placement) -> Difference | None:
        held = answer.placement
        if current.cluster != self._placement.cluster:
            return self._differ.other_cluster(name, current.cluster)
        if not answer.is_settled and answer.is_empty and not agree(current, self._placement):
            # It placed itself, or is in memory and was restarted: it is given the cluster's placement.
            return self._unplaced(name, answer)
        if held.shard != name:
            return self._misplaced(name, held.shard)
        member = self._member(name)
        if member.node_id and member.node_id != held.node_id and not member.in_memory:
            return self._differ.other_node(name, held.node_id, member.node_id)
        if agree(current, self._placement):
            return None
        is_old = current.epoch < self._placement.epoch
        return (self._differ.old_copy if is_old else self._differ.other_placement)(name, current.epoch)

    def _misplaced(self, name: str, actual: str) -> Difference:
        others = ((other, answer) for other, answer in self._reached.items() if other != name)
        there = (other for other, answer in others if name in (answer.placement.shard, answer.started_shard))
        return self._differ.misplaced(name, actual, next(there, None))

    def _finishing(self) -> Iterable[Difference]:
        """The nodes that have not yet switched in a move that others have committed, or that leads to `config`."""
        for name, answer in self._reached.items():
            pending = answer.placement.pending
            if pending is not None and (agree(pending, self._placement) or self._leads_here(pending)):
                yield self._differ.finishing(name, pending.epoch)

    def _leads_here(self, pending: Placement) -> bool:
        """Whether a move leads to the configuration, which does not match the current placement."""
        return is_of(self._config, pending) and not is_of(self._config, self._placement)

    def move(self) -> Difference | None:
        """A prepared move that no node has committed."""
        found = (answer.placement.pending for answer in self._reached.values())
        pending = next((one for one in found if one is not None and not agree(one, self._placement)), None)
        return None if pending is None else self._differ.move(pending)
