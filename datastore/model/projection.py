"""Cutting values to the fields that a query returns. Pure; knows plain maps only."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

__all__ = ["cut", "split"]


def cut(value: Any, fields: Sequence[str]) -> dict[Any, Any]:
    """The map of those fields of a value that it has, nested as in the value; {} for a value that is not a map.

    A field is found as by a filter: a member of that very name, otherwise along the dots through nested maps.
    """
    if not issubclass(type(value), Mapping):
        return {}
    whole, within = split(fields, value)
    kept = {name: value[name] for name in whole}
    for name, paths in within.items():
        inner = cut(value[name], paths)
        if inner:
            kept[name] = inner
    return kept


def split(fields: Sequence[str], names: Container[str]) -> tuple[list[str], dict[str, list[str]]]:
    """What to keep of a map with these names: the members to keep whole, and the fields to keep within others."""
    whole: list[str] = []
    within: dict[str, list[str]] = {}
    for field in fields:
        head, dot, rest = field.partition(".")
        if field in names:
            whole.append(field)
        elif dot and head in names:
            within.setdefault(head, []).append(rest)
    for name in whole:
        within.pop(name, None)
    return whole, within
