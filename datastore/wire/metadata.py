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

    Two messages are filled again and again: making four for each entry of a batch takes longer than storing it. Entries
    that were written together have the same times, which are then serialized once.
    """

    def __init__(self) -> None:
        #: One for versions, one for times.
        self._versioned, self._timed = value_pb2.Metadata(), value_pb2.Metadata()
        #: The times that were serialized last, and their fields.
        self._times: tuple[int, ...] = ()
        self._fields = b""

    def __call__(self, metadata: Metadata) -> bytes:
        """The bytes of the message: its first field is the version, and the times follow."""
        times = metadata[1:]
        if times != self._times:
            self._fields = self._fields_of(*times)
            self._times = times
        self._versioned.version = metadata[0]
        data: bytes = self._versioned.SerializeToString()
        return data + self._fields

    def _fields_of(self, created_us: int, updated_us: int, expires_us: int) -> bytes:
        message = self._timed
        set_time(message.create_time, created_us)
        set_time(message.update_time, updated_us)
        message.ClearField("expire_time")
        if expires_us:
            set_time(message.expire_time, expires_us)
        fields: bytes = message.SerializeToString()
        return fields


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
