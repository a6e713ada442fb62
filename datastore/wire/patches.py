"""Patches as messages of `datastore.v1`, and back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from datastore.model.attempts import Attempt
from datastore.model.errors import InvalidError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import Precondition
from datastore.model.operations import Patch
from datastore.model.patches import FieldChange, PatchRoom, checked_changes
from datastore.v1 import value_pb2
from datastore.wire.values import check_value, decode_value, value_message

__all__ = ["decode_patch", "decode_patch_changes", "encode_patch", "encode_patch_changes"]


def encode_patch(patch: Patch) -> value_pb2.Patch:
    """The message of a patch without its terms. Raises the errors of `encode_value` for its operands."""
    message = value_pb2.Patch(create=patch.create, changes=encode_patch_changes(patch.changes))
    message.key.text = str(patch.key)
    return message


def encode_patch_changes(changes: Sequence[FieldChange]) -> list[value_pb2.FieldChange]:
    """The messages of the changes of a patch. Raises the errors of `encode_value` for their operands."""
    messages = []
    for kind, path, operand in changes:
        change = value_pb2.FieldChange(field_path=path)
        if kind == "remove":
            change.remove.SetInParent()
        elif kind == "append":
            change.append.CopyFrom(value_message(list(operand)).list_value)
        else:
            getattr(change, kind).CopyFrom(value_message(operand))
        messages.append(change)
    return messages


def decode_patch(
    message: Any,
    key: Key,
    condition: Precondition | None,
    encode: Callable[[Any], Any],
    expiry: Expiry | None = None,
    room: PatchRoom | None = None,
    attempt: Attempt | None = None,
) -> Patch:
    """The patch of a message, for a server that keeps values as `encode` makes them.

    Raises InvalidError for changes that are invalid by themselves, or of an unknown kind.
    """
    changes = decode_patch_changes(message.changes)
    return Patch(
        key, changes, condition, create=message.create, expiry=expiry, encode=encode, room=room, attempt=attempt
    )


def decode_patch_changes(messages: Iterable[Any]) -> tuple[FieldChange, ...]:
    """The changes of messages. Raises InvalidError for invalid ones, or of an unknown kind."""
    return checked_changes([_change(change) for change in messages])


def _change(message: Any) -> FieldChange:
    kind, path = message.WhichOneof("kind"), message.field_path
    if kind is None:
        raise InvalidError(
            f"the change of {path!r} says nothing to do: set one of set, increment, append, remove", field="changes"
        )
    if kind == "remove":
        return FieldChange(kind, path)
    data = getattr(message, kind).SerializeToString()
    if kind == "append":
        data = value_pb2.Value(list_value=value_pb2.ListValue.FromString(data)).SerializeToString()
    check_value(data)
    return FieldChange(kind, path, decode_value(data))
