"""The stored record: a format byte, a checksum of key and value, the value. Knows no files or transactions."""

from __future__ import annotations

from typing import Any

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.model.errors import CorruptDataError, DatastoreError

__all__ = ["HEADER_BYTES", "RECORD_FORMAT", "RECORD_START", "TEXT_FORMAT", "damaged", "pack", "unpack", "unpack_all"]

#: Begins every record of bytes; leaves room for other formats.
RECORD_FORMAT = 1
#: Begins a record of text, whose bytes are its UTF-8.
TEXT_FORMAT = 2
RECORD_START = bytes([RECORD_FORMAT])
_TEXT_START = bytes([TEXT_FORMAT])
HEADER_BYTES = 1 + 8


def pack(text: bytes, value: bytes, *, is_text: bool = False) -> bytes:
    """The record of a value under the key of this text; `is_text` if the value's bytes are the UTF-8 of text."""
    start = _TEXT_START if is_text else RECORD_START
    return start + xxh3_64_digest(value, xxh3_64_intdigest(text)) + value


def unpack(text: bytes, record: bytes) -> bytes | str:
    """The value of a record; CorruptDataError if it is not what `pack` made for this key."""
    value = record[HEADER_BYTES:]
    if record[1:HEADER_BYTES] == xxh3_64_digest(value, xxh3_64_intdigest(text)):
        if record[:1] == RECORD_START:
            return value
        if record[:1] == _TEXT_START:
            return value.decode()
    raise damaged(text, record)


def unpack_all(texts: list[bytes], records: list[bytes]) -> list[Any]:
    """The value of each record, as `unpack` returns it."""
    values = [record[HEADER_BYTES:] for record in records]
    # Compares all checksums in one step.
    sums = map(xxh3_64_digest, values, map(xxh3_64_intdigest, texts))
    if b"".join([record[:HEADER_BYTES] for record in records]) != RECORD_START.join([b"", *sums]):
        return list(map(unpack, texts, records))
    return values


def damaged(text: bytes, record: bytes) -> DatastoreError:
    """The error for a record that is not what it should be, which says how."""
    key = text.decode("utf-8", "backslashreplace")
    if record[:1] not in (RECORD_START, _TEXT_START):
        found = f"format {record[0]}" if record else "no format"
        return CorruptDataError(
            f"the record of {key!r} has {found}; this version reads formats {RECORD_FORMAT} and {TEXT_FORMAT}:"
            " it is damaged, or was written by a later version"
        )
    return CorruptDataError(f"the record of {key!r} is damaged: its checksum does not match")
