"""Which shard each slot goes to when the shards of a cluster change. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from datastore.model.errors import ConfigError

__all__ = ["rebalanced"]


def rebalanced(owners: Sequence[str], names: Sequence[str]) -> list[str]:
    """The owners of all slots among the shards `names`, from the present `owners`, moving as little as possible.

    While the shards are the same nothing moves. Otherwise the numbers of slots of any two shards differ by one at most,
    and no assignment of which that is true moves fewer slots. The order of `names` does not matter.
    Raises ConfigError without names.
    """
    if not names:
        raise ConfigError("a cluster needs at least one shard")
    held = Counter(owners)
    if set(held) == set(names):
        return list(owners)
    share, extra = divmod(len(owners), len(names))
    # One slot more for those that hold the most now: they would have to give it away.
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
