"""The Query of a command line, and the syntax of `--order`. Knows queries, but no commands or stores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from datastore.model.errors import DatastoreError, InvalidQueryError
from datastore.model.fields import Order
from datastore.model.query import Query
from datastore_server.cli.where import parse_where

__all__ = ["is_direction", "parse_order", "query_of"]

_ASCENDING = r"(?:asc|ascending)"
_DESCENDING = r"(?P<descending>desc|descending)"
_DIRECTION = rf"(?:{_ASCENDING}|{_DESCENDING})"
#: A direction in words, as in other languages: `elevation desc`, `elevation:desc`, `desc(elevation)`.
_WORDED_ORDERS = (
    re.compile(rf"(?P<sign>[+-]?)(?P<field>.+?)\s*[\s:;,=/|]\s*{_DIRECTION}", re.IGNORECASE),
    re.compile(rf"{_DIRECTION}\s*[\s:;,=/|]\s*(?P<field>[^()]+)", re.IGNORECASE),
    re.compile(rf"{_DIRECTION}\s*\((?P<field>[^()]+)\)", re.IGNORECASE),
)


def parse_order(text: str) -> Order:
    """The Order of `elevation` or `+elevation` (ascending), or of `-elevation` (descending).

    A field that reads like an order of another language, e.g. `a:desc`, `a,b` or `a-`, is written in double quotes,
    as in JSON: `"a:desc"`, `-"a:desc"`. Raises InvalidQueryError.
    """
    written = text.strip()
    sign = written[:1] if written[:1] in Order.order_operators else ""
    field = written[len(sign) :].lstrip()
    if field.startswith('"'):
        return _quoted_order(text, sign, field)
    if meant := _meant_order(written):
        raise InvalidQueryError(
            f"the order {text!r} is not a field: write {meant}. "
            f"A field with exactly that name needs double quotes: '{sign}{json.dumps(field, ensure_ascii=False)}'",
            field="order",
        )
    return _order(text, written)


def is_direction(text: str) -> bool:
    """Whether a text is a direction in words, as in other query languages: `desc`, `Ascending`."""
    return re.fullmatch(_DIRECTION, text, re.IGNORECASE) is not None


def query_of(*, conditions: Iterable[str] = (), orders: Iterable[str] = (), **attributes: Any) -> Query:
    """The Query of a command line, frozen: its options, by the names of their arguments. Raises InvalidQueryError."""
    query = Query(attributes["key"]).replaced(**attributes)
    return query.replaced(filters=list(map(parse_where, conditions)), orders=list(map(parse_order, orders)))


def _order(text: str, written: str) -> Order:
    try:
        return Order(written)
    except DatastoreError as error:
        raise InvalidQueryError(
            f"the order {text!r} names no field: write elevation, or -elevation for descending", field="order"
        ) from error


def _quoted_order(text: str, sign: str, written: str) -> Order:
    try:
        field = json.loads(written)
    except json.JSONDecodeError as error:
        raise InvalidQueryError(
            f"the order {text!r} cannot be read: its quoted field: {error}", field="order"
        ) from error
    return _order(text, f"{sign or '+'}{field}")


def _meant_order(written: str) -> str | None:
    """The correct form of an order in the syntax of another language; None if it is not one."""
    for pattern in _WORDED_ORDERS:
        if found := pattern.fullmatch(written):
            return f"{'-' if found['descending'] else ''}{found['field'].strip()}"
    if re.fullmatch(r"[^,]*[^,\s][^,]*(,[^,]*[^,\s][^,]*)+", written):
        return " ".join(f"--order {part.strip()}" for part in written.split(","))
    if re.fullmatch(r"[^+-].*[+-]", written):
        return f"{'-' if written.endswith('-') else ''}{written[:-1].strip()}"
    return None
