"""What `--where` and `--order` say, as Filters and Orders.

A condition is a field, an operator and a value: `country = CH`, `elevation >= 1000`, `name = "two words"`. Knows
queries and JSON values; knows no command and no store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from datastore.model.errors import DatastoreError, InvalidQueryError
from datastore.model.fields import Filter, Order
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_server.cli.values import from_json

__all__ = ["is_direction", "parse_order", "parse_where", "query_of"]

_KEY_FIELD = "__key__"
_OPERATORS = ", ".join(Filter.conditional_operators)
_OPERATOR = re.compile(r"[<>=!~]+")
# What begins like JSON is meant as JSON: a slip in it must not pass as text.
_JSON_BEGINNINGS = ('"', "{", "[")
#: Another condition behind this one, as SQL would have it.
_SEVERAL = re.compile(r"\s(and|or|&&|\|\|)\s+[\w.\"]+\s*(<=|>=|!=|=|<|>)\s*\S", re.IGNORECASE)
_ASCENDING = r"(?:asc|ascending)"
_DESCENDING = r"(?P<descending>desc|descending)"
_DIRECTION = rf"(?:{_ASCENDING}|{_DESCENDING})"
#: A direction in words, as other languages have it: `elevation desc`, `elevation:desc`, `desc(elevation)`.
_WORDED_ORDERS = (
    re.compile(rf"(?P<sign>[+-]?)(?P<field>.+?)\s*[\s:;,=/|]\s*{_DIRECTION}", re.IGNORECASE),
    re.compile(rf"{_DIRECTION}\s*[\s:;,=/|]\s*(?P<field>[^()]+)", re.IGNORECASE),
    re.compile(rf"{_DIRECTION}\s*\((?P<field>[^()]+)\)", re.IGNORECASE),
)


def parse_where(text: str) -> Filter:
    """The Filter of one condition, e.g. `elevation >= 1000`.

    The field comes first; one that holds an operator's characters is written in double quotes, as in JSON. The
    operator is one of `<` `<=` `=` `!=` `>=` `>`; `==` is taken for `=`. The value is JSON if it can be read as JSON
    (`1000`, `true`, `null`, `"two words"`, `{"$bytes": "..."}`), else it is text as it stands; for the field
    `__key__` it is a key. Raises InvalidQueryError.
    """
    field, rest = _field(text.strip())
    found = _OPERATOR.match(rest)
    if found is None or not field:
        missing = "a field" if found else "an operator"
        raise _refused(text, f"{missing} is missing: write a field, an operator ({_OPERATORS}) and a value")
    operator = "=" if found[0] == "==" else found[0]
    if operator not in Filter.conditional_operators:
        raise _refused(text, f"the operator {operator!r} is not one of {_OPERATORS}")
    written = rest[found.end() :].strip()
    if _SEVERAL.search(written) and not written.startswith(_JSON_BEGINNINGS):
        raise _refused(
            text, "this looks like two conditions: give each its own --where; a text like this needs double quotes"
        )
    if not written:
        raise _refused(text, 'a value is missing: the empty text is "", an absent field is null')
    try:
        value = _key(written) if field == _KEY_FIELD else _value(written)
        return Filter(field, operator, value)
    except DatastoreError as error:
        raise _refused(text, str(error)) from error


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
    """Whether a text is a direction in words, as orders of other languages have it: `desc`, `Ascending`."""
    return re.fullmatch(_DIRECTION, text, re.IGNORECASE) is not None


def query_of(
    key: Key,
    conditions: Iterable[str] = (),
    orders: Iterable[str] = (),
    *,
    limit: int | None = None,
    offset: int = 0,
    recursive: bool = False,
) -> Query:
    """The Query that a command line asks for. Raises InvalidQueryError."""
    query = Query(key, limit=limit, offset=offset, recursive=recursive)
    for condition in conditions:
        query.filter(parse_where(condition))
    for order in orders:
        query.order(parse_order(order))
    return query


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
    """What should have been written for an order in the words of another language; None if it is not one."""
    for pattern in _WORDED_ORDERS:
        if found := pattern.fullmatch(written):
            return f"{'-' if found['descending'] else ''}{found['field'].strip()}"
    if re.fullmatch(r"[^,]*[^,\s][^,]*(,[^,]*[^,\s][^,]*)+", written):
        return " ".join(f"--order {part.strip()}" for part in written.split(","))
    if re.fullmatch(r"[^+-].*[+-]", written):
        return f"{'-' if written.endswith('-') else ''}{written[:-1].strip()}"
    return None


def _field(text: str) -> tuple[str, str]:
    """The field that a condition begins with, and the rest from the operator on."""
    if text.startswith('"'):
        try:
            field, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError as error:
            raise _refused(text, f"its quoted field does not end: {error}") from error
        return field, text[end:].lstrip()
    found = _OPERATOR.search(text)
    start = found.start() if found else len(text)
    return text[:start].strip(), text[start:]


def _value(written: str) -> Any:
    try:
        json.loads(written, parse_constant=_text_after_all)
    except ValueError:
        if not written.startswith(_JSON_BEGINNINGS):
            return written
    return from_json(written)


def _text_after_all(name: str) -> Any:
    # Python reads NaN and Infinity, JSON does not.
    raise ValueError(name)


def _key(written: str) -> Key:
    value = from_json(written) if written.startswith(_JSON_BEGINNINGS) else written
    return value if isinstance(value, Key) else Key(value)


def _refused(text: str, why: str) -> InvalidQueryError:
    return InvalidQueryError(f"the condition {text!r} cannot be read: {why}", field="where")
