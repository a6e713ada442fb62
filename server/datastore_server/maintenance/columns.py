"""Entries by column, as snapshots and restores carry them, and the checksums of entries. Pure.

A column of packed numbers is read and written at once, which takes a tenth of the time of a message for each entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

from xxhash import xxh3_64_intdigest

from datastore.model.metadata import Stamp
from datastore.v1 import maintenance_pb2

__all__ = ["SUM_MASK", "Times", "content_checksum", "encode_columns", "listing_checksum", "stamps_of", "whole_stamps"]

#: A version, and when the entry was created, last updated, and expires; 0 for never.
Times = tuple[int, int, int, int]
#: Checksums are added modulo 2^64, so that their order does not matter.
SUM_MASK = 2**64 - 1
_pack: Callable[..., bytes] = Struct(">QQQQ").pack


def whole_stamps(stamps: Iterable[Stamp]) -> list[Times]:
    """Metadata with an expiry, 0 for never."""
    return [(stamp[0], stamp[1], stamp[2], stamp[3] if len(stamp) > 3 else 0) for stamp in stamps]


def encode_columns(texts: Iterable[str], values: Iterable[bytes], stamps: Sequence[Times]) -> Any:
    """The message of these entries."""
    columns = maintenance_pb2.EntryColumns(keys=texts, values=values)
    if stamps:
        versions, created, updated, expires = zip(*stamps, strict=True)
        columns.versions.extend(versions)
        columns.created_us.extend(created)
        columns.updated_us.extend(updated)
        columns.expires_us.extend(expires)
    return columns


def stamps_of(columns: Any) -> list[Times]:
    """The metadata of each entry of a message."""
    return list(zip(columns.versions, columns.created_us, columns.updated_us, columns.expires_us, strict=True))


def listing_checksum(texts: Iterable[bytes], stamps: Iterable[Times]) -> int:
    """The sum of the checksums of keys with their metadata, as SnapshotSummary defines it."""
    seeds = map(xxh3_64_intdigest, [_pack(*stamp) for stamp in stamps])
    return sum(map(xxh3_64_intdigest, texts, seeds)) & SUM_MASK


def content_checksum(text: bytes, value: bytes, stamp: Times) -> int:
    """The checksum of an entry with its value, as FinishRestoreRequest defines it."""
    return xxh3_64_intdigest(text + b"\0" + value, xxh3_64_intdigest(_pack(*stamp)))
