"""Partial states of aggregations: they combine exactly, in any order and from any shards, to the same result. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datastore.model.aggregates import Aggregation, Avg, Count, Max, Sum
from datastore.model.ordering import BYTES, DATETIME, LIST, MAP, NUMBER, is_nan, order_key, rank

__all__ = ["CountState", "ExtremeState", "State", "SumState", "chosen", "held_bytes", "result_of", "state_of"]

#: Doubles from here on are whole numbers. They are added as ints, so that sums of the others cannot overflow.
_LARGE = 2.0**1000
#: How many doubles a sum holds before it reduces them to an expansion, which has two or three.
_PENDING = 64
_INT64 = range(-(2**63), 2**63)


class CountState:
    """How many values are not None."""

    __slots__ = ("count",)

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def add(self, values: Sequence[Any]) -> int:
        """Take more values. Returns how many bytes more are held."""
        self.count += sum([value is not None for value in values])
        return 0

    def merge(self, other: CountState) -> int:
        """Take what another state has. Returns how many bytes more are held."""
        self.count += other.count
        return 0


class SumState:
    """The exact sum of numbers: every int and every finite double is an int times a power of two, and so is their sum.

    `numbers` is how many there are, `has_doubles` whether any is a double, and `non_finite` the sum of the infinities
    and NaNs, which in any order is the same.
    """

    __slots__ = ("_doubles", "_exponent", "_mantissa", "has_doubles", "non_finite", "numbers")

    def __init__(
        self,
        numbers: int = 0,
        mantissa: int = 0,
        exponent: int = 0,
        *,
        has_doubles: bool = False,
        non_finite: float = 0.0,
    ) -> None:
        self.numbers = numbers
        self.has_doubles = has_doubles
        self.non_finite = non_finite
        #: The sum is that of `mantissa * 2**exponent` and the doubles. The exponent is never above 0.
        self._mantissa, self._exponent = mantissa, exponent
        self._doubles: list[float] = []

    def add(self, values: Sequence[Any]) -> int:
        """Take more values; others than numbers are left out. Returns how many bytes more are held."""
        kinds = set(map(type, values))
        if kinds == {float}:
            self._add_doubles(values)
        elif kinds == {int}:
            self._add_ints(values)
        else:
            numbers = [value for value in values if rank(value) == NUMBER]
            self._add_ints([int.__int__(value) for value in numbers if issubclass(type(value), int)])
            self._add_doubles([float.__float__(value) for value in numbers if issubclass(type(value), float)])
        return 0

    def _add_ints(self, values: Sequence[int]) -> None:
        self.numbers += len(values)
        self._add_exact(sum(values), 0)

    def _add_doubles(self, values: Sequence[float]) -> None:
        if not values:
            return
        self.numbers += len(values)
        self.has_doubles = True
        if not all(map(math.isfinite, values)):
            self._add_non_finite(sum(value for value in values if not math.isfinite(value)))
            values = [value for value in values if math.isfinite(value)]
        if values and (max(values) >= _LARGE or min(values) <= -_LARGE):
            self._add_exact(sum(int(value) for value in values if abs(value) >= _LARGE), 0)
            values = [value for value in values if abs(value) < _LARGE]
        self._doubles += values
        if len(self._doubles) > _PENDING:
            self._doubles = expansion(self._doubles)
            if self._doubles and abs(self._doubles[0]) >= _LARGE:
                self._add_exact(int(self._doubles.pop(0)), 0)

    def _add_non_finite(self, value: float) -> None:
        self.non_finite += value
        if math.isnan(self.non_finite):
            # Processors give NaNs either sign.
            self.non_finite = math.nan

    def _add_exact(self, mantissa: int, exponent: int) -> None:
        if exponent < self._exponent:
            self._mantissa <<= self._exponent - exponent
            self._exponent = exponent
        self._mantissa += mantissa << (exponent - self._exponent)

    def exact(self) -> tuple[int, int]:
        """The finite part of the sum, as `mantissa * 2**exponent`: exponent 0, or below it and the mantissa odd."""
        doubles, self._doubles = self._doubles, []
        for value in doubles:
            numerator, denominator = value.as_integer_ratio()
            self._add_exact(numerator, 1 - denominator.bit_length())
        zeros = (self._mantissa & -self._mantissa).bit_length() - 1 if self._mantissa else -self._exponent
        excess = min(zeros, -self._exponent)
        self._mantissa >>= excess
        self._exponent += excess
        return self._mantissa, self._exponent

    def merge(self, other: SumState) -> int:
        """Take what another state has. Returns how many bytes more are held."""
        self.numbers += other.numbers
        self.has_doubles |= other.has_doubles
        self._add_non_finite(other.non_finite)
        self._add_exact(*other.exact())
        return 0

    def total(self) -> float:
        """The sum, rounded once; an int if it is one of 64 bits and there was no double."""
        mantissa, exponent = self.exact()
        if self.non_finite:
            return self.non_finite
        if not self.has_doubles and mantissa in _INT64:
            return mantissa
        return _quotient(mantissa, 1 << -exponent)

    def mean(self) -> float | None:
        """The exact mean, rounded once; None without numbers."""
        mantissa, exponent = self.exact()
        if not self.numbers:
            return None
        return self.non_finite or _quotient(mantissa, self.numbers << -exponent)


def expansion(values: Sequence[float]) -> list[float]:
    """Doubles with exactly the sum of these finite ones: the sum rounded, the rest rounded, and so on.

    Source: Shewchuk 1997, Adaptive Precision Floating-Point Arithmetic, whose algorithm `math.fsum` is.
    """
    parts: list[float] = []
    rest = list(values)
    while part := math.fsum(rest):
        parts.append(part)
        rest.append(-part)
    return parts


def _quotient(numerator: int, denominator: int) -> float:
    """The quotient of two ints, correctly rounded; an infinity beyond the largest double."""
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


class ExtremeState:
    """The first value in the total order, or the last; of ties always the same one. None before any."""

    __slots__ = ("_pick", "value")

    def __init__(self, pick: Callable[..., Any], value: Any = None) -> None:
        #: The builtin min or max.
        self._pick = pick
        self.value = value

    def add(self, values: Sequence[Any]) -> int:
        """Take more values. Returns how many bytes more are held."""
        present = [value for value in values if value is not None]
        return self._offer(self._best(present)) if present else 0

    def merge(self, other: ExtremeState) -> int:
        """Take what another state has. Returns how many bytes more are held."""
        return 0 if other.value is None else self._offer(other.value)

    def _offer(self, value: Any) -> int:
        before = self.value
        self.value = whole(value if before is None else self._best([before, value]))
        return held_bytes(self.value) - held_bytes(before)

    def _best(self, values: list[Any]) -> Any:
        kinds = set(map(type, values))
        if kinds in ({int}, {str}) or (kinds == {float} and not any(map(is_nan, values))):
            best = self._pick(values)
            # Of the doubles, only zeros can tie without being the same.
            if kinds != {float} or best:
                return best
        keys = list(map(order_key, values))
        best = self._pick(keys)
        return chosen([value for value, key in zip(values, keys, strict=True) if key == best])


State = CountState | SumState | ExtremeState


def state_of(aggregation: Aggregation) -> State:
    """The state of an aggregation over nothing."""
    if isinstance(aggregation, Count):
        return CountState()
    if isinstance(aggregation, (Sum, Avg)):
        return SumState()
    return ExtremeState(max if isinstance(aggregation, Max) else min)


def result_of(aggregation: Aggregation, state: Any) -> Any:
    """The result of an aggregation whose state has taken all values."""
    if isinstance(aggregation, Count):
        return state.count
    if isinstance(aggregation, Sum):
        return state.total()
    return state.mean() if isinstance(aggregation, Avg) else state.value


#: The types whose values tie only if they are the same.
_PLAINLY_EQUAL = {str, int, bool, bytes, type(None)}


def chosen(values: Sequence[Any]) -> Any:
    """One of several values that tie in the total order: the same one, however they are ordered.

    Of equal numbers an int, then a positive zero; of equal datetimes a naive one, then that with the smallest offset.
    """
    first = values[0]
    kinds = set(map(type, values))
    if len(values) == 1 or (len(kinds) == 1 and type(first) in _PLAINLY_EQUAL):
        return first
    try:
        return min(values, key=_spelling)
    except Exception:  # noqa: BLE001 - values of any class may raise anything
        return first


def _spelling(value: Any) -> Any:
    """A sort key by which values that tie in the total order differ, if they differ at all."""
    number = rank(value)
    if number == NUMBER:
        is_float = issubclass(type(value), float)
        return (is_float, is_float and math.copysign(1.0, value) < 0)
    if number == DATETIME:
        offset = value.utcoffset()
        return (offset is not None, 0 if offset is None else offset.total_seconds())
    if number == BYTES:
        return type(value).__name__
    if number == LIST:
        return [_spelling(item) for item in value]
    if number == MAP:
        return [_spelling(value[name]) for name in sorted(value)]
    return ()


def whole(value: Any) -> Any:
    """A value to keep: a dict in place of a map that reads its members from the bytes of a larger one."""
    if issubclass(type(value), Mapping) and type(value) is not dict:
        return {name: whole(member) for name, member in value.items()}
    return value


def held_bytes(value: Any) -> int:
    """About how many bytes a value to keep takes, beside the objects themselves."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        return sum(64 + held_bytes(name) + held_bytes(member) for name, member in value.items())
    if isinstance(value, (list, tuple)):
        return sum(64 + held_bytes(item) for item in value)
    return 0
