"""The writes of one commit: prepared when they are submitted, and made in their order within its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, repeat
from operator import itemgetter

import lmdb

from datastore.engine.requests import answers_together
from datastore.engine.versions import Versions
from datastore.lmdb.absence import check_absent
from datastore.lmdb.changelog import DELETE, EXPIRE, CommitLog
from datastore.lmdb.expiries import Expiries
from datastore.lmdb.records import created_us, has_expired, pack, pack_all, unpack, unpack_metadata, unpack_stored
from datastore.lmdb.requests import CommitRequests
from datastore.model.arguments import check_key
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, LimitExceededError, UnsupportedTypeError
from datastore.model.expiry import MAX_EXPIRES_US
from datastore.model.key import Key
from datastore.model.metadata import Metadata, require
from datastore.model.operations import (
    Delete,
    Operation,
    Patch,
    Put,
    WriteResult,
    attempt,
    expires_us_after,
    is_plain,
    needs_versions,
    refusal_of,
)
from datastore.model.text import utf8_of
from datastore.sync.verbs import operation_of

__all__ = [
    "VALUE_BYTES",
    "Change",
    "Changes",
    "Restored",
    "change_of",
    "depends",
    "have_attempts",
    "may_expire",
    "only_deletes",
    "size_of",
]

#: The longest value. A commit needs room for one more value than is stored.
VALUE_BYTES = 64 * 1024 * 1024
#: What a patch counts as in the size of a commit: how long its value becomes is only known when it is made.
PATCH_BYTES = 4096
_DONE = WriteResult()

# How a change is made; consecutive puts of one kind are made together. Numbers, because looking up a member of an enum
# takes as long as the rest of `change_of`.
_PUT_BYTES, _PUT_TEXT, _DELETE = range(3)
#: A patch, or a write with a condition, an expiry or an attempt.
_DEPENDS = 3

#: The text of the key; the bytes to store, empty if none or not known yet; the kind; what was asked for.
Change = tuple[bytes, bytes, int, Operation]
_kind = itemgetter(2)
#: An entry of a backup: the text of its key, its value, and the metadata that it keeps.
Restored = tuple[bytes, bytes, Metadata]


def change_of(write: Operation | Write) -> Change:
    """The change that a write asks for. Raises UnsupportedTypeError and LimitExceededError."""
    operation = operation_of(write)
    key, data = operation.key, b""
    text = str(check_key(key)).encode()
    if isinstance(operation, Put):
        value = operation.value
        data = _data_of(key, value)
        kind = _PUT_TEXT if isinstance(value, str) else _PUT_BYTES
    else:
        kind = _DELETE if isinstance(operation, Delete) else _DEPENDS
    return text, data, kind if is_plain(operation) else _DEPENDS, operation


def _data_of(key: Key, value: object) -> bytes:
    """The bytes of a value: those of text are its UTF-8."""
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, str):
        data = utf8_of(value)
    else:
        raise UnsupportedTypeError(
            f"this store accepts bytes and text, not {type(value).__name__}: wrap it in a serializer", path="value"
        )
    if len(data) > VALUE_BYTES:
        raise LimitExceededError(
            f"the value of {key} has {len(data)} bytes, more than {VALUE_BYTES}",
            limit="value_bytes",
            maximum=VALUE_BYTES,
        )
    return data


def size_of(change: Change) -> int:
    """What a change adds to the size of its commit, in bytes."""
    text, data, _, operation = change
    return len(text) + (PATCH_BYTES if isinstance(operation, Patch) else len(data))


def may_expire(changes: Sequence[Change]) -> bool:
    """Whether a change can give an entry an expiry."""
    return depends(changes) and any(operation.expiry is not None for *_, operation in changes)


def depends(changes: Sequence[Change]) -> bool:
    """Whether a change may be refused when it is made."""
    return _DEPENDS in map(_kind, changes)


def only_deletes(changes: Sequence[Change]) -> bool:
    """Whether the changes need no space."""
    return all(isinstance(operation, Delete) for *_, operation in changes)


def have_attempts(changes: Sequence[Change]) -> bool:
    """Whether the store has to remember the request of a change."""
    return depends(changes) and any(operation.attempt is not None for *_, operation in changes)


class Changes:
    """Makes changes within one write transaction, whose cursor on the entries it uses.

    `expiries` is None as long as the store has no entries that expire: then none is looked at for that. Changes are
    added to `log`, if one is kept. `requests` is needed only for changes that have attempts.
    """

    def __init__(
        self,
        cursor: lmdb.Cursor[bytes],
        versions: Versions,
        expiries: Expiries | None,
        log: CommitLog | None = None,
        requests: CommitRequests | None = None,
    ) -> None:
        self._cursor = cursor
        self._versions = versions
        self._expiries = expiries
        self._log = log
        self._requests = requests
        self._now_us = versions.now_us()
        #: By which entries expire.
        self._latest_us = versions.latest_us()

    def make(self, changes: Sequence[Change]) -> list[WriteResult]:
        """Make changes in their order, each if its condition holds after those before it."""
        results: list[WriteResult] = []
        for kind, group in groupby(changes, _kind):
            if kind == _DEPENDS:
                results += map(self._make_once, group)
            elif kind == _DELETE:
                results += [self._delete(text) for text, *_ in group]
            else:
                texts, values, *_ = zip(*group, strict=True)
                results += self._put(texts, values, is_text=kind == _PUT_TEXT)
        return results

    def answers(self, changes: Sequence[Change]) -> list[WriteResult]:
        """The results of an atomic batch if all of it was made or refused before; otherwise none."""
        if self._requests is None:
            return []
        operations = [operation for *_, operation in changes]
        return answers_together(operations, self._requests, lambda each: self._present(str(each.key).encode()))

    def _put(self, texts: Sequence[bytes], values: Sequence[bytes], *, is_text: bool) -> list[WriteResult]:
        """Store values under the texts of their keys."""
        self._log_expired(texts)
        # A key that occurs twice gets the same times twice.
        versions = self._versions.take(len(texts), self._now_us)
        stamps = list(zip(versions, self._created(texts), repeat(self._now_us), repeat(0), strict=False))
        records = pack_all(texts, values, stamps, is_text=is_text)
        self._cursor.putmulti(zip(texts, records, strict=True))
        if self._log is not None:
            self._log.put((stamp[0] for stamp in stamps), texts, values, is_text=is_text)
        # As `Metadata._make` does it, which takes three times as long.
        return list(map(WriteResult, repeat(None), map(tuple.__new__, repeat(Metadata), stamps)))

    def _created(self, texts: Sequence[bytes]) -> list[int]:
        """When the entry of each key that is put now was created."""
        find, now_us = self._cursor.set_key, self._now_us
        return [self._created_here(text) if find(text) else now_us for text in texts]

    def _created_here(self, text: bytes) -> int:
        """The same of the key where the cursor is. A damaged entry counts as absent: the put repairs it."""
        record = self._cursor.value()
        if self._expiries is not None and self._was_expiring(text, record):
            return self._now_us
        try:
            return created_us(text, record)
        except CorruptDataError:
            return self._now_us

    def _was_expiring(self, text: bytes, record: bytes) -> bool:
        """Whether an entry that is replaced or deleted now has expired. It leaves the index."""
        if has_expired(record, MAX_EXPIRES_US):
            metadata = attempt(unpack_metadata, text, record).value
            if metadata is not None and self._expiries is not None:
                self._expiries.remove(metadata)
        return has_expired(record, self._latest_us)

    def _log_expired(self, texts: Iterable[bytes]) -> None:
        """Log the entries that have expired, and are replaced before they were removed."""
        if self._log is not None and self._expiries is not None:
            for text in dict.fromkeys(texts):
                if self._cursor.set_key(text) and has_expired(self._cursor.value(), self._latest_us):
                    self._log_removed(text, EXPIRE)

    def _log_removed(self, text: bytes, kind: int) -> None:
        if self._log is not None:
            (version,) = self._versions.take(1, self._now_us)
            self._log.remove(version, text, kind)

    def _delete(self, text: bytes) -> WriteResult:
        if self._cursor.set_key(text):
            was_expired = self._expiries is not None and self._was_expiring(text, self._cursor.value())
            self._cursor.delete()
            self._log_removed(text, EXPIRE if was_expired else DELETE)
        return _DONE

    def sweep(self, most: int) -> int:
        """Delete up to so many entries that have expired and were not written since; returns how many were examined."""
        for count in range(most):
            found = None if self._expiries is None else self._expiries.pop(self._latest_us)
            if found is None:
                return count
            text, version = found
            if self._cursor.set_key(text):
                metadata = attempt(unpack_metadata, text, self._cursor.value()).value
                if metadata is not None and metadata.version == version:
                    self._cursor.delete()
                    self._log_removed(text, EXPIRE)
        return most

    def restore(self, entries: Sequence[Restored]) -> None:
        """Store entries with their metadata. The log is complete only after them: they are not in order of versions."""
        self._cursor.putmulti((text, pack(text, data, metadata)) for text, data, metadata in entries)
        if self._expiries is not None:
            for text, _, metadata in entries:
                if metadata.expires_us:
                    self._expiries.add(text, metadata)
        if self._log is not None:
            self._log.clear(self._versions.last)

    def _make_once(self, change: Change) -> WriteResult:
        """Make a write of any kind, unless it has an attempt and another one was made before."""
        text, *_, operation = change
        tried, requests = operation.attempt, self._requests
        if tried is None or requests is None:
            return self._make_dependent(change)
        known = attempt(requests.find, tried)
        if known.error is not None:
            return WriteResult(refusal_of(known.error))
        if known.value is not None:
            answered = attempt(known.value.answer, operation, lambda: self._present(text))
            return WriteResult(refusal_of(answered.error)) if answered.error is not None else answered.value
        result = self._make_dependent(change)
        requests.note(operation, result)
        return result

    def _record(self, text: bytes) -> bytes | None:
        """The record of a key, None if it has none that has not expired."""
        return self._record_here() if self._cursor.set_key(text) else None

    def _record_here(self) -> bytes | None:
        """The same of the key where the cursor is."""
        record = self._cursor.value()
        return None if has_expired(record, self._latest_us) else record

    def _present(self, text: bytes) -> tuple[bytes | str | None, Metadata | None]:
        """The value and the metadata of a key."""
        record = self._record(text)
        return (None, None) if record is None else unpack_stored(text, record)

    def _make_dependent(self, change: Change) -> WriteResult:
        """Make a patch, or a write with a condition or an expiry."""
        text, *_, operation = change
        is_there = self._cursor.set_key(text)
        if not is_there and (operation.condition is not None or isinstance(operation, Patch)):
            hidden = attempt(check_absent, self._cursor, text)
            if hidden.error is not None:
                return WriteResult(refusal_of(hidden.error))
        record = self._record_here() if is_there else None
        # The serializers of a patch may raise anything, which must not fail the whole commit.
        decided = attempt(_decide, change, record, self._latest_us, catching=Exception)
        if decided.error is not None:
            return WriteResult(refusal_of(decided.error))
        data, value, expires_us = decided.value
        if isinstance(operation, Delete) or 0 < expires_us <= self._latest_us:
            return self._delete(text)
        if expires_us:
            result = self._put_expiring(text, data, expires_us, is_text=isinstance(value, str))
        else:
            (result,) = self._put([text], [data], is_text=isinstance(value, str))
        result.value = value if isinstance(operation, Patch) else None
        return result

    def _put_expiring(self, text: bytes, data: bytes, expires_us: int, *, is_text: bool) -> WriteResult:
        self._log_expired([text])
        (created,) = self._created([text])
        (version,) = self._versions.take(1, self._now_us)
        metadata = Metadata(version, created, self._now_us, expires_us)
        self._cursor.put(text, pack(text, data, metadata, is_text=is_text))
        if self._expiries is not None:
            self._expiries.add(text, metadata)
        if self._log is not None:
            self._log.put([version], [text], [data], is_text=is_text)
        return WriteResult(metadata=metadata)


def _decide(change: Change, record: bytes | None, now_us: int) -> tuple[bytes, bytes | str | None, int]:
    """The bytes to store, the value that they are of, and when that expires, 0 for never.

    Raises if the condition, the patch or the expiry does not fit.
    """
    text, data, _, operation = change
    # A damaged record must not keep a put from replacing it.
    before = unpack_metadata(text, record) if record is not None and needs_versions(operation) else None
    if operation.condition is not None:
        require(operation.condition, operation.key, 0 if before is None else before.version)
    if isinstance(operation, Delete):
        return data, None, 0
    value = operation.value if isinstance(operation, Put) else None
    if isinstance(operation, Patch):
        value = operation.apply(None if record is None else unpack(text, record))
        data = _data_of(operation.key, value)
    return data, value, expires_us_after(operation, now_us, 0 if before is None else before.expires_us)
