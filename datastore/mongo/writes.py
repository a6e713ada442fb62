"""What a write does with the document of its key: decided by what was read of it, and made only if that is unchanged.

So of all the writes of a key that decide at the same time, one is made, and the others decide again. Pure, apart from
`DocumentChange.make`.
"""

from __future__ import annotations

from typing import Any

from datastore.engine.versions import Versions
from datastore.model.metadata import ABSENT, Metadata, require
from datastore.model.operations import Delete, Operation, Patch, Put, WriteResult, expires_us_after, is_plain
from datastore.mongo.documents import METADATA, REMOVED, document_of, metadata_of, plain, trace, version_of

__all__ = ["DocumentChange", "Removal", "creates", "decide", "is_removal"]


class DocumentChange:
    """A change of one document, and the result of its write.

    `before` is the version of the document that it replaces, None if it has none; with `creates` there is no document.
    """

    __slots__ = ("before", "creates", "document", "result")

    def __init__(self, found: dict[str, Any] | None, document: dict[str, Any], result: WriteResult) -> None:
        self.creates = found is None
        self.before = None if found is None else found.get("version")
        self.document = document
        self.result = result

    @property
    def replaces(self) -> bool:
        """Whether it replaces a document, if that is unchanged."""
        return not self.creates

    def is_from(self, other: DocumentChange) -> bool:
        """Whether both were decided by the same document."""
        return (self.creates, self.before) == (other.creates, other.before)

    def make(self, collection: Any) -> None:
        """Make it alone. Fails with the error for duplicate keys if the document is not as it was."""
        if self.creates:
            collection.insert_one(self.document)
        else:
            collection.replace_one(self._unchanged(), self.document, upsert=True)

    def request(self) -> Any:
        """The same as a part of a bulk write."""
        from pymongo import InsertOne, ReplaceOne

        if self.creates:
            return InsertOne(self.document)
        return ReplaceOne(self._unchanged(), self.document, upsert=True)

    def _unchanged(self) -> dict[str, Any]:
        # Nothing matches if it has changed: the upsert then fails, because there is a document with that identity.
        return {"_id": self.document["_id"], "version": self.before}


class Removal:
    """The deletion of an entry, whatever its document has become since."""

    __slots__ = ("_document", "result")

    replaces = False

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.result = WriteResult()

    def make(self, collection: Any) -> None:
        """Make it alone."""
        collection.update_one(*self._update())

    def request(self) -> Any:
        """The same as a part of a bulk write."""
        from pymongo import UpdateOne

        return UpdateOne(*self._update())

    def _update(self) -> tuple[dict[str, Any], dict[str, Any]]:
        # The version remains.
        return {"_id": self._document["_id"]}, {"$unset": _NOT_IN_TRACES, "$set": {REMOVED: self._document[REMOVED]}}


_NOT_IN_TRACES = dict.fromkeys(("path", "value", *METADATA[1:]), 1)


def is_removal(operation: Operation) -> bool:
    """Whether the write does the same whether or not there is an entry."""
    return isinstance(operation, Delete) and is_plain(operation)


def creates(operation: Operation) -> bool:
    """Whether the write makes an entry where there is none. Not if it expires at an instant, which may have passed."""
    if not isinstance(operation, Put) or (operation.expiry is not None and operation.expiry.at_us):
        return False
    return operation.condition in (None, ABSENT)


def decide(
    operation: Operation, found: dict[str, Any] | None, versions: Versions, *, aware_datetimes: bool
) -> DocumentChange | Removal | None:
    """The change that a write makes where this document, if any, was found; None if there is nothing to change.

    Raises ConditionFailedError if its condition does not hold, and the errors of bad values. The caller must protect
    `versions`.
    """
    key, now_us = operation.key, versions.latest_us()
    if is_removal(operation):
        return Removal(trace(key, 0, now_us))
    known = metadata_of(found, now_us)
    if operation.condition is not None:
        require(operation.condition, key, 0 if known is None else known.version)
    value, expires_us = None, 0
    if not isinstance(operation, Delete):
        old = None if found is None or known is None else plain(found["value"])
        value = operation.apply(old) if isinstance(operation, Patch) else operation.value
        expires_us = expires_us_after(operation, now_us, 0 if known is None else known.expires_us)
    if value is None or 0 < expires_us <= now_us:
        if found is None or known is None:
            return None
        return DocumentChange(found, trace(key, known.version, now_us), WriteResult())
    if found is not None:
        versions.raise_to(version_of(found))
    metadata = Metadata(*versions.stamp(known, expires_us))
    document = document_of(key, value, metadata, aware_datetimes=aware_datetimes)
    return DocumentChange(
        found, document, WriteResult(metadata=metadata, value=value if isinstance(operation, Patch) else None)
    )
