"""Serializes responses: values are copied into messages without being parsed.

Pure. A serialized message is a sequence of fields, each with a tag and, unless its size is fixed, a length. Writing
the few tags of a response here avoids creating a protobuf object for every entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from datastore import wire
from datastore.model.encoded import projected
from datastore.model.entries import Batch
from datastore.model.errors import LimitExceededError, QueryNotSupportedError
from datastore.model.limits import KEY_BYTES
from datastore.model.metadata import Metadata
from datastore.model.operations import ReadResult, WriteResult, refusal_of
from datastore.model.query import Query
from datastore.wire.varints import length_delimited, length_prefix, nested_head
from datastore_server.checks import exceeded
from datastore_server.interceptors import item_status
from datastore_server.limits import Limits

__all__ = [
    "batch_get_answer",
    "batch_write_answer",
    "entry_frames",
    "framed",
    "get_answer",
    "patch_answer",
    "put_answer",
    "result_frames",
    "value_data",
    "whole_frame",
]

#: Of so many entries at most, the parts of frames are not joined before the message is.
FEW_ENTRIES = 64

#: Tags of length-delimited fields: `field number << 3 | 2`.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_FIELD_3 = b"\x1a"


@lru_cache(maxsize=KEY_BYTES + 1)
def _key_entry_head(text_bytes: int) -> bytes:
    """What precedes the key of an entry without a value."""
    head = nested_head(text_bytes)
    return _FIELD_1 + length_prefix(len(head) + text_bytes) + head


class _Heads(dict[tuple[int, int], tuple[bytes, bytes]]):
    """Caches the tags and lengths of an entry by the sizes of its key and value.

    Most entries of a store share a few pairs of sizes. Cleared when it exceeds its limit.
    """

    MOST = 10_000

    def __missing__(self, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        text_bytes, value_bytes = sizes
        key_head, value_head = nested_head(text_bytes), _FIELD_2 + length_prefix(value_bytes)
        entry_bytes = len(key_head) + text_bytes + len(value_head) + value_bytes
        if len(self) >= self.MOST:
            self.clear()
        self[sizes] = heads = (_FIELD_1 + length_prefix(entry_bytes) + key_head, value_head)
        return heads


_HEADS = _Heads()


def value_data(value: Any) -> bytes:
    """The serialized form of a stored value: its bytes, or the encoding of a plain value."""
    return value.data if type(value) is wire.WireValue else wire.encode_value(value).data


def get_answer(value: Any, metadata: Metadata | None) -> bytes:
    """The response to Get for a key that has a value."""
    return length_delimited(_FIELD_1, value_data(value)) + _metadata_field(_FIELD_2, metadata)


def put_answer(written: WriteResult) -> bytes:
    """The response to Put or Touch."""
    return _metadata_field(_FIELD_1, written.metadata)


def patch_answer(written: WriteResult, *, include_value: bool) -> bytes:
    """The response to Patch."""
    has_value = include_value and written.value is not None
    value = length_delimited(_FIELD_1, value_data(written.value)) if has_value else b""
    return value + _metadata_field(_FIELD_2, written.metadata)


def _metadata_field(tag: bytes, metadata: Metadata | None, encode: wire.MetadataEncoder | None = None) -> bytes:
    return b"" if metadata is None else length_delimited(tag, (encode or wire.MetadataEncoder())(metadata))


def framed(batch: Batch, most_bytes: int, *, keys_only: bool) -> list[bytes] | None:
    """All entries of a batch as field 1, `entries`, in parts; None if they are, or might be, too large."""
    if isinstance(batch.encoded, wire.EntryFrames):
        return [batch.encoded.joined_frames()] if batch.encoded.size_bytes <= most_bytes else None
    serialized = None if keys_only else batch.serialized()
    if not keys_only and (serialized is None or sum(map(len, serialized[1])) > most_bytes):
        # The size of plain values is only known once they are encoded.
        return None
    if batch.metadata is not None:
        frames = list(entry_frames(batch, keys_only=keys_only))
    elif serialized is None:
        frames = list(_key_frames(_texts(batch)))
    else:
        frames = list(_entry_frames(_texts(batch), serialized[1]))
    # A few parts may be large, and are copied only into the message.
    parts = frames if len(batch) <= FEW_ENTRIES else [b"".join(frames)]
    return parts if sum(map(len, parts)) <= most_bytes else None


# These run for every entry of every query: whatever can be done for many at once is.


def _key_frames(texts: list[bytes]) -> Iterator[bytes]:
    """Keys as field 1, `entries`, in parts."""
    heads = map(_key_entry_head, map(len, texts))
    return chain.from_iterable(zip(heads, texts, strict=True))


def _entry_frames(texts: list[bytes], datas: list[bytes]) -> Iterator[bytes]:
    """Keys and their values as field 1, `entries`, in parts."""
    text_sizes, value_sizes = set(map(len, texts)), set(map(len, datas))
    entry_heads: Iterable[bytes]
    value_heads: Iterable[bytes]
    if len(text_sizes) == len(value_sizes) == 1:
        entry_heads, value_heads = map(repeat, _HEADS[text_sizes.pop(), value_sizes.pop()])
    else:
        sizes = zip(map(len, texts), map(len, datas), strict=True)
        entry_heads, value_heads = zip(*map(_HEADS.__getitem__, sizes), strict=True) if texts else ((), ())
    return chain.from_iterable(zip(entry_heads, texts, value_heads, datas, strict=False))


def _texts(batch: Batch) -> list[bytes]:
    texts = batch.texts
    if b"" in texts:
        raise QueryNotSupportedError("this store answers queries without keys, which cannot be sent")
    return texts


def entry_frames(batch: Batch, *, keys_only: bool) -> Iterator[bytes]:
    """Each entry of a batch as field 1, `entries`. Lazy, because values can be large."""
    if isinstance(batch.encoded, wire.EntryFrames):
        yield from batch.encoded.frames()
    elif batch.metadata is not None:
        yield from _stored_frames(batch, [None] * len(batch) if keys_only else batch.values)
    elif keys_only:
        yield from map(_key_frame, _texts(batch))
    else:
        yield from map(_entry_frame, _texts(batch), batch.values)


def result_frames(query: Query, batch: Batch) -> Iterator[bytes]:
    """`entry_frames` of what a query returns, of a batch that may have whole values in place of long sort keys."""
    if query.fields is None:
        return entry_frames(batch, keys_only=query.keys_only)
    fields = query.fields
    values = (projected(value, fields) for value in batch.values)
    return map(_entry_frame, _texts(batch), values) if batch.metadata is None else _stored_frames(batch, values)


def whole_frame(batch: Batch, index: int) -> bytes:
    """One entry of a batch, with its value, as field 1, `entries`."""
    part = Batch.of_texts(batch.texts[index : index + 1], batch.values[index : index + 1])
    part.metadata = None if batch.metadata is None else batch.metadata[index : index + 1]
    return next(entry_frames(part, keys_only=False))


def _stored_frames(batch: Batch, values: Iterable[Any]) -> Iterator[bytes]:
    """Each entry of a batch with metadata, with these values, if they are not None, as field 1."""
    encode = wire.MetadataEncoder()
    for text, value, stamp in zip(_texts(batch), values, batch.required_metadata(), strict=True):
        value_field = b"" if value is None else length_delimited(_FIELD_2, value_data(value))
        key_field = nested_head(len(text)) + text
        yield length_delimited(_FIELD_1, key_field + value_field + _metadata_field(_FIELD_3, Metadata(*stamp), encode))


def _entry_frame(text: bytes, value: Any) -> bytes:
    """One entry with its value as field 1, `entries`."""
    data = value_data(value)
    entry_head, value_head = _HEADS[len(text), len(data)]
    return b"".join((entry_head, text, value_head, data))


def _key_frame(text: bytes) -> bytes:
    return _key_entry_head(len(text)) + text


def batch_get_answer(read: Sequence[ReadResult], limits: Limits) -> bytes:
    """The response to BatchGet.

    Items that do not fit in the message, including those that the store left unread for that reason, fail and can be
    requested again.
    """
    plain = _plain_results(read)
    if plain is not None and sum(map(len, plain)) <= limits.message_bytes:
        return b"".join(plain)
    too_much = exceeded("message_bytes", limits.message_bytes, "the batch's values; ask for this one again")
    encode = wire.MetadataEncoder()
    left_out = _result(ReadResult(error=too_much), encode)
    room = limits.message_bytes - len(left_out) * len(read)
    results: list[bytes] = []
    for one in read:
        result = left_out if _was_left_out(one) else _result(one, encode)
        if len(result) - len(left_out) > room:
            result = left_out
        room -= len(result) - len(left_out)
        results.append(result)
    return b"".join(results)


def _plain_results(read: Sequence[ReadResult]) -> list[bytes] | None:
    """The results, unless one of them is an error, has metadata, or has a value that is not serialized."""
    if any(one.error is not None or one.metadata is not None for one in read):
        return None
    values = [one.value for one in read]
    if not set(map(type, values)) <= {wire.WireValue, type(None)}:
        return None
    return [_ABSENT if value is None else nested_head(len(value.data)) + value.data for value in values]


#: The result of a key without a value.
_ABSENT = length_delimited(_FIELD_1, b"")


def _was_left_out(read: ReadResult) -> bool:
    return isinstance(read.error, LimitExceededError) and read.error.limit == "message_bytes"


def _result(read: ReadResult, encode: wire.MetadataEncoder) -> bytes:
    if read.error is not None:
        content = length_delimited(_FIELD_2, _status(read.error, "BatchGet"))
    elif read.value is None:
        content = b""
    else:
        content = length_delimited(_FIELD_1, value_data(read.value)) + _metadata_field(_FIELD_3, read.metadata, encode)
    return length_delimited(_FIELD_1, content)


def batch_write_answer(written: Sequence[WriteResult]) -> bytes:
    """The response to BatchWrite."""
    encode = wire.MetadataEncoder()
    parts: list[bytes] = []
    for result in written:
        if result.error is not None:
            parts.append(length_delimited(_FIELD_1, length_delimited(_FIELD_1, _status(result.error, "BatchWrite"))))
        elif result.metadata is None:
            parts.append(length_delimited(_FIELD_1, b""))
        else:
            data = encode(result.metadata)
            parts += (_written_head(len(data)), data)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _written_head(metadata_bytes: int) -> bytes:
    """What precedes the metadata in the result of a write: the tags and lengths of both."""
    head = _FIELD_2 + length_prefix(metadata_bytes)
    return _FIELD_1 + length_prefix(len(head) + metadata_bytes) + head


def _status(error: Exception, method: str) -> bytes:
    data: bytes = item_status(refusal_of(error), method).SerializeToString()
    return data
