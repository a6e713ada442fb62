"""A MongoDB collection as a Datastore: a document for each entry.

This module alone knows MongoDB and its driver, pymongo, which is loaded where a store is made. A document is
`{_id: text of the key, path: text of the key's collection, value: the value}`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from datastore.core.base import FIRST_SCAN_ENTRIES, Datastore, batch_of, check_key, check_query, refine, refusal
from datastore.core.batch import Batch, Outcome, Position, Write, value_bytes
from datastore.core.composition import Description, PushDown
from datastore.core.cursor import Cursor
from datastore.core.errors import (
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InvalidError,
    InvalidValueError,
    LimitExceededError,
    StoreError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.core.fields import Filter
from datastore.core.key import Key
from datastore.core.limits import BATCH_BYTES, BATCH_ENTRIES, VALUE_DEPTH
from datastore.core.query import Query
from datastore.core.util.extras import require

__all__ = ["MongoDatastore", "open_url"]

_INT64 = range(-(2**63), 2**63)
_OPERATORS = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}

#: The server's code for a document that another call created at the same moment: to be tried again.
_DUPLICATE_KEY = 11000


class _TakenError(StoreError):
    """That code. Never leaves this module."""


class MongoDatastore(Datastore):
    """Keeps each entry as a document of one collection of a pymongo database, which stays the caller's.

    Values come back as they were, or are refused with UnsupportedTypeError or InvalidValueError: what BSON would
    change (ints over 64 bits, datetimes with a zone or with microseconds, Keys, names of maps that are no str, and
    subclasses of the plain types). A document has at most 16 MiB (LimitExceededError).
    Queries have the server select the collection, sort by key, and leave out what comparisons with plain scalars
    certainly exclude; all else is done here. Threads may share the store. What a put promises is what the write
    concern of the database does.
    Raises ImportError where pymongo is missing, UnavailableError where the server cannot be reached,
    DeadlineExceededError where a timeout ends, StoreError for what else the server refuses.
    """

    ordered_queries = True

    def __init__(self, database: Any, *, collection: str = "datastore") -> None:
        require("pymongo", "mongodb")
        self._collection = database[collection]
        self._indexed = False
        self._owned: Any = None

    def get(self, key: Key) -> Any:
        """The value of `key`, or None."""
        check_key(key)
        with _faults():
            document = self._collection.find_one({"_id": str(key)})
        return None if document is None else _plain(document["value"])

    def put(self, key: Key, value: Any) -> None:
        """Store `value` in the document of `key`; the value itself is not changed."""
        check_key(key)
        if value is None:
            self.delete(key)
            return
        document = _document(key, value)
        with _faults():
            self._ensure_index()
            self._replace(document)

    def _replace(self, document: dict[str, Any]) -> None:
        from pymongo.errors import DuplicateKeyError

        while True:
            # Of two that create a document at once one is told so, and finds it when it tries again.
            with suppress(DuplicateKeyError):
                self._collection.replace_one({"_id": document["_id"]}, document, upsert=True)
                return

    def delete(self, key: Key) -> None:
        """Remove the document of `key`."""
        check_key(key)
        with _faults():
            self._collection.delete_one({"_id": str(key)})

    def contains(self, key: Key) -> bool:
        """Whether `key` has a document. Its value is not fetched."""
        check_key(key)
        with _faults():
            return self._collection.find_one({"_id": str(key)}, {"_id": 1}) is not None

    def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several documents at once."""
        return batch_of(keys, self._values)

    def _values(self, keys: list[Key]) -> list[Any]:
        with _faults():
            found = {
                document["_id"]: _plain(document["value"])
                for document in self._collection.find({"_id": {"$in": [str(key) for key in keys]}})
            }
        return [found.get(str(key)) for key in keys]

    def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes at once, in order; those that are refused are left out."""
        outcomes: list[Outcome] = [Outcome()] * len(writes)
        operations: list[tuple[int, Any]] = []
        for place, write in enumerate(writes):
            try:
                operations.append((place, _operation(write)))
            except (DatastoreError, TypeError, ValueError) as error:
                outcomes[place] = refusal(error)
        while operations:
            done, failure = self._write(operations)
            if isinstance(failure, _TakenError):
                operations = operations[done:]
                continue
            if failure is not None:
                outcomes[operations[done][0]] = Outcome(error=failure)
            operations = operations[done + 1 :]
        return outcomes

    def _write(self, operations: Sequence[tuple[int, Any]]) -> tuple[int, DatastoreError | None]:
        """Write until one fails: how many did not, and the error."""
        from pymongo.errors import BulkWriteError

        try:
            with _faults():
                self._ensure_index()
                try:
                    self._collection.bulk_write([operation for _, operation in operations])
                except BulkWriteError as error:
                    (failed,) = (error.details or {})["writeErrors"]
                    kind = _TakenError if failed["code"] == _DUPLICATE_KEY else StoreError
                    return failed["index"], kind(f"MongoDB: {failed.get('errmsg')}")
        except DatastoreError as error:
            if isinstance(error, UnavailableError):
                raise
            return 0, error
        return len(operations), None

    def _ensure_index(self) -> None:
        if not self._indexed:
            self._collection.create_index("path")
            self._indexed = True

    def query(self, query: Query) -> Cursor:
        """A cursor over the entries that `query` selects."""
        check_query(query)
        return Cursor.from_batches(query, refine(query, self._scan(query)))

    def _scan(self, query: Query) -> Generator[Batch]:
        with _faults():
            cursor = self._collection.find(_condition(query)).sort("_id", 1).batch_size(BATCH_ENTRIES)
        try:
            most = FIRST_SCAN_ENTRIES
            while True:
                keys: list[Key] = []
                values: list[Any] = []
                held_bytes = 0
                with _faults():
                    while len(keys) < most and held_bytes < BATCH_BYTES:
                        document = next(cursor, None)
                        if document is None:
                            break
                        keys.append(Key(document["_id"]))
                        values.append(_plain(document["value"]))
                        held_bytes += value_bytes(values[-1])
                if not keys:
                    return
                yield Batch(keys, values, scanned=len(keys), position=Position(b"", keys[-1]))
                most = BATCH_ENTRIES
        finally:
            cursor.close()

    def close(self) -> None:
        """Disconnect, if the store was opened by its URL; a database of the caller's stays as it is."""
        if self._owned is not None:
            self._owned.close()

    def describe(self) -> Description:
        """Kind `mongodb`, with the collection's name."""
        pushed = frozenset({PushDown.SCOPE, PushDown.KEY_FILTERS, PushDown.FIELD_FILTERS})
        return Description("mongodb", self._collection.full_name, push_down=pushed)


