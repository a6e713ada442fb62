"""The data that moves between stores: entries, batches of them, positions, writes and their outcomes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import compress
from operator import countOf, itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from datastore.model.encoded import Encoded, EncodedEntries, projected
from datastore.model.errors import DatastoreError, UnsupportedError
from datastore.model.key import Key
from datastore.model.limits import LONG_SORT_KEY_BYTES
from datastore.model.metadata import Metadata, Stamp
from datastore.model.records import Record

if TYPE_CHECKING:
    from datetime import datetime

    from datastore.model.explanation import Explanation

__all__ = [
    "Batch",
    "Entry",
    "Position",
    "Reason",
    "ShardReport",
    "StoredEntry",
    "Summary",
    "Write",
    "places",
    "value_bytes",
]

#: The assumed size of a value of unknown size, in bytes.
_GUESSED_BYTES = 200


class Entry(NamedTuple):
    """A key and its value. The key is None for bare values."""

    key: Key | None
    value: Any

    @property
    def metadata(self) -> Metadata | None:
        """The entry's metadata, if it was read; otherwise None."""
        return None


class StoredEntry(Entry):
    """An entry with its metadata. It equals an Entry with the same key and value."""

    _metadata: Stamp

    @classmethod
    def read(cls, key: Key | None, value: Any, metadata: Stamp) -> StoredEntry:
        """The entry of a key that was read with its metadata."""
        entry = cls(key, value)
        entry._metadata = metadata
        return entry

    @property
    def metadata(self) -> Metadata:
        """The entry's metadata."""
        return Metadata(*self._metadata)

    @property
    def version(self) -> int:
        """The version: greater after every write of the key, also after a delete; see `Metadata`."""
        return self._metadata[0]

    @property
    def create_time(self) -> datetime:
        """When the entry was created, in UTC."""
        return self.metadata.create_time

    @property
    def update_time(self) -> datetime:
        """When the entry was last written, in UTC."""
        return self.metadata.update_time

    @property
    def expire_time(self) -> datetime | None:
        """When the entry expires, in UTC; None for never."""
        return self.metadata.expire_time


class Position(Record):
    """A place in a query's results, after one entry: its sort key (b'' without orders) and its key.

    `value`, the entry's value, is sent in place of a sort key over LONG_SORT_KEY_BYTES, with its `metadata` if an order
    reads that; without them, a sort key that exceeds a message cannot be sent. Positions are equal if sort key and key
    are.
    """

    __slots__ = ("key", "metadata", "sort_key", "value")
    compared: ClassVar = ("sort_key", "key")

    def __init__(self, sort_key: bytes, key: Key, value: Any = None, metadata: Stamp | None = None) -> None:
        self.sort_key = sort_key
        self.key = key
        self.value = value
        self.metadata = metadata


class Write(NamedTuple):
    """One write of a batch. The value None deletes."""

    key: Key
    value: Any


