"""Which faults happen to a cluster, in which order: a function of a seed, so that a failure can be repeated.

Pure. Knows the names of faults and of what they happen to, but not how they are made.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["DISKS", "NETWORK", "PROCESSES", "Fault", "Plan", "plan"]

#: What may happen to the way to a server.
NETWORK = ("delay", "throttle", "cut", "black hole", "lost requests", "lost answers", "half-open")
#: What may happen to a process.
PROCESSES = ("kill", "suspend", "restart", "kill in the drain", "stop twice")
#: What may happen to the disk of a node.
DISKS = ("full", "unwritable")

#: How long a fault may last, in seconds: less and more than the timeout of a call.
LASTS_S = (0.05, 2.0)
#: After how many more answered calls the next fault may begin.
QUIET_CALLS = (1, 200)
#: How often a fault begins while the one before lasts.
JOINED = 0.3
#: By how much a delayed part is late, in seconds, and how many bytes a second a throttled way passes.
DELAYS_S, RATES = (0.001, 0.3), (2_000, 200_000)

_SEED, _COUNT = "DATASTORE_FAULTS_SEED", "DATASTORE_FAULTS"


class Fault(NamedTuple):
    """One fault: what happens to which target, after how many more answered calls, for how long.

    `amount` is the delay in seconds, or the rate in bytes a second. A fault that is `joined` begins immediately, while
    the one before lasts, which concerns another process or way.
    """

    kind: str
    target: str
    after_calls: int
    lasts_s: float
    amount: float
    joined: bool

    def __str__(self) -> str:
        when = "meanwhile" if self.joined else f"after {self.after_calls} calls"
        amount = f" ({self.amount:g})" if self.amount else ""
        return f"{when}: {self.kind}{amount} of {self.target} for {self.lasts_s:g} s"


class Plan(NamedTuple):
    """The faults of one test, and the seed that they follow from."""

    seed: int
    faults: Sequence[Fault]

    def __str__(self) -> str:
        """The faults one by one, and how to repeat them."""
        lines = [f"{number:4} {fault}" for number, fault in enumerate(self.faults, 1)]
        again = f"{_SEED}={self.seed} {_COUNT}={len(self.faults)} repeats these faults:"
        return "\n".join([again, *lines])


def plan(targets: Mapping[str, Sequence[str]], count: int, *, seed: int | None = None) -> Plan:
    """As many faults as the environment says, or `count`, each of a kind that its target can have, from `targets`.

    Without a seed, it is that of the environment, or another one each time.
    """
    if seed is None:
        seed = int(os.environ.get(_SEED) or random.SystemRandom().randrange(1_000_000))
    count = int(os.environ.get(_COUNT) or count)
    chooser = random.Random(seed)
    pairs = [(kind, target) for target in sorted(targets) for kind in targets[target]]
    faults: list[Fault] = []
    busy: set[str] = set()
    for _ in range(count):
        kind, target = chooser.choice(pairs)
        process = target.removeprefix("the disk of ")
        joined = chooser.random() < JOINED and bool(faults) and process not in busy
        busy = {*busy, process} if joined else {process}
        faults.append(
            Fault(
                kind,
                target,
                chooser.randint(*QUIET_CALLS),
                round(chooser.uniform(*LASTS_S), 2),
                _amount(kind, chooser),
                joined,
            )
        )
    return Plan(seed, faults)


def _amount(kind: str, chooser: random.Random) -> float:
    if kind == "delay":
        return round(chooser.uniform(*DELAYS_S), 3)
    return chooser.randint(*RATES) if kind == "throttle" else 0.0
