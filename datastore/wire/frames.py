"""The entries of a response as they arrived: a proxy passes them on without reading their values.

Knows protobuf's encoding of an `Entry`. The fast path checks and reads entries with a short key; any other encoding is
left to protobuf, which writes the entry anew. So every entry that is passed on can be read, except inside its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter, sub
from typing import Any, Self

from google.protobuf.message import DecodeError

from datastore.model.encoded import EncodedEntries
from datastore.model.entries import Batch
from datastore.model.errors import CorruptDataError
from datastore.model.metadata import Stamp
from datastore.wire import raw
from datastore.wire.metadata import check_metadata, decode_metadata
from datastore.wire.values import WireValue
from datastore.wire.varints import filling_head, length_prefix

__all__ = ["EntryFrames", "framed_batch"]

#: The tag of field 1: an entry in a response, the key in an entry, and the text in a key.
_FIELD_1 = b"\x0a"
#: The tag of the value in an entry.
_VALUE = b"\x12"
#: The tag and length of a key, and those of its text, if each length is one byte.
_HEAD_BYTES = 4
#: The size of the tag and length of an entry, unless that is larger than a message may be.
_MOST_HEAD_BYTES = 5
_read_head = itemgetter(slice(_HEAD_BYTES))


class EntryFrames(EncodedEntries):
    """The entries of responses of one query, still serialized. `framed_batch` checks them."""

    __slots__ = ("_contents", "_response", "has_metadata", "has_values")

    def __init__(
        self, contents: Sequence[bytes], *, has_values: bool, has_metadata: bool, response: Any = None
    ) -> None:
        self._contents = contents
        self.has_values = has_values
        self.has_metadata = has_metadata
        #: A response that has exactly these entries, if there is one.
        self._response = response

    def __len__(self) -> int:
        return len(self._contents)

    # As they are passed on

    @property
    def size_bytes(self) -> int:
        """The size of `joined_frames`, or a few bytes an entry more."""
        if self._response is not None:
            return int(self._response.ByteSize())
        return sum(map(len, self._contents)) + _MOST_HEAD_BYTES * len(self)

    def frames(self) -> Iterator[bytes]:
        """Each entry as field 1 of a response."""
        return map(b"".join, zip(self._heads(), self._contents, strict=True))

    def joined_frames(self) -> bytes:
        """All entries as field 1 of a response."""
        if self._response is not None:
            data: bytes = self._response.SerializeToString()
            return data
        return b"".join(chain.from_iterable(zip(self._heads(), self._contents, strict=True)))

    def _heads(self) -> Iterator[bytes]:
        return map(_HEADS.__getitem__, map(len, self._contents))

    def taken(self, take: Callable[[list[Any]], list[Any]]) -> Self:
        return self._like(take(self._listed()))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        return parts[0]._like(list(chain.from_iterable(part._contents for part in parts)))

    def _like(self, contents: list[bytes]) -> Self:
        return type(self)(contents, has_values=self.has_values, has_metadata=self.has_metadata)

    def _listed(self) -> list[bytes]:
        return self._contents if isinstance(self._contents, list) else list(self._contents)

    # As they are read

    def texts(self) -> list[bytes]:
        texts = _plain_texts(self._listed())
        return [entry.key.text.encode() for entry in self._entries()] if texts is None else texts

    def text_at(self, index: int) -> bytes:
        return self._like([self._contents[index]]).texts()[0]

    def values(self) -> list[Any]:
        if not self.has_values:
            return [None] * len(self)
        return [WireValue(entry.value) for entry in self._entries()]

    def metadata(self) -> list[Stamp] | None:
        return [decode_metadata(entry.metadata) for entry in self._entries()] if self.has_metadata else None

    def _entries(self) -> Any:
        return raw.QueryResponse.FromString(self.joined_frames()).entries


class _Heads(dict[int, bytes]):
    """The tag and length of an entry by its size."""

    def __missing__(self, size: int) -> bytes:
        head = _FIELD_1 + length_prefix(size)
        if len(self) < self.MOST:
            self[size] = head
        return head

    MOST = 16_384


_HEADS = _Heads()


def _plain_texts(contents: list[bytes]) -> list[bytes] | None:
    """The texts of the keys, cut out; None unless every entry begins with a key whose size takes one byte."""
    heads = set(map(_read_head, contents))
    for head in heads:
        if len(head) < _HEAD_BYTES or head[::2] != _FIELD_1 * 2 or not 2 < head[1] < 0x80 or head[3] != head[1] - 2:
            return None
    if len(heads) == 1:
        (head,) = heads
        return list(map(itemgetter(slice(_HEAD_BYTES, _HEAD_BYTES + head[3])), contents))
    return [content[_HEAD_BYTES : _HEAD_BYTES + content[3]] for content in contents]


class _ValueHeads(dict[int, "bytes | tuple[()]"]):
    """What precedes the value in an entry that has nothing else after its key, by the size of both.

    Nothing if there is no value; an empty tuple, with which no bytes start, if there is no such entry.
    """

    def __missing__(self, size: int) -> bytes | tuple[()]:
        head = _value_head(size)
        if len(self) < self.MOST:
            self[size] = head
        return head

    MOST = 16_384


def _value_head(size: int) -> bytes | tuple[()]:
    if size == 0:
        return b""
    head = filling_head(_VALUE, size)
    return () if head is None else head


_VALUE_HEADS = _ValueHeads()
_key_bytes = itemgetter(_HEAD_BYTES - 1)


def _are_plain(contents: list[bytes]) -> bool:
    """Whether each of these entries, of which `_plain_texts` are known, is exactly a key, or a key and a value."""
    ends = list(map(_HEAD_BYTES.__add__, map(_key_bytes, contents)))
    heads = map(_VALUE_HEADS.__getitem__, map(sub, map(len, contents), ends))
    return all(map(bytes.startswith, contents, heads, ends))


def _read(response: Any, *, with_metadata: bool) -> tuple[Any, list[bytes]]:
    """A response with these entries as protobuf writes them, and the texts of their keys."""
    try:
        parsed = raw.QueryResponse.FromString(response.SerializeToString())
    except DecodeError as error:
        raise CorruptDataError("the server sent an entry that cannot be read") from error
    texts = [entry.key.text for entry in parsed.entries]
    raw.check_keys(texts)
    for entry in parsed.entries:
        if with_metadata:
            check_metadata(entry.metadata)
        else:
            entry.ClearField("metadata")
    return raw.FramedResponse.FromString(parsed.SerializeToString()), [text.encode() for text in texts]


#: The fields of a response besides its entries.
_OTHERS = [field.name for field in raw.FramedResponse.DESCRIPTOR.fields if field.name != "entries"]


def framed_batch(response: Any, *, keys_only: bool = False, with_metadata: bool = False) -> Batch:
    """The entries and counts of a `raw.FramedResponse`, from which everything else is removed: the batch keeps it.

    Raises CorruptDataError as `raw.entries_batch` does.
    """
    counts = {"skipped": response.skipped, "scanned": response.scanned, "sort_keys": raw.sort_keys_of(response)}
    for field in _OTHERS:
        response.ClearField(field)
    contents = list(response.entries)
    texts = None if with_metadata else _plain_texts(contents)
    if texts is None or not _are_plain(contents) or not raw.are_plain_keys(b"\n".join(texts), len(texts)):
        response, texts = _read(response, with_metadata=with_metadata)
    entries = EntryFrames(response.entries, has_values=not keys_only, has_metadata=with_metadata, response=response)
    return Batch.of_encoded(entries, texts, **counts)
