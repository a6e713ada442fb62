"""Metadata and conditions as messages of `datastore.v1`, and back. Pure."""

from __future__ import annotations

from typing import Any

from datastore.model.errors import CorruptDataError, InvalidError
from datastore.model.metadata import MAX_VERSION, Metadata, Precondition
from datastore.v1 import value_pb2
from datastore.wire.times import set_time, time_us

__all__ = ["MetadataEncoder", "decode_metadata", "decode_precondition", "set_precondition"]


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
            return _serialized(metadata)
        shared = (version >> 7, created_us, updated_us, expires_us)
        if shared != self._shared:
            self._shared, self._rest = shared, _serialized(metadata)[2:]
        return _STARTS[version % _SEVEN_BITS] + self._rest


_SEVEN_BITS = 1 << 7
#: The beginning of each message: the tag of the version, and its lowest seven bits with the mark that others follow.
_STARTS = [bytes([0x08, _SEVEN_BITS | lowest]) for lowest in range(_SEVEN_BITS)]


def _serialized(metadata: Metadata) -> bytes:
    message = value_pb2.Metadata(version=metadata.version)
    set_time(message.create_time, metadata.created_us)
    set_time(message.update_time, metadata.updated_us)
    if metadata.expires_us:
        set_time(message.expire_time, metadata.expires_us)
    data: bytes = message.SerializeToString()
    return data


def decode_metadata(message: Any) -> Metadata:
    """The metadata of a message. Raises CorruptDataError without a version."""
    if message.version < 1:
        raise CorruptDataError(f"the server sent metadata with the version {message.version}")
    return Metadata(
        message.version,
        time_us(message.create_time),
        time_us(message.update_time),
        time_us(message.expire_time) if message.HasField("expire_time") else 0,
    )


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
