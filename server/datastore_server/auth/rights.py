"""What a caller may do, and with which keys. Pure; knows keys and operations, but no callers, messages or stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, Patch

__all__ = ["ROOT", "Right", "Rights", "rights_for"]

ROOT = Key("/")


class Right(StrEnum):
    """What a caller may do with the keys below a prefix. `admin` includes the others."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


class _Prefixes:
    """The keys below some prefixes: the prefix itself, and what a recursive query of it selects."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._exact = frozenset(prefixes)
        # `/a` covers `/a/b` and `/a:b`, but not `/ab`.
        self._begin = tuple(
            begin for prefix in self._exact for begin in (["/"] if prefix == "/" else [f"{prefix}/", f"{prefix}:"])
        )

    def cover(self, text: str) -> bool:
        return text in self._exact or text.startswith(self._begin)


@dataclass(frozen=True)
class Rights:
    """The prefixes below which a caller has each right, as the texts of keys."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()
    _covered: dict[Right, _Prefixes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        covered = {right: _Prefixes([*getattr(self, right), *self.admin]) for right in Right}
        object.__setattr__(self, "_covered", covered)

    def cover(self, right: Right, key: Key) -> bool:
        """Whether they include `right` for the entry of `key`, for all below it, and for all its instances.

        So they include it for what a query of `key` selects, too, recursive or not.
        """
        return self._covered[right].cover(str(key))


_OF_PUT = (Right.WRITE,)
_OF_DELETE = (Right.DELETE,)
_OF_PATCH = (Right.WRITE, Right.READ)


def rights_for(operation: Operation) -> tuple[Right, ...]:
    """The rights that an operation needs for its key.

    A patch depends on the entry that is there, and a failed condition tells its version: both need `read`, too.
    """
    if isinstance(operation, Patch):
        return _OF_PATCH
    needed = _OF_DELETE if isinstance(operation, Delete) else _OF_PUT
    return needed if operation.condition is None else (*needed, Right.READ)
