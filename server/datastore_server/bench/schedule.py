"""When the calls of an open loop are due. Pure.

The calls of all workers together are equally spaced. A call is due at its time whether or not the server has answered
those before it, and its latency counts from that time. A client that waits for each answer would instead send nothing
while the server is stuck, and measure one slow call where its users had hundreds ("coordinated omission", Gil Tene).
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Schedule", "second_of", "share"]


class Schedule(NamedTuple):
    """The calls of one worker: of those that all make, numbered from 0, each `workers`-th one from `worker` on."""

    #: The calls of all workers per second.
    rate: float
    workers: int = 1
    worker: int = 0

    def first(self, warm_up_s: float) -> int:
        """The number of the first call, for a warm-up of this duration before call 0."""
        return -math.floor(warm_up_s * self.rate / self.workers)

    def due_s(self, number: int) -> float:
        """When this worker's call of this number is due, in seconds after call 0 of the first worker."""
        return (number * self.workers + self.worker) / self.rate


def share(total: int, workers: int, worker: int) -> int:
    """This worker's part of a total of things, e.g. of calls in progress. The parts differ by at most one."""
    return total // workers + (worker < total % workers)


def second_of(elapsed_s: float, duration_s: float) -> int:
    """The second of the measurement in which something happened; all that happened after it is in the one after it."""
    return int(elapsed_s) if elapsed_s < duration_s else math.ceil(duration_s)
