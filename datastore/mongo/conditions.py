"""The server-side filter for a query: it selects everything the query does, and possibly more. Pure."""

from __future__ import annotations

import math
from typing import Any

from datastore.model.fields import KEY_FIELD, METADATA_FIELDS, VALUE_FIELD, Filter
from datastore.model.key import Key
from datastore.model.operators import OPERATORS
from datastore.model.query import Query
from datastore.model.trees import Condition, Tree
from datastore.mongo.documents import INT64

__all__ = ["condition", "is_known", "of_identities", "present"]

#: Documents of other programs may have no value, and are not visible; neither are the traces of deleted entries.
_HAS_VALUE = {"value": {"$exists": True}}

_OPERATORS = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def of_identities(identities: list[str]) -> dict[str, Any]:
    """The filter for the documents with these identities."""
    return {"_id": identities[0] if len(identities) == 1 else {"$in": identities}}


def present(now_us: int) -> dict[str, Any]:
    """The filter that selects what is an entry at this time, and has not expired."""
    return {**_HAS_VALUE, "expires_us": {"$not": {"$lte": now_us}}}


def condition(query: Query, now_us: int) -> dict[str, Any]:
    """The filter for the server: it selects everything the query does at this time, and possibly more."""
    conditions = [_scope(query), present(now_us)]
    if query.start_after is not None and not query.orders:
        conditions.append({"_id": {"$gt": str(query.start_after.key)}})
    if query.own_getter is None:
        conditions += [found for part in query.filters if (found := _filter(part)) is not None]
    conditions = [part for part in conditions if part]
    return {"$and": conditions} if len(conditions) > 1 else dict(*conditions)


def is_known(query: Query, part: Condition) -> bool:
    """Whether the server excludes some of what one of the query's filters does."""
    return query.own_getter is None and _filter(part) is not None


def _scope(query: Query) -> dict[str, Any]:
    text = str(query.key)
    if not query.recursive:
        return {"path": text}
    if text == "/":
        return {}
    # From `/a/` up to but not including `/a0`, because `0` follows `/`; likewise `;` follows `:`.
    below = [{"_id": {"$gte": text + first, "$lt": text + end}} for first, end in (("/", "0"), (":", ";"))]
    return {"$or": [{"path": text}, *below]}


def _filter(part: Condition) -> dict[str, Any] | None:
    """A condition that every entry that passes the filter meets; None if there is none."""
    if isinstance(part, Filter):
        return _comparison(part) if part.is_plain else None
    if not isinstance(part, Tree) or part.op == "not":
        return None
    found = [_filter(each) for each in part.parts]
    known = [each for each in found if each is not None]
    # Alternatives exclude nothing unless each of them is known.
    needed = 1 if part.op == "and" else len(found)
    return {f"${part.op}": known} if len(known) >= needed else None


def _comparison(part: Filter) -> dict[str, Any] | None:
    values = list(part.value) if OPERATORS[part.op].takes_list else [part.value]
    if part.field == KEY_FIELD:
        if not all(isinstance(value, Key) for value in values):
            return None
        return _tested("_id", part.op, list(map(str, values)))
    # A field with dots can be one name or a path; the server only supports paths.
    if any(mark in part.field for mark in ".$\0") or part.field in (VALUE_FIELD, *METADATA_FIELDS):
        return None
    if not all(map(_is_comparable, values)):
        return None
    return _tested(f"value.{part.field}", part.op, values)


def _tested(name: str, op: str, values: list[Any]) -> dict[str, Any] | None:
    if op == "in":
        return {name: {"$in": values}}
    if op == "starts_with":
        # Text with a prefix does not sort before the prefix; the library checks the rest.
        return {name: {"$gte": values[0]}}
    return {name: {_OPERATORS[op]: values[0]}} if op in _OPERATORS else None


def _is_comparable(value: Any) -> bool:
    """Whether the server compares such values like the library."""
    if type(value) is int:
        return value in INT64
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is str and value.isascii() and "\0" not in value