# Values


def _document(key: Key, value: Any) -> dict[str, Any]:
    _check(value, "value", VALUE_DEPTH * 2)
    return {"_id": str(key), "path": str(key.path), "value": value}


def _operation(write: Write) -> Any:
    from pymongo import DeleteOne, ReplaceOne

    check_key(write.key)
    if write.value is None:
        return DeleteOne({"_id": str(write.key)})
    return ReplaceOne({"_id": str(write.key)}, _document(write.key, write.value), upsert=True)


def _check(value: Any, path: str, depth: int) -> None:
    """Raise UnsupportedTypeError or InvalidValueError, with the path of the part, for what BSON would change."""
    kind = type(value)
    if depth == 0:
        raise InvalidValueError(f"{path}: nested too deeply", path=path)
    if kind is dict:
        for name, part in value.items():
            if type(name) is not str:
                raise UnsupportedTypeError(f"{path}: the names of a map are str, not {type(name).__name__}", path=path)
            if "\0" in name:
                raise InvalidValueError(f"{path}: a name in a map has a NUL: {name!r}", path=path)
            _check_text(name, path)
            _check(part, f"{path}.{name}", depth - 1)
    elif kind in (list, tuple):
        for place, part in enumerate(value):
            _check(part, f"{path}[{place}]", depth - 1)
    elif kind is int:
        if value not in _INT64:
            raise InvalidValueError(f"{path}: MongoDB keeps ints of 64 bits, not {value}", path=path)
    elif kind is datetime:
        if value.tzinfo is not None or value.microsecond % 1000:
            raise InvalidValueError(f"{path}: MongoDB keeps datetimes without zone, of whole milliseconds", path=path)
    elif kind is str:
        _check_text(value, path)
    elif value is not None and kind not in (bool, float, bytes):
        raise UnsupportedTypeError(f"{path}: MongoDB does not keep {kind.__name__}; use a serializer", path=path)


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(f"{path}: the text has a lone surrogate at {error.start}", path=path) from None


