"""Conditions joined by `and`, `or` and `not`. Knows no operators and no stores; the caller evaluates comparisons."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

from datastore.model.errors import InvalidQueryError, LimitExceededError, UnsupportedTypeError
from datastore.model.limits import FILTER_DEPTH

if TYPE_CHECKING:
    from datastore.model.fields import Filter

__all__ = ["Condition", "Tree"]

#: Of the same arguments, whether each of many entries passes.
Judge = Callable[..., list[bool]]


class Condition:
    """A condition of a query: a comparison (a Filter), or a Tree of them made with `&`, `|` and `~`."""

    #: How deeply `and`, `or` and `not` are nested in it.
    depth: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether it runs none of the caller's code, so that a storage or a server can evaluate it."""
        raise NotImplementedError

    def __and__(self, other: Condition) -> Tree:
        return _joined("and", self, other)

    def __or__(self, other: Condition) -> Tree:
        return _joined("or", self, other)

    def __invert__(self) -> Tree:
        return Tree("not", [self])

    def __bool__(self) -> bool:
        # `a and b`, `not a` and `1 < Q("n") < 5` would silently drop a condition.
        raise UnsupportedTypeError(
            "a condition has no truth value: join conditions with &, | and ~ in parentheses, not with and, or and not,"
            " and write a range as two, e.g. (Q('age') >= 18) & (Q('age') < 65)",
            path="condition",
        )

    def __call__(self, obj: Any) -> bool:
        """Whether an object passes."""
        raise NotImplementedError

    def generator(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """The objects that pass, lazily."""
        return (obj for obj in iterable if self(obj))

    def comparisons(self) -> tuple[Filter, ...]:
        """Every comparison in it, from left to right."""
        raise NotImplementedError

    def mapped(self, change: Callable[[Filter], Filter]) -> Condition:
        """The same with each comparison changed."""
        raise NotImplementedError

    def judged(self, judge_of: Callable[[Filter], Judge]) -> Judge:
        """The condition as a function of many entries, from that of each comparison."""
        raise NotImplementedError

    def data(self) -> Any:
        """This as plain data: `[field, operator, value]`, `{"and": [...]}`, `{"or": [...]}` or `{"not": ...}`."""
        raise NotImplementedError


class Tree(Condition):
    """Conditions joined: `Tree("and", parts)`, `Tree("or", parts)`, or `Tree("not", [part])`. Treat it as frozen.

    Raises InvalidQueryError (a ValueError) for another joint or number of parts, UnsupportedTypeError (a TypeError)
    for parts that are not conditions, and LimitExceededError if it is nested more than FILTER_DEPTH deep.
    """

    def __init__(self, op: str, parts: Iterable[Condition]) -> None:
        self.op = op
        self.parts = tuple(parts)
        if op not in ("and", "or", "not"):
            raise InvalidQueryError(f"{op!r} does not join conditions; use one of and or not", field="op")
        if not self.parts or (op == "not" and len(self.parts) > 1):
            needed = "exactly one condition" if op == "not" else "at least one condition"
            raise InvalidQueryError(f"{op!r} takes {needed}, not {len(self.parts)}", field="parts")
        for part in self.parts:
            _checked(part, op)
        self.depth = 1 + max(part.depth for part in self.parts)
        if self.depth > FILTER_DEPTH:
            raise LimitExceededError(
                f"and, or and not may be nested {FILTER_DEPTH} deep in a filter, and these are nested deeper",
                limit="filter_depth",
                maximum=FILTER_DEPTH,
            )

    @property
    def is_plain(self) -> bool:
        return type(self) is Tree and all(part.is_plain for part in self.parts)

    def __call__(self, obj: Any) -> bool:
        """Whether an object passes."""
        return self.judged(lambda part: lambda objects: [bool(part(each)) for each in objects])([obj])[0]

    def comparisons(self) -> tuple[Filter, ...]:
        return tuple(found for part in self.parts for found in part.comparisons())

    def mapped(self, change: Callable[[Filter], Filter]) -> Tree:
        return Tree(self.op, [part.mapped(change) for part in self.parts])

    def judged(self, judge_of: Callable[[Filter], Judge]) -> Judge:
        """The tree as a function of many entries, from that of each comparison."""
        judges = [part.judged(judge_of) for part in self.parts]
        if self.op == "not":
            return lambda *columns: list(map(operator.not_, judges[0](*columns)))
        join = operator.and_ if self.op == "and" else operator.or_
        return lambda *columns: reduce(
            lambda held, more: list(map(join, held, more)), (judge(*columns) for judge in judges)
        )

    def data(self) -> Any:
        parts = [part.data() for part in self.parts]
        return {self.op: parts[0] if self.op == "not" else parts}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        return type(self) is type(other) and (self.op, self.parts) == (other.op, other.parts)

    def __hash__(self) -> int:
        return hash((self.op, self.parts))

    def __str__(self) -> str:
        if self.op == "not":
            return f"not {self.parts[0]}"
        return f"({f' {self.op} '.join(map(str, self.parts))})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.op!r}, {list(self.parts)!r})"


def _checked(part: Any, op: str) -> None:
    if not isinstance(part, Condition):
        raise UnsupportedTypeError(
            f"{op!r} joins conditions, e.g. Q('age') >= 18, not {type(part).__name__}", path="parts"
        )


def _joined(op: str, one: Condition, other: Condition) -> Tree:
    """Both in one tree; parts already joined in the same way are not nested deeper."""
    parts: list[Condition] = []
    for each in (one, other):
        parts += each.parts if type(each) is Tree and each.op == op else [each]
    return Tree(op, parts)
