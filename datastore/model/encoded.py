"""A value in serialized form, decoded only where somebody looks inside: a node answers by copying bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datastore.model.projection import cut

__all__ = ["Encoded", "decoded", "encoded_bytes", "projected", "views"]


class Encoded:
    """Serialized bytes that are a value. Filters and orders look through it; a subclass says how it is read.

    Equal to another if the decoded values are. Treat it as frozen.
    """

    __slots__ = ("data",)

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: bytes) -> None:
        self.data = data

    def decode(self) -> Any:
        """The value; CorruptDataError if the bytes cannot be read. Not cached: a decoded value is large."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is read")

    def view(self) -> Any:
        """The value, for looking up fields: a map may be a Mapping that reads no more than it is asked for."""
        return self.decode()

    @classmethod
    def views(cls, values: list[Any]) -> list[Any]:
        """`view` of each of many values of this kind: a subclass may read them together."""
        return [value.view() for value in values]

    def projected(self, fields: Sequence[str]) -> Any:
        """The value with these fields only, as `projection.cut` cuts it; a subclass may stay in serialized form."""
        return cut(self.decode(), fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoded):
            return NotImplemented
        return self.data == other.data or self.decode() == other.decode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data!r})"


def decoded(value: Any) -> Any:
    """A value that may be in serialized form, read; any other as it is."""
    # Not `isinstance`, which asks the value itself, and it may raise.
    return value.decode() if issubclass(type(value), Encoded) else value


def projected(value: Any, fields: Sequence[str]) -> Any:
    """A value with these fields only, in serialized form if it was."""
    return value.projected(fields) if issubclass(type(value), Encoded) else cut(value, fields)


def views(values: list[Any]) -> list[Any]:
    """Values that may be in serialized form, for looking up fields."""
    kinds = set(map(type, values))
    if not any(issubclass(kind, Encoded) for kind in kinds):
        return values
    if len(kinds) == 1:
        kind: type[Encoded] = kinds.pop()
        return kind.views(values)
    return [value.view() if issubclass(type(value), Encoded) else value for value in values]


def encoded_bytes(values: Iterable[Any]) -> int:
    """How much the serialized ones among some values hold; others are someone else's to keep."""
    return sum(len(value.data) for value in values if issubclass(type(value), Encoded))
