"""The messages of `datastore.v1` with every stored value as bytes instead of a message.

An embedded message and bytes of the same number are the same on the wire, so these read and write what the generated
classes do, without decoding the values. They are made from the generated descriptors when this is imported.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

from datastore.core.batch import Batch
from datastore.core.key import Key
from datastore.v1 import service_pb2
from datastore.wire.values import WireValue

__all__ = [
    "BatchGetResponse",
    "BatchWriteRequest",
    "Entry",
    "GetResponse",
    "ListEntriesResponse",
    "PutRequest",
    "QueryResponse",
    "entries_batch",
]

_VALUE = ".datastore.v1.Value"
#: The messages in which a value is stored or on its way. A filter's value is looked at, and stays a message.
_HOLDERS = frozenset({"Entry", "GetResponse", "Result"})


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    _add(pool, service_pb2.DESCRIPTOR, set())
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
    """Keep the difference between an empty value and none, which embedded messages have by nature."""
    field.proto3_optional = True
    field.oneof_index = len(message.oneof_decl)
    message.oneof_decl.add(name=f"_{field.name}")


_POOL = _pool()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"datastore.v1.{name}"))


Entry: Any = _class("Entry")
GetResponse: Any = _class("GetResponse")
BatchGetResponse: Any = _class("BatchGetResponse")
PutRequest: Any = _class("PutRequest")
BatchWriteRequest: Any = _class("BatchWriteRequest")
QueryResponse: Any = _class("QueryResponse")
ListEntriesResponse: Any = _class("ListEntriesResponse")


def entries_batch(response: Any, *, keys_only: bool = False) -> Batch:
    """The entries and counts of a QueryResponse of this module, their values as WireValues.

    Keys are taken at their word: a server has checked them.
    """
    entries = response.entries
    trusted = Key._trusted
    keys = [trusted(entry.key.text) for entry in entries]
    values: list[Any] = [None] * len(keys) if keys_only else [WireValue(entry.value) for entry in entries]
    sort_keys = list(response.sort_keys) if response.sort_keys else None
    return Batch(keys, values, sort_keys=sort_keys, skipped=response.skipped, scanned=response.scanned)
