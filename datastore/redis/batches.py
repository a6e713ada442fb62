"""Atomic batches as their script takes them: patches become the writes that they amount to. Pure.

A patch is applied here, to the value that was read or that the batch has written before. So the script first checks
that the entries are as they were read; and before a patch of what the batch has written with an expiry, that it has
not expired by the clock of the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from datastore.model.errors import LimitExceededError
from datastore.model.expiry import NEVER, Expiry
from datastore.model.key import Key
from datastore.model.limits import MESSAGE_BYTES
from datastore.model.metadata import ABSENT, EXISTS, Metadata, Precondition
from datastore.model.operations import Delete, Operation, Patch, Put, ReadResult, attempt, refusal_of
from datastore.redis.metadata import FAILING, check_of, terms_of
from datastore.redis.strings import check_value

__all__ = ["ATOMIC_BYTES", "ATOMIC_WRITES", "Batch", "Item", "Role", "depends_on_value"]

#: The most writes of an atomic batch: the server makes them in one step, and serves no other client meanwhile.
ATOMIC_WRITES = 10_000
#: The most bytes of its values.
ATOMIC_BYTES = 8 * MESSAGE_BYTES


class Role(Enum):
    """What an item is for."""

    WRITE = "write"
    #: Checks that an entry is as it was read.
    UNCHANGED = "unchanged"
    #: Checks that what an earlier write of the batch has stored has not expired.
    ALIVE = "alive"
    #: Fails, because a patch could not be applied.
    FAILURE = "failure"


class Item(NamedTuple):
    """A write or check of the script. `place` is that of its write in the batch, or of the write that it is about."""

    role: Role
    place: int
    operation: Operation
    terms: bytes
    value: bytes = b""

    @property
    def argument(self) -> bytes:
        """For ATOMIC: its place, if it is a write."""
        return b"%d" % self.place if self.role in (Role.WRITE, Role.FAILURE) else b""


class _Entry(NamedTuple):
    """An entry within the batch. `place` is that of its last write, if that has given it an expiry."""

    value: Any = None
    expiry: Expiry | None = None
    place: int | None = None


class Batch:
    """The items of an atomic batch, given the entries of its patches as they were read, and which writes `expired`.

    `values` are those that patches have made, by their places. `failure` is the error of the first one that could not
    be applied; the items end there. The values of puts are bytes. Raises LimitExceededError if it is too large.
    """

    def __init__(
        self, operations: Sequence[Operation], found: Mapping[Key, ReadResult], expired: set[int], encoder: Any
    ) -> None:
        self.items: list[Item] = []
        self.values: dict[int, Any] = {}
        self.failure: Exception | None = None
        self._entries: dict[Key, _Entry] = {}
        self._expired = expired
        self._encoder = encoder
        _require_at_most("atomic_writes", ATOMIC_WRITES, len(operations), "writes")
        for place, operation in enumerate(operations):
            if operation.key in found and operation.key not in self._entries:
                self._begin(place, operation.key, found[operation.key])
        for place, operation in enumerate(operations):
            if self.failure is None:
                self._add(place, operation)
        size = sum(len(item.value) for item in self.items)
        _require_at_most("atomic_bytes", ATOMIC_BYTES, size, "bytes of values")

    def _begin(self, place: int, key: Key, found: ReadResult) -> None:
        metadata: Metadata | None = found.metadata
        unchanged = ABSENT if metadata is None else Precondition(version=metadata.version)
        self._check(Role.UNCHANGED, place, key, unchanged)
        expires_us = 0 if metadata is None else metadata.expires_us
        self._entries[key] = _Entry(found.value, Expiry(at_us=expires_us) if expires_us else None)

    def _check(self, role: Role, place: int, key: Key, condition: Precondition | None) -> None:
        self.items.append(Item(role, place, Delete(key, condition), check_of(condition)))

    def _add(self, place: int, operation: Operation) -> None:
        if isinstance(operation, Put):
            self._write(place, operation, operation.value)
        elif isinstance(operation, Delete):
            self._write(place, operation)
        elif depends_on_value(operation):
            self._add_patch(place, operation)
        else:
            self._write(place, operation, touched=self._entries.get(operation.key, _Entry()).value)

    def _add_patch(self, place: int, patch: Patch) -> None:
        entry = self._entries[patch.key]
        if entry.place is not None:
            self._check(Role.ALIVE, entry.place, patch.key, EXISTS)
        made = attempt(self._applied, patch, entry.value, catching=Exception)
        if made.error is not None:
            # Its condition comes first.
            self._check(Role.WRITE, place, patch.key, patch.condition)
            self.failure = refusal_of(made.error)
            reason = str(self.failure).encode("utf-8", "replace")
            self.items.append(Item(Role.FAILURE, place, patch, FAILING, reason))
        elif made.value is None:
            self._write(place, Delete(patch.key, patch.condition))
        else:
            data: bytes = made.value
            self._write(place, Put(patch.key, data, patch.condition, patch.expiry or entry.expiry), data)
            self.values[place] = self._encoder.decode(data)

    def _applied(self, patch: Patch, old: Any) -> bytes | None:
        value = patch.apply(old)
        check_value(patch.key, value)
        return None if value is None else self._encoder.encode(value)

    def _write(self, place: int, operation: Operation, data: bytes = b"", *, touched: Any = None) -> None:
        """Add a write, and note what it leaves."""
        self.items.append(Item(Role.WRITE, place, operation, terms_of(operation, data), data))
        if isinstance(operation, Delete) or place in self._expired:
            self._entries[operation.key] = _Entry()
            return
        value = self._encoder.decode(data) if isinstance(operation, Put) else touched
        expiry = operation.expiry
        expires = expiry is not None and expiry != NEVER
        self._entries[operation.key] = _Entry(value, expiry, place if expires else None)


def depends_on_value(operation: Operation) -> bool:
    """Whether the value to store depends on the old one."""
    return isinstance(operation, Patch) and (bool(operation.changes) or operation.create or operation.expiry is None)


def _require_at_most(limit: str, maximum: int, count: int, what: str) -> None:
    if count > maximum:
        raise LimitExceededError(
            f"this atomic batch has {count:,} {what}; Redis makes at most {maximum:,} in one step",
            limit=limit,
            maximum=maximum,
        )
