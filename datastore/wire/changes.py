"""Changes of entries as messages, and back. Values stay bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datastore.model.changes import Change, ChangeKind
from datastore.model.errors import CorruptDataError
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore.wire.values import WireValue, encode_value
from datastore.wire.varints import length_delimited, length_prefix

__all__ = ["decode_changes", "encode_change"]

_KINDS = {
    ChangeKind.PUT: service_pb2.EntryChange.KIND_PUT,
    ChangeKind.DELETE: service_pb2.EntryChange.KIND_DELETE,
    ChangeKind.EXPIRE: service_pb2.EntryChange.KIND_EXPIRE,
}
#: The kind as field 1.
_HEADS = {kind: bytes([1 << 3, number]) for kind, number in _KINDS.items()}
#: Tags of length-delimited fields: `field number << 3 | 2`. The version is field 3, a varint.
_FIELD_1, _FIELD_2, _VERSION, _FIELD_4 = b"\x0a", b"\x12", b"\x18", b"\x22"
#: Not from the cache of lengths: no version comes twice.
_varint = length_prefix.__wrapped__
_BY_NUMBER = {number: kind for kind, number in _KINDS.items()}


def encode_change(change: Change) -> bytes:
    """A change as field 1 of a WatchResponse; its value may be plain or a WireValue.

    Writing the few tags here takes a third of the time of creating a message for every change.
    """
    text = str(change.key).encode()
    key = length_delimited(_FIELD_1, text)
    parts = [_HEADS[change.kind], length_delimited(_FIELD_2, key), _VERSION, _varint(change.version)]
    value = change.value
    if value is not None:
        parts.append(length_delimited(_FIELD_4, value.data if type(value) is WireValue else encode_value(value).data))
    return length_delimited(_FIELD_1, b"".join(parts))


def decode_changes(messages: Iterable[Any]) -> list[Change]:
    """The changes of `raw.EntryChange` messages, with WireValues. Raises CorruptDataError for an invalid one."""
    found = list(messages)
    kinds = [_BY_NUMBER.get(message.kind) for message in found]
    if None in kinds:
        raise CorruptDataError("the server sent a change of an unknown kind; a newer client may know it")
    texts = [message.key.text for message in found]
    raw.check_keys(texts)
    keys: list[Key] = Key._all_trusted(texts)
    return [
        Change(kind, key, message.version, WireValue(message.value) if message.HasField("value") else None)
        for kind, key, message in zip(kinds, keys, found, strict=True)
        if kind is not None
    ]
