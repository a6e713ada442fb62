"""What a proxy's configuration and its nodes say of their cluster, compared: serve, form, or refuse. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from datastore.core.errors import DatastoreError
from datastore.core.placement import Member, NodePlacement, Placement, first_placement
from datastore_server.config import Config

__all__ = [
    "Answer",
    "Comparison",
    "Difference",
    "Verdict",
    "agree",
    "cluster_placement",
    "compare",
    "first_of",
    "is_of",
]


@dataclass(frozen=True)
class Answer:
    """What a node says of its placement."""

    placement: NodePlacement
    is_empty: bool
    in_memory: bool
    #: What the node was started as; empty where it was not told.
    started_cluster: str = ""
    started_shard: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it knows the identity of every member, so that no other directory can take the place of one."""
        current = self.placement.current
        return bool(self.placement.shard) and current is not None and current.is_complete

    @property
    def is_settled(self) -> bool:
        """Whether its placement counts: it has entries, or knows other members' identities. Else it may be replaced."""
        current = self.placement.current
        if current is None:
            return False
        others = any(member.node_id for member in current.members if member.shard != self.placement.shard)
        return not self.is_empty or (others and not self.in_memory)


@dataclass(frozen=True)
class Difference:
    """One way in which a configuration and the nodes do not fit, and the command or the change that resolves it."""

    text: str
    resolve: str
    #: The shard that it concerns; '' for one of the whole cluster.
    shard: str = ""
    #: Whether it ends by itself: a move to this configuration is being finished.
    passes: bool = False

    def __str__(self) -> str:
        return f"{self.text}\n    {self.resolve}"

    def as_dict(self) -> dict[str, str]:
        """For programs: what commands print of it with --json."""
        return {"text": self.text, "resolve": self.resolve}


@dataclass(frozen=True)
class Verdict:
    """What is to be done: refuse where there are `differences`, else place the shards in `unplaced`, and serve."""

    #: The placement of the cluster; None while it is not known.
    placement: Placement | None
    differences: tuple[Difference, ...] = ()
    #: The shards whose nodes are to be given `placement`, with PlaceNode: for the first time, or completed.
    unplaced: tuple[str, ...] = ()
    #: The shards whose nodes fit; the others could not be reached.
    fitting: frozenset[str] = frozenset()
    #: A move to another configuration that was begun: entries can be read, and writes are refused.
    move: Difference | None = None
    #: The shards whose nodes have to answer before the placement is known.
    awaited: tuple[str, ...] = ()


Answers = Mapping[str, Answer | DatastoreError]


def compare(config: Config, answers: Answers, source: str = "CONFIG") -> Verdict:
    """Compare a configuration with what the nodes at its addresses say.

    `answers` has for each shard of the configuration what its node said, or why it could not be asked. `source` is the
    path of the configuration, for the commands.

    Nodes without a complete placement do not show whether their cluster is new, or has its entries on the nodes that
    could not be asked: until those answer, nothing is placed or served.
    """
    in_order = [(shard.name, answers[shard.name]) for shard in config.shards]
    reached = {name: answer for name, answer in in_order if isinstance(answer, Answer)}
    awaited = tuple(name for name, _ in in_order if name not in reached)
    believed = {name: answer for name, answer in reached.items() if answer.is_complete or not awaited}
    placement = cluster_placement(believed) or first_of(config, reached)
    comparison = Comparison(config, reached, placement, source)
    differences = comparison.differences()
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
    """The placement that a configuration gives a new cluster, with the identities that are known."""
    members = [Member(shard.name, url=shard.url) for shard in config.shards]
    return _completed(first_placement(config.cluster.name, members, config.cluster.shard_by), reached)


def cluster_placement(reached: Mapping[str, Answer]) -> Placement | None:
    """The newest of the placements that count; among equals that of the most nodes, and the one that knows the most."""
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
    """Whether two placements are the same, but for identities that are still missing, and hints."""
    if one is None or other is None:
        return one is other
    return _essence(one) == _essence(other)


def is_of(config: Config, placement: Placement) -> bool:
    """Whether a configuration has the cluster, the shards and the rule of a placement."""
    names = tuple(shard.name for shard in config.shards)
    wanted = (config.cluster.name, config.cluster.shard_by, names)
    return wanted == (placement.cluster, placement.shard_by, placement.shards)


def _identities(placement: Placement) -> list[tuple[str, str, bool]]:
    return [(member.shard, member.node_id, member.in_memory) for member in placement.members]


def _essence(placement: Placement) -> Placement:
    return replace(placement, members=tuple(Member(member.shard) for member in placement.members))


