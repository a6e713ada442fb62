"""The messages of `datastore.v1` with every stored value as bytes instead of a message.

An embedded message and a bytes field of the same number are encoded identically, so these classes are compatible with
the generated ones but do not decode the values. They are created from the generated descriptors on import.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

from datastore.model.entries import Batch
from datastore.model.errors import CorruptDataError, InvalidKeyError
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.v1 import placement_pb2, service_pb2
from datastore.wire.metadata import decode_metadata
from datastore.wire.values import WireValue

__all__ = [
    "BatchGetResponse",
    "BatchWriteRequest",
    "Entry",
    "EntryChange",
    "FramedResponse",
    "FramedResults",
    "GetResponse",
    "ListEntriesRequest",
    "ListEntriesResponse",
    "PatchRequest",
    "PatchResponse",
    "PutRequest",
    "QueryRequest",
    "QueryResponse",
    "ReadSlotsResponse",
    "WatchResponse",
    "WriteSlotsRequest",
    "are_plain_keys",
    "check_keys",
    "entries_batch",
    "sort_keys_of",
]

_VALUE = ".datastore.v1.Value"
#: The messages of which there is a second form whose parts, too, are bytes: its name, and the field that they are in.
_FRAMED = {"QueryResponse": ("FramedResponse", "entries"), "BatchGetResponse": ("FramedResults", "results")}
#: The messages with stored values. The value of a filter is needed, and stays a message.
_HOLDERS = frozenset({"Entry", "EntryChange", "GetResponse", "PatchResponse", "Result", "Position"})


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for file in (service_pb2.DESCRIPTOR, placement_pb2.DESCRIPTOR):
        _add(pool, file, added)
    return pool


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for imported in file.dependencies:
        _add(pool, imported, added)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    if file.package == "datastore.v1":
        del proto.service[:]
        for message in proto.message_type:
            _with_raw_values(message)
        proto.message_type.extend([_framed(message) for message in proto.message_type if message.name in _FRAMED])
    pool.Add(proto)


def _with_raw_values(message: descriptor_pb2.DescriptorProto) -> None:
    for nested in message.nested_type:
        _with_raw_values(nested)
    for field in message.field:
        if field.type_name == _VALUE and message.name in _HOLDERS:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
            if not field.proto3_optional:
                _make_optional(message, field)


def _framed(response: descriptor_pb2.DescriptorProto) -> descriptor_pb2.DescriptorProto:
    """The same message with its parts as bytes."""
    framed = descriptor_pb2.DescriptorProto()
    framed.CopyFrom(response)
    framed.name, name = _FRAMED[response.name]
    (parts,) = (field for field in framed.field if field.name == name)
    parts.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    parts.ClearField("type_name")
    return framed


def _make_optional(message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto) -> None:
    """Preserve field presence, as embedded messages do: an empty value differs from none."""
    field.proto3_optional = True
    field.oneof_index = len(message.oneof_decl)
    message.oneof_decl.add(name=f"_{field.name}")


_POOL = _pool()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"datastore.v1.{name}"))


Entry: Any = _class("Entry")
EntryChange: Any = _class("EntryChange")
WatchResponse: Any = _class("WatchResponse")
GetResponse: Any = _class("GetResponse")
BatchGetResponse: Any = _class("BatchGetResponse")
PutRequest: Any = _class("PutRequest")
PatchRequest: Any = _class("PatchRequest")
PatchResponse: Any = _class("PatchResponse")
BatchWriteRequest: Any = _class("BatchWriteRequest")
QueryRequest: Any = _class("QueryRequest")
QueryResponse: Any = _class("QueryResponse")
#: A QueryResponse whose entries, and a BatchGetResponse whose results, too, are bytes: for those who pass them on.
FramedResponse: Any = _class("FramedResponse")
FramedResults: Any = _class("FramedResults")
ListEntriesRequest: Any = _class("ListEntriesRequest")
ListEntriesResponse: Any = _class("ListEntriesResponse")
ReadSlotsResponse: Any = _class("ReadSlotsResponse")
WriteSlotsRequest: Any = _class("WriteSlotsRequest")


def entries_batch(response: Any, *, keys_only: bool = False, with_metadata: bool = False) -> Batch:
    """The entries and counts of a QueryResponse of this module, their values as WireValues.

    With sort keys, an entry with an empty sort key has its value even with `keys_only`, to compute the sort key from.
    Raises CorruptDataError for an invalid response: a key that is invalid or not canonical, a number of sort keys other
    than that of the entries, or an entry without the metadata that it should have.
    """
    entries = response.entries
    texts = [entry.key.text for entry in entries]
    check_keys(texts)
    sort_keys = sort_keys_of(response)
    if not keys_only:
        values: list[Any] = [WireValue(entry.value) for entry in entries]
    elif sort_keys is None:
        values = [None] * len(texts)
    else:
        values = [
            None if sort_key else WireValue(entry.value) for entry, sort_key in zip(entries, sort_keys, strict=True)
        ]
    keys: list[Any] = Key._all_trusted(texts)
    batch = Batch(keys, values, sort_keys=sort_keys, skipped=response.skipped, scanned=response.scanned)
    if with_metadata:
        batch.metadata = [decode_metadata(entry.metadata) for entry in entries]
    return batch


def sort_keys_of(response: Any) -> list[bytes] | None:
    """The sort keys of a response, None without any. Raises CorruptDataError unless there is one for each entry."""
    if not response.sort_keys:
        return None
    if len(response.sort_keys) != len(response.entries):
        raise CorruptDataError(
            f"the server sent {len(response.sort_keys):,} sort keys with {len(response.entries):,} entries"
        )
    return list(response.sort_keys)


def check_keys(texts: list[str]) -> None:
    """Raise CorruptDataError unless all texts are canonical keys."""
    lines = "\n".join(texts).encode("utf-8", "surrogatepass")
    if texts and not (are_plain_keys(lines, len(texts)) and len(max(texts, key=len)) <= KEY_BYTES):
        for text in texts:
            _check_key(text)


#: The printable characters of ASCII.
_PRINTABLE = bytes(range(0x20, 0x7F))


def are_plain_keys(lines: bytes, count: int) -> bool:
    """Whether these lines are so many canonical keys, if none is too long; False if they need a closer look."""
    ends = b"\n" * (count - 1)
    return (
        lines.startswith(b"/")
        and not lines.endswith(b"/")
        and lines.translate(None, _PRINTABLE) == ends
        and lines.count(b"\n/") == len(ends)
        and b"//" not in lines
        and b"/\n" not in lines
    )


def _check_key(text: str) -> None:
    try:
        canonical = str(Key(text))
    except InvalidKeyError as error:
        raise CorruptDataError(f"the server sent an invalid key: {error}") from error
    if canonical != text:
        raise CorruptDataError(f"the server sent a key that is not canonical: {text!r}")
