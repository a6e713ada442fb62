"""Changes of parts of a value: set, increment, append, remove. Pure.

Paths are those of filters: `geo.lat` is the member of that very name or, without one, the member `lat` of
the map `geo`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datastore.model.encoded import decoded, encoded_bytes
from datastore.model.errors import (
    InvalidError,
    InvalidValueError,
    LimitExceededError,
    OverloadedError,
    UnsupportedTypeError,
)
from datastore.model.limits import FIELD_PATH_BYTES, PATCHED_BYTES

__all__ = ["CHANGES", "KINDS", "FieldChange", "PatchRoom", "changed", "changes_of"]

#: The most changes of one patch: as many as a value has fields in a projection.
CHANGES = 256


class FieldChange(NamedTuple):
    """One change of a value: its kind, one of KINDS, the path of the member, and the operand.

    `set` stores the operand, and `increment` adds it to a number, a missing one being 0; `append` adds the elements of
    the operand, a list, to a list, a missing one being empty. All three make the maps on the way. `remove` has no
    operand, and removes the member if there is one.
    """

    kind: str
    path: str
    operand: Any = None


class PatchRoom:
    """How much the patches of one batch may still rewrite, at first PATCHED_BYTES. Not safe for threads."""

    def __init__(self, *, is_atomic: bool = False) -> None:
        self._is_atomic = is_atomic
        self._left = PATCHED_BYTES

    def check(self) -> None:
        """Raise OverloadedError if the patches before have used it up; LimitExceededError in an atomic batch."""
        if self._left <= 0 and self._is_atomic:
            raise LimitExceededError(
                f"the patches of an atomic batch can rewrite {PATCHED_BYTES:,} bytes of values; make it of fewer",
                limit="patched_bytes",
                maximum=PATCHED_BYTES,
            )
        if self._left <= 0:
            raise OverloadedError(
                f"the patches of this batch have rewritten {PATCHED_BYTES:,} bytes of values; this one was not made,"
                " and can be sent again",
                retry_after_s=0.0,
            )

    def use(self, value: Any) -> None:
        """A patch has read or made this value. Only serialized ones count; a server makes each of them so."""
        self._left -= encoded_bytes((value,))


def changes_of(
    set: Mapping[str, Any] | None = None,  # noqa: A002 - what it does
    increment: Mapping[str, float] | None = None,
    append: Mapping[str, Sequence[Any]] | None = None,
    remove: Sequence[str] = (),
) -> tuple[FieldChange, ...]:
    """The changes that the arguments of `patch` name, checked.

    Raises InvalidError (a ValueError) for no change, more than CHANGES, a path that is empty or longer than
    FIELD_PATH_BYTES, paths of which one is that of another or below it, and an increment beyond int64;
    UnsupportedTypeError (a TypeError) for arguments and operands of a wrong type.
    """
    if isinstance(remove, str) or not isinstance(remove, Iterable):
        raise UnsupportedTypeError(f"remove must be a list of paths, not {type(remove).__name__}", path="remove")
    named = (("set", set), ("increment", increment), ("append", append))
    for kind, operands in named:
        if operands is not None and not isinstance(operands, Mapping):
            raise UnsupportedTypeError(
                f"{kind} must map paths to operands, e.g. {{'views': ...}}, not {type(operands).__name__}", path=kind
            )
    changes = [
        FieldChange(kind, path, operand) for kind, operands in named for path, operand in (operands or {}).items()
    ]
    return checked_changes([*changes, *(FieldChange("remove", path) for path in remove)])


def checked_changes(changes: Sequence[FieldChange]) -> tuple[FieldChange, ...]:
    """The changes themselves. Raises like `changes_of`."""
    if not changes:
        raise InvalidError("a patch has at least one change", field="changes")
    if len(changes) > CHANGES:
        raise InvalidError(f"a patch has at most {CHANGES} changes, got {len(changes):,}", field="changes")
    for change in changes:
        _check(change)
    paths = sorted(change.path for change in changes)
    seen = {paths[0]}
    for path in paths[1:]:
        heads = path.split(".")
        above = next((head for head in map(".".join, _starts(heads)) if head in seen), None)
        if above is not None:
            raise InvalidError(f"a patch changes {above!r} twice, the second time as {path!r}", field="changes")
        seen.add(path)
    return tuple(changes)


def _starts(parts: list[str]) -> list[list[str]]:
    return [parts[:stop] for stop in range(1, len(parts) + 1)]


def _check(change: FieldChange) -> None:
    kind, path, operand = change
    if not isinstance(path, str):
        raise UnsupportedTypeError(f"a path of {kind} must be a str, got {type(path).__name__}", path=kind)
    if not path:
        raise InvalidError(f"a path of {kind} is empty; name a member, e.g. 'views' or 'geo.lat'", field=kind)
    if len(path.encode("utf-8", "surrogatepass")) > FIELD_PATH_BYTES:
        raise InvalidError(f"a path of {kind} has more than {FIELD_PATH_BYTES:,} bytes", field=kind)
    if kind == "increment" and not _is_number(operand):
        raise UnsupportedTypeError(f"{path} can be incremented by a number, not {type(operand).__name__}", path=path)
    if kind == "increment" and not _is_stored(operand):
        raise InvalidError(f"{path} cannot be incremented by an int beyond int64", field=kind)
    if kind == "append" and not _is_list(operand):
        raise UnsupportedTypeError(
            f"append to {path} takes a list of elements, not {type(operand).__name__}", path=path
        )


def changed(value: Any, changes: Sequence[FieldChange]) -> dict[str, Any]:
    """A new map: `value`, which is a map or None for an empty one, with the changes. `value` itself is not modified.

    Raises InvalidValueError (a ValueError), which names the path, for a value or a member on the way that is not a map,
    and for an operand that does not fit the member: a number and a text, a sum of int64s beyond int64.
    """
    value = {} if value is None else decoded(value)
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"only a map can be patched, and the value is {_kind_of(value)}", path="value")
    result = dict(value)
    for change in changes:
        _apply(result, change)
    return result


def _apply(target: dict[str, Any], change: FieldChange) -> None:
    """Make one change in a map that may be modified; the maps on the way are copied."""
    path = change.path
    while path not in target and "." in path:
        head, _, path = path.partition(".")
        if head not in target and change.kind == "remove":
            return
        inner = target.get(head, {})
        if not isinstance(inner, Mapping):
            at = change.path.removesuffix(f".{path}")
            raise InvalidValueError(
                f"{change.path} leads into {at}, which is {_kind_of(inner)}, not a map", path=change.path
            )
        copied = dict(inner)
        target[head] = copied
        target = copied
    if change.kind == "remove":
        target.pop(path, None)
    else:
        target[path] = _MEMBERS[change.kind](target.get(path), change)


def _incremented(member: Any, change: FieldChange) -> Any:
    member = 0 if member is None else member
    if not _is_number(member):
        raise InvalidValueError(f"{change.path} is {_kind_of(member)}, which cannot be incremented", path=change.path)
    if not _is_stored(member):
        raise InvalidValueError(f"{change.path} is an int beyond int64, which cannot be incremented", path=change.path)
    total = member + change.operand
    if not _is_stored(total):
        raise InvalidValueError(f"{change.path} incremented by {change.operand} exceeds an int64", path=change.path)
    return total


def _appended(member: Any, change: FieldChange) -> list[Any]:
    if member is not None and not _is_list(member):
        raise InvalidValueError(
            f"{change.path} is a {type(member).__name__}, to which nothing can be appended", path=change.path
        )
    return [*(member or ()), *change.operand]


#: How each kind makes the new member of the old one, None if it is missing or null.
_MEMBERS: dict[str, Callable[[Any, FieldChange], Any]] = {
    "set": lambda _, change: change.operand,
    "increment": _incremented,
    "append": _appended,
}
#: The kinds of changes.
KINDS = (*_MEMBERS, "remove")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_stored(number: float) -> bool:
    """Whether a server can store the number: a float, or an int64."""
    # Not `in range(...)`, which tries one after the other for an int of a subclass.
    return isinstance(number, float) or -(2**63) <= number < 2**63


def _kind_of(value: Any) -> str:
    """What a value is, for errors: `a str`, `an int`, `null`."""
    if value is None:
        return "null"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))
