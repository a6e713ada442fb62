"""Where a key lives: keys to slots, slots to shards. Pure; the golden vectors in tests/vectors serve every language."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from datastore.core.description import QueryDescription
from datastore.core.errors import ConfigError
from datastore.core.key import Key
from datastore.core.util import fasthash

__all__ = ["SLOTS", "ShardBy", "SlotMap", "slot_of"]

#: Enough that a hundred shards have shares within a few per cent of each other, few enough to send whole.
SLOTS = 16_384

ShardBy = Literal["key", "collection"]


def slot_of(key: Key, shard_by: ShardBy = "key") -> int:
    """The slot of a key, 0 to 16,383: `fasthash.hash` of its text, or of its collection's, modulo the slots."""
    return fasthash.hash(str(key if shard_by == "key" else key.path)) % SLOTS


class SlotMap:
    """Assigns every slot to one of the named shards, whatever the order in which they are named.

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
            raise ConfigError(f"two shards are named {twice!r}; every shard needs a name of its own")
        encoded = [name.encode() for name in self.names]
        numbers = range(len(encoded))
        #: The index of each slot's shard. `max` keeps the first of equals, which is the lower name.
        self._owners = [
            max(numbers, key=[xxh3_64_intdigest(name, slot) for name in encoded].__getitem__) for slot in range(SLOTS)
        ]

    def __call__(self, key: Key) -> int:
        """The index, among the sorted names, of the shard that holds `key`."""
        return self._owners[slot_of(key, self.shard_by)]

    @property
    def shardingfn(self) -> SlotMap:
        """The map itself: what ShardedDatastore calls."""
        return self

    def shard_of(self, key: Key) -> str:
        """The name of the shard that holds `key`."""
        return self.names[self(key)]

    def slots_of(self, name: str) -> int:
        """How many slots the shard of this name has."""
        return self._owners.count(self.names.index(name))

    def only_shard(self, query: QueryDescription) -> int | None:
        """The index of the one shard that can hold what the query selects; None if several can."""
        if self.shard_by == "collection" and not query.recursive:
            return self._owners[slot_of(query.key)]
        return None

    @property
    def epoch(self) -> str:
        """Sixteen hexadecimal digits that name this placement: other shards, or another rule, give others."""
        parts = [self.shard_by, *self.names, ",".join(map(str, self._owners))]
        return xxh3_64_hexdigest("\n".join(parts).encode())
