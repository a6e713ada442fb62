"""Answers as bytes: values copied into their messages without being read.

Pure. A serialized message is the concatenation of its fields, each a tag and, before what has no fixed size, a length;
writing the few tags of an answer here spares a proto object for every entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datastore import wire
from datastore.core.batch import Batch, Outcome
from datastore.core.errors import LimitExceededError, QueryNotSupportedError
from datastore.core.limits import KEY_BYTES
from datastore.v1 import service_pb2
from datastore_server.checks import Limits, exceeded
from datastore_server.interceptors import item_status

__all__ = ["batch_get_response", "entry_frames", "value_data", "value_field"]

#: Tags of fields with a length: `field number << 3 | 2`.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"


def _varint(number: int) -> bytes:
    """A length in the protocol's notation: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


#: The lengths that nearly all entries have, prepared.
_VARINTS = [_varint(number) for number in range(16384)]


def _length(number: int) -> bytes:
    return _VARINTS[number] if number < 16384 else _varint(number)


def _key_head(text_bytes: int) -> bytes:
    text_head = _FIELD_1 + _length(text_bytes)
    return _FIELD_1 + _length(len(text_head) + text_bytes) + text_head


#: What stands before a key's text in an entry: the entry's field 1, a Key, and the Key's field 1, its text.
_KEY_HEADS = [_key_head(text_bytes) for text_bytes in range(KEY_BYTES + 1)]
#: What stands before a value in an entry: the entry's field 2.
_VALUE_HEADS = [_FIELD_2 + _length(value_bytes) for value_bytes in range(4096)]


def value_data(value: Any) -> bytes:
    """The serialized form of what a store answered: the bytes it holds, or a plain value's encoding."""
    return value.data if type(value) is wire.WireValue else wire.encode_value(value).data


def value_field(value: Any) -> bytes:
    """A message whose field 1 is the value: GetResponse, or one result of a BatchGet."""
    data = value_data(value)
    return b"".join((_FIELD_1, _length(len(data)), data))


def entry_frames(batch: Batch, *, keys_only: bool) -> Iterator[bytes]:
    """Each entry of a batch as it stands in a message's field 1, where `entries` is."""
    for key, value in zip(batch.keys, batch.values, strict=True):
        if key is None:
            raise QueryNotSupportedError("this store answers queries without keys, which cannot be sent")
        text = str(key).encode()
        head = _KEY_HEADS[len(text)]
        if keys_only:
            yield b"".join((_FIELD_1, _length(len(head) + len(text)), head, text))
            continue
        data = value_data(value)
        size = len(data)
        value_head = _VALUE_HEADS[size] if size < 4096 else _FIELD_2 + _length(size)
        entry_bytes = len(head) + len(text) + len(value_head) + size
        yield b"".join((_FIELD_1, _length(entry_bytes), head, text, value_head, data))


def batch_get_response(outcomes: Sequence[Outcome], limits: Limits) -> bytes:
    """The answer to BatchGet. What would make it larger than a message fails, and may be asked for again."""
    too_much = exceeded("message_bytes", limits.message_bytes, "the batch's values; ask for this one again")
    left_out = _result(Outcome(error=too_much))
    room = limits.message_bytes - len(left_out) * len(outcomes)
    results = []
    for outcome in outcomes:
        result = _result(outcome)
        if len(result) - len(left_out) > room:
            result = left_out
        room -= len(result) - len(left_out)
        results.append(result)
    return b"".join(results)


def _result(outcome: Outcome) -> bytes:
    if outcome.error is None:
        content = b"" if outcome.value is None else value_field(outcome.value)
    else:
        status = item_status(outcome.error, "BatchGet")
        content = service_pb2.BatchGetResponse.Result(status=status).SerializeToString()
    return b"".join((_FIELD_1, _length(len(content)), content))
