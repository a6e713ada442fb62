"""Operations of a store on keys, and their results. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from datastore.model.attempts import Attempt
from datastore.model.errors import (
    DatastoreError,
    InvalidValueError,
    UnsupportedError,
    UnsupportedTypeError,
    without_frames,
)
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import EXISTS, Metadata, Precondition
from datastore.model.patches import FieldChange, PatchRoom, changed
from datastore.model.records import Record

__all__ = [
    "ENTRIES",
    "PRESENCE",
    "REFUSALS",
    "VALUES",
    "Delete",
    "Form",
    "Operation",
    "Patch",
    "Put",
    "ReadOptions",
    "ReadResult",
    "WriteResult",
    "attempt",
    "expires_us_after",
    "is_plain",
    "needs_versions",
    "raise_error",
    "refusal_of",
    "uncached",
    "value_of",
]


class ReadOptions(NamedTuple):
    """What to read.

    Without `values`, only whether each key has one: any result value but None means yes. With `metadata`, also the
    metadata of each entry, for which the store must keep versions (`Capability.versions`).
    """

    values: bool = True
    metadata: bool = False


#: Read the values.
VALUES = ReadOptions()
#: Only find out which keys have a value.
PRESENCE = ReadOptions(values=False)
#: Read the values and the metadata.
ENTRIES = ReadOptions(metadata=True)


class ReadResult(Record):
    """The result of reading one key: its value, None if it has none, or the error with which the read ended.

    `metadata` is set if it was asked for and the key has a value.
    """

    __slots__ = ("error", "metadata", "value")
    compared = ("value", "error")

    def __init__(self, value: Any = None, error: Exception | None = None, metadata: Metadata | None = None) -> None:
        self.value = value
        self.error = error
        self.metadata = metadata

    @classmethod
    def failed(cls, error: Exception) -> ReadResult:
        """The result of a read that failed."""
        return cls(error=error)


class WriteResult(Record):
    """The result of one write: the error with which it ended, if it failed.

    `metadata` is that of the entry as written, if the store keeps versions; None if there is none any more. `value` is
    the new value after a patch, if it is known.
    """

    __slots__ = ("error", "metadata", "value")
    compared = ("error",)

    def __init__(self, error: Exception | None = None, metadata: Metadata | None = None, value: Any = None) -> None:
        self.error = error
        self.metadata = metadata
        self.value = value


class Put(Record):
    """Store `value`, which is not None, under `key`, replacing any old value, if `condition` holds.

    The entry expires as `expiry` says; without one, never. If that has passed, the entry is deleted. A store that
    remembers requests makes only one attempt of a write; `attempt` says which write this is, if it may be repeated.
    """

    __slots__ = ("attempt", "condition", "expiry", "key", "value")

    def __init__(
        self,
        key: Key,
        value: Any,
        condition: Precondition | None = None,
        expiry: Expiry | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        self.key = key
        self.value = value
        self.condition = condition
        self.expiry = expiry
        self.attempt = attempt

    def at(self, key: Key) -> Put:
        """The same under another key."""
        return Put(key, self.value, self.condition, self.expiry, self.attempt)

    def of(self, value: Any) -> Operation:
        """The same with another value; a delete if that is None."""
        if value is None:
            return Delete(self.key, self.condition, self.attempt)
        return Put(self.key, value, self.condition, self.expiry, self.attempt)


class Delete(Record):
    """Remove the entry of `key`, if there is one, if `condition` holds. `attempt` as in Put."""

    __slots__ = ("attempt", "condition", "key")
    #: The value of the key afterwards.
    value: ClassVar[None] = None
    expiry: ClassVar[None] = None

    def __init__(self, key: Key, condition: Precondition | None = None, attempt: Attempt | None = None) -> None:
        self.key = key
        self.condition = condition
        self.attempt = attempt

    def at(self, key: Key) -> Delete:
        """The same under another key."""
        return Delete(key, self.condition, self.attempt)


class Patch(Record):
    """Change parts of the value of `key`, a map, atomically, if `condition` holds.

    Unless it may `create` the entry, the entry must exist. It expires as before, or as `expiry` says; without changes,
    only the expiry changes, and the value may be of any kind. `forms` are the serializers between the caller and the
    store, the caller's first; `encode` gives the new value the serialized form in which a server keeps values, and may
    refuse it. The patches of one batch of a server share a `room`. `attempt` as in Put.
    """

    __slots__ = ("attempt", "changes", "condition", "create", "encode", "expiry", "forms", "key", "room")

    def __init__(
        self,
        key: Key,
        changes: tuple[FieldChange, ...],
        condition: Precondition | None = None,
        *,
        create: bool = False,
        expiry: Expiry | None = None,
        encode: Callable[[Any], Any] | None = None,
        forms: tuple[Form, ...] = (),
        room: PatchRoom | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        self.key = key
        self.changes = changes
        self.expiry = expiry
        self.create = create
        self.condition = EXISTS if condition is None and not create else condition
        self.encode = encode
        self.forms = forms
        self.room = room
        self.attempt = attempt

    @property
    def value(self) -> Any:
        """Not known before the store applies it: a store that asks for it does not support patches."""
        raise UnsupportedError("this store does not support patches")

    def at(self, key: Key) -> Patch:
        """The same under another key."""
        return self._with(key=key)

    def through(self, form: Form) -> Patch:
        """The same for a store that keeps the value in this form."""
        return self._with(forms=(*self.forms, form))

    def _with(self, *, key: Key | None = None, forms: tuple[Form, ...] | None = None) -> Patch:
        return Patch(
            self.key if key is None else key,
            self.changes,
            self.condition,
            create=self.create,
            expiry=self.expiry,
            encode=self.encode,
            forms=self.forms if forms is None else forms,
            room=self.room,
            attempt=self.attempt,
        )

    def apply(self, stored: Any) -> Any:
        """The new stored value for the old one, None if there is none. Raises InvalidValueError if it does not fit."""
        if not self.changes and stored is not None:
            return stored
        if self.room is not None:
            self.room.check()
        for form in reversed(self.forms):
            stored = None if stored is None else form.loads(stored)
        if self.room is not None:
            self.room.use(stored)
        value: Any = changed(stored, self.changes)
        if self.encode is not None:
            value = self.encode(value)
        if self.room is not None:
            self.room.use(value)
        for form in self.forms:
            value = form.dumps(value)
        return value


class Form(NamedTuple):
    """How a store keeps values: `dumps` makes the stored form of a value, `loads` the value of a stored form."""

    loads: Callable[[Any], Any]
    dumps: Callable[[Any], Any]


Operation = Put | Delete | Patch


def needs_versions(operation: Operation) -> bool:
    """Whether only a store that keeps versions can make this operation."""
    return operation.condition is not None or isinstance(operation, Patch)


def is_plain(operation: Operation) -> bool:
    """Whether it is a put or delete that every store can make: without a condition, an expiry or an attempt."""
    if isinstance(operation, Patch):
        return False
    return operation.condition is None and operation.expiry is None and operation.attempt is None


def expires_us_after(operation: Put | Patch, now_us: int, before_us: int = 0) -> int:
    """When an entry that expires at `before_us` expires after a write at `now_us`; 0 for never.

    In microseconds since 1970. If that has passed, the write deletes the entry. Raises InvalidError (a ValueError) if
    it is after the year 9999.
    """
    if operation.expiry is not None:
        return operation.expiry.instant_us(now_us)
    return before_us if isinstance(operation, Patch) else 0


def uncached(operation: Operation, result: WriteResult) -> Operation:
    """What a cache does after a successful operation with this result. It keeps only entries that never expire.

    Writes with an attempt are not cached: an earlier attempt may have been made, and the entry written since.
    """
    value = None
    if operation.attempt is not None:
        return Delete(operation.key)
    if isinstance(operation, Put):
        value = operation.value if operation.expiry is None else None
    elif isinstance(operation, Patch) and result.metadata is not None and not result.metadata.expires_us:
        value = result.value
    return Delete(operation.key) if value is None else Put(operation.key, value)


def refusal_of(error: Exception) -> DatastoreError:
    """A library error for one item of a batch; for a builtin error, its text and notes joined.

    Without its frames, which hold the whole batch and this error too.
    """
    without_frames(error)
    if isinstance(error, DatastoreError):
        return error
    kind = UnsupportedTypeError if isinstance(error, TypeError) else InvalidValueError
    refused = kind("; ".join([str(error), *getattr(error, "__notes__", ())]))
    refused.__cause__ = error
    return refused


def value_of(result: ReadResult) -> Any:
    """The value of a result; raises its error, if it has one.

    The error is removed from the result: its frames hold the result, so both would stay until the garbage collector
    runs.
    """
    if result.error is not None:
        raise_error(result)
    return result.value


def raise_error(result: ReadResult | WriteResult) -> None:
    """Raise the error of a result, if it has one; it is removed from the result, see `value_of`."""
    error, result.error = result.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error


#: The errors that fail one item of a batch. Others are programming errors, and fail the whole call.
REFUSALS = (DatastoreError, TypeError, ValueError)


def attempt(
    call: Callable[..., Any], *arguments: Any, catching: type[Exception] | tuple[type[Exception], ...] = REFUSALS
) -> ReadResult:
    """The result of a call, or the error that it raises.

    In a separate function, so that the frames of the error's traceback hold one item and not the whole batch.
    """
    try:
        return ReadResult(call(*arguments))
    except catching as error:
        return ReadResult(error=error)
