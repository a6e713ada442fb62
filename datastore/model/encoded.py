"""Values and entries in serialized form that are decoded only on access: nodes and proxies answer by copying bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from datastore.model.projection import cut

if TYPE_CHECKING:
    from datastore.model.metadata import Stamp

__all__ = ["Encoded", "EncodedEntries", "decoded", "encoded_bytes", "projected", "views"]


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
    def views(cls, datas: list[bytes]) -> list[Any]:
        """The `view` of each of many values of this class, given their bytes; a subclass may read them together."""
        return [cls(data).view() for data in datas]

    @classmethod
    def members(cls, datas: list[bytes], names: Sequence[str]) -> list[list[Any]] | None:
        """For each name, the plain member of that very name of each map among many values of this class, or None.

        None if a subclass does not read them together, or cannot read these.
        """
        del datas, names
        return None

    @classmethod
    def holding(cls, datas: list[bytes], part: bytes) -> list[bool]:
        """Whether each of many values of this class may have a text or bytes with this part in it; True if unknown."""
        del part
        return [True] * len(datas)

    def projected(self, fields: Sequence[str]) -> Any:
        """The value with only these fields, as `projection.cut` returns it; a subclass may keep it serialized."""
        return cut(self.decode(), fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoded):
            return NotImplemented
        return self.data == other.data or self.decode() == other.decode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data!r})"


class EncodedEntries:
    """Entries in serialized form, of which a batch reads only the columns that are asked for; a subclass defines how.

    Immutable.
    """

    __slots__ = ()

    #: Whether the entries have values, and metadata.
    has_values: bool
    has_metadata: bool

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not implement __len__")

    def texts(self) -> list[bytes]:
        """The texts of the keys in UTF-8."""
        raise NotImplementedError(f"{type(self).__name__} does not implement texts")

    def text_at(self, index: int) -> bytes:
        """One of `texts`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement text_at")

    def values(self) -> list[Any]:
        """The values, still in serialized form; None for each entry if they have none."""
        raise NotImplementedError(f"{type(self).__name__} does not implement values")

    def metadata(self) -> list[Stamp] | None:
        """The metadata of each entry; None if they have none."""
        raise NotImplementedError(f"{type(self).__name__} does not implement metadata")

    def taken(self, take: Callable[[list[Any]], list[Any]]) -> Self:
        """The entries that `take` takes of a list."""
        raise NotImplementedError(f"{type(self).__name__} does not implement taken")

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The entries of several parts, one after the other."""
        raise NotImplementedError(f"{cls.__name__} does not implement joined")


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
        return kind.views([value.data for value in values])
    return [value.view() if issubclass(type(value), Encoded) else value for value in values]


def encoded_bytes(values: Iterable[Any]) -> int:
    """The total size of the serialized values among these, in bytes; other objects are not copies, so do not count."""
    return sum([len(value.data) for value in values if issubclass(type(value), Encoded)])
