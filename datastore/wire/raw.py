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
    "check_keys",
    "entries_batch",
]

_VALUE = ".datastore.v1.Value"
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
    sort_keys = list(response.sort_keys) if response.sort_keys else None
    if sort_keys is not None and len(sort_keys) != len(texts):
        raise CorruptDataError(f"the server sent {len(sort_keys):,} sort keys with {len(texts):,} entries")
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


def check_keys(texts: list[str]) -> None:
    """Raise CorruptDataError unless all texts are canonical keys."""
    if texts and not _are_plainly_keys(texts):
        for text in texts:
            _check_key(text)


def _are_plainly_keys(texts: list[str]) -> bool:
    """Whether all texts are canonical keys, checked at once; False if they need a closer look."""
    joined = "\n".join(texts)
    return (
        joined.startswith("/")
        and not joined.endswith("/")
        and joined.isascii()
        and joined.count("\n/") == joined.count("\n") == len(texts) - 1
        and "//" not in joined
        and "/\n" not in joined
        and joined.replace("\n", "").isprintable()
        and len(max(texts, key=len)) <= KEY_BYTES
    )


def _check_key(text: str) -> None:
    try:
        canonical = str(Key(text))
    except InvalidKeyError as error:
        raise CorruptDataError(f"the server sent an invalid key: {error}") from error
    if canonical != text:
        raise CorruptDataError(f"the server sent a key that is not canonical: {text!r}")
