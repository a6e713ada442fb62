"""Changes of entries as messages, and back. Values stay bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from operator import and_, attrgetter, itemgetter, rshift
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
#: The kind as field 1.
_HEADS = {kind: bytes([1 << 3, number]) for kind, number in _KINDS.items()}
_PUT_HEAD = _HEADS[ChangeKind.PUT]
#: Tags of length-delimited fields: `field number << 3 | 2`. The version is field 3, a varint.
_FIELD_1, _FIELD_2, _VERSION, _FIELD_4 = b"\x0a", b"\x12", b"\x18", b"\x22"
_text_of = attrgetter("_string")
#: How many low bits of a version are the first two bytes of its varint.
_LOW_BITS = 14
_LOW = (1 << _LOW_BITS) - 1
#: The tag of a version, and its low bits.
_VERSION_LOWS = [_VERSION + bytes([bits & 0x7F | 0x80, bits >> 7 | 0x80]) for bits in range(_LOW + 1)]


def encode_changes(changes: Sequence[Change], message_bytes: int) -> Iterator[bytes]:
    """Changes as field 1 of WatchResponses, each of at most about `message_bytes`, or with a single change.

    Values may be plain or WireValues. Works in columns for speed: building a message object for each change would take
    ten times as long.
    """
    if not changes:
        return
    put = ChangeKind.PUT
    kinds, keys, versions, values = (list(map(itemgetter(place), changes)) for place in range(4))
    heads = [_PUT_HEAD if kind is put else _HEADS[kind] for kind in kinds]
    texts = list(map(str.encode, map(_text_of, keys)))
    key_heads = list(map(_key_head, map(len, texts)))
    lows = list(map(_VERSION_LOWS.__getitem__, map(and_, versions, repeat(_LOW))))
    highs = list(map(length_prefix, map(rshift, versions, repeat(_LOW_BITS))))
    datas = [value.data if type(value) is WireValue else _data_of(value) for value in values]
    value_heads = list(map(_value_head, map(len, datas)))
    bodies = list(map(b"".join, zip(heads, key_heads, texts, lows, highs, value_heads, datas, strict=True)))
    # The tag and length of each change, then the change itself.
    parts = [b""] * (2 * len(bodies))
    parts[::2] = map(_change_head, map(len, bodies))
    parts[1::2] = bodies
    start = filled = 0
    for place, size in enumerate(map(len, bodies) if sum(map(len, bodies)) > message_bytes else ()):
        if filled and filled + size > message_bytes:
            yield b"".join(parts[2 * start : 2 * place])
            start, filled = place, 0
        filled += size
    yield b"".join(parts[2 * start :])


def _data_of(value: Any) -> bytes:
    return b"" if value is None else encode_value(value).data


@lru_cache(maxsize=16_384)
def _change_head(size: int) -> bytes:
    """The tag and length of a change of this size."""
    return _FIELD_1 + length_prefix(size)


@lru_cache(maxsize=16_384)
def _key_head(size: int) -> bytes:
    """The tags and lengths of a key whose text has this size."""
    text_head = _FIELD_1 + length_prefix(size)
    return _FIELD_2 + length_prefix(len(text_head) + size) + text_head


@lru_cache(maxsize=16_384)
def _value_head(size: int) -> bytes:
    """The tag and length of a value of this size. Size 0 means that there is no value, so the field is left out."""
    return _FIELD_4 + length_prefix(size) if size else b""


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
