"""The writes of one commit: prepared when they are submitted, and made in their order within its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, repeat
from operator import itemgetter

import lmdb

from datastore.engine.versions import Versions
from datastore.lmdb.records import created_us, pack_all, unpack, unpack_metadata
from datastore.model.arguments import check_key
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, LimitExceededError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.metadata import Metadata, require
from datastore.model.operations import Delete, Operation, Patch, Put, WriteResult, attempt, refusal_of
from datastore.model.text import utf8_of
from datastore.sync.verbs import operation_of

__all__ = ["VALUE_BYTES", "Change", "Changes", "change_of", "size_of"]

#: The longest value. A commit needs room for one more value than is stored.
VALUE_BYTES = 64 * 1024 * 1024
#: What a patch counts as in the size of a commit: how long its value becomes is only known when it is made.
PATCH_BYTES = 4096
_DONE = WriteResult()

# How a change is made; consecutive puts of one kind are made together. Numbers, because looking up a member of an enum
# takes as long as the rest of `change_of`.
_PUT_BYTES, _PUT_TEXT, _DELETE = range(3)
#: A patch, or a write with a condition.
_DEPENDS = 3

#: The text of the key; the bytes to store, empty if none or not known yet; the kind; what was asked for.
Change = tuple[bytes, bytes, int, Operation]
_kind = itemgetter(2)


def change_of(write: Operation | Write) -> Change:
    """The change that a write asks for. Raises UnsupportedTypeError and LimitExceededError."""
    operation = operation_of(write)
    key, data = operation.key, b""
    text = str(check_key(key)).encode()
    if isinstance(operation, Put):
        data = _data_of(key, operation.value)
        kind = _PUT_TEXT if isinstance(operation.value, str) else _PUT_BYTES
    else:
        kind = _DELETE if isinstance(operation, Delete) else _DEPENDS
    return text, data, kind if operation.condition is None else _DEPENDS, operation


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


class Changes:
    """Makes changes within one write transaction, whose cursor on the entries it uses."""

    def __init__(self, cursor: lmdb.Cursor[bytes], versions: Versions) -> None:
        self._cursor = cursor
        self._versions = versions
        self._now_us = versions.now_us()

    def make(self, changes: Sequence[Change]) -> list[WriteResult]:
        """Make changes in their order, each if its condition holds after those before it."""
        results: list[WriteResult] = []
        for kind, group in groupby(changes, _kind):
            if kind == _DEPENDS:
                results += map(self._make_dependent, group)
            elif kind == _DELETE:
                results += [self._delete(text) for text, *_ in group]
            else:
                texts, values, *_ = zip(*group, strict=True)
                results += self._put(texts, values, is_text=kind == _PUT_TEXT)
        return results

    def _put(self, texts: Sequence[bytes], values: Sequence[bytes], *, is_text: bool) -> list[WriteResult]:
        """Store values under the texts of their keys."""
        # A key that occurs twice gets the same times twice.
        created = map(self._created, texts)
        now_us = repeat(self._now_us)
        stamps = list(zip(self._versions.take(len(texts), self._now_us), created, now_us, repeat(0), strict=False))
        records = pack_all(texts, values, stamps, is_text=is_text)
        self._cursor.putmulti(zip(texts, records, strict=True))
        # As `Metadata._make` does it, which takes three times as long.
        return list(map(WriteResult, repeat(None), map(tuple.__new__, repeat(Metadata), stamps)))

    def _created(self, text: bytes) -> int:
        """When the entry of a key that is put now was created. A damaged one counts as absent: the put repairs it."""
        cursor = self._cursor
        if not cursor.set_key(text):
            return self._now_us
        try:
            return created_us(text, cursor.value())
        except CorruptDataError:
            return self._now_us

    def _delete(self, text: bytes) -> WriteResult:
        if self._cursor.set_key(text):
            self._cursor.delete()
        return _DONE

    def _make_dependent(self, change: Change) -> WriteResult:
        """Make a patch, or a write with a condition."""
        text, *_, operation = change
        record = self._cursor.value() if self._cursor.set_key(text) else None
        # The serializers of a patch may raise anything, which must not fail the whole commit.
        decided = attempt(_decide, change, record, catching=Exception)
        if decided.error is not None:
            return WriteResult(refusal_of(decided.error))
        if isinstance(operation, Delete):
            return self._delete(text)
        data, value = decided.value
        (result,) = self._put([text], [data], is_text=isinstance(value, str))
        result.value = value if isinstance(operation, Patch) else None
        return result


def _decide(change: Change, record: bytes | None) -> tuple[bytes, bytes | str | None]:
    """The bytes to store, and the value that they are of. Raises if the condition or the patch does not fit."""
    text, data, _, operation = change
    if operation.condition is not None:
        version = 0 if record is None else unpack_metadata(text, record).version
        require(operation.condition, operation.key, version)
    if not isinstance(operation, Patch):
        return data, operation.value
    value = operation.apply(None if record is None else unpack(text, record))
    return _data_of(operation.key, value), value
