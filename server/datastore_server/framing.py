"""Answers as bytes: values copied into their messages without being read.

Pure. A serialized message is the concatenation of its fields, each a tag and, before what has no fixed size,
a length; writing the few tags of an answer here spares a proto object for every entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datastore import wire
from datastore.core.batch import Batch, Outcome
from datastore.core.errors import QueryNotSupportedError
from datastore.core.key import Key
from datastore.v1 import service_pb2
from datastore_server.checks import Limits, exceeded
from datastore_server.interceptors import item_status

__all__ = ["batch_get_response", "entry_frames", "known_bytes", "value_data", "value_field"]

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


#: For the sizes of a key's text and of a value, in one number, what stands before each in an entry: nearly
#: all entries of a store share few pairs of sizes. Emptied when it grows beyond its bound.
_HEADS: dict[int, tuple[bytes, bytes]] = {}
_HEADS_MOST = 10_000


def _heads(text_bytes: int, value_bytes: int) -> tuple[bytes, bytes]:
    """What stands before the text (the entry's, its key's and its own head), and what before the value."""
    key_head, value_head = _key_head(text_bytes), _FIELD_2 + _length(value_bytes)
    entry_bytes = len(key_head) + text_bytes + len(value_head) + value_bytes
    if len(_HEADS) >= _HEADS_MOST:
        _HEADS.clear()
    _HEADS[text_bytes << 32 | value_bytes] = heads = (_FIELD_1 + _length(entry_bytes) + key_head, value_head)
    return heads


def value_data(value: Any) -> bytes:
    """The serialized form of what a store answered: the bytes it holds, or a plain value's encoding."""
    return value.data if type(value) is wire.WireValue else wire.encode_value(value).data


def value_field(value: Any) -> bytes:
    """A message whose field 1 is the value: GetResponse, or one result of a BatchGet."""
    data = value_data(value)
    return b"".join((_FIELD_1, _length(len(data)), data))


def known_bytes(batch: Batch) -> int | None:
    """How many bytes the values of a batch have; None where plain values must be encoded to know."""
    try:
        return sum([len(value.data) for value in batch.values])
    except AttributeError:
        return None


def entry_frames(batch: Batch, *, keys_only: bool) -> Iterator[bytes]:
    """Each entry of a batch as it stands in a message's field 1, `entries`. Lazy: values may be large."""
    if keys_only:
        yield from map(_key_frame, batch.keys)
        return
    known, join, wire_value = _HEADS.get, b"".join, wire.WireValue
    # Once for every entry of every query: names are local, and nothing is done twice.
    for key, value in zip(batch.keys, batch.values, strict=True):
        if key is None:
            raise _without_keys()
        text = str(key).encode()
        data = value.data if type(value) is wire_value else value_data(value)
        sizes = len(text) << 32 | len(data)
        entry_head, value_head = known(sizes) or _heads(len(text), len(data))
        yield join((entry_head, text, value_head, data))


def _without_keys() -> QueryNotSupportedError:
    return QueryNotSupportedError("this store answers queries without keys, which cannot be sent")


def _key_frame(key: Key | None) -> bytes:
    if key is None:
        raise _without_keys()
    text = str(key).encode()
    head = _key_head(len(text))
    return b"".join((_FIELD_1, _length(len(head) + len(text)), head, text))


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
