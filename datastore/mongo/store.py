"""MongoDatastore: reads, writes and queries the documents of one collection."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from datastore.engine.plan import narrowed
from datastore.model.capability import Capability, Support
from datastore.model.description import Description
from datastore.model.entries import Batch, Position, value_bytes
from datastore.model.errors import DatastoreError, InvalidError, UnsupportedTypeError
from datastore.model.extras import require
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES, FIRST_SCAN_ENTRIES
from datastore.model.operations import Operation, Put, ReadOptions, ReadResult, WriteResult, attempt
from datastore.model.query import Query
from datastore.mongo.conditions import HAS_VALUE, condition, is_known
from datastore.mongo.documents import document_of, key_of, plain
from datastore.mongo.errors import is_taken, refusal_of_write, translated, write_concern_error
from datastore.sync.base import Datastore
from datastore.sync.scan import Scan
from datastore.sync.verbs import read_attempt, write_attempt

__all__ = ["TRIES", "MongoDatastore"]

#: How often to retry a write if another one creates its document concurrently.
TRIES = 10


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
        scope=True, key_filters=Support.INEXACT, field_filters=Support.INEXACT, limit=Support.INEXACT
    )

    def __init__(self, database: Any, *, collection: str = "datastore", aware_datetimes: bool = False) -> None:
        require("pymongo", "mongodb")
        self._collection = _collection(database, collection, aware_datetimes=aware_datetimes)
        self._aware_datetimes = aware_datetimes
        self._indexed = False
        self._owned: Any = None

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read several documents in one request; without values, only whether each has one."""
        if len(keys) == 1:
            return [read_attempt(self._value if options.values else self._presence, keys[0])]
        return [ReadResult(value) for value in self._values(keys, with_values=options.values)]

    def _value(self, key: Key) -> Any:
        with translated():
            document = self._collection.find_one({"_id": str(key)})
        return None if document is None else plain(document.get("value"))

    def _presence(self, key: Key) -> Any:
        with translated():
            return self._collection.find_one({"_id": str(key), **HAS_VALUE}, {"_id": 1})

    def _values(self, keys: Sequence[Key], *, with_values: bool) -> list[Any]:
        selected: dict[str, Any] = {"_id": {"$in": [str(key) for key in keys]}}
        with translated():
            if with_values:
                found = {document["_id"]: plain(document.get("value")) for document in self._collection.find(selected)}
            else:
                documents = self._collection.find({**selected, **HAS_VALUE}, {"_id": 1})
                found = {document["_id"]: True for document in documents}
        return [found.get(str(key)) for key in keys]

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes in one request, in order, leaving out refused ones."""
        if len(operations) == 1:
            return [write_attempt(self._do, operations[0])]
        return self._write_all(operations)

    def _do(self, operation: Operation) -> None:
        change = self._change(operation)
        with translated():
            self._ensure_index()
            self._make(change)

    def _change(self, operation: Operation) -> dict[str, Any] | str:
        """The document to store, or the identity of the one to delete."""
        if isinstance(operation, Put):
            return document_of(operation.key, operation.value, aware_datetimes=self._aware_datetimes)
        return str(operation.key)

    def _make(self, change: dict[str, Any] | str) -> None:
        if isinstance(change, str):
            self._collection.delete_one({"_id": change})
        else:
            self._replace(change)

    def _replace(self, document: dict[str, Any]) -> None:
        from pymongo.errors import DuplicateKeyError

        for _ in range(TRIES):
            # If two calls create a document concurrently, one gets an error, and finds the document when it retries.
            with suppress(DuplicateKeyError):
                self._collection.replace_one({"_id": document["_id"]}, document, upsert=True)
                return
        self._collection.replace_one({"_id": document["_id"]}, document, upsert=True)

    def _write_all(self, operations: Sequence[Operation]) -> list[WriteResult]:
        results = [WriteResult() for _ in operations]
        left: list[tuple[int, dict[str, Any] | str]] = []
        for place, operation in enumerate(operations):
            change = attempt(self._change, operation)
            if change.error is None:
                left.append((place, change.value))
            else:
                results[place] = WriteResult(change.error)
        tries = 0
        while left:
            done, failed, failure = self._write([change for _, change in left])
            tries = tries + 1 if done == 0 else 0
            if failed == 1 and is_taken(failure) and tries < TRIES:
                left = left[done:]
                continue
            for place, _ in left[done : done + failed]:
                results[place] = WriteResult(failure)
            left = left[done + failed :]
        return results

    def _write(self, changes: Sequence[dict[str, Any] | str]) -> tuple[int, int, DatastoreError | None]:
        """Write until one fails. Returns how many succeeded, how many failed, and the error; the rest was not tried."""
        from pymongo.errors import BulkWriteError

        try:
            with translated():
                self._ensure_index()
                try:
                    self._collection.bulk_write(list(map(_operation, changes)))
                except BulkWriteError as error:
                    details = error.details or {}
                    for failed in details.get("writeErrors", ()):
                        refused = refusal_of_write(failed.get("code"), str(failed.get("errmsg")))
                        refused.__cause__ = error
                        return failed["index"], 1, refused
                    # Everything is written, but not with the requested write concern.
                    return 0, len(changes), write_concern_error(details.get("writeConcernErrors", ()))
        except DatastoreError as error:
            if isinstance(error.__cause__, KeyError):
                # FerretDB refuses a batch without saying for which document.
                return self._write_alone(changes[0])
            return 0, len(changes), error
        return len(changes), 0, None

    def _write_alone(self, change: dict[str, Any] | str) -> tuple[int, int, DatastoreError | None]:
        try:
            with translated():
                self._make(change)
        except DatastoreError as error:
            return 0, 1, error
        return 1, 0, None

    def _ensure_index(self) -> None:
        if not self._indexed:
            self._collection.create_index([("path", 1), ("_id", 1)])
            self._indexed = True

    def scan(self, query: Query) -> Scan:
        """The entries of the scope, without those that the server excluded."""
        return Scan(self._batches(query), narrowed(query, partial(is_known, query), query.entries_needed(started=True)))

    def _batches(self, query: Query) -> Generator[Batch]:
        needed = query.entries_needed(started=True)
        with translated():
            fields = None if query.reads_values else {"_id": 1}
            found = self._collection.find(condition(query), fields)
            cursor = found.sort("_id", 1).batch_size(min(BATCH_ENTRIES, max(needed, 2)))
        try:
            most = FIRST_SCAN_ENTRIES
            while needed > 0:
                with translated():
                    batch = _read(cursor, min(most, needed), with_values=query.reads_values)
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
        """Kind `mongodb`, with the collection's name."""
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


def _read(cursor: Any, most: int, *, with_values: bool) -> Batch:
    """The next documents as a batch. Documents of other programs are skipped."""
    keys: list[Key] = []
    values: list[Any] = []
    scanned = held_bytes = 0
    while len(keys) < most and held_bytes < BATCH_BYTES and scanned < BATCH_ENTRIES:
        document = next(cursor, None)
        if document is None:
            break
        scanned += 1
        key = key_of(document["_id"])
        value = plain(document.get("value")) if with_values else True
        if key is not None and value is not None:
            keys.append(key)
            values.append(value)
            held_bytes += value_bytes(value)
    return Batch(keys, values, scanned=scanned, position=Position(b"", keys[-1]) if keys else None)


def _operation(change: dict[str, Any] | str) -> Any:
    """The request to store a document, or to delete that of an identity."""
    from pymongo import DeleteOne, ReplaceOne

    if isinstance(change, str):
        return DeleteOne({"_id": change})
    return ReplaceOne({"_id": change["_id"]}, change, upsert=True)
