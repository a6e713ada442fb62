"""Where a key lives: keys to slots, slots to shards, and which node is which shard.

Pure; the golden vectors in tests/vectors serve every language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from datastore.model import fasthash
from datastore.model.errors import ConfigError, InvalidError
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = [
    "MEMBERS",
    "NAME",
    "NAME_FORM",
    "SLOTS",
    "Member",
    "NodePlacement",
    "Placement",
    "ShardBy",
    "SlotMap",
    "first_placement",
    "slot_of",
    "slots_of",
]

#: Enough that a hundred shards have shares within a few per cent of each other, few enough to send whole.
SLOTS = 16_384

#: The maximum number of members of a cluster; each then still has 16 slots.
MEMBERS = 1024

#: Names of clusters and shards are part of messages, file names and placements, so they are limited to what is safe in
#: all of them.
NAME_FORM = "1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

ShardBy = Literal["key", "collection"]


def slot_of(key: Key, shard_by: ShardBy = "key") -> int:
    """The slot of a key, 0 to 16,383: `fasthash.hash` of its text, or of its collection's, modulo the slots."""
    return fasthash.hash(str(key if shard_by == "key" else key.path)) % SLOTS


def slots_of(keys: Sequence[Key], shard_by: ShardBy = "key") -> list[int]:
    """The slot of each key, in a fraction of the time."""
    if shard_by != "key":
        return [slot_of(key, shard_by) for key in keys]
    return [number % SLOTS for number in fasthash.hash_all([key._string.encode() for key in keys])]


@lru_cache(maxsize=16)
def _owners(names: tuple[str, ...]) -> tuple[int, ...]:
    """The index of each slot's shard among the sorted names. Ties go to the lower name: `max` keeps the first."""
    encoded = [name.encode() for name in names]
    numbers = range(len(encoded))
    return tuple(
        max(numbers, key=[xxh3_64_intdigest(name, slot) for name in encoded].__getitem__) for slot in range(SLOTS)
    )


class SlotMap:
    """Assigns every slot to one of the named shards, regardless of the order of the names.

    A slot belongs to the shard of the greatest weight `xxh3_64(name, seed=slot)`, the UTF-8 of the name hashed with the
    slot's number as seed; ties go to the lower name. So adding a shard moves only the slots it wins, and removing one
    only those it had. Calling the map with a key gives the index of its shard among the sorted names, as a
    `shardingfn` of ShardedDatastore should.
    Raises ConfigError without names, or for a name given twice.
    Source: Thaler and Ravishankar 1998, highest random weight.
    """

    def __init__(self, names: Iterable[str], *, shard_by: ShardBy = "key") -> None:
        given = list(names)
        self.names = tuple(sorted(set(given)))
        self.shard_by: ShardBy = shard_by
        if not given:
            raise ConfigError("a cluster needs at least one shard")
        if len(self.names) < len(given):
            twice = next(name for name in self.names if given.count(name) > 1)
            raise ConfigError(f"two shards are named {twice!r}; every shard needs a different name")
        #: The index of each slot's shard.
        self.owners = _owners(self.names)

    def __call__(self, key: Key) -> int:
        """The index, among the sorted names, of the shard that holds `key`."""
        return self.owners[slot_of(key, self.shard_by)]

    def shards_of(self, keys: Sequence[Key]) -> list[int]:
        """The same for many keys."""
        return [self.owners[slot] for slot in slots_of(keys, self.shard_by)]

    @property
    def shardingfn(self) -> SlotMap:
        """The map itself: what ShardedDatastore calls."""
        return self

    def shard_of(self, key: Key) -> str:
        """The name of the shard that holds `key`."""
        return self.names[self(key)]

    def slots_of(self, name: str) -> int:
        """How many slots the shard of this name has."""
        return self.owners.count(self.names.index(name))

    def only_shard(self, query: Query) -> int | None:
        """The index of the one shard that can hold what the query selects; None if several can."""
        if self.shard_by == "collection" and not query.recursive:
            return self.owners[slot_of(query.key)]
        return None

    @property
    def epoch(self) -> str:
        """Sixteen hexadecimal digits that identify this placement; they differ for other shards or another rule."""
        parts = [self.shard_by, *self.names, ",".join(map(str, self.owners))]
        return xxh3_64_hexdigest("\n".join(parts).encode())


