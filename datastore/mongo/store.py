"""MongoDatastore: reads, writes and queries the documents of one collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from datastore.engine.plan import narrowed
from datastore.engine.versions import Versions
from datastore.model.capability import Capability, Support
from datastore.model.description import Description
from datastore.model.entries import Batch, Position, value_bytes
from datastore.model.errors import DatastoreError, InvalidError, UnsupportedTypeError
from datastore.model.extras import require
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES, FIRST_SCAN_ENTRIES
from datastore.model.metadata import Stamp
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore.mongo.conditions import condition, is_known, of_identities, present
from datastore.mongo.documents import METADATA, key_of, metadata_of, plain, stored_metadata
from datastore.mongo.errors import translated
from datastore.mongo.writer import Writer
from datastore.sync._concurrency import Lock
from datastore.sync.base import Datastore
from datastore.sync.scan import Scan

__all__ = ["MongoDatastore"]


class MongoDatastore(Datastore):
    """Stores each entry as a document in a collection of a pymongo database, which the caller must close.

    Values are returned unchanged. Those that BSON would change are refused with UnsupportedTypeError or
    InvalidValueError: ints over 64 bits, datetimes with a zone or with microseconds, Keys, map names that are not str,
    maps with a `$ref`, and subclasses of the plain types. A document has at most DOCUMENT_BYTES (LimitExceededError).
    The server selects the collection, sorts by key, and excludes what comparisons with plain scalars certainly
    exclude; the rest of a query is evaluated in the client. Documents without a key or a value are not visible.
    Safe for threads. The durability of a write is that of the database's write concern.
    Raises UnsupportedTypeError or InvalidError for anything but a database and a collection name, ImportError if
    pymongo is not installed, UnavailableError if the server cannot be reached, DeadlineExceededError after a timeout,
    and StoreError for anything else that the server refuses, e.g. a duplicate in a unique index.
    With `aware_datetimes` datetimes have a zone, are read in UTC, and are refused without one.
    """

    capability = Capability(
        scope=True,
        key_filters=Support.INEXACT,
        field_filters=Support.INEXACT,
        limit=Support.INEXACT,
        versions=True,
        expiry=True,
    )

    def __init__(
        self,
        database: Any,
        *,
        collection: str = "datastore",
        aware_datetimes: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        require("pymongo", "mongodb")
        self._collection = _collection(database, collection, aware_datetimes=aware_datetimes)
        self._versions = Versions(clock=clock)
        self._lock = Lock()
        self._writer = Writer(self._collection, self._versions, self._lock, aware_datetimes=aware_datetimes)
        self._owned: Any = None

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read several documents in one request; without values, only whether each has one."""
        selected, fields = of_identities([str(key) for key in keys]), None
        if not options.values:
            selected, fields = {**selected, **present(self._now_us())}, dict.fromkeys(METADATA, 1)
        try:
            with translated():
                found = {
                    document["_id"]: document for document in self._collection.find(selected, fields, limit=len(keys))
                }
        except DatastoreError as error:
            return [ReadResult(error=error) for _ in keys]
        now_us = self._now_us()
        return [_result(found.get(str(key)), options, now_us) for key in keys]

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes in one request, after another that reads the metadata of what they replace."""
        return self._writer.write(operations)

    def _now_us(self) -> int:
        with self._lock:
            return self._versions.latest_us()

    def scan(self, query: Query) -> Scan:
        """The entries of the scope, without those that the server excluded."""
        return Scan(self._batches(query), narrowed(query, partial(is_known, query), query.entries_needed(started=True)))

    def _batches(self, query: Query) -> Generator[Batch]:
        needed = query.entries_needed(started=True)
        with translated():
            fields = None if query.reads_values else dict.fromkeys(METADATA if query.needs_metadata else ("_id",), 1)
            found = self._collection.find(condition(query, self._now_us()), fields)
            cursor = found.sort("_id", 1).batch_size(min(BATCH_ENTRIES, max(needed, 2)))
        try:
            most = FIRST_SCAN_ENTRIES
            while needed > 0:
                with translated():
                    batch = _read(cursor, min(most, needed), query)
                if not batch.scanned:
                    return
                yield batch
                needed -= len(batch)
                most = BATCH_ENTRIES
        finally:
            cursor.close()

    # System records, in a collection beside that of the entries

    def read_system(self, name: str) -> bytes | None:
        """The system record of a name, or None."""
        with translated():
            found = self._system.find_one({"_id": name})
        return None if found is None else bytes(found["content"])

    def write_system(self, name: str, content: bytes) -> None:
        """Replace a system record; its durability is that of the database's write concern."""
        with translated():
            self._system.replace_one({"_id": name}, {"_id": name, "content": content}, upsert=True)

    @property
    def _system(self) -> Any:
        return self._collection.database[f"{self._collection.name}.placement"]

    def close(self) -> None:
        """Disconnect if the store was opened by its URL; otherwise the caller must close the database."""
        if self._owned is not None:
            self._owned.close()

    def describe(self) -> Description:
        return Description("mongodb", self._collection.full_name, self.capability)


def _collection(database: Any, name: str, *, aware_datetimes: bool) -> Any:
    """The collection, with options under which values are read as written, whatever the database's settings."""
    from bson.codec_options import CodecOptions
    from pymongo import MongoClient
    from pymongo.errors import InvalidName

    if isinstance(database, MongoClient) or not hasattr(database, "get_collection"):
        raise UnsupportedTypeError(
            f"database must be a pymongo database, e.g. MongoClient()['name'], got {type(database).__name__}",
            path="database",
        )
    try:
        return database.get_collection(name, codec_options=CodecOptions(tz_aware=aware_datetimes))
    except (InvalidName, TypeError) as error:
        raise InvalidError(f"collection={name!r}: {error}", field="collection") from error


def _result(document: dict[str, Any] | None, options: ReadOptions, now_us: int) -> ReadResult:
    """What was read of a key. Without values, what was not selected has none."""
    if document is not None and not options.values:
        document["value"] = True
    metadata = metadata_of(document, now_us)
    if document is None or metadata is None:
        return ReadResult()
    return ReadResult(plain(document["value"]), metadata=metadata if options.metadata else None)


def _read(cursor: Any, most: int, query: Query) -> Batch:
    """The next documents as a batch. Documents of other programs are skipped."""
    keys: list[Key] = []
    values: list[Any] = []
    metadata: list[Stamp] = []
    scanned = held_bytes = 0
    while len(keys) < most and held_bytes < BATCH_BYTES and scanned < BATCH_ENTRIES:
        document = next(cursor, None)
        if document is None:
            break
        scanned += 1
        key = key_of(document["_id"])
        value = plain(document.get("value")) if query.reads_values else True
        if key is not None and value is not None:
            keys.append(key)
            values.append(value)
            held_bytes += value_bytes(value)
            if query.needs_metadata:
                metadata.append(stored_metadata(document))
    return Batch(
        keys,
        values,
        metadata=metadata if query.needs_metadata else None,
        scanned=scanned,
        position=Position(b"", keys[-1]) if keys else None,
    )
