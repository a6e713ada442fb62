"""Q: conditions written as expressions, for `Query.filter`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datastore.model.errors import UnsupportedTypeError
from datastore.model.fields import Filter

__all__ = ["Q"]


class Q:
    """A field to compare: `(Q("country").in_(["CH", "AT"]) & ~(Q("iata") == "")) | (Q("elevation") > 3000)`.

    Each comparison is a Filter. Join them with `&`, `|` and `~`, in parentheses: Python's own `and`, `or` and `not`
    cannot be used. `Q("__key__")` is the key of an entry, `Q("__value__")` its whole value.
    """

    __slots__ = ("_field",)

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, field: str) -> None:
        self._field = field

    def __lt__(self, value: Any) -> Filter:
        return Filter(self._field, "<", value)

    def __le__(self, value: Any) -> Filter:
        return Filter(self._field, "<=", value)

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return Filter(self._field, "=", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return Filter(self._field, "!=", value)

    def __ge__(self, value: Any) -> Filter:
        return Filter(self._field, ">=", value)

    def __gt__(self, value: Any) -> Filter:
        return Filter(self._field, ">", value)

    def in_(self, values: Iterable[Any]) -> Filter:
        """Equals one of the values. For a text: UnsupportedTypeError (a TypeError), rather than its letters."""
        return Filter(self._field, "in", _listed(values, "in_"))

    def not_in(self, values: Iterable[Any]) -> Filter:
        """Equals none of the values."""
        return Filter(self._field, "not in", _listed(values, "not_in"))

    def starts_with(self, value: Any) -> Filter:
        """A text, bytes or the text of a key that begins with the value."""
        return Filter(self._field, "starts_with", value)

    def contains(self, value: Any) -> Filter:
        """A list with the value as an item, or a text or bytes with it as a part."""
        return Filter(self._field, "contains", value)

    def exists(self) -> Filter:
        """Is present and not None."""
        return Filter(self._field, "exists", True)

    def __repr__(self) -> str:
        return f"Q({self._field!r})"


def _listed(values: Any, method: str) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UnsupportedTypeError(f"{method} takes a list of values, not {type(values).__name__}", path="value")
    return list(values)