@dataclass(frozen=True, slots=True)
class Member:
    """One shard of a cluster, and the node that serves it."""

    #: The shard's name.
    shard: str
    #: The identity of the node's storage; empty until the cluster is complete, and for a node in memory.
    node_id: str = ""
    #: Where the node was last reached: a hint for operators.
    url: str = ""
    #: Whether the node's entries are lost when its process ends.
    in_memory: bool = False


@dataclass(frozen=True)
class Placement:
    """Assigns every slot of a cluster to one of its members. Immutable: a change makes another, with the next epoch.

    Members are in the order of their shards' names; `owners` has for each slot an index into them. Raises InvalidError,
    with the field, for an impossible placement.
    """

    cluster: str
    epoch: int
    shard_by: ShardBy
    members: tuple[Member, ...]
    owners: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_names([self.cluster], "cluster")
        _check_names(self.shards, "members")
        if self.epoch < 1:
            raise InvalidError(f"the epoch of a placement is 1 or more, not {self.epoch}", field="epoch")
        if self.shard_by not in ("key", "collection"):
            raise InvalidError(f"shard_by must be 'key' or 'collection', not {self.shard_by!r}", field="shard_by")
        if not 0 < len(self.members) <= MEMBERS:
            raise InvalidError(f"a cluster has 1 to {MEMBERS:,} members, not {len(self.members):,}", field="members")
        if any(one >= other for one, other in zip(self.shards, self.shards[1:], strict=False)):
            raise InvalidError("members must be in the order of their shards' names, each once", field="members")
        if len(self.owners) != SLOTS:
            raise InvalidError(
                f"a placement has {SLOTS:,} owners, one per slot, not {len(self.owners):,}", field="owners"
            )
        if not 0 <= min(self.owners) <= max(self.owners) < len(self.members):
            raise InvalidError(f"an owner is an index into {len(self.members)} members", field="owners")

    @cached_property
    def shards(self) -> tuple[str, ...]:
        """The names of the shards."""
        return tuple(member.shard for member in self.members)

    def member(self, shard: str) -> Member | None:
        """The member for this shard; None if there is none."""
        return next((member for member in self.members if member.shard == shard), None)

    def owner_of(self, key: Key) -> str:
        """The name of the shard that owns `key`."""
        return self.shards[self.owners[slot_of(key, self.shard_by)]]

    def slots_of(self, shard: str) -> int:
        """How many slots the shard owns; none if it is not a member."""
        return self.owners.count(self.shards.index(shard)) if shard in self.shards else 0

    def owned_by(self, shard: str) -> bytes:
        """A byte for each slot: 1 if the shard owns it, otherwise 0."""
        index = self.shards.index(shard) if shard in self.shards else -1
        return bytes(map(index.__eq__, self.owners))

    @property
    def is_complete(self) -> bool:
        """Whether the identity of every member is known, except for nodes in memory, which have no lasting one."""
        return all(member.node_id or member.in_memory for member in self.members)

    def expectation(self, shard: str) -> str:
        """What a caller expects of the node of this shard, as one text: `CLUSTER/SHARD/EPOCH`."""
        return f"{self.cluster}/{shard}/{self.epoch}"


def _check_names(names: Sequence[str], field: str) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise InvalidError(f"{name!r} is not a name: expected {NAME_FORM}", field=field)


def first_placement(cluster: str, members: Iterable[Member], shard_by: ShardBy = "key") -> Placement:
    """The first placement of a new cluster, epoch 1: SlotMap assigns the slots to the shards' names.

    Raises ConfigError without members, or for two with the same name; InvalidError for an invalid name.
    """
    ordered = sorted(members, key=lambda member: member.shard)
    slot_map = SlotMap([member.shard for member in ordered], shard_by=shard_by)
    return Placement(cluster, 1, shard_by, tuple(ordered), slot_map.owners)


@dataclass(frozen=True)
class NodePlacement:
    """What a node records about its placement. A node without `current` has none, and accepts every key."""

    #: The identity of the node's storage, assigned when it is created.
    node_id: str
    #: Name of the shard this node serves; empty without a placement, and after the node was removed.
    shard: str = ""
    current: Placement | None = None
    #: The placement that is being prepared; None outside a move.
    pending: Placement | None = None
    #: The shard that this node serves in `pending`; empty if it will not be a member.
    pending_shard: str = ""
    #: Whether the node may hold entries outside its slots, which queries must leave out.
    may_hold_foreign: bool = False

    @property
    def epoch(self) -> int:
        """The epoch of the current placement; 0 if there is none."""
        return 0 if self.current is None else self.current.epoch
