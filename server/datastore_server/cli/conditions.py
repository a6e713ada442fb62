"""What `--where` and `--order` say, as Filters and Orders.

A condition is a field, an operator and a value: `country = CH`, `elevation >= 1000`, `name = "two words"`. Knows
queries and JSON values; knows no command and no store.
"""

from __future__ import annotations

import json
import re
from typing import Any

from datastore.core.errors import DatastoreError, InvalidQueryError
from datastore.core.key import Key
from datastore.core.query import Filter, Order
from datastore_server.cli.values import from_json

__all__ = ["parse_order", "parse_where"]

_KEY_FIELD = "__key__"
_OPERATORS = ", ".join(Filter.conditional_operators)
_OPERATOR = re.compile(r"[<>=!~]+")
# What begins like JSON is meant as JSON: a slip in it must not pass as text.
_JSON_BEGINNINGS = ('"', "{", "[")
#: Another condition behind this one, as SQL would have it.
_SEVERAL = re.compile(r"\s(and|or|&&|\|\|)\s+[\w.\"]+\s*(<=|>=|!=|=|<|>)\s*\S", re.IGNORECASE)
_SQL_DIRECTION = re.compile(r"(?P<field>.+?)\s+(?P<direction>asc|desc)", re.IGNORECASE)


def parse_where(text: str) -> Filter:
    """The Filter of one condition, as `elevation >= 1000`.

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
        raise _refused(text, f"the operator {operator!r} is none of {_OPERATORS}")
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

    Raises InvalidQueryError.
    """
    written = text.strip()
    sql = _SQL_DIRECTION.fullmatch(written)
    if sql is not None:
        sign = "-" if sql["direction"].lower() == "desc" else ""
        raise InvalidQueryError(f"the order {text!r} names its direction: write {sign}{sql['field']}", field="order")
    try:
        return Order(written)
    except DatastoreError as error:
        raise InvalidQueryError(
            f"the order {text!r} names no field: write elevation, or -elevation for descending", field="order"
        ) from error


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
