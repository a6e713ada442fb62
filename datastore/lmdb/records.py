"""The stored record: a format byte, a checksum, the entry's metadata, the value. Knows no files or transactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.model.errors import CorruptDataError, DatastoreError
from datastore.model.metadata import Metadata, Stamp

__all__ = [
    "OLDEST",
    "RECORD_FORMAT",
    "Stored",
    "created_us",
    "has_expired",
    "pack",
    "pack_all",
    "unpack",
    "unpack_all",
    "unpack_metadata",
    "unpack_stored",
]

#: The formats of releases that kept no metadata: bytes, and text as its UTF-8.
_BARE_BYTES, _BARE_TEXT = 1, 2
#: Begins every record with metadata. The bits below say which value it has, and which parts follow the times.
RECORD_FORMAT = 16
_TEXT = 1
_EXPIRES = 2
_PARTS = range(4)

#: The metadata of an entry whose record has none. Every version that the store gives is above.
OLDEST = Metadata(1, 0, 0)

#: How few records may be large; making views of them takes longer than copying small ones.
FEW_RECORDS = 64

_HEADER_BYTES = 1 + 8
_head = itemgetter(slice(0, _HEADER_BYTES))
#: Everything after the checksum.
_body = itemgetter(slice(_HEADER_BYTES, None))
_TIMES = Struct(">QQQ")
_TIME = Struct(">Q")
_ALL_TIMES = Struct(">QQQQ")
_CREATED = Struct(">8xQ")
#: Of a record with an expiry: where it is.
_EXPIRY = Struct(f">{_HEADER_BYTES + _TIMES.size}xQ")
#: The format bytes of the records that have one.
_EXPIRING = frozenset(RECORD_FORMAT + parts for parts in _PARTS if parts & _EXPIRES)


class _Layout(NamedTuple):
    """What a format byte says: the seed of the checksum of the key, and where in the body the value begins."""

    seed: int
    value_at: int
    is_text: bool
    has_expiry: bool = False


def _with_metadata(parts: int) -> _Layout:
    has_expiry = bool(parts & _EXPIRES)
    value_at = _TIMES.size + _TIME.size * has_expiry
    # As the seed, the format itself is protected: a flipped bit would otherwise make text bytes.
    return _Layout(RECORD_FORMAT + parts, value_at, bool(parts & _TEXT), has_expiry)


_LAYOUTS = {
    _BARE_BYTES: _Layout(0, 0, is_text=False),
    _BARE_TEXT: _Layout(0, 0, is_text=True),
    **{RECORD_FORMAT + parts: _with_metadata(parts) for parts in _PARTS},
}


class Stored(NamedTuple):
    """What a record says."""

    value: bytes | str
    metadata: Metadata


def pack(text: bytes, value: bytes, metadata: Metadata, *, is_text: bool = False) -> bytes:
    """The record of a value under the key of this text; `is_text` if the value's bytes are the UTF-8 of text."""
    version, created_us, updated_us, expires_us = metadata
    record_format = RECORD_FORMAT + is_text
    body = _TIMES.pack(version, created_us, updated_us)
    if expires_us:
        record_format += _EXPIRES
        body += _TIME.pack(expires_us)
    body += value
    return record_format.to_bytes() + xxh3_64_digest(body, xxh3_64_intdigest(text, record_format)) + body


def pack_all(
    texts: Sequence[bytes], values: Sequence[bytes], stamps: Iterable[tuple[int, int, int, int]], *, is_text: bool
) -> Iterator[bytes]:
    """The records of several values, given the metadata of each, without expiry. The same as by `pack`."""
    record_format = RECORD_FORMAT + is_text
    bodies = [
        _TIMES.pack(version, created, updated) + value
        for (version, created, updated, _), value in zip(stamps, values, strict=True)
    ]
    sums = map(xxh3_64_digest, bodies, map(xxh3_64_intdigest, texts, repeat(record_format)))
    start = record_format.to_bytes()
    return (start + checksum + body for checksum, body in zip(sums, bodies, strict=True))


