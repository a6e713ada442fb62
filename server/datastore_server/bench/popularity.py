"""Which of the keys the next call is for. Pure, but for the random numbers."""

from __future__ import annotations

import math
from random import Random

__all__ = ["Popularity"]

#: Scatters the popular keys over all: near the golden ratio, multiples of it are far from each other.
_STEP = (math.sqrt(5) - 1) / 2


class Popularity:
    """Draws numbers of keys: with exponent 0 all alike, otherwise by Zipf's law, the k-th most popular ~ 1/k^exponent.

    Popular keys are not neighbours: the k-th is at a fixed place that looks random.
    Source of the sampling: Hörmann and Derflinger 1996, Rejection-inversion to generate variates from monotone discrete
    distributions. It is exact, and takes neither tables nor time to set up.
    """

    def __init__(self, keys: int, exponent: float, random: Random) -> None:
        self._keys = keys
        self._exponent = exponent
        self._random = random
        self._step = _coprime(round(keys * _STEP), keys)
        self._lowest = self._integral(1.5) - 1
        self._highest = self._integral(keys + 0.5)
        self._accepted = 2 - self._inverse(self._integral(2.5) - 2**-exponent)

    def draw(self) -> int:
        """The number of a key, from 0."""
        if not self._exponent:
            return int(self._random.random() * self._keys)
        return (self._rank() * self._step) % self._keys

    def _rank(self) -> int:
        """A rank by Zipf's law: 1 is the most popular."""
        while True:
            area = self._highest + self._random.random() * (self._lowest - self._highest)
            place = self._inverse(area)
            rank = min(max(round(place), 1), self._keys)
            if rank - place <= self._accepted or area >= self._integral(rank + 0.5) - rank**-self._exponent:
                return rank

    def _integral(self, x: float) -> float:
        """An antiderivative of x^-exponent."""
        power = 1 - self._exponent
        return math.log(x) if abs(power) < 1e-9 else (x**power - 1) / power

    def _inverse(self, area: float) -> float:
        """The x with this `_integral`."""
        power = 1 - self._exponent
        return math.exp(area) if abs(power) < 1e-9 else max(1 + area * power, 0.0) ** (1 / power)


def _coprime(number: int, of: int) -> int:
    """The first number from this one on that has no divisor in common with `of`: its multiples visit all numbers."""
    while math.gcd(number, of) != 1:
        number += 1
    return number
