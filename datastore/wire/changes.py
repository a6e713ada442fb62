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

__all__ = ["decode_changes", "encode_change"]

_KINDS = {
    ChangeKind.PUT: service_pb2.EntryChange.KIND_PUT,
    ChangeKind.DELETE: service_pb2.EntryChange.KIND_DELETE,
    ChangeKind.EXPIRE: service_pb2.EntryChange.KIND_EXPIRE,
}
_BY_NUMBER = {number: kind for kind, number in _KINDS.items()}


def encode_change(change: Change) -> Any:
    """The `raw.EntryChange` of a change; its value may be plain or a WireValue."""
    message = raw.EntryChange(kind=_KINDS[change.kind], version=change.version)
    message.key.text = str(change.key)
    if change.value is not None:
        value = change.value
        message.value = value.data if type(value) is WireValue else encode_value(value).data
    return message


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
