"""The naive answer: the results that a query must have, computed from a plain dict in the most obvious way.

Written only from the documented rules. It shares no code with the library's ordering, filters, key paths or pipeline,
so that it can catch their bugs; it reads only data from them (the text of a key, the fields of a query).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cmp_to_key
from typing import Any, NamedTuple

from datastore.model.entries import Entry, StoredEntry
from datastore.model.key import Key
from datastore.model.metadata import Metadata

__all__ = ["Answer", "answer", "collection_of", "compare", "difference", "lookup", "matches", "same"]

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


class Answer(NamedTuple):
    """The results of a query: its entries in order, and how many its offset skipped."""

    entries: list[Entry]
    skipped: int

    @property
    def keys(self) -> list[Key | None]:
        """Only the keys."""
        return [entry.key for entry in self.entries]


def answer(
    query: Any,
    contents: Mapping[Key, Any],
    after: Entry | None = None,
    *,
    metadata: Mapping[Key, Metadata] | None = None,
) -> Answer:
    """The answer to `query` of a store that holds `contents`.

    `after` is the entry that the query's `start_after` refers to. `metadata` is that of every key, and needed only if
    the query reads it.
    """
    known = metadata or {}
    found = [_entry(key, value, known.get(key)) for key, value in contents.items() if _in_scope(query, str(key))]
    found = [entry for entry in found if all(_passes(filter_, entry) for filter_ in query.filters)]
    in_order = _comparison(query.orders)
    found.sort(key=cmp_to_key(in_order))
    if after is not None:
        found = [entry for entry in found if in_order(entry, after) > 0]
    if query.limit == 0:
        return Answer([], 0)
    kept = found[query.offset :]
    skipped = len(found) - len(kept)
    if query.limit is not None:
        kept = kept[: query.limit]
    return Answer([_shown(query, entry) for entry in kept], skipped)


def _entry(key: Key | None, value: Any, metadata: Metadata | None) -> Entry:
    return Entry(key, value) if metadata is None else StoredEntry.read(key, value, metadata)


def _shown(query: Any, entry: Entry) -> Entry:
    """An entry as the query returns it."""
    value = entry.value
    if query.keys_only:
        value = None
    elif query.fields is not None:
        value = _cut(value, query.fields)
    return _entry(entry.key, value, entry.metadata if query.metadata else None)


def _cut(value: Any, fields: Sequence[str]) -> dict[str, Any]:
    """The part of a value that a query for these fields returns."""
    paths = {path for field in fields if (path := _path_of(value, field))}
    kept: dict[str, Any] = {}
    for path in paths:
        if any(path[:length] in paths for length in range(1, len(path))):
            continue
        into, held = kept, value
        for name in path[:-1]:
            into, held = into.setdefault(name, {}), held[name]
        into[path[-1]] = held[path[-1]]
    return kept


def _path_of(value: Any, field: str) -> tuple[str, ...]:
    """The names of the maps and of the member to which a field leads; none if it is missing."""
    if not isinstance(value, Mapping):
        return ()
    if field in value:
        return (field,)
    head, dot, rest = field.partition(".")
    inner = _path_of(value.get(head), rest) if dot else ()
    return (head, *inner) if inner else ()


def collection_of(text: str) -> str:
    """The text of the collection that the key of this text is in."""
    above, _, last = text.rpartition("/")
    field, colon, _ = last.partition(":")
    return (f"{above}/{field}" if colon and field else above) or "/"


def _in_scope(query: Any, text: str) -> bool:
    scope = str(query.key)
    if collection_of(text) == scope:
        return True
    return bool(query.recursive) and (scope == "/" or text.startswith((f"{scope}/", f"{scope}:")))


def _passes(filter_: Any, entry: Entry) -> bool:
    if hasattr(filter_, "parts"):
        passing = [_passes(part, entry) for part in filter_.parts]
        if filter_.op == "not":
            return not passing[0]
        return all(passing) if filter_.op == "and" else any(passing)
    return matches(lookup(entry, filter_.field), filter_.op, filter_.value)


def lookup(entry: Entry, field: str) -> Any:
    """The field of an entry of plain values; None if it is missing. Fields of metadata need a StoredEntry."""
    if field == "__key__":
        return entry.key
    if field == "__value__":
        return entry.value
    if field in ("__version__", "__create_time__", "__update_time__"):
        return getattr(entry, field.strip("_"))
    return _item(entry.value, field)


def _item(value: Any, field: str) -> Any:
    if not isinstance(value, Mapping):
        return None
    if field in value:
        return value[field]
    head, dot, rest = field.partition(".")
    if dot and isinstance(value.get(head), Mapping):
        return _item(value[head], rest)
    return None


def matches(value: Any, operator: str, wanted: Any) -> bool:
    """Whether a field's value passes a filter's operator and value."""
    if operator == "!=":
        return not matches(value, "=", wanted)
    if operator == "exists":
        return bool(wanted) == (value is not None)
    if operator == "in":
        return any(matches(value, "=", each) for each in wanted)
    if operator == "not in":
        return all(matches(value, "!=", each) for each in wanted)
    if operator in ("starts_with", "contains"):
        return _has_part(value, operator, wanted)
    if value is None or wanted is None:
        return operator == "=" and value is None and wanted is None
    if _is_nan(value) or _is_nan(wanted) or _rank(value) != _rank(wanted):
        return False
    sign = compare(value, wanted)
    return {
        "<": sign < 0,
        "<=": sign <= 0,
        "=": sign == 0,
        ">=": sign >= 0,
        ">": sign > 0,
    }[operator]


def _has_part(value: Any, operator: str, wanted: Any) -> bool:
    if operator == "contains" and isinstance(value, (list, tuple)):
        return any(matches(each, "=", wanted) for each in value)
    kinds = [str, bytes, Key] if operator == "starts_with" else [str, bytes]
    if not any(isinstance(value, kind) and isinstance(wanted, kind) for kind in kinds):
        return False
    if isinstance(value, Key):
        value, wanted = str(value), str(wanted)
    at: int = value.find(wanted)
    return at == 0 if operator == "starts_with" else at >= 0


def _comparison(orders: Sequence[Any]) -> Callable[[Entry, Entry], int]:
    def in_order(one: Entry, other: Entry) -> int:
        for order in orders:
            sign = compare(lookup(one, order.field), lookup(other, order.field))
            if sign:
                return -sign if order.op == "-" else sign
        return _sign(str(one.key), str(other.key))

    return in_order


def compare(one: Any, other: Any) -> int:
    """-1, 0 or 1: the total order of plain values."""
    rank = _rank(one)
    if rank != _rank(other):
        return _sign(rank, _rank(other))
    if rank == _NUMBER:
        if _is_nan(one) or _is_nan(other):
            return int(_is_nan(other)) - int(_is_nan(one))
        return _sign(one, other)
    if rank == _DATETIME:
        return _sign(_instant(one), _instant(other))
    if rank == _LIST:
        return _compare_lists(one, other)
    if rank == _MAP:
        return _compare_lists(_pairs(one), _pairs(other))
    if rank == _KEY:
        return _sign(str(one).encode(), str(other).encode())
    return 0 if one is None else _sign(one, other)


def _compare_lists(one: Sequence[Any], other: Sequence[Any]) -> int:
    for left, right in zip(one, other, strict=False):
        sign = compare(left, right)
        if sign:
            return sign
    return _sign(len(one), len(other))


def _pairs(value: Mapping[Any, Any]) -> list[list[Any]]:
    by_key = cmp_to_key(compare)
    return [[key, value[key]] for key in sorted(value, key=by_key)]


_NUMBER, _DATETIME, _KEY, _LIST, _MAP = 2, 3, 6, 7, 8


def _rank(value: Any) -> int:
    if value is None:
        return 0
    ranked: list[tuple[int, Any]] = [
        (1, bool),
        (_NUMBER, (int, float)),
        (_DATETIME, datetime),
        (4, str),
        (5, bytes),
        (_KEY, Key),
        (_LIST, (list, tuple)),
        (_MAP, Mapping),
    ]
    for rank, kind in ranked:
        if isinstance(value, kind):
            return rank
    raise TypeError(f"the model supports only plain values, not {type(value).__name__}")


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _instant(value: datetime) -> int:
    offset = value.utcoffset() or timedelta()
    return (value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND - offset // _MICROSECOND


def same(found: Any, expected: Any, *, keeps_tuples: bool = False) -> bool:
    """Whether a value came back unchanged: equal, and of the same type at every depth.

    NaN is itself, -0.0 is not 0.0, an aware datetime comes back aware at the same instant. A tuple may come back
    as a list unless the store keeps tuples.
    """
    if isinstance(expected, tuple) and not keeps_tuples and type(found) is list:
        found = tuple(found)
    if type(found) is not type(expected):
        return False
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(
            same(one, other, keeps_tuples=keeps_tuples) for one, other in zip(found, expected, strict=True)
        )
    if isinstance(expected, Mapping):
        return found.keys() == expected.keys() and all(
            same(found[key], expected[key], keeps_tuples=keeps_tuples) for key in expected
        )
    if isinstance(expected, float):
        return repr(found) == repr(expected)
    if isinstance(expected, datetime):
        aware = [value.utcoffset() is not None for value in (found, expected)]
        return aware[0] == aware[1] and _instant(found) == _instant(expected)
    return bool(found == expected)


def difference(found: Sequence[Entry], expected: Sequence[Entry], *, keeps_tuples: bool = False) -> str | None:
    """The first place where entries differ from the expected ones, in words; None if they are the same."""
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        if str(one.key) != str(other.key):
            return f"at {place} the key is {one.key}, not {other.key}"
        if not same(one.value, other.value, keeps_tuples=keeps_tuples):
            return f"at {place}, {one.key}, the value is {one.value!r}, not {other.value!r}"
        if one.metadata != other.metadata:
            return f"at {place}, {one.key}, the metadata is {one.metadata}, not {other.metadata}"
    if len(found) < len(expected):
        return f"{len(found)} of {len(expected)}: {expected[len(found)].key} and what follows is missing"
    if len(found) > len(expected):
        return f"{len(found)} instead of {len(expected)}: {found[len(expected)].key} is not expected"
    return None
