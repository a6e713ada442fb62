"""Changes of entries as messages, and back. Values stay bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from datastore.model.changes import Change, ChangeKind
from datastore.model.errors import CorruptDataError
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore.wire.values import WireValue, encode_value
from datastore.wire.varints import length_prefix

__all__ = ["decode_changes", "encode_changes"]

_KINDS = {
    ChangeKind.PUT: service_pb2.EntryChange.KIND_PUT,
    ChangeKind.DELETE: service_pb2.EntryChange.KIND_DELETE,
    ChangeKind.EXPIRE: service_pb2.EntryChange.KIND_EXPIRE,
}
_BY_NUMBER = {number: kind for kind, number in _KINDS.items()}
#: Tags of length-delimited fields: `field number << 3 | 2`. The kind is field 1, the version field 3, both varints.
_FIELD_1, _FIELD_2, _FIELD_4 = b"\x0a", b"\x12", b"\x22"
_KIND, _VERSION = b"\x08", b"\x18"
#: How many low bits of a version are the first two bytes of its varint. The other bits change every 16 ms.
_LOW_BITS = 14
_LOWS = 1 << _LOW_BITS
#: The tag of a version, and its low bits.
_VERSION_LOWS = [_VERSION + bytes([bits & 0x7F | 0x80, bits >> 7 | 0x80]) for bits in range(_LOWS)]
#: How many byte strings each change consists of, see `_parts_of`.
_PARTS = 6


def encode_changes(changes: Iterable[Change], message_bytes: int, end: bytes = b"") -> Iterator[bytes]:
    """Changes as field 1 of WatchResponses, each of at most about `message_bytes`, or with a single change.

    Values may be plain or WireValues. The last message also has `end`, its other fields.
    """
    parts = _parts_of(changes)
    parts.append(end)
    message = b"".join(parts)
    if len(message) > message_bytes:
        filled = start = 0
        for stop in range(0, len(parts) - 1, _PARTS):
            size = sum(map(len, parts[stop : stop + _PARTS]))
            if filled and filled + size > message_bytes:
                yield b"".join(parts[start:stop])
                start, filled = stop, 0
            filled += size
        message = b"".join(parts[start:])
    yield message


def _parts_of(changes: Iterable[Change]) -> list[bytes]:
    """The byte strings of all changes.

    Only tags and lengths are made here, and those of equal sizes once: building a message for each change would take
    ten times as long.
    """
    parts: list[bytes] = []
    known, start, stop, high, heads = None, 0, 0, b"", _Heads()
    for kind, key, version, value in changes:
        if kind is not known or not start <= version < stop:
            known, start = kind, version - version % _LOWS
            stop, high = start + _LOWS, length_prefix(version >> _LOW_BITS)
            heads = _heads_of(kind, len(high))
        text = key._string.encode()
        data = value.data if type(value) is WireValue else _data_of(value)
        head, value_head = heads[len(text), len(data)]
        parts += (head, text, _VERSION_LOWS[version - start], high, value_head, data)
    return parts


def _data_of(value: Any) -> bytes:
    return b"" if value is None else encode_value(value).data


class _Heads(dict[tuple[int, int], tuple[bytes, bytes]]):
    """Caches the bytes before the key and before the value of a change, by the sizes of the key and the value.

    Most changes of a store share a few pairs of sizes. Cleared when it exceeds its limit.
    """

    MOST = 10_000

    def __init__(self, kind: ChangeKind = ChangeKind.PUT, high_bytes: int = 0) -> None:
        self._kind = _KIND + bytes([_KINDS[kind]])
        self._version_bytes = len(_VERSION_LOWS[0]) + high_bytes

    def __missing__(self, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        text_bytes, value_bytes = sizes
        text_head = _FIELD_1 + length_prefix(text_bytes)
        head = self._kind + _FIELD_2 + length_prefix(len(text_head) + text_bytes) + text_head
        # Size 0 means that there is no value, so the field is left out.
        value_head = _FIELD_4 + length_prefix(value_bytes) if value_bytes else b""
        change_bytes = len(head) + text_bytes + self._version_bytes + len(value_head) + value_bytes
        if len(self) >= self.MOST:
            self.clear()
        self[sizes] = heads = (_FIELD_1 + length_prefix(change_bytes) + head, value_head)
        return heads


#: For each kind, and each size of a version without its low bits.
_heads_of = lru_cache(maxsize=None)(_Heads)


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
