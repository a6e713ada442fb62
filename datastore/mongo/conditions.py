"""The server-side filter for a query: it selects everything the query does, and possibly more. Pure."""

from __future__ import annotations

import math
from typing import Any

from datastore.model.fields import Filter
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.mongo.documents import INT64

__all__ = ["HAS_VALUE", "condition"]

#: Documents of other programs may have no value, and are not visible.
HAS_VALUE = {"value": {"$exists": True}}

_OPERATORS = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def condition(query: Query) -> dict[str, Any]:
    """The filter for the server: it selects everything the query does, and possibly more."""
    conditions = [_scope(query)] if query.reads_values else [_scope(query), HAS_VALUE]
    if query.start_after is not None and not query.orders:
        conditions.append({"_id": {"$gt": str(query.start_after.key)}})
    if query.own_getter is None:
        conditions += [found for part in query.filters if (found := _filter(part)) is not None]
    conditions = [part for part in conditions if part]
    return {"$and": conditions} if len(conditions) > 1 else dict(*conditions)


def _scope(query: Query) -> dict[str, Any]:
    text = str(query.key)
    if not query.recursive:
        return {"path": text}
    if text == "/":
        return {}
    # From `/a/` up to but not including `/a0`, because `0` follows `/`; likewise `;` follows `:`.
    below = [{"_id": {"$gte": text + first, "$lt": text + end}} for first, end in (("/", "0"), (":", ";"))]
    return {"$or": [{"path": text}, *below]}


def _filter(part: Filter) -> dict[str, Any] | None:
    """A condition that every entry that passes the filter meets; None if there is none."""
    operator = _OPERATORS.get(part.op)
    if not part.is_plain or operator is None:
        return None
    if part.field == "__key__":
        return {"_id": {operator: str(part.value)}} if isinstance(part.value, Key) else None
    # A field with dots can be one name or a path; the server only supports paths.
    if "." in part.field or "$" in part.field or "\0" in part.field or not _is_comparable(part.value):
        return None
    return {f"value.{part.field}": {operator: part.value}}


def _is_comparable(value: Any) -> bool:
    """Whether the server compares such values like the library."""
    if type(value) is int:
        return value in INT64
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is str and value.isascii() and "\0" not in value
