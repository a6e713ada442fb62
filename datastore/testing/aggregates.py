"""The naive aggregates: what a store must compute, from a plain dict in the most obvious way, and generated ones.

Numbers are fractions. Like `datastore.testing.model`, it shares no code with the library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

from hypothesis import strategies as st

from datastore.model.aggregates import Aggregation, Avg, Count, Max, Min, Sum
from datastore.model.entries import Entry
from datastore.model.key import Key
from datastore.model.metadata import Metadata
from datastore.testing import model

__all__ = ["aggregations", "difference", "groupings", "rows"]

_FIELDS = ["n", "s", "m.x", "m", "missing", "__key__", "__value__"]


def aggregations() -> st.SearchStrategy[dict[str, Aggregation]]:
    """A few aggregations, named by themselves."""
    kinds = st.sampled_from([Count, Sum, Avg, Min, Max])
    part = st.one_of(st.just(Count()), st.builds(lambda kind, field: kind(field), kinds, st.sampled_from(_FIELDS)))
    return st.lists(part, min_size=1, max_size=4).map(lambda parts: {str(part): part for part in parts})


def groupings() -> st.SearchStrategy[list[str]]:
    """What to group by."""
    return st.lists(st.sampled_from(_FIELDS), max_size=2, unique=True)


def rows(
    query: Any,
    contents: Mapping[Key, Any],
    parts: Mapping[str, Aggregation],
    group_by: Sequence[str],
    *,
    metadata: Mapping[Key, Metadata] | None = None,
) -> list[dict[str, Any]]:
    """The rows of an aggregate of a store that holds `contents`, sorted by their groups.

    `metadata` is that of every key, for a query with `metadata`.
    """
    groups: list[tuple[list[Any], list[Entry]]] = [] if group_by else [([], [])]
    for entry in model.answer(query, contents, metadata=metadata).entries:
        values = [model.lookup(entry, field) for field in group_by]
        held = next((held for known, held in groups if not model.compare(known, values)), None)
        if held is None:
            groups.append((values, [entry]))
        else:
            held.append(entry)
    groups.sort(key=cmp_to_key(_by_group))
    return [
        dict(zip(group_by, values, strict=True)) | {name: _result(part, held) for name, part in parts.items()}
        for values, held in groups
    ]


def _by_group(one: tuple[list[Any], list[Entry]], other: tuple[list[Any], list[Entry]]) -> int:
    return model.compare(one[0], other[0])


def _result(part: Aggregation, entries: Sequence[Entry]) -> Any:
    if part == Count():
        return len(entries)
    values = [value for entry in entries if (value := model.lookup(entry, str(part.field))) is not None]
    if isinstance(part, Count):
        return len(values)
    if isinstance(part, (Min, Max)):
        ordered = sorted(values, key=cmp_to_key(model.compare))
        return None if not ordered else ordered[0 if isinstance(part, Min) else -1]
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if isinstance(part, Avg) and not numbers:
        return None
    special = [value for value in numbers if not _is_finite(value)]
    if special:
        return sum(special)
    total = sum(map(Fraction, numbers), Fraction())
    if isinstance(part, Avg):
        return _rounded(total / len(numbers))
    is_int = all(isinstance(value, int) for value in numbers) and -(2**63) <= total < 2**63
    return int(total) if is_int else _rounded(total)


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _rounded(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def difference(
    found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]], parts: Mapping[str, Aggregation]
) -> str | None:
    """The first place where rows differ from the expected ones, in words; None if they are the same.

    Counts, sums and means are the same to the bit. Of values that tie in the total order, any may represent them.
    """
    if len(found) != len(expected):
        return f"{len(found)} rows instead of {len(expected)}: {found} instead of {expected}"
    for row, wanted in zip(found, expected, strict=True):
        if list(row) != list(wanted):
            return f"the columns are {list(row)}, not {list(wanted)}"
        for name, value in row.items():
            is_number = isinstance(parts.get(name), (Count, Sum, Avg))
            if not (model.same(value, wanted[name]) if is_number else not model.compare(value, wanted[name])):
                return f"{name} is {value!r}, not {wanted[name]!r}, in {wanted}"
    return None
