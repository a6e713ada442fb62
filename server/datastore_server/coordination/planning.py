"""Works out how a configuration changes a cluster, and which entries move. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datastore.engine.placement import Member, Placement
from datastore.model.errors import ConfigError
from datastore_server.config import Config
from datastore_server.coordination.assignment import rebalanced
from datastore_server.coordination.comparison import is_of

__all__ = ["Move", "Slots", "Summary", "check_fits", "differing", "moves", "target_placement", "total"]

_MODULUS = 2**64


@dataclass(frozen=True, slots=True)
class Summary:
    """The contents of a slot. Summaries of the same slot on several nodes add up field by field."""

    entries: int = 0
    bytes: int = 0
    #: Modulo 2^64.
    checksum: int = 0

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.entries + other.entries, self.bytes + other.bytes, (self.checksum + other.checksum) % _MODULUS
        )


#: Summaries by slot; empty slots are absent.
Slots = Mapping[int, Summary]


@dataclass(frozen=True, slots=True)
class Move:
    """What moves from one shard to another. Shards have their old name, or the new one if they are new."""

    source: str
    target: str
    slots: tuple[int, ...]
    size: Summary


def target_placement(
    current: Placement, config: Config, known: Mapping[str, Member], renames: Mapping[str, str]
) -> Placement:
    """The placement that follows `current` under `config`; `current` itself if nothing changes.

    `known` has the member of each configured shard, with its identity; `renames` has new names by old ones.
    Raises ConfigError for another cluster's configuration, and for an invalid rename.
    """
    if config.cluster.name != current.cluster:
        raise ConfigError(
            f"the nodes belong to cluster {current.cluster!r}, but the configuration says {config.cluster.name!r}; "
            "the name of a cluster cannot be changed"
        )
    names = sorted(known)
    for old, new in renames.items():
        _check_rename(old, new, current.shards, names)
    renamed = [renames.get(name, name) for name in current.shards]
    owners = rebalanced([renamed[owner] for owner in current.owners], names)
    members = tuple(known[name] for name in names)
    index = {name: place for place, name in enumerate(names)}
    numbers = tuple(index[owner] for owner in owners)
    if (
        [(member.shard, member.node_id) for member in members]
        == [(member.shard, member.node_id) for member in current.members]
        and config.cluster.shard_by == current.shard_by
        and numbers == current.owners
    ):
        return current
    return Placement(current.cluster, current.epoch + 1, config.cluster.shard_by, members, numbers)


def _check_rename(old: str, new: str, before: Sequence[str], after: Sequence[str]) -> None:
    if old not in before and new in before and new in after:
        # Already done: an interrupted command continues.
        return
    if old not in before:
        raise ConfigError(f"--rename {old}={new}: the cluster has no shard {old!r}; it has {', '.join(before)}")
    if new not in after:
        raise ConfigError(f"--rename {old}={new}: the configuration has no shard {new!r}; it has {', '.join(after)}")
    if old in after or new in before:
        both = old if old in after else new
        raise ConfigError(f"--rename {old}={new}: {both!r} is a shard both before and after; rename it in two steps")


def check_fits(pending: Placement, config: Config, source: str) -> None:
    """Raise ConfigError unless the move in progress leads to `config`."""
    if not is_of(config, pending):
        raise ConfigError(
            f"a move to epoch {pending.epoch} is under way, to the shards {', '.join(pending.shards)} with shard_by ="
            f" {pending.shard_by!r}; finish it with a configuration that says so, or cancel it first:"
            f" datastore placement abort {source}"
        )


def moves(held: Mapping[str, Slots], owner_of: Sequence[str], unchanged: Mapping[int, str] | None = None) -> list[Move]:
    """The moves needed, by source and target.

    `held` has the contents of each source by slot under the new rule. `owner_of` has the new owner of each slot, by
    the name used in `held` if it is there. If the rule does not change, `unchanged` has the current owner of each
    slot, so that empty slots that move are included.
    """
    pairs: dict[tuple[str, str], list[int]] = {}
    for source, slots in held.items():
        owned = [slot for slot, owner in (unchanged or {}).items() if owner == source]
        for slot in sorted({*slots, *owned}):
            if owner_of[slot] != source:
                pairs.setdefault((source, owner_of[slot]), []).append(slot)
    return [
        Move(source, target, tuple(slots), sum((held[source].get(slot, Summary()) for slot in slots), Summary()))
        for (source, target), slots in sorted(pairs.items())
    ]


def total(held: Iterable[Slots]) -> dict[int, Summary]:
    """The combined contents of several nodes, by slot."""
    sums: dict[int, Summary] = {}
    for slots in held:
        for slot, summary in slots.items():
            sums[slot] = sums.get(slot, Summary()) + summary
    return sums


def differing(expected: Slots, found: Slots, slots: Iterable[int]) -> list[int]:
    """Those of `slots` whose contents differ from the expected ones, in order."""
    return [slot for slot in sorted(slots) if expected.get(slot, Summary()) != found.get(slot, Summary())]
