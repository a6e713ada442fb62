"""The operators of filters, each in one place: its text, what it matches, its key range and its number on the wire.

Values are compared in the total order, without coercion. Pure; knows values and keys, but no queries.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, NamedTuple

from datastore.model.encoded import decoded
from datastore.model.key import Key
from datastore.model.ordering import BOOL, BYTES, KEY, LIST, NUMBER, OTHER, STR, is_nan, order_key, rank

__all__ = ["OPERATORS", "KeyRange", "Operator", "after", "all_of", "column_predicate", "hull", "value_predicate"]

#: Whether each of many values passes. Never raises.
ColumnPredicate = Callable[[list[Any]], list[bool]]
#: The lowest key text that may match, in bytes, and the lowest that is too high (None: unbounded).
KeyRange = tuple[bytes, bytes | None]


class Operator(NamedTuple):
    """One operator: `text` as it is written, `number` of `FieldFilter.Operator` on the wire."""

    text: str
    number: int
    #: The condition for one wanted value.
    column: Callable[[Any], ColumnPredicate]
    #: The part of the key space with all keys that match a wanted key.
    key_range: Callable[[bytes], KeyRange] | None = None
    #: What the wanted value must be, in words, and the check; every value is valid by default.
    valid: str = ""
    is_valid: Callable[[Any], bool] = lambda wanted: True
    #: Whether the wanted value is a list of values, any of which may match.
    takes_list: bool = False
    #: Whether values that match a text or bytes have these in them.
    finds_part: bool = False

    def fault_of(self, wanted: Any) -> str | None:
        """Why a wanted value is invalid, in words; None if it is valid."""
        if self.is_valid(decoded(wanted)):
            return None
        return f"the operator {self.text!r} takes {self.valid}, not {type(wanted).__name__}"

    def with_keys(self, wanted: Any, inner: Callable[[Key], Key]) -> Any:
        """The wanted value of a condition on `__key__`, for a store that holds each key as `inner(key)`."""
        if self.takes_list:
            return [inner(each) if isinstance(each, Key) else each for each in decoded(wanted)]
        return inner(wanted) if isinstance(wanted, Key) else wanted

    def range_of(self, wanted: Any) -> KeyRange | None:
        """The part of the key space with all keys that match; None if that is not known."""
        if self.key_range is None:
            return None
        keys = decoded(wanted) if self.takes_list else (wanted,)
        texts = [str(key).encode() for key in keys if isinstance(key, Key)]
        return hull(map(self.key_range, texts)) if texts else None


def hull(ranges: Iterable[KeyRange]) -> KeyRange:
    """The smallest range with all of some ranges, of which there is at least one."""
    starts, ends = zip(*ranges, strict=True)
    return min(starts), None if None in ends else max(ends)


def after(text: bytes) -> bytes:
    """The least text greater than `text`; no key has a NUL."""
    return text + b"\x00"


def all_of(kind: type, values: list[Any]) -> bool:
    """Whether all values are of exactly this type, not of a subclass."""
    return operator.countOf(map(type, values), kind) == len(values)


def value_predicate(op: str, wanted: Any) -> Callable[[Any], bool]:
    """The condition `value op wanted` as a function of the value. It never raises."""
    column = column_predicate(op, wanted)
    return lambda value: column([value])[0]


def column_predicate(op: str, wanted: Any) -> ColumnPredicate:
    """The condition `value op wanted` as a function of many values: whether each passes. It never raises."""
    return OPERATORS[op].column(decoded(wanted))


# Comparisons


def _comparison(op: str) -> Callable[[Any], ColumnPredicate]:
    return lambda wanted: _compared(op, wanted)


def _compared(op: str, wanted: Any) -> ColumnPredicate:
    if is_nan(wanted) or (wanted is None and op not in ("=", "!=")):
        return lambda values: [op == "!="] * len(values)
    judge = _judge(op, wanted)
    alike = _ALIKE.get(type(wanted))
    if alike is None:
        return lambda values: list(map(judge, values))
    comparison = _COMPARISONS[op]

    def judged(values: list[Any]) -> list[bool]:
        # Most values have exactly the wanted type, which Python compares as the total order does; NaN passes "!=".
        if all_of(type(wanted), values) or alike.issuperset(map(type, values)):
            return list(map(comparison, values, repeat(wanted)))
        return [comparison(value, wanted) if type(value) in alike else judge(value) for value in values]

    return judged


#: The types whose values Python itself compares with one of these types as the total order does.
_ALIKE: dict[type, frozenset[type]] = {
    int: frozenset({int, float}),
    float: frozenset({int, float}),
    **{kind: frozenset({kind}) for kind in (bool, str, bytes, Key)},
}

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def _judge(op: str, wanted: Any) -> Callable[[Any], bool]:
    """The condition, for values of any type."""
    kind, target = rank(wanted), order_key(wanted)
    foreign = type(wanted) if kind == OTHER else None
    comparison = _COMPARISONS[op]

    def passes(value: Any) -> bool:
        value = decoded(value)
        if rank(value) != kind or is_nan(value) or (foreign is not None and type(value) is not foreign):
            return op == "!="
        key = order_key(value)
        return comparison(-1 if key < target else int(target < key), 0)

    return passes


# Lists of values

#: The kinds whose values are equal exactly if Python's are, with the types that values mostly have.
_HASHED: dict[int, tuple[type, ...]] = {NUMBER: (int, float), BOOL: (bool,), STR: (str,), BYTES: (bytes,)}


def _one_of(wanted: Any) -> ColumnPredicate:
    """Whether a value equals any of the wanted ones. Hashed: many wanted values cost no more than one."""
    wanted = [each for each in map(decoded, wanted) if not is_nan(each)]
    foreign = [_judge("=", each) for each in wanted if rank(each) == OTHER]
    targets = {order_key(each) for each in wanted if rank(each) != OTHER}
    simple: dict[type, Callable[[Any], bool]] = {
        kind: frozenset(target[1] for target in targets if target[0] == number).__contains__
        for number, kinds in _HASHED.items()
        for kind in kinds
    }

    def judge(value: Any) -> bool:
        value = decoded(value)
        if rank(value) == OTHER:
            return any(equals(value) for equals in foreign)
        return not is_nan(value) and order_key(value) in targets

    def judged(values: list[Any]) -> list[bool]:
        kinds = set(map(type, values))
        if len(kinds) == 1 and (found := simple.get(kinds.pop())):
            return list(map(found, values))
        return [simple.get(type(value), judge)(value) for value in values]

    return judged


def _none_of(wanted: Any) -> ColumnPredicate:
    judged = _one_of(wanted)
    return lambda values: list(map(operator.not_, judged(values)))


# Parts of values


def _starts_with(wanted: Any) -> ColumnPredicate:
    kind, start = rank(wanted), order_key(wanted)[1]

    def judged(values: list[Any]) -> list[bool]:
        if kind == STR and all_of(str, values):
            return [value.startswith(start) for value in values]
        return [rank(value) == kind and order_key(value)[1].startswith(start) for value in map(decoded, values)]

    return judged


def _contains(wanted: Any) -> ColumnPredicate:
    kind, equal = rank(wanted), _compared("=", wanted)
    part = order_key(wanted)[1] if kind in (STR, BYTES) else None

    def judge(value: Any) -> bool:
        value = decoded(value)
        if rank(value) == LIST:
            return any(equal(_items(value)))
        return part is not None and rank(value) == kind and part in order_key(value)[1]

    return lambda values: list(map(judge, values))


def _items(value: Any) -> list[Any]:
    try:
        return list(value)
    except Exception:  # noqa: BLE001 - a list can be of any class
        return []


def _exists(wanted: Any) -> ColumnPredicate:
    return _compared("!=" if wanted else "=", None)


# The table


def _beginning(text: bytes) -> KeyRange:
    # No key has the byte 0xFF, which UTF-8 does not use.
    return text, text + b"\xff"


_LIST_OF_VALUES: dict[str, Any] = {
    "valid": "a list of values",
    "is_valid": lambda wanted: rank(wanted) == LIST,
    "takes_list": True,
}

#: Every operator by its text. Numbers are those of `FieldFilter.Operator`; none is ever reused.
OPERATORS: dict[str, Operator] = {
    each.text: each
    for each in (
        Operator("<", 1, _comparison("<"), lambda text: (b"/", text)),
        Operator("<=", 2, _comparison("<="), lambda text: (b"/", after(text))),
        Operator("=", 3, _comparison("="), lambda text: (text, after(text)), finds_part=True),
        Operator("!=", 4, _comparison("!=")),
        Operator(">=", 5, _comparison(">="), lambda text: (text, None)),
        Operator(">", 6, _comparison(">"), lambda text: (after(text), None)),
        Operator("in", 7, _one_of, lambda text: (text, after(text)), **_LIST_OF_VALUES),
        Operator("not in", 8, _none_of, **_LIST_OF_VALUES),
        Operator(
            "starts_with",
            9,
            _starts_with,
            _beginning,
            valid="a text, bytes or a key",
            is_valid=lambda wanted: rank(wanted) in (STR, BYTES, KEY),
            finds_part=True,
        ),
        Operator("contains", 10, _contains, finds_part=True),
        Operator("exists", 11, _exists, valid="true or false", is_valid=lambda wanted: rank(wanted) == BOOL),
    )
}
