"""Writer: makes the writes of a store, each atomically, and those of a batch in as few requests as possible."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from datastore.engine.conflicts import conflict_pauses
from datastore.engine.versions import Versions
from datastore.model.errors import DatastoreError, OverloadedError
from datastore.model.key import Key
from datastore.model.operations import Operation, Patch, WriteResult, attempt
from datastore.mongo.conditions import of_identities
from datastore.mongo.documents import METADATA, REMOVED
from datastore.mongo.errors import is_taken, refusal_of_write, translated, write_concern_error
from datastore.mongo.writes import DocumentChange, Removal, creates, decide, is_removal
from datastore.sync._concurrency import Lock

__all__ = ["Writer"]


class Writer:
    """Writes to one collection. Safe for threads.

    A write reads what there is, decides, and changes the document only if it is still the same; otherwise it begins
    again. So of writers that interrupt one another, one always succeeds. After writes of new keys, e.g. in an import,
    the next puts are decided as if there were nothing, without reading it.
    """

    def __init__(self, collection: Any, versions: Versions, lock: Lock, *, aware_datetimes: bool) -> None:
        from pymongo import ReadPreference

        self._collection = collection
        #: What a secondary has may be old: each write that depended on it would have to be repeated.
        self._current = collection.with_options(read_preference=ReadPreference.PRIMARY)
        self._versions = versions
        self._lock = lock
        self._aware_datetimes = aware_datetimes
        self._indexed = False
        #: FerretDB 1 does not say which replacements of a bulk write have failed.
        self._replaces_alone = False
        self._expects_new = False

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes, those of one key in their order: a result for each."""
        results: dict[int, WriteResult] = {}
        interrupted: dict[int, DocumentChange] = {}
        pauses = conflict_pauses()
        while len(results) < len(operations):
            places: dict[Key, int] = {}
            for place, operation in enumerate(operations):
                if place not in results:
                    places.setdefault(operation.key, place)
            before, interrupted = interrupted, {}
            unread = self._expects_new and not before
            outcomes = self._write_once([operations[place] for place in places.values()], unread=unread)
            for place, outcome in zip(places.values(), outcomes, strict=True):
                if isinstance(outcome, WriteResult):
                    results[place] = outcome
                elif place in before and before[place].is_from(outcome):
                    # Nobody has changed it: what is taken is a value in a unique index.
                    results[place] = WriteResult(outcome.result.error)
                else:
                    interrupted[place] = outcome
            if interrupted:
                pause_s = next(pauses, None)
                if pause_s is None:
                    results |= dict.fromkeys(interrupted, WriteResult(_too_busy()))
                else:
                    time.sleep(pause_s)
        return [results[place] for place in range(len(operations))]

    def _write_once(self, operations: Sequence[Operation], *, unread: bool) -> list[WriteResult | DocumentChange]:
        """Try the writes of different keys: the result of each, or the change that another write prevented.

        With `unread`, those that may create an entry are tried as if there was none.
        """
        read = [each for each in operations if not (is_removal(each) or (unread and creates(each)))]
        found = attempt(self._found, read, catching=DatastoreError)
        if found.error is not None:
            return [WriteResult(found.error) for _ in operations]
        outcomes: list[WriteResult | DocumentChange] = []
        changes: dict[int, DocumentChange | Removal] = {}
        for place, operation in enumerate(operations):
            made = attempt(self._decide, operation, found.value.get(str(operation.key)))
            outcomes.append(WriteResult(made.error))
            if made.value is not None:
                changes[place] = made.value
        made_all = self._make_all(list(changes.values())) if changes else ()
        for place, outcome in zip(changes, made_all, strict=True):
            outcomes[place] = outcome
        replacing = [change.replaces or outcomes[place] is change for place, change in changes.items()]
        if not all(map(is_removal, operations)):
            self._expects_new = not any(replacing)
        return outcomes

    def _decide(self, operation: Operation, found: dict[str, Any] | None) -> DocumentChange | Removal | None:
        with self._lock:
            return decide(operation, found, self._versions, aware_datetimes=self._aware_datetimes)

    def _found(self, operations: Sequence[Operation]) -> dict[str, dict[str, Any]]:
        """The documents of the keys, by identity, with their values only as far as they are needed."""
        whole = [str(each.key) for each in operations if isinstance(each, Patch)]
        partial = [str(each.key) for each in operations if not isinstance(each, Patch)]
        with translated():
            found = list(self._current.find(of_identities(partial), _PARTS)) if partial else []
            for document in found:
                if "created_us" in document:
                    document["value"] = True
                elif "version" not in document and REMOVED not in document:
                    # Of another program, or older than versions: whether it is an entry depends on its value.
                    whole.append(document["_id"])
            if whole:
                found += self._current.find(of_identities(whole))
        return {document["_id"]: document for document in found}

    def _make_all(self, changes: Sequence[DocumentChange | Removal]) -> list[WriteResult | DocumentChange]:
        try:
            with translated():
                self._ensure_indexes()
        except DatastoreError as error:
            return [WriteResult(error) for _ in changes]
        together = [change for change in changes if not (self._replaces_alone and change.replaces)]
        outcomes = dict(zip(together, self._make_together(together), strict=True)) if len(together) > 1 else {}
        return [outcomes.get(change) or self._make(change) for change in changes]

    def _make_together(self, changes: Sequence[DocumentChange | Removal]) -> list[WriteResult | DocumentChange]:
        from pymongo.errors import BulkWriteError

        try:
            with translated():
                try:
                    self._collection.bulk_write([change.request() for change in changes], ordered=False)
                except BulkWriteError as error:
                    return _outcomes(changes, error)
        except DatastoreError as error:
            return [WriteResult(error) for _ in changes]
        return [change.result for change in changes]

    def _make(self, change: DocumentChange | Removal) -> WriteResult | DocumentChange:
        from pymongo.errors import DuplicateKeyError

        try:
            with translated():
                change.make(self._collection)
        except DatastoreError as error:
            if not isinstance(change, DocumentChange) or not isinstance(error.__cause__, DuplicateKeyError):
                return WriteResult(error)
            change.result.error = error
            return change
        return change.result

    def _ensure_indexes(self) -> None:
        from pymongo.errors import OperationFailure

        if self._indexed:
            return
        self._collection.create_index([("path", 1), ("_id", 1)])
        try:
            self._collection.create_index(REMOVED, expireAfterSeconds=0)
        except OperationFailure as error:
            if error.code != _NOT_IMPLEMENTED:
                raise
            # FerretDB 1: what has expired remains there, invisible.
            self._replaces_alone = True
        self._indexed = True


#: What is read of a document if not all.
_PARTS = dict.fromkeys((*METADATA, REMOVED), 1)
#: The server's code for what it does not support.
_NOT_IMPLEMENTED = 238


def _outcomes(changes: Sequence[DocumentChange | Removal], error: Any) -> list[WriteResult | DocumentChange]:
    """The outcomes of a bulk write that partly failed."""
    details = error.details or {}
    late = details.get("writeConcernErrors", ())
    outcomes: list[WriteResult | DocumentChange] = [
        # It was written, but not with the requested write concern.
        WriteResult(write_concern_error(late)) if late else change.result
        for change in changes
    ]
    for failed in details.get("writeErrors", ()):
        change, refused = changes[failed["index"]], refusal_of_write(failed.get("code"), str(failed.get("errmsg")))
        refused.__cause__ = error
        if isinstance(change, DocumentChange) and is_taken(failed.get("code")):
            change.result.error = refused
            outcomes[failed["index"]] = change
        else:
            outcomes[failed["index"]] = WriteResult(refused)
    return outcomes


def _too_busy() -> OverloadedError:
    return OverloadedError("other writes of the key kept coming in between; nothing was written", retry_after_s=0.1)
