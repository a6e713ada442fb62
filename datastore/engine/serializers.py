"""Serializers: anything with callable `loads` and `dumps`. Pure; knows no store.

`dumps` returns a str, bytes or a mapping; `loads` converts that to an equal value. A serializer may declare
`keeps_mappings = True`: maps are stored as maps, so that the store below can look inside them; and
`never_loads_none = True`: entries can be counted without loading them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeGuard

from datastore.model.encoded import Encoded
from datastore.model.errors import UnsupportedTypeError
from datastore.model.spellings import definer_of

__all__ = [
    "NonSerializer",
    "Serializer",
    "SerializerLike",
    "Stack",
    "default_serializer",
    "deserialized_gen",
    "implements_serializer_interface",
    "is_serializer",
    "keeps_mappings",
    "loads_encoded",
    "map_serializer",
    "monkey_patch_bson",
    "never_loads_none",
    "prettyjson",
    "require_serializer",
    "sentinels",
    "serialized_gen",
]


class SerializerLike(Protocol):
    """The type of a serializer, for type checkers: modules such as json and pickle, classes, objects."""

    def loads(self, value: Any, /) -> Any:
        """The value that `dumps` was given, or one equal to it."""

    def dumps(self, value: Any, /) -> Any:
        """`value` as a str, bytes or a mapping."""


#: The default of a serializer shim.
default_serializer: SerializerLike = json


def is_serializer(obj: object) -> TypeGuard[SerializerLike]:
    """Whether `obj` has callable `loads` and `dumps`."""
    return callable(getattr(obj, "loads", None)) and callable(getattr(obj, "dumps", None))


implements_serializer_interface = is_serializer


def require_serializer(obj: object) -> SerializerLike:
    """`obj` itself; raises UnsupportedTypeError (a TypeError) if it is not a serializer. It is not called."""
    if not is_serializer(obj):
        raise UnsupportedTypeError(f"a serializer needs callable loads and dumps; {type(obj).__name__} has not")
    return obj


def keeps_mappings(serializer: object) -> bool:
    """Whether maps are stored as maps, so that the store below can look inside them."""
    return bool(getattr(serializer, "keeps_mappings", False))


def never_loads_none(serializer: object) -> bool:
    """Whether `loads` never returns None for what `dumps` returned: entries can be counted without loading them."""
    return bool(getattr(serializer, "never_loads_none", False))


def loads_encoded(serializer: object) -> bool:
    """Whether `loads` is a class of Encoded: it keeps the bytes, and nothing is read."""
    loads = getattr(serializer, "loads", None)
    return isinstance(loads, type) and issubclass(loads, Encoded)


def sentinels(serializer: object) -> Iterator[str]:
    """The names that a serializer itself uses in maps, to mark wrapped values."""
    if isinstance(serializer, Stack):
        for part in serializer:
            yield from sentinels(part)
    elif isinstance(mark := getattr(serializer, "sentinel", None), str):
        yield mark


class Serializer:
    """An optional base for serializer classes: its public names are the interface."""

    #: Whether maps are stored as maps, so that whole queries can go down to the store below.
    keeps_mappings = False
    #: Whether `loads` never returns None for what `dumps` returned.
    never_loads_none = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Reset the declarations that a class with its own serialization inherits: they may not hold for it."""
        super().__init_subclass__(**arguments)
        serializes = min(definer_of(cls, "loads"), definer_of(cls, "dumps"))
        for name in ("keeps_mappings", "never_loads_none"):
            if serializes < definer_of(cls, name):
                setattr(cls, name, False)

    @classmethod
    def loads(cls, value: Any) -> Any:
        """The value from which `dumps` made `value`."""
        raise NotImplementedError(f"{cls.__name__} does not implement loads")

    @classmethod
    def dumps(cls, value: Any) -> Any:
        """The value in serialized form: a str, bytes or a mapping."""
        raise NotImplementedError(f"{cls.__name__} does not implement dumps")

    @staticmethod
    def implements_serializer_interface(obj: object) -> bool:
        """Whether `obj` has callable `loads` and `dumps`."""
        return is_serializer(obj)


class NonSerializer(Serializer):
    """Leaves values unchanged: for values that are already serialized."""

    keeps_mappings = True
    never_loads_none = True

    @classmethod
    def loads(cls, value: Any) -> Any:
        return value

    @classmethod
    def dumps(cls, value: Any) -> Any:
        return value


class prettyjson(Serializer):  # noqa: N801 - the documented name
    """JSON for people: names sorted, one to a line."""

    @classmethod
    def loads(cls, value: str | bytes) -> Any:
        """The value of the JSON text."""
        return json.loads(value)

    @classmethod
    def dumps(cls, value: Any) -> str:
        """The value as JSON text, indented by one."""
        return json.dumps(value, sort_keys=True, indent=1)


class Stack(Serializer, list[Any]):
    """A chain of serializers: `dumps` applies the first to the last, `loads` the last to the first.

    A list of serializers; an empty one leaves values as they are. Anything else raises UnsupportedTypeError (a
    TypeError) where it is used.
    """

    # This one is an instance; the other serializers are classes.

    @property
    def keeps_mappings(self) -> bool:  # type: ignore[override]
        """Whether all of the serializers do."""
        return all(keeps_mappings(serializer) for serializer in self)

    @property
    def never_loads_none(self) -> bool:  # type: ignore[override]
        """Whether none of the serializers does."""
        return all(never_loads_none(serializer) for serializer in self)

    def loads(self, value: Any) -> Any:  # type: ignore[override]
        for serializer in reversed(self):
            value = require_serializer(serializer).loads(value)
        return value

    def dumps(self, value: Any) -> Any:  # type: ignore[override]
        """The value after all serializers, from the first to the last."""
        for serializer in self:
            value = require_serializer(serializer).dumps(value)
        return value


class map_serializer(Serializer):  # noqa: N801 - the documented name
    """Makes every value a mapping: other values are wrapped in one, under the name `sentinel`.

    The store below finds fields only in mappings: filters do not see those of other objects.
    """

    keeps_mappings = True
    never_loads_none = True
    sentinel = "@wrapped"

    @classmethod
    def loads(cls, value: Any) -> Any:
        """The mapping itself, or the value wrapped in it."""
        return value[cls.sentinel] if cls._is_wrapped(value) else value

    @classmethod
    def dumps(cls, value: Any) -> Any:
        """A mapping unchanged; anything else, and a mapping that looks wrapped, wrapped in a mapping."""
        if isinstance(value, Mapping) and not cls._is_wrapped(value):
            return value
        return {cls.sentinel: value}

    @classmethod
    def _is_wrapped(cls, value: Any) -> bool:
        return isinstance(value, Mapping) and len(value) == 1 and cls.sentinel in value


def serialized_gen(serializer: SerializerLike, iterable: Iterable[Any]) -> Iterator[Any]:
    """Each value in serialized form, one by one."""
    return map(serializer.dumps, iterable)


def deserialized_gen(serializer: SerializerLike, iterable: Iterable[Any]) -> Iterator[Any]:
    """The value of each serialized one, one by one."""
    return map(serializer.loads, iterable)


def monkey_patch_bson(bson: Any = None) -> None:
    """Give a `bson` module, by default that of pymongo, the `loads` and `dumps` of a serializer of mappings.

    Replaces nothing that exists. Raises ImportError if no module is given or installed.
    """
    if bson is None:
        # Belongs to an optional driver, and is touched only on demand.
        import bson
    if not hasattr(bson, "loads"):
        bson.loads = lambda value: bson.BSON(value).decode()
    if not hasattr(bson, "dumps"):
        bson.dumps = bson.BSON.encode
