"""The texts of differences between a configuration and its nodes, with what resolves them. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datastore.engine.placement import Placement
from datastore_server.config import Config
from datastore_server.counting import counted

__all__ = ["Difference", "Differences"]


@dataclass(frozen=True)
class Difference:
    """A mismatch between a configuration and its nodes, and the command or edit that resolves it."""

    text: str
    resolve: str
    #: The shard concerned; '' for the whole cluster.
    shard: str = ""
    #: Whether it resolves itself, because a move to this configuration is being finished.
    passes: bool = False

    def __str__(self) -> str:
        return f"{self.text}\n    {self.resolve}"

    def as_dict(self) -> dict[str, str]:
        """What commands print with --json."""
        return {"text": self.text, "resolve": self.resolve}


class Differences:
    """Builds a comparison's differences. `source` is the configuration's path; `renamed` has new names by old."""

    def __init__(self, config: Config, placement: Placement, source: str, renamed: Mapping[str, str]) -> None:
        self._named = config.cluster.name
        self._shard_by = config.cluster.shard_by
        self._urls = {shard.name: shard.url for shard in config.shards}
        self._placement = placement
        self._source = source
        self._renamed = renamed

    def _apply(self, *options: str) -> str:
        renames = [f"--rename {old}={new}" for old, new in self._renamed.items()]
        return " ".join(["datastore placement apply", self._source, *renames, *options])

    # The cluster

    def other_name(self) -> Difference:
        """The nodes belong to another cluster."""
        cluster = self._placement.cluster
        return Difference(
            f"the nodes belong to cluster {cluster!r}, but {self._source} says {self._named!r}",
            f'set name = "{cluster}" under [cluster], or correct the addresses of the nodes of {self._named!r}',
        )

    def shard_by(self) -> Difference:
        """The entries are placed by another rule."""
        stored = self._placement.shard_by
        return Difference(
            f"the entries are placed with shard_by = {stored!r}, but {self._source} says shard_by = {self._shard_by!r}",
            f'set shard_by = "{stored}", or move the entries: {self._apply("--offline")}',
        )

    def renamed(self, old: str, new: str) -> Difference:
        """A shard has another name in the configuration."""
        return Difference(
            f"shard {old!r} is named {new!r} in {self._source}",
            f'change the name back to "{old}", or rename the shard: {self._apply()}',
            old,
        )

    def added(self, name: str) -> Difference:
        """Only the configuration has this shard."""
        return Difference(
            f"{self._source} has the shard {name!r}, which the cluster does not have (epoch {self._placement.epoch})",
            f"take it out of the file, or move its share of the entries to it: {self._apply('--offline')}",
        )

    def removed(self, name: str) -> Difference:
        """Only the cluster has this shard."""
        placement, member = self._placement, self._placement.member(name)
        where = f" (it was at {member.url})" if member is not None and member.url else ""
        return Difference(
            f"the cluster has the shard {name!r} with {counted(placement.slots_of(name), 'slots')} (epoch"
            f" {placement.epoch}),"
            f" which {self._source} does not have",
            f"put it back{where}, or move its entries to the other shards: {self._apply('--offline')}",
        )

    def finishing(self, name: str, epoch: int) -> Difference:
        """A move is being finished, and this shard has not switched yet."""
        return Difference(
            f"a move to epoch {epoch} is being finished, and shard {name!r} has not switched yet",
            f"try again soon; if `datastore placement apply` was interrupted, run it again: {self._apply('--offline')}",
            name,
            passes=True,
        )

    def move(self, pending: Placement) -> Difference:
        """A move is prepared, and no node has committed it."""
        return Difference(
            f"a move to epoch {pending.epoch} ({', '.join(pending.shards)}) is under way, and writes are refused"
            " until it is finished or cancelled",
            "if `datastore placement apply` was interrupted, run it again with a configuration that has those shards;"
            f" to cancel the move: datastore placement abort {self._source}",
        )

    # One node

    def copies(self, one: str, other: str) -> Difference:
        """The nodes of two shards have the same identity."""
        return Difference(
            f"{self._urls[one]} and {self._urls[other]} serve the same data directory, or copies of it, as shards"
            f" {one!r} and {other!r}",
            f"stop one of them, and start its shard on its own directory: {self._serve(other)}",
        )

    def not_adopted(self, name: str) -> Difference:
        """A node has entries but no placement."""
        return Difference(
            f"{self._node(name)} holds entries, but has no placement: they were stored by an older release, or without"
            " a proxy",
            f"check that they belong there, and give the node its placement: {self._apply('--adopt')}",
            name,
        )

    def lost(self, name: str, node_id: str, *, is_empty: bool) -> Difference:
        """A node without a placement is at the address of a member that has entries."""
        what = "an empty data directory" if is_empty else "a data directory without a placement"
        slots = self._placement.slots_of(name)
        return Difference(
            f"{self._node(name)} serves {what}, but {slots:,} slots with their entries are expected there"
            f" (node {node_id})",
            self._other_directory(name),
            name,
        )

    def other_node(self, name: str, found: str, expected: str) -> Difference:
        """The node of a shard has another identity."""
        return Difference(
            f"{self._urls[name]} serves the wrong data directory as shard {name!r}: it is node {found}, not {expected}",
            self._other_directory(name),
            name,
        )

    def old_copy(self, name: str, epoch: int) -> Difference:
        """A node is at an earlier epoch."""
        return Difference(
            f"{self._node(name)} has the placement of epoch {epoch}, but the cluster is at {self._placement.epoch}:"
            " its data directory is an old copy",
            self._other_directory(name),
            name,
        )

    def other_placement(self, name: str, epoch: int) -> Difference:
        """A node has a different placement of the same or a later epoch."""
        return Difference(
            f"the placement of shard {name!r}, of epoch {epoch}, is not that of the other nodes of"
            f" {self._placement.cluster!r}",
            f"find the node that does not belong to the cluster: datastore placement show {self._source}; correct its"
            " url, or if it is to join, start it on a new, empty directory",
            name,
        )

    def other_cluster(self, name: str, cluster: str) -> Difference:
        """A node belongs to another cluster."""
        return Difference(
            f"{self._urls[name]} belongs to cluster {cluster!r}, but {self._source} has shard {name!r} of"
            f" {self._placement.cluster!r} there",
            f"correct the url of {name!r}",
            name,
        )

    def misplaced(self, name: str, actual: str, there: str | None) -> Difference:
        """A node is another shard; this shard is at the address of `there`."""
        resolve = (
            f"correct the url of {name!r}, or start it on its own directory: {self._serve(name)}"
            if there is None
            else f'{name!r} is at {self._urls[there]}: set url = "{self._urls[there]}" for it'
        )
        text = f"{self._urls[name]} is shard {actual!r}, but {self._source} has shard {name!r} there"
        return Difference(text, resolve, name)

    def _node(self, name: str) -> str:
        return f"{self._urls[name]} (shard {name!r})"

    def _serve(self, name: str) -> str:
        return f"datastore serve --config {self._source} --shard {name}"

    def _other_directory(self, name: str) -> str:
        return (
            "start it on its own data directory. If that is lost, so are its entries: start it on a new, empty"
            f" directory, then: {self._apply(f'--replace {name}', '--offline')}"
        )
