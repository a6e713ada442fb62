"""How long to wait before a read and its conditional write are repeated. Pure."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["UPDATE_ATTEMPTS", "conflict_pauses"]

#: How often an update of one key is tried if other writes come between.
UPDATE_ATTEMPTS = 100
#: The upper bounds of the first and of the longest pause, in seconds: about a write in memory, and many over a network.
_PAUSES_S = (0.001, 0.1)


def conflict_pauses() -> Iterator[float]:
    """The pauses between the attempts, in seconds: random, so that competing writers separate, and growing."""
    # Loaded only after a conflict: loading takes noticeable time.
    import random

    most_s, longest_s = _PAUSES_S
    for _ in range(UPDATE_ATTEMPTS - 1):
        yield random.uniform(0, most_s)
        most_s = min(most_s * 2, longest_s)