class Batch:
    """Consecutive results of a query, as columns of equal length.

    `position` is where to resume without losing or repeating entries; None if unknown. `skipped` and `scanned`
    count the matching entries that the offset skipped, and the entries examined, since the previous batch.
    An empty batch is a heartbeat. `metadata` (a Metadata of each entry, or a bare tuple of its fields) and `sort_keys`
    are present only if the query requested them.

    Between storage and messages, keys stay text and values bytes: `of_texts` makes a batch of such texts, and
    `encode_as` says what the bytes are. The `keys` and `values` are created only when accessed. Between messages, whole
    entries stay bytes: `of_encoded` makes a batch of these, which are `encoded` until the values are accessed.
    """

    __slots__ = (
        "_keys",
        "_kind",
        "_metadata",
        "_serialized",
        "_texts",
        "_values",
        "encoded",
        "position",
        "scanned",
        "skipped",
        "sort_keys",
    )

    def __init__(
        self,
        keys: list[Any],
        values: list[Any],
        *,
        metadata: list[Stamp] | None = None,
        sort_keys: list[bytes] | None = None,
        position: Position | None = None,
        skipped: int = 0,
        scanned: int = 0,
    ) -> None:
        #: The entries in serialized form, of which the columns are made.
        self.encoded: EncodedEntries | None = None
        self._keys: list[Any] | None = keys
        self._texts: list[bytes] | None = None
        self._values: list[Any] | None = values
        self._serialized: list[bytes] = []
        self._kind: type[Encoded] = Encoded
        self._metadata = metadata
        self.sort_keys = sort_keys
        self.position = position
        self.skipped = skipped
        self.scanned = scanned

    @classmethod
    def of_texts(cls, texts: list[bytes], values: list[Any], **others: Any) -> Batch:
        """A batch of canonical keys that are known by their text in UTF-8; b"" is a key of None."""
        batch = Batch([], values, **others)
        batch._keys, batch._texts = None, texts
        return batch

    @classmethod
    def of_encoded(cls, entries: EncodedEntries, texts: list[bytes] | None = None, **others: Any) -> Batch:
        """A batch of entries that are read only when their columns are asked for; `texts` if they were read already."""
        batch = cls([], [], **others)
        batch._keys, batch._texts = None, texts
        batch.encoded = entries
        return batch

    @classmethod
    def of_entries(cls, entries: Sequence[tuple[Any, Any]], *, scanned: int = 0) -> Batch:
        """A batch of entries, or of bare tuples of key and value; with metadata if all are StoredEntry."""
        batch = cls([key for key, _ in entries], [value for _, value in entries], scanned=scanned)
        if all(isinstance(entry, StoredEntry) for entry in entries):
            batch.metadata = [entry.metadata for entry in entries if isinstance(entry, StoredEntry)]
        return batch

    @property
    def keys(self) -> list[Any]:
        """The keys; None for bare values."""
        if self._keys is None:
            self._keys = _keys_of([text.decode() for text in self.texts])
        return self._keys

    @keys.setter
    def keys(self, keys: list[Any]) -> None:
        self._decode()
        self._keys, self._texts = keys, None

    def key_at(self, index: int) -> Any:
        """One of the keys, without making the others."""
        if self._keys is not None:
            return self._keys[index]
        text = self.encoded.text_at(index) if self._texts is None and self.encoded is not None else self.texts[index]
        return Key._trusted(text.decode()) if text else None

    @property
    def metadata(self) -> list[Stamp] | None:
        """The metadata, if the query requested it."""
        if self._metadata is None and self.encoded is not None:
            self._metadata = self.encoded.metadata()
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: list[Stamp] | None) -> None:
        if metadata is not None or self.has_metadata:
            self._decode()
            self._metadata = metadata

    @property
    def has_metadata(self) -> bool:
        """Whether `metadata` is present."""
        return self._metadata is not None if self.encoded is None else self.encoded.has_metadata

    def _decode(self) -> None:
        """Make all columns of the serialized entries, before one of them may differ from these."""
        if self.encoded is not None:
            self._texts, self._values, self._metadata = self.texts, self.encoded.values(), self.metadata
            self.encoded = None

    @property
    def texts(self) -> list[bytes]:
        """The texts of the keys in UTF-8, which sort like the keys; b"" for None."""
        if self._texts is None:
            if self.encoded is not None:
                self._texts = self.encoded.texts()
            else:
                self._texts = [b"" if key is None else key._string.encode() for key in self.keys]
        return self._texts

    @property
    def values(self) -> list[Any]:
        """The values."""
        # They may be changed from here on.
        self._decode()
        if self._values is None:
            self._values, self._serialized = list(map(self._kind, self._serialized)), []
        return self._values

    @values.setter
    def values(self, values: list[Any]) -> None:
        self._decode()
        self._values, self._serialized = values, []

    def encode_as(self, kind: type[Encoded]) -> None:
        """Take the values, all of which are bytes, as values that are serialized in this form."""
        self._values, self._serialized, self._kind = None, self.values, kind

    def serialized(self) -> tuple[type[Encoded], list[bytes]] | None:
        """The bytes of the values, and in which form these are; None unless they all have one. Treat it as frozen."""
        self._decode()
        if self._values is None:
            return self._kind, self._serialized
        kind = type(self._values[0]) if self._values else type(None)
        if not issubclass(kind, Encoded) or countOf(map(type, self._values), kind) < len(self._values):
            return None
        return kind, [value.data for value in self._values]

    def strip_prefix(self, prefix: str) -> None:
        """Cut `prefix` off all keys, whose texts begin with it. Of a key that has no other text, `/` remains."""
        size, size_bytes = len(prefix), len(prefix.encode())
        self._decode()
        if self._keys is None:
            self._texts = [text and (text[size_bytes:] or b"/") for text in self.texts]
        else:
            self.keys = _keys_of(["" if key is None else key._string[size:] or "/" for key in self._keys])
        if self.position is not None:
            key = Key._trusted(str(self.position.key)[size:] or "/")
            self.position = Position(self.position.sort_key, key)

    def cut(self, start: int, stop: int) -> None:
        """Keep the entries from `start` up to `stop`. The caller must set `position`."""
        kept = self._taken(itemgetter(slice(start, stop)))
        self.encoded, self._keys, self._texts = kept.encoded, kept._keys, kept._texts
        self._values, self._serialized, self._kind = kept._values, kept._serialized, kept._kind
        self._metadata, self.sort_keys = kept._metadata, kept.sort_keys

    def split(self, count: int) -> Batch:
        """The first `count` entries, without position and counts. The others remain."""
        first = self._taken(itemgetter(slice(count)))
        self.cut(count, len(self))
        return first

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """The entries of at least one batch, one after the other, without position and counts.

        Columns that are not present in all of them are left out.
        """
        sort_keys = _joined([batch.sort_keys for batch in batches])
        encoded = [batch.encoded for batch in batches if batch.encoded is not None]
        if len(encoded) == len(batches) and len(set(map(type, encoded))) == 1:
            return cls.of_encoded(encoded[0].joined(encoded), sort_keys=sort_keys)
        values = [value for batch in batches for value in batch.values]
        metadata = _joined([batch.metadata for batch in batches])
        keys = _joined([batch._keys for batch in batches])
        if keys is not None:
            return cls(keys, values, metadata=metadata, sort_keys=sort_keys)
        texts = [text for batch in batches for text in batch.texts]
        return cls.of_texts(texts, values, metadata=metadata, sort_keys=sort_keys)

    def ordered(self, places: Sequence[int]) -> Batch:
        """The entries at these places, without position and counts."""
        return self._taken(lambda column: list(map(column.__getitem__, places)))

    def clear(self) -> None:
        """Drop the entries, and keep the position and the counts.

        For the last reader of a batch: the stores through which it came hold it until they are asked for the next one.
        """
        self.cut(0, 0)

    def selected(self, held: list[bool]) -> Batch:
        """The marked entries, without position and counts."""
        return self._taken(lambda column: list(compress(column, held)))

    def _taken(self, take: Callable[[list[Any]], list[Any]]) -> Batch:
        """A batch of what `take` takes of each column, without position and counts."""
        if self.encoded is not None:
            sort_keys = None if self.sort_keys is None else take(self.sort_keys)
            return Batch.of_encoded(self.encoded.taken(take), sort_keys=sort_keys)
        values = take(self._serialized if self._values is None else self._values)
        metadata = None if self.metadata is None else take(self.metadata)
        sort_keys = None if self.sort_keys is None else take(self.sort_keys)
        if self._keys is not None:
            batch = Batch(take(self._keys), values, metadata=metadata, sort_keys=sort_keys)
        else:
            batch = Batch.of_texts(take(self.texts), values, metadata=metadata, sort_keys=sort_keys)
        if self._values is None:
            batch.encode_as(self._kind)
        return batch

    def kept(self, held: list[bool]) -> Batch:
        """The marked entries, and the position and counts of all."""
        batch = self.selected(held)
        batch.position, batch.skipped, batch.scanned = self.position, self.skipped, self.scanned
        return batch

    def renamed(self, keys: list[Any], position: Key | None) -> Batch:
        """The entries under these keys, without those whose key is now None; after the entry at `position`."""
        held = [key is not None or was is None for key, was in zip(keys, self.keys, strict=True)]
        return Batch(
            list(compress(keys, held)),
            list(compress(self.values, held)),
            metadata=None if self.metadata is None else list(compress(self.metadata, held)),
            position=None if position is None else Position(b"", position),
            scanned=self.scanned,
        )

    def parts(self, most: int) -> Iterator[Batch]:
        """Split into parts of at most this many entries, with the counts in the first and the position in the last."""
        if len(self) <= most:
            yield self
            return
        skipped, scanned = self.skipped, self.scanned
        for start in range(0, len(self), most):
            batch = self._taken(itemgetter(slice(start, start + most)))
            batch.skipped, skipped = skipped, 0
            batch.scanned, scanned = scanned, 0
            if start + most >= len(self):
                batch.position = self.position
            yield batch

    def drop_values(self, *, except_long: bool = False) -> None:
        """Keep only the keys; with `except_long`, also the values that replace long sort keys."""
        if self.encoded is not None and not self.encoded.has_values:
            return
        if self.sort_keys is None or not except_long:
            self.values = [None] * len(self)
        else:
            self.values = [
                value if whole else None for value, whole in zip(self.values, self._replaces_sort_key(), strict=True)
            ]

    def project(self, fields: Sequence[str], *, except_long: bool = False) -> None:
        """Keep only these fields of the values; with `except_long`, values that replace long sort keys stay whole."""
        is_long = self._replaces_sort_key() if except_long else [False] * len(self)
        self.values = [
            value if whole else projected(value, fields) for value, whole in zip(self.values, is_long, strict=True)
        ]

    def _replaces_sort_key(self) -> list[bool]:
        """The values that replace their sort keys, which are too long to be sent."""
        if self.sort_keys is None:
            return [False] * len(self)
        return [len(sort_key) > LONG_SORT_KEY_BYTES for sort_key in self.sort_keys]

    def __len__(self) -> int:
        if self.encoded is not None:
            return len(self.encoded)
        return len(self._serialized if self._values is None else self._values)

    def entries(self) -> Iterator[Entry]:
        """The entries one by one."""
        if self.metadata is None:
            return map(Entry, self.keys, self.values)
        return map(StoredEntry.read, self.keys, self.values, self.metadata)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Like `entries`, but bare tuples if there is no metadata, because these take half the time to make."""
        return zip(self.keys, self.values, strict=True) if self.metadata is None else self.entries()

    def require_metadata(self) -> None:
        """Raise UnsupportedError if the metadata is not present."""
        if not self.has_metadata and len(self):
            raise UnsupportedError("these entries have no metadata: the store that they come from keeps no versions")

    def required_metadata(self) -> list[Stamp]:
        """The metadata of all entries. Raises UnsupportedError if it is not present."""
        self.require_metadata()
        return self.metadata or []

    def metadata_at(self, index: int) -> Stamp | None:
        """The metadata of one of the entries; None if it is not present."""
        return None if self.metadata is None else self.metadata[index]

    def __repr__(self) -> str:
        return f"<Batch of {len(self)}, {self.skipped} skipped, {self.scanned} scanned, after {self.position}>"


def _keys_of(texts: list[str]) -> list[Any]:
    """The keys of these texts; None for ""."""
    keys: list[Any] = Key._all_trusted(texts)
    return [key if text else None for key, text in zip(keys, texts, strict=True)] if "" in texts else keys


def _joined(columns: Sequence[list[Any] | None]) -> list[Any] | None:
    """The columns one after the other; None if one of them is not present."""
    joined: list[Any] = []
    for column in columns:
        if column is None:
            return None
        joined += column
    return joined


def places(keys: Iterable[Key | None]) -> list[str]:
    """The sort values of entries in key order: the key's text or, without a key, that of the previous entry."""
    before, found = "", []
    for key in keys:
        before = before if key is None else str(key)
        found.append(before)
    return found


class Reason(Enum):
    """Why results ended."""

    EXHAUSTED = "exhausted"
    LIMIT = "limit"
    #: Some shards could not be reached, and the query allowed partial results.
    PARTIAL = "partial"


class ShardReport(NamedTuple):
    """One shard's part of a query; `error` says why it is missing from the results."""

    shard: str
    entries: int
    scanned: int
    error: DatastoreError | None = None


class Summary(NamedTuple):
    """How a query's results ended, and how many there were."""

    reason: Reason
    entries: int
    skipped: int
    scanned: int
    shards: tuple[ShardReport, ...] = ()
    explanation: Explanation | None = None


def value_bytes(value: Any) -> int:
    """The size of a value in a batch, in bytes: exact for serialized values, bytes and str, otherwise an estimate."""
    kind = type(value)
    if kind is dict:
        return _GUESSED_BYTES
    if issubclass(kind, Encoded):
        return len(value.data)
    if kind is bytes or (kind is str and value.isascii()):
        return len(value)
    if kind is str:
        return len(value.encode("utf-8", "surrogatepass"))
    return _GUESSED_BYTES
