"""Reads puts that consist of a key and a value, without making messages of them: most writes are nothing else.

Their bytes are compared with what is expected of the sizes in them. Knows no limits, and checks no keys or values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

from datastore.v1 import service_pb2
from datastore.wire.varints import filling_head

__all__ = ["BatchWrites", "plain_puts"]


def _batch_writes() -> Any:
    """A BatchWriteRequest whose writes are bytes: the same on the wire."""
    file = descriptor_pb2.FileDescriptorProto(name="batch_writes.proto", package="datastore.v1", syntax="proto3")
    message = file.message_type.add()
    service_pb2.BatchWriteRequest.DESCRIPTOR.CopyToProto(message)
    del message.nested_type[:]
    for field in message.field:
        if field.name == "writes":
            field.type = FieldDescriptor.TYPE_BYTES  # type: ignore[assignment]
            field.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("datastore.v1.BatchWriteRequest"))


BatchWrites: Any = _batch_writes()

#: The tags of the put in a Write, of the key in an Entry, and of the text in a Key.
_FIELD_1 = 0x0A
#: The tag of the value in an Entry.
_VALUE = b"\x12"
#: What precedes the text of a key, if the text is shorter than 126 bytes and the entry than 16 KiB; or all but the last
#: byte is, and then comes the slash with which keys begin.
_HEAD_BYTES = 7


class _Layout(NamedTuple):
    """Where the parts of a put are, and what precedes its value."""

    text_at: int
    text_end: int
    value_head: bytes
    value_at: int
    end: int


class _Layouts(dict[bytes, _Layout | None]):
    """Caches the layouts of puts by their first bytes; None if another part of it is not where it is expected.

    Most puts share a few pairs of sizes. Cleared when it exceeds its limit.
    """

    MOST = 10_000

    def __missing__(self, head: bytes) -> _Layout | None:
        if len(self) >= self.MOST:
            self.clear()
        self[head] = layout = _layout(head)
        return layout


_LAYOUTS = _Layouts()


def _layout(head: bytes) -> _Layout | None:
    """The layout of a put that begins with these bytes, if it has a key and a value and nothing else."""
    if len(head) < _HEAD_BYTES:
        return None
    entry_at, entry_bytes = 2, head[1]
    if entry_bytes > 0x7F:
        entry_at, entry_bytes = 3, entry_bytes & 0x7F | head[2] << 7
    key_tag, key_bytes, text_tag, text_bytes = head[entry_at : entry_at + 4]
    if not head[0] == key_tag == text_tag == _FIELD_1 or max(head[entry_at - 1], key_bytes) > 0x7F:
        return None
    text_at, end = entry_at + 4, entry_at + entry_bytes
    text_end = text_at + text_bytes
    value_head = filling_head(_VALUE, end - text_end)
    if key_bytes != text_bytes + 2 or value_head is None:
        return None
    value_at = text_end + len(value_head)
    return _Layout(text_at, text_end, value_head, value_at, end) if value_at < end else None


def plain_puts(writes: Sequence[bytes]) -> tuple[list[bytes], list[bytes]] | None:
    """The texts of the keys and the values of serialized Writes; None unless each is a put that has nothing else.

    Neither is checked. What has the same parts in another order, or longer ones, is left to be parsed too.
    """
    texts, values = [], []
    # Runs for every write of a batch.
    for data in writes:
        layout = _LAYOUTS[data[:_HEAD_BYTES]]
        if layout is None:
            return None
        text_at, text_end, value_head, value_at, end = layout
        if len(data) != end or data[text_end:value_at] != value_head:
            return None
        texts.append(data[text_at:text_end])
        values.append(data[value_at:])
    return texts, values
