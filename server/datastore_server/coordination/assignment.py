"""Which shard each slot goes to when the shards of a cluster change. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from datastore.model.errors import ConfigError

__all__ = ["rebalanced"]


def rebalanced(owners: Sequence[str], names: Sequence[str]) -> list[str]:
    """Assign all slots to the shards `names`, starting from the current `owners` and moving as few as possible.

    If the shards are the same, nothing moves. Otherwise shards differ by at most one slot, and no such assignment
    moves fewer slots. The order of `names` does not matter. Raises ConfigError if `names` is empty.
    """
    if not names:
        raise ConfigError("a cluster needs at least one shard")
    held = Counter(owners)
    if set(held) == set(names):
        return list(owners)
    share, extra = divmod(len(owners), len(names))
    # The extra slots go to the shards that hold the most now, which would otherwise have to give them away.
    by_held = sorted(names, key=lambda name: (-held[name], name))
    free = {name: share + (place < extra) for place, name in enumerate(by_held)}
    kept: list[str | None] = []
    for owner in owners:
        keeps = free.get(owner, 0) > 0
        if keeps:
            free[owner] -= 1
        kept.append(owner if keeps else None)
    takers = iter([name for name in sorted(names) for _ in range(free[name])])
    return [next(takers) if owner is None else owner for owner in kept]
