"""A part: a file with the messages of one snapshot, or of its beginning if that was cut short. Knows no catalog.

Each message is preceded by its length and its checksum. So an incomplete message that a crash leaves at the end is
detected, and removed before the next part is written: a part that was cut short has its first entries, and no summary.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Self

from google.protobuf.message import DecodeError
from xxhash import xxh3_64_intdigest

from datastore.model.errors import CorruptDataError
from datastore.model.limits import MESSAGE_BYTES
from datastore.v1 import maintenance_pb2

__all__ = ["Part", "PartWriter", "read_part"]

#: The length of a message, and its xxh3-64.
_HEAD = Struct(">IQ")
#: A greater length is damage: nodes send no messages that clients do not accept.
_MOST_BYTES = MESSAGE_BYTES


@dataclass(frozen=True)
class Part:
    """What a part has: the header of its snapshot, its last key, and the summary, None if it was cut short."""

    path: Path
    header: maintenance_pb2.SnapshotHeader
    last_key: str
    summary: maintenance_pb2.SnapshotSummary | None

    @classmethod
    def found(cls, path: Path) -> Self | None:
        """The part in a file, which is cut after its last sound message; None without at least a header."""
        header = summary = None
        last_key, sound_bytes = "", 0
        try:
            file = path.open("r+b")
        except FileNotFoundError:
            return None
        with file:
            for sound_bytes, message in _messages(file):  # noqa: B007 - the last one counts
                if message.HasField("header"):
                    header = message.header
                if message.HasField("summary"):
                    summary = message.summary
                last_key = message.entries.keys[-1] if message.entries.keys else last_key
            file.truncate(sound_bytes)
            os.fsync(file.fileno())
        return None if header is None else cls(path, header, last_key, summary)


class PartWriter:
    """Writes the messages of one snapshot."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """A new part. It is on disk when the block ends, however it ends."""
        with path.open("wb") as file:
            try:
                yield cls(file)
            finally:
                file.flush()
                os.fsync(file.fileno())

    def write(self, message: bytes) -> None:
        """Add a message."""
        self._file.write(_HEAD.pack(len(message), xxh3_64_intdigest(message)) + message)


def read_part(path: Path) -> Iterator[Any]:
    """The messages of a part. Raises CorruptDataError, with the file and the place, unless all of it is sound."""
    sound_bytes = 0
    with path.open("rb") as file:
        for sound_bytes, message in _messages(file):  # noqa: B007 - the last one counts
            yield message
        if sound_bytes != file.seek(0, os.SEEK_END):
            raise CorruptDataError(f"{path} is damaged at byte {sound_bytes:,}: what follows is not what was written")


def _messages(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """The sound messages at the beginning of a file, each with the place where it ends."""
    end = 0
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        data = file.read(min(length, _MOST_BYTES))
        if len(data) < length or xxh3_64_intdigest(data) != checksum:
            return
        try:
            message = maintenance_pb2.ReadSnapshotResponse.FromString(data)
        except DecodeError:
            return
        end += _HEAD.size + length
        yield end, message
