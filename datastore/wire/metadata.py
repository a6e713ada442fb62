"""Metadata and conditions as messages of `datastore.v1`, and back. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from datastore.model.errors import CorruptDataError, InvalidError
from datastore.model.metadata import MAX_VERSION, Metadata, Precondition
from datastore.v1 import value_pb2
from datastore.wire.times import set_time, time_us
from datastore.wire.varints import length_delimited

__all__ = ["MetadataEncoder", "check_metadata", "decode_metadata", "decode_precondition", "set_precondition"]


class MetadataEncoder:
    """Serializes metadata, one after the other, as `Metadata`. Not safe for threads.

    Entries that were written together have the same times and versions that follow each other: serializing what they
    share once takes a fraction of the time.
    """

    def __init__(self) -> None:
        #: The times, and the version without its lowest seven bits, of what was serialized last.
        self._shared: tuple[int, ...] = ()
        #: Its bytes after the first byte of the version.
        self._rest = b""

    def __call__(self, metadata: Metadata) -> bytes:
        """The bytes of the message."""
        version, created_us, updated_us, expires_us = metadata
        if version < _SEVEN_BITS:
            return _version(version) + _times(created_us, updated_us, expires_us)
        shared = (version >> 7, created_us, updated_us, expires_us)
        if shared != self._shared:
            self._shared, self._rest = shared, _version(version)[2:] + _times(created_us, updated_us, expires_us)
        return _STARTS[version % _SEVEN_BITS] + self._rest


_SEVEN_BITS = 1 << 7
#: The beginning of each message: the tag of the version, and its lowest seven bits with the mark that others follow.
_STARTS = [bytes([0x08, _SEVEN_BITS | lowest]) for lowest in range(_SEVEN_BITS)]


#: The tags of the times.
_CREATE, _UPDATE, _EXPIRE = b"\x12", b"\x1a", b"\x22"


def _version(version: int) -> bytes:
    data: bytes = value_pb2.Metadata(version=version).SerializeToString()
    return data


def _times(created_us: int, updated_us: int, expires_us: int) -> bytes:
    times = _CREATE + _time(created_us) + _UPDATE + _time(updated_us)
    return times + _EXPIRE + _time(expires_us) if expires_us else times


@lru_cache(maxsize=1024)
def _time(microseconds: int) -> bytes:
    """A time with its length. Cached: many entries are written at once, and most are created when they are written."""
    message = Timestamp()
    set_time(message, microseconds)
    return length_delimited(b"", message.SerializeToString())


def decode_metadata(message: Any) -> Metadata:
    """The metadata of a message. Raises CorruptDataError without a version."""
    check_metadata(message)
    return Metadata(
        message.version,
        time_us(message.create_time),
        time_us(message.update_time),
        time_us(message.expire_time) if message.HasField("expire_time") else 0,
    )


def check_metadata(message: Any) -> None:
    """Raise CorruptDataError without a version."""
    if message.version < 1:
        raise CorruptDataError(f"the server sent metadata with the version {message.version}")


def set_precondition(message: Any, condition: Precondition) -> None:
    """Make a message of this module or of `raw` state a condition."""
    if condition.exists is None:
        message.version = condition.version
    else:
        message.exists = condition.exists


def decode_precondition(message: Any, field: str = "condition") -> Precondition:
    """The condition of a message. Raises InvalidError, with `field`, if it states none or a version below 1."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidError(f"{field} is empty: set exists or version, or leave {field} out", field=field)
    if kind == "exists":
        return Precondition(exists=message.exists)
    if message.version < 1:
        raise InvalidError(
            f"{field}.version must be a version, from 1 to {MAX_VERSION}, got {message.version}",
            field=f"{field}.version",
        )
    return Precondition(version=message.version)
