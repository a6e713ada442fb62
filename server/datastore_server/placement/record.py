"""The records of a node's system space as bytes: a format byte, a checksum, the content. Pure."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from xxhash import xxh3_64_digest

from datastore import wire
from datastore.engine.placement import NodePlacement
from datastore.model.errors import CorruptDataError, InvalidError
from datastore.v1 import placement_pb2

__all__ = ["RECORD_NAME", "pack", "pack_revision", "unpack", "unpack_revision"]

#: The name of the record of the node's placement.
RECORD_NAME = "placement"
_FORMAT = b"\x01"
_HEADER_BYTES = 1 + 8
_REVISION_BYTES = 8


def pack(placement: NodePlacement) -> bytes:
    """The record of a placement."""
    return _sealed(wire.encode_node_placement(placement).SerializeToString(deterministic=True))


def unpack(record: bytes) -> NodePlacement:
    """The placement in a record. CorruptDataError for bytes that `pack` did not produce."""
    try:
        return wire.decode_node_placement(placement_pb2.NodePlacement.FromString(_opened(record)))
    except (DecodeError, InvalidError) as error:
        raise CorruptDataError(f"the record of this node's placement cannot be read: {error}") from error


def pack_revision(revision: int, data: bytes) -> bytes:
    """A proxy's record: its revision and content."""
    return _sealed(revision.to_bytes(_REVISION_BYTES) + data)


def unpack_revision(record: bytes) -> tuple[int, bytes]:
    """The revision and content. CorruptDataError for bytes that `pack_revision` did not produce."""
    content = _opened(record)
    return int.from_bytes(content[:_REVISION_BYTES]), content[_REVISION_BYTES:]


def _sealed(content: bytes) -> bytes:
    return _FORMAT + xxh3_64_digest(content) + content


def _opened(record: bytes) -> bytes:
    header, content = record[:_HEADER_BYTES], record[_HEADER_BYTES:]
    if header[:1] != _FORMAT:
        raise CorruptDataError(
            "a record of this node's placement is damaged, or was written by a later version:"
            f" it has format {header[:1].hex() or 'none'}, and this version reads {_FORMAT.hex()}"
        )
    if header[1:] != xxh3_64_digest(content):
        raise CorruptDataError("a record of this node's placement is damaged: restore the directory from a backup")
    return content
