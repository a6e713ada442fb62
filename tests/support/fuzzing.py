"""Requests that no client would send: valid ones altered, bytes at random, and trees that are built to hurt.

They are made from the descriptors of the services, so every RPC has some, and from the golden vectors. Everything
follows from one `random.Random`: with its seed the same requests are made again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore.wire.varints import length_delimited, length_prefix
from tests.support.vectors import vectors

__all__ = ["SECRET", "Requests"]

#: What some values hold, and no error or log may show.
SECRET = "s3cr3t"
_DEPTH = 6
_KEYS = ["/", "/a", "/a/b", "/a/b:c", "a//b/", "/T:1", "/T:2", "/ü", "/" + "k" * 1023, "/" + "k" * 1024, "/\0", "/a:"]
_TEXTS = [
    "",
    "a",
    "a.b",
    "__key__",
    "__value__",
    "__version__",
    "ü" * 600,
    "\udbff".encode("utf-16", "surrogatepass").hex(),
]
_INTEGERS = [0, 1, 2, -1, 127, 128, 1000, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
_FLOATS = [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 5e-324, 1.7976931348623157e308]
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def _seeds() -> dict[str, list[bytes]]:
    """The messages of the golden vectors, by their types."""
    writes, watches = vectors("wire_writes"), vectors("wire_watches")
    found = {
        value_pb2.Value: [*vectors("values"), *vectors("wire_refused")],
        query_pb2.Query: vectors("wire_queries"),
        value_pb2.Metadata: writes["metadata"],
        value_pb2.Precondition: writes["conditions"],
        value_pb2.Expiry: writes["expiries"],
        value_pb2.Patch: writes["patches"],
        service_pb2.WatchRequest: watches["requests"],
    }
    return {kind.DESCRIPTOR.full_name: [bytes.fromhex(one["wire"]) for one in many] for kind, many in found.items()}


class Requests:
    """Makes requests of any type. Tokens that servers gave are used again, as they were or altered."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(str(seed))
        self._seeds = _seeds()
        #: The latest tokens of any kind.
        self._tokens: deque[bytes] = deque([b"\x01", b"\x02\0\0\0\0"], maxlen=200)
        self._hurting: list[Callable[[], bytes]] = [
            self._nested,
            self._wide,
            self._claiming,
            self._grouped,
            self._unknown,
        ]

    def make(self, descriptor: Descriptor) -> bytes:
        """The bytes of a request of this type, or of something else."""
        choice = self._random.random()
        if choice < 0.35:
            return self._valid(descriptor)
        if choice < 0.85:
            data = self._valid(descriptor)
            for _ in range(self._random.choice([1, 1, 2, 8])):
                data = self._altered(data)
            return data
        if choice < 0.92:
            return self._random.randbytes(self._random.choice([0, 1, 10, 100, 5000]))
        return self._random.choice(self._hurting)()

    def note(self, response: Message) -> None:
        """Remember the tokens of a response."""
        for field, value in response.ListFields():
            if field.name.endswith("_token") and len(value) < 5000:
                self._tokens.append(value if isinstance(value, bytes) else value.encode())

    # Valid messages

    def _valid(self, descriptor: Descriptor) -> bytes:
        message = GetMessageClass(descriptor)()
        self._fill(message, _DEPTH)
        return message.SerializeToString()

    def _fill(self, message: Any, depth: int) -> None:
        seeds = self._seeds.get(message.DESCRIPTOR.full_name)
        if seeds and self._random.random() < 0.7:
            # Some are made to be refused, by the parser too.
            with suppress(DecodeError):
                message.MergeFromString(self._random.choice(seeds))
            return
        for field in message.DESCRIPTOR.fields:
            if field.containing_oneof is None and self._random.random() < 0.7:
                self._set(message, field, depth)
        for oneof in message.DESCRIPTOR.oneofs:
            self._set(message, self._random.choice(oneof.fields), depth)

    def _set(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None:
            if depth:
                self._set_message(message, field, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(self._scalar(field) for _ in range(self._random.choice([0, 1, 3])))
        else:
            setattr(message, field.name, self._scalar(field))

    def _set_message(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        place = getattr(message, field.name)
        if not field.is_repeated:
            place.SetInParent()
            self._fill(place, depth)
        elif field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            for _ in range(self._random.choice([0, 1, 2])):
                if value.message_type is not None:
                    self._fill(place[self._scalar(key)], depth)
                else:
                    place[self._scalar(key)] = self._scalar(value)
        else:
            for _ in range(self._random.choice([0, 1, 1, 3])):
                self._fill(place.add(), depth)

    def _scalar(self, field: FieldDescriptor) -> Any:
        one = self._random.choice
        kind = field.cpp_type
        if kind in _RANGES:
            least, most = _RANGES[kind]
            return min(max(one([*_INTEGERS[:6], one(_INTEGERS)]), least), most)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return one([*field.enum_type.values_by_number, 99])
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return one([True, False])
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return one(_FLOATS)
        if field.name.endswith("_token"):
            data = self._token()
            return data.decode("latin-1") if field.type == FieldDescriptor.TYPE_STRING else data
        if field.containing_type == value_pb2.Value.DESCRIPTOR:
            return SECRET if field.type == FieldDescriptor.TYPE_STRING else SECRET.encode()
        if field.type == FieldDescriptor.TYPE_BYTES:
            return one([b"", b"\0", self._random.randbytes(16)])
        return one(_KEYS if field.name == "text" else [*_TEXTS, *_KEYS[:3]])

    def _token(self) -> bytes:
        choice = self._random.random()
        if choice < 0.4:
            return b""
        token = self._random.choice(self._tokens)
        return token if choice < 0.7 else self._altered(token)

    # Altered bytes

    def _altered(self, data: bytes) -> bytes:
        one, size = self._random, len(data)
        start = one.randrange(size + 1)
        end = one.randrange(start, size + 1)
        part = data[start:end]
        return one.choice(
            [
                lambda: data[:start] + bytes([one.randrange(256)]) + data[start + 1 :],
                lambda: (
                    data[:start] + bytes([data[start] ^ 1 << one.randrange(8)]) + data[start + 1 :]
                    if start < size
                    else b""
                ),
                lambda: data[:start],
                lambda: data[:start] + data[end:],
                lambda: data[:end] + part * one.choice([1, 2, 50]) + data[end:],
                lambda: data[:start] + one.randbytes(one.choice([1, 4, 40])) + data[start:],
                lambda: data[:start] + b"\xff" * 9 + b"\x01" + data[start + 1 :],
                lambda: data + self._valid(one.choice([query_pb2.Query, value_pb2.Value, value_pb2.Entry]).DESCRIPTOR),
                lambda: data[:start][::-1] + data[start:],
            ]
        )()

    # Trees that hurt

    def _delimited(self, number: int, content: bytes) -> bytes:
        return length_delimited(length_prefix(number << 3 | 2), content)

    def _nested(self) -> bytes:
        """One field in another, thousands deep."""
        numbers = self._random.choices(range(1, 16), k=self._random.choice([1, 2]))
        data = b""
        for depth in range(self._random.choice([20, 99, 101, 2000])):
            data = self._delimited(numbers[depth % len(numbers)], data)
        return data

    def _wide(self) -> bytes:
        """Very many small parts."""
        part = self._random.choice([b"", b"\x08\x01", b"\x0a\0", self._delimited(1, b"/a")])
        return self._delimited(self._random.randrange(1, 12), part) * self._random.choice([1000, 30_000])

    def _claiming(self) -> bytes:
        """Lengths of what is not there."""
        tag = length_prefix(self._random.randrange(1, 16) << 3 | 2)
        return tag + length_prefix(self._random.choice([100, 2**31, 2**63]))

    def _grouped(self) -> bytes:
        """Groups, which nobody uses."""
        depth, tag = self._random.choice([1, 99, 5000]), self._random.randrange(1, 16) << 3
        return bytes([tag | 3]) * depth + bytes([tag | 4]) * self._random.choice([0, depth])

    def _unknown(self) -> bytes:
        """Fields of strange numbers and types."""
        fields = [
            length_prefix(self._random.choice([0, 1, 2**29 - 1, 2**29, 2**32]) << 3 | self._random.randrange(8))
            + self._random.randbytes(8)
            for _ in range(20)
        ]
        return b"".join(fields)
