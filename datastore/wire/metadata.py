"""Metadata and conditions as messages of `datastore.v1`, and back. Pure."""

from __future__ import annotations

from typing import Any

from datastore.model.errors import CorruptDataError, InvalidError
from datastore.model.metadata import MAX_VERSION, Metadata, Precondition
from datastore.v1 import value_pb2

__all__ = ["MetadataEncoder", "decode_metadata", "decode_precondition", "set_precondition"]

_MICROS = 1_000_000
_NANOS_PER_MICRO = 1000


class MetadataEncoder:
    """Serializes metadata, one after the other, as `Metadata`. Not safe for threads.

    One message is filled again and again: making three for each entry of a batch takes longer than storing it.
    """

    def __init__(self) -> None:
        self._message = value_pb2.Metadata()
        self._create_time = self._message.create_time
        self._update_time = self._message.update_time

    def __call__(self, metadata: Metadata) -> bytes:
        """The bytes of the message."""
        message = self._message
        message.version, created_us, updated_us, expires_us = metadata
        _set_time(self._create_time, created_us)
        _set_time(self._update_time, updated_us)
        if not expires_us:
            return message.SerializeToString()
        _set_time(message.expire_time, expires_us)
        data = message.SerializeToString()
        message.ClearField("expire_time")
        return data


def _set_time(message: Any, time_us: int) -> None:
    message.seconds, micros = divmod(time_us, _MICROS)
    message.nanos = micros * _NANOS_PER_MICRO


def decode_metadata(message: Any) -> Metadata:
    """The metadata of a message. Raises CorruptDataError without a version."""
    if message.version < 1:
        raise CorruptDataError(f"the server sent metadata with the version {message.version}")
    return Metadata(
        message.version,
        _time_us(message.create_time),
        _time_us(message.update_time),
        _time_us(message.expire_time) if message.HasField("expire_time") else 0,
    )


def _time_us(message: Any) -> int:
    time_us: int = message.seconds * _MICROS + message.nanos // _NANOS_PER_MICRO
    return time_us


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