def _completed(placement: Placement, reached: Mapping[str, Answer]) -> Placement:
    """The placement with the identities that are known by now."""

    def known(member: Member) -> Member:
        answer = reached.get(member.shard)
        if answer is None or member.node_id or member.in_memory:
            return member
        if answer.in_memory:
            return replace(member, in_memory=True)
        return replace(member, node_id=answer.placement.node_id)

    return replace(placement, members=tuple(known(member) for member in placement.members))


class Comparison:
    """The differences of one comparison. `placement` is the cluster's."""

    def __init__(self, config: Config, reached: Mapping[str, Answer], placement: Placement, source: str) -> None:
        self._config = config
        self._reached = reached
        self._placement = placement
        self._source = source
        self._urls = {shard.name: shard.url for shard in config.shards}
        self._added = [name for name in self._urls if name not in placement.shards]
        self._removed = [name for name in placement.shards if name not in self._urls]
        #: New name by old, of shards whose node answers under the old one where the configuration has the new one.
        self.renamed = {
            reached[name].placement.shard: name
            for name in self._added
            if name in reached and reached[name].placement.shard in self._removed
        }

    def differences(self) -> list[Difference]:
        """All of them; only the name where the cluster is another, and only the move while one is being finished."""
        cluster, named = self._placement.cluster, self._config.cluster.name
        if cluster != named:
            return [
                Difference(
                    f"the nodes belong to cluster {cluster!r}, and {self._source} says {named!r}",
                    f'set name = "{cluster}" under [cluster], or give the addresses of the nodes of {named!r}',
                )
            ]
        if finishing := list(self._finishing()):
            return finishing
        found = [*self.copies(), *self._shard_by(), *self.names(), *self.nodes()]
        move = self.move() if self._added or self._removed else None
        return [*found, move] if move is not None else found

    def _apply(self, *options: str) -> str:
        renames = [f"--rename {old}={new}" for old, new in self.renamed.items()]
        return " ".join(["datastore placement apply", self._source, *renames, *options])

    def copies(self) -> Iterable[Difference]:
        """Two shards on one data directory, or on copies of it."""
        seen: dict[str, str] = {}
        for name, answer in self._reached.items():
            other = seen.setdefault(answer.placement.node_id, name)
            if other != name:
                yield Difference(
                    f"{self._urls[other]} and {self._urls[name]} serve one data directory, or copies of it, as shards "
                    f"{other!r} and {name!r}",
                    f"stop one of them, and start its shard on its own directory: "
                    f"datastore serve --config {self._source} --shard {name}",
                )

    def _shard_by(self) -> Iterable[Difference]:
        stored, wanted = self._placement.shard_by, self._config.cluster.shard_by
        if stored != wanted:
            yield Difference(
                f"the entries are placed by {stored}, and {self._source} says shard_by = {wanted!r}",
                f'set shard_by = "{stored}", or move the entries: {self._apply("--offline")}',
            )

    def names(self) -> Iterable[Difference]:
        """Shards that only the configuration or only the cluster has."""
        epoch = self._placement.epoch
        for old, new in self.renamed.items():
            yield Difference(
                f"shard {old!r} is named {new!r} in {self._source}",
                f'name it "{old}" again, or rename it: {self._apply()}',
                old,
            )
        for name in self._added:
            if name not in self.renamed.values():
                yield Difference(
                    f"{self._source} has the shard {name!r}, which the cluster does not have (epoch {epoch})",
                    f"take it out again, or move its share of the entries there: {self._apply('--offline')}",
                )
        for name in self._removed:
            if name not in self.renamed:
                url = self._member(name).url
                yield Difference(
                    f"the cluster has the shard {name!r} with {self._placement.slots_of(name):,} slots (epoch {epoch}),"
                    f" which {self._source} does not have",
                    f"add it again{f', it was at {url}' if url else ''}; or move its entries to the others: "
                    f"{self._apply('--offline')}",
                )

    def _member(self, name: str) -> Member:
        return self._placement.member(name) or Member(name)

    def nodes(self) -> Iterable[Difference]:
        """Nodes that are not what their shard needs."""
        for name, answer in self._reached.items():
            if answer.placement.pending is not None and answer.placement.current is None:
                # A new member, which is being filled.
                continue
            if name not in self._added:
                current = answer.placement.current
                found = self._unplaced(name, answer) if current is None else self._placed(name, answer, current)
                if found is not None:
                    yield found
            elif answer.placement.current is None and not answer.is_empty:
                yield self._not_adopted(name)

    def _not_adopted(self, name: str) -> Difference:
        return Difference(
            f"{self._urls[name]} (shard {name!r}) holds entries, but has no placement: they were stored by an older"
            " release, or without a proxy",
            f"check that they belong there, and place it: {self._apply('--adopt')}",
            name,
        )

    def _unplaced(self, name: str, answer: Answer) -> Difference | None:
        if answer.started_cluster not in ("", self._placement.cluster):
            return self._of_other_cluster(name, answer.started_cluster)
        if answer.started_shard not in ("", name):
            return self._misplaced(name, answer.started_shard)
        member = self._member(name)
        if member.in_memory or member.node_id in ("", answer.placement.node_id):
            return None if answer.is_empty else self._not_adopted(name)
        what = "an empty data directory" if answer.is_empty else "a data directory without a placement"
        return Difference(
            f"{self._urls[name]} (shard {name!r}) serves {what}, and {self._placement.slots_of(name):,} slots with"
            f" their entries are expected there (node {member.node_id})",
            self._other_directory(name),
            name,
        )

    def _other_directory(self, name: str) -> str:
        replace_it = self._apply(f"--replace {name}", "--offline")
        return f"start it on its own directory; if that is lost, with its entries, on a new one, and: {replace_it}"

    def _placed(self, name: str, answer: Answer, current: Placement) -> Difference | None:
        held = answer.placement
        if current.cluster != self._placement.cluster:
            return self._of_other_cluster(name, current.cluster)
        if not answer.is_settled and answer.is_empty and not agree(current, self._placement):
            # Placed on its own, or in memory and started again: it is given the cluster's placement.
            return self._unplaced(name, answer)
        if held.shard != name:
            return self._misplaced(name, held.shard)
        member = self._member(name)
        if member.node_id and member.node_id != held.node_id and not member.in_memory:
            return Difference(
                f"{self._urls[name]} serves another data directory as shard {name!r}: node {held.node_id}, and the"
                f" cluster's is {member.node_id}",
                self._other_directory(name),
                name,
            )
        return self._stale(name, held)

    def _of_other_cluster(self, name: str, cluster: str) -> Difference:
        return Difference(
            f"{self._urls[name]} belongs to cluster {cluster!r}, and {self._source} has shard {name!r} of"
            f" {self._placement.cluster!r} there",
            f"correct the url of {name!r}",
            name,
        )

    def _misplaced(self, name: str, actual: str) -> Difference:
        told = f"{self._urls[name]} is shard {actual!r}, and {self._source} has shard {name!r} there"
        there = next(
            (
                other
                for other, answer in self._reached.items()
                if name in (answer.placement.shard, answer.started_shard) and other != name
            ),
            None,
        )
        if there is not None:
            return Difference(told, f'{name!r} is at {self._urls[there]}: set url = "{self._urls[there]}" for it', name)
        return Difference(
            told,
            f"correct the url of {name!r}, or start it on its own directory: "
            f"datastore serve --config {self._source} --shard {name}",
            name,
        )

    def _stale(self, name: str, held: NodePlacement) -> Difference | None:
        current, newest = held.current, self._placement
        if current is None or agree(current, newest):
            return None
        if current.epoch < newest.epoch:
            return Difference(
                f"{self._urls[name]} (shard {name!r}) has the placement of epoch {current.epoch}, and the cluster is"
                f" at {newest.epoch}: its data directory is an old copy",
                self._other_directory(name),
                name,
            )
        return Difference(
            f"shard {name!r} has another placement of epoch {current.epoch} than the other nodes of {newest.cluster!r}",
            f"correct the url of the node that does not belong: datastore placement show {self._source}",
            name,
        )

    def _finishing(self) -> Iterable[Difference]:
        """The nodes that have yet to switch in a move that others committed, or that leads to the configuration."""
        for name, answer in self._reached.items():
            pending = answer.placement.pending
            if pending is not None and (agree(pending, self._placement) or self._leads_here(pending)):
                yield Difference(
                    f"a move to epoch {pending.epoch} is being finished, and shard {name!r} has not switched yet",
                    f"try again soon; if `datastore placement apply` was interrupted, give it again: "
                    f"{self._apply('--offline')}",
                    name,
                    passes=True,
                )

    def _leads_here(self, pending: Placement) -> bool:
        """Whether a move ends with the shards of the configuration, which are not those of now."""
        is_it = pending.shards == tuple(self._urls) and pending.shard_by == self._config.cluster.shard_by
        return is_it and (pending.shards, pending.shard_by) != (self._placement.shards, self._placement.shard_by)

    def move(self) -> Difference | None:
        """A move that was prepared, and that no node has committed."""
        found = (answer.placement.pending for answer in self._reached.values())
        pending = next((one for one in found if one is not None and not agree(one, self._placement)), None)
        if pending is None:
            return None
        return Difference(
            f"a move to epoch {pending.epoch} ({', '.join(pending.shards)}) is under way, and writes are refused"
            " until it is finished or dropped",
            f"if `datastore placement apply` was interrupted, give it again with a configuration of those shards; to"
            f" drop the move: datastore placement abort {self._source}",
        )
