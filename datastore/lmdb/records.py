"""The stored record: a format byte, a checksum of key and value, the value. Knows no file and no transaction."""

from __future__ import annotations

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.core.errors import CorruptDataError, DatastoreError

__all__ = ["HEADER_BYTES", "RECORD_FORMAT", "RECORD_START", "damaged", "pack", "unpack", "unpack_all"]

#: Begins every record, and makes room for others.
RECORD_FORMAT = 1
RECORD_START = bytes([RECORD_FORMAT])
HEADER_BYTES = 1 + 8


def pack(text: bytes, value: bytes) -> bytes:
    """The record of a value under the key of this text."""
    return RECORD_START + xxh3_64_digest(value, xxh3_64_intdigest(text)) + value


def unpack(text: bytes, record: bytes) -> bytes:
    """The value of a record; CorruptDataError if it is not what `pack` made for this key."""
    value = record[HEADER_BYTES:]
    if record[:HEADER_BYTES] != RECORD_START + xxh3_64_digest(value, xxh3_64_intdigest(text)):
        raise damaged(text, record)
    return value


def unpack_all(texts: list[bytes], records: list[bytes]) -> list[bytes]:
    """The value of each record, as `unpack` gives it."""
    values = [record[HEADER_BYTES:] for record in records]
    # All checksums are compared at once.
    sums = map(xxh3_64_digest, values, map(xxh3_64_intdigest, texts))
    if b"".join([record[:HEADER_BYTES] for record in records]) != RECORD_START.join([b"", *sums]):
        return list(map(unpack, texts, records))
    return values


def damaged(text: bytes, record: bytes) -> DatastoreError:
    """The error for a record that is not what it should be, which says how."""
    key = text.decode("utf-8", "backslashreplace")
    if record[:1] != RECORD_START:
        found = f"format {record[0]}" if record else "no format"
        return CorruptDataError(
            f"the record of {key!r} has {found}; this version reads format {RECORD_FORMAT}:"
            " it is damaged, or was written by a later version"
        )
    return CorruptDataError(f"the record of {key!r} is damaged: its checksum is of other bytes")
