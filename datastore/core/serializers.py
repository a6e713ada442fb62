"""Serializers: anything with callable `loads` and `dumps`. Pure; knows no store."""

from __future__ import annotations

import json
from typing import Any

from datastore.core.errors import UnsupportedTypeError

__all__ = ["default_serializer", "is_serializer", "keeps_mappings", "never_loads_none", "require_serializer"]

#: What a serializer shim uses unless it is given another.
default_serializer = json


def is_serializer(obj: object) -> bool:
    """Whether `obj` has callable `loads` and `dumps`."""
    return callable(getattr(obj, "loads", None)) and callable(getattr(obj, "dumps", None))


def require_serializer(obj: object) -> Any:
    """`obj` itself; raises UnsupportedTypeError (a TypeError) if it is no serializer. It is not tried out."""
    if not is_serializer(obj):
        raise UnsupportedTypeError(f"a serializer needs callable loads and dumps; {type(obj).__name__} has not")
    return obj


def keeps_mappings(serializer: object) -> bool:
    """Whether maps are stored as maps, so that the store below can look inside them."""
    return bool(getattr(serializer, "keeps_mappings", False))


def never_loads_none(serializer: object) -> bool:
    """Whether `loads` gives a value for all that `dumps` gave: then entries can be counted without loading them."""
    return bool(getattr(serializer, "never_loads_none", False))