def _plain(value: Any) -> Any:
    """A value as it was: the driver marks ints of 64 bits by a class of its own."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Queries


def _condition(query: Query) -> dict[str, Any]:
    """What the server selects: all that the query does, and maybe more."""
    conditions = [_scope(query)]
    if query.start_after is not None and not query.orders:
        conditions.append({"_id": {"$gt": str(query.start_after.key)}})
    if query.own_getter is None:
        conditions += [found for part in query.filters if (found := _filter(part)) is not None]
    conditions = [condition for condition in conditions if condition]
    return {"$and": conditions} if len(conditions) > 1 else dict(*conditions)


def _scope(query: Query) -> dict[str, Any]:
    text = str(query.key)
    if not query.recursive:
        return {"path": text}
    if text == "/":
        return {}
    # From `/a/` up to, not including, `/a0`, as `0` follows `/`; `;` follows `:`.
    below = [{"_id": {"$gte": text + first, "$lt": text + end}} for first, end in (("/", "0"), (":", ";"))]
    return {"$or": [{"path": text}, *below]}


def _filter(part: Filter) -> dict[str, Any] | None:
    """A condition that no entry fails which passes the filter, or None."""
    operator = _OPERATORS.get(part.op)
    if type(part) is not Filter or part.own_getter is not None or operator is None:
        return None
    if part.field == "__key__":
        return {"_id": {operator: str(part.value)}} if isinstance(part.value, Key) else None
    # With dots a field may be one name or several: the server knows the second reading alone.
    if "." in part.field or "$" in part.field or "\0" in part.field or not _is_comparable(part.value):
        return None
    return {f"value.{part.field}": {operator: part.value}}


def _is_comparable(value: Any) -> bool:
    """Whether the server compares such values as the library does."""
    if type(value) is int:
        return value in _INT64
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is str and value.isascii() and "\0" not in value


@contextmanager
def _faults() -> Iterator[None]:
    """The driver's errors as the library's."""
    from bson.errors import BSONError
    from pymongo import errors

    try:
        yield
    except (errors.ExecutionTimeout, errors.WTimeoutError) as error:
        raise DeadlineExceededError(f"MongoDB: {error}") from error
    except errors.ConnectionFailure as error:
        raise UnavailableError(f"MongoDB: {error}") from error
    except errors.DocumentTooLarge as error:
        raise LimitExceededError(f"MongoDB: {error}", limit="document_bytes", maximum=16 * 1024 * 1024) from error
    except errors.InvalidOperation as error:
        raise DatastoreClosedError(f"MongoDB: {error}") from error
    except errors.PyMongoError as error:
        raise StoreError(f"MongoDB: {error}") from error
    except BSONError as error:
        raise InvalidValueError(f"MongoDB: {error}") from error


def open_url(url: str) -> MongoDatastore:
    """The store of `mongodb://host:port/database`; closing it disconnects.

    `?collection=name` names the collection, by default `datastore`; other options are the driver's. Raises
    InvalidError (a ValueError) where no database is named, or the driver does not take the URL.
    """
    require("pymongo", "mongodb")
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    parts = urlsplit(url)
    if not parts.hostname or not parts.path.strip("/"):
        raise InvalidError(f"{url!r}: expected mongodb://HOST:PORT/DATABASE", field="url")
    options = dict(parse_qsl(parts.query))
    collection = options.pop("collection", "datastore")
    try:
        client: Any = MongoClient(urlunsplit(parts._replace(query=urlencode(options))))
    except (PyMongoError, ValueError) as error:
        raise InvalidError(f"{url!r}: expected mongodb://HOST:PORT/DATABASE; {error}", field="url") from error
    store = MongoDatastore(client.get_default_database(), collection=collection)
    store._owned = client
    return store