def unpack(text: bytes, record: bytes) -> bytes | str:
    """The value of a record; CorruptDataError if it is not what `pack` made for this key."""
    body = _body(record)
    layout = _checked(text, record, body)
    value: bytes = body[layout.value_at :]
    return value.decode() if layout.is_text else value


def unpack_stored(text: bytes, record: bytes) -> Stored:
    """All of a record; CorruptDataError if it is not what `pack` made for this key."""
    body = _body(record)
    layout = _checked(text, record, body)
    value = body[layout.value_at :]
    return Stored(value.decode() if layout.is_text else value, _metadata(layout, body))


def unpack_metadata(text: bytes, record: bytes) -> Metadata:
    """The metadata of a record; CorruptDataError if it is not what `pack` made for this key."""
    body = _body(record)
    return _metadata(_checked(text, record, body), body)


def has_expired(record: bytes | memoryview, now_us: int) -> bool:
    """Whether the entry of a record has expired. Does not check the record, apart from its format and length."""
    if len(record) < _EXPIRY.size or record[0] not in _EXPIRING:
        return False
    (expires_us,) = _EXPIRY.unpack_from(record)
    return bool(expires_us <= now_us)


def created_us(text: bytes, record: bytes) -> int:
    """When the entry of a record was created. Like `unpack_metadata`, but it reads nothing else."""
    body = _body(record)
    if _checked(text, record, body).value_at == 0:
        return OLDEST.created_us
    (created,) = _CREATED.unpack_from(body)
    return int(created)


def _metadata(layout: _Layout, body: bytes) -> Metadata:
    if layout.value_at == 0:
        return OLDEST
    version, created, updated = _TIMES.unpack_from(body)
    (expires,) = _TIME.unpack_from(body, _TIMES.size) if layout.has_expiry else (0,)
    return Metadata(version, created, updated, expires)


def stamps_of(records: Sequence[bytes]) -> list[Stamp]:
    """The metadata of records whose checksums `unpack_all` has found to match."""
    return list(map(_stamp, records))


def _stamp(record: bytes) -> Stamp:
    layout = _LAYOUTS[record[0]]
    if layout.has_expiry:
        return _ALL_TIMES.unpack_from(record, _HEADER_BYTES)
    return _TIMES.unpack_from(record, _HEADER_BYTES) if layout.value_at else OLDEST


def unpack_all(texts: list[bytes], records: list[bytes]) -> list[Any]:
    """The value of each record, as `unpack` returns it."""
    layout = _LAYOUTS.get(records[0][0]) if records and records[0] else None
    if layout is None:
        return list(map(unpack, texts, records))
    # Few records may be large: their bodies are not copied.
    bodies = list(map(_body, records if len(records) > FEW_RECORDS else [memoryview(record) for record in records]))
    # Compares all checksums in one step, if all records have the format of the first.
    sums = map(xxh3_64_digest, bodies, map(xxh3_64_intdigest, texts, repeat(layout.seed)))
    if b"".join(map(_head, records)) != records[0][:1].join([b"", *sums]):
        return list(map(unpack, texts, records))
    values: list[Any] = list(map(itemgetter(slice(_HEADER_BYTES + layout.value_at, None)), records))
    return list(map(bytes.decode, values)) if layout.is_text else values


def _checked(text: bytes, record: bytes, body: bytes) -> _Layout:
    """The layout of a record; CorruptDataError if its checksum does not match."""
    layout = _LAYOUTS.get(record[0]) if record else None
    if layout is None or record[1:_HEADER_BYTES] != xxh3_64_digest(body, xxh3_64_intdigest(text, layout.seed)):
        raise _damaged(text, record)
    return layout


def _damaged(text: bytes, record: bytes) -> DatastoreError:
    """The error for a record that is not what it should be, which says how."""
    key = text.decode("utf-8", "backslashreplace")
    if not record or record[0] not in _LAYOUTS:
        found = f"format {record[0]}" if record else "no format"
        return CorruptDataError(
            f"the record of {key!r} has {found}; this version reads formats {', '.join(map(str, _LAYOUTS))}:"
            " it is damaged, or was written by a later version"
        )
    return CorruptDataError(f"the record of {key!r} is damaged: its checksum does not match")
