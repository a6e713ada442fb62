"""A value in serialized form that is decoded only on access: a node answers by copying bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datastore.model.projection import cut

__all__ = ["Encoded", "decoded", "encoded_bytes", "members", "projected", "views"]


class Encoded:
    """The serialized bytes of a value. Filters and orders see the value; a subclass defines how to read it.

    Two are equal if their decoded values are. Treat it as frozen.
    """

    __slots__ = ("data",)

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: bytes) -> None:
        self.data = data

    def decode(self) -> Any:
        """The value; CorruptDataError if the bytes cannot be read. Not cached: a decoded value is large."""
        raise NotImplementedError(f"{type(self).__name__} does not implement decode")

    def view(self) -> Any:
        """The value, for looking up fields: a map may be a Mapping that reads only the requested members."""
        return self.decode()

    @classmethod
    def views(cls, values: list[Any]) -> list[Any]:
        """The `view` of each of many values of this class; a subclass may read them together."""
        return [value.view() for value in values]

    @classmethod
    def members(cls, values: list[Any], names: Sequence[str]) -> list[list[Any]] | None:
        """For each name, the plain member of that very name of each map among many values of this class, or None.

        None if a subclass does not read them together, or cannot read these.
        """
        del values, names
        return None

    def projected(self, fields: Sequence[str]) -> Any:
        """The value with only these fields, as `projection.cut` returns it; a subclass may keep it serialized."""
        return cut(self.decode(), fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoded):
            return NotImplemented
        return self.data == other.data or self.decode() == other.decode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data!r})"


def decoded(value: Any) -> Any:
    """The value itself, decoded if it is in serialized form."""
    # Not `isinstance`, which runs code of the value's class, and may raise.
    return value.decode() if issubclass(type(value), Encoded) else value


def projected(value: Any, fields: Sequence[str]) -> Any:
    """A value with only these fields, still in serialized form if it was."""
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


def members(values: list[Any], names: Sequence[str]) -> list[list[Any]] | None:
    """`Encoded.members` of values that are all of one such class; None for others."""
    kinds = set(map(type, values))
    kind = kinds.pop()
    return kind.members(values, names) if not kinds and issubclass(kind, Encoded) else None


def encoded_bytes(values: Iterable[Any]) -> int:
    """The total size of the serialized values among these, in bytes; other objects are not copies, so do not count."""
    return sum(len(value.data) for value in values if issubclass(type(value), Encoded))
