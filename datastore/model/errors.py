"""Every error that the library raises on purpose, in one tree.

    DatastoreError
    ├── InvalidError (ValueError)             an invalid argument
    │   ├── InvalidKeyError                   text that is not a valid key, or too long
    │   ├── InvalidValueError                 a value out of range; `path` says which part
    │   ├── InvalidQueryError                 a filter, order, limit or offset out of range
    │   └── InvalidTokenError                 a resume or page token truncated, altered or of another query
    ├── UnsupportedTypeError (TypeError)      a value of an unsupported type; `path` says which part
    ├── ConditionFailedError (RuntimeError)   the condition of a write did not hold; nothing was changed
    ├── BatchAbortedError (RuntimeError)      another write of the atomic batch failed; none of them was made
    ├── RequestForgottenError (RuntimeError)  whether a repeated write was made is not known; not made again
    ├── ChangesExpiredError (RuntimeError)    a watch has fallen behind what is kept: list the entries again
    ├── NoStoresError (ValueError)            a collection without stores was used
    ├── LimitExceededError (ValueError)       more than a named limit allows
    ├── CursorRunningError (AssertionError)   a cursor that has begun cannot be changed
    ├── CircularLinkError (AssertionError)    links that lead back to themselves
    ├── CursorReuseError (RuntimeError)       a cursor can be read once
    ├── DatastoreClosedError (RuntimeError)   the store was closed
    ├── QueryNotSupportedError (NotImplementedError)
    ├── UnsupportedError (NotImplementedError)  the store cannot do this, e.g. keep versions
    ├── DeadlineExceededError (TimeoutError)  not answered in time; a write may have happened
    ├── UnavailableError (ConnectionError)    cannot be reached now; `shard` says which, if known
    │   └── OverloadedError                   busy; nothing was done, try again after `retry_after_s`
    ├── UnauthenticatedError (PermissionError)  the server does not know who calls
    ├── PermissionDeniedError (PermissionError)  the caller's rights do not include this; nothing was done
    ├── WrongShardError (RuntimeError)        not a key of this server, or not the expected server
    ├── PlacementError (RuntimeError)         a change that does not fit the node's placement
    ├── TruncatedStreamError (ConnectionError)  results ended without their summary
    ├── StoreError (OSError)                  the storage below failed
    │   ├── StoreFullError                    no space left; nothing was changed
    │   ├── StoreLockedError                  another process serves this directory
    │   ├── StoreFormatError                  written by another format, or for another shard
    │   └── CorruptDataError                  stored bytes cannot be read back
    ├── ConfigError (ValueError)              an invalid configuration file or store URL
    └── InternalError (RuntimeError)          unexpected; `incident` finds it in the server's log

Each class also derives from the builtin that users of the documented API catch. Instances carry their
details as fields and can be pickled and copied; their text says what was wrong and what would be valid.
This module imports nothing, so every layer can raise its errors.
"""

from __future__ import annotations

__all__ = [
    "BatchAbortedError",
    "ChangesExpiredError",
    "CircularLinkError",
    "ConditionFailedError",
    "ConfigError",
    "CorruptDataError",
    "CursorReuseError",
    "CursorRunningError",
    "DatastoreClosedError",
    "DatastoreError",
    "DeadlineExceededError",
    "InternalError",
    "InvalidError",
    "InvalidKeyError",
    "InvalidQueryError",
    "InvalidTokenError",
    "InvalidValueError",
    "LimitExceededError",
    "NoStoresError",
    "OverloadedError",
    "PermissionDeniedError",
    "PlacementError",
    "QueryNotSupportedError",
    "RequestForgottenError",
    "StoreError",
    "StoreFormatError",
    "StoreFullError",
    "StoreLockedError",
    "TruncatedStreamError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "UnsupportedTypeError",
    "WrongShardError",
]


def without_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error that is kept, and of the errors behind it.

    Their frames hold all that the failed call held, and often the error too: a cycle, which would stay until the
    garbage collector runs.
    """
    chain: list[BaseException] = [error]
    for each in chain:
        each.__traceback__ = None
        chain += [other for other in (each.__cause__, each.__context__) if other is not None and other not in chain]


def own_error(error: Exception) -> Exception:
    """A copy of a library error that several callers raise, each with its own traceback; any other error itself."""
    if not isinstance(error, DatastoreError):
        return error
    made = _rebuild(type(error), error.args, error.__dict__)
    made.__cause__ = error.__cause__
    return made


class DatastoreError(Exception):
    """The root of every error of this library.

    `shard` is the name of the shard that failed, if a collection or proxy knows it, otherwise None. `request_id` names
    the failed call in the log of the server that answered with this error, otherwise None.
    """

    shard: str | None = None
    request_id: str | None = None

    def __init__(self, message: str = "", *, shard: str | None = None) -> None:
        super().__init__(message)
        if shard is not None:
            self.shard = shard

    def __reduce__(self) -> tuple[object, ...]:
        # The default would pass only `args` to the class; the fields are restored as the instance's state.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[DatastoreError], args: tuple[object, ...], state: dict[str, object]) -> DatastoreError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidError(DatastoreError, ValueError):
    """An invalid argument, whatever the store holds.

    `field` names the argument, e.g. `key` or `query.limit`; '' if only the message says it.
    """

    def __init__(self, message: str = "", *, field: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.field = field


class InvalidKeyError(InvalidError):
    """Text that is not a valid key: control characters, lone surrogates, or over the limit."""


class InvalidValueError(InvalidError):
    """An invalid value of a supported type: out of range, nested too deeply, or too large.

    `path` says which part, in Python's notation: `value['a'][3]`.
    """

    def __init__(self, message: str = "", *, path: str = "", field: str = "", shard: str | None = None) -> None:
        super().__init__(message, field=field, shard=shard)
        self.path = path


class InvalidQueryError(InvalidError):
    """A query with an unknown operator, an empty field, or a number out of range."""


class InvalidTokenError(InvalidError):
    """A resume or page token that was truncated, altered, or belongs to another query."""


class UnsupportedTypeError(DatastoreError, TypeError):
    """A value of an unsupported type. `path` says which part: `value['a'][3]`."""

    def __init__(self, message: str = "", *, path: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.path = path


class ConditionFailedError(DatastoreError, RuntimeError):
    """The condition of a write did not hold, and nothing was changed. `version` is the entry's; 0 if it is absent."""

    def __init__(self, message: str = "", *, version: int = 0, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.version = version


class BatchAbortedError(DatastoreError, RuntimeError):
    """This write was not made, because another one of its atomic batch failed: that at `index`, counted from 0."""

    def __init__(self, message: str = "", *, index: int = 0, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.index = index


class RequestForgottenError(DatastoreError, RuntimeError):
    """A repeated write that may have been made before is not made again: the store does not remember that far back.

    The earlier attempt may or may not have happened; read the entry to find out.
    """


class ChangesExpiredError(DatastoreError, RuntimeError):
    """The changes after a watch's position were discarded, or belong to another store: list the entries again.

    A watch that is read too slowly ends with this; it never delays writers.
    """


class NoStoresError(DatastoreError, ValueError):
    """A tiered or sharded collection was used before it had a store."""


class LimitExceededError(DatastoreError, ValueError):
    """More than a limit allows. `limit` is the limit's name, `maximum` its value; nothing was done."""

    def __init__(self, message: str = "", *, limit: str = "", maximum: int = 0, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.limit = limit
        self.maximum = maximum


class CursorRunningError(DatastoreError, AssertionError):
    """A cursor was changed after its first item."""


class CircularLinkError(DatastoreError, AssertionError):
    """Links that lead back to themselves."""


class CursorReuseError(DatastoreError, RuntimeError):
    """A cursor was iterated a second time, or after its end."""


class DatastoreClosedError(DatastoreError, RuntimeError):
    """A store or its cursor was used after the store was closed, or where its connection does not exist.

    That is, on an event loop other than that of its first call, or in a forked process; the text says which.
    """


class QueryNotSupportedError(DatastoreError, NotImplementedError):
    """The store cannot answer queries, or not this one; the text says why."""


class UnsupportedError(DatastoreError, NotImplementedError):
    """The store cannot do this, e.g. because it keeps no versions; the text says what, and nothing was done."""


class DeadlineExceededError(DatastoreError, TimeoutError):
    """No answer in time. A read changed nothing; a write may or may not have happened."""


class UnavailableError(DatastoreError, ConnectionError):
    """The store cannot be reached now.

    If `retry_after_s` is set, the same call, including a write, may be repeated after that many seconds: it did
    nothing, or was a read. If it is None, a write may or may not have happened.
    """

    def __init__(self, message: str = "", *, retry_after_s: float | None = None, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.retry_after_s = retry_after_s


class OverloadedError(UnavailableError):
    """The server is busy and refused the call before it began: nothing was done.

    The same call, including a write, may be repeated after `retry_after_s`.
    """


class UnauthenticatedError(DatastoreError, PermissionError):
    """The server does not know who calls: no token, or one that it does not know, that expired or was revoked."""


class PermissionDeniedError(DatastoreError, PermissionError):
    """The caller's rights do not include this, and nothing was done. `right` is the one that is missing.

    That is `read`, `write`, `delete` or `admin`. A query that selects more than the caller may read is refused whole.
    """

    def __init__(self, message: str = "", *, right: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.right = right


class WrongShardError(DatastoreError, RuntimeError):
    """The key belongs to another shard, or the server is not (or no longer) the expected one. Nothing was done.

    `shard` is the shard that refused, `owner` the one that owns the key ('' if unknown), `epoch` the refusing node's
    placement epoch (0 if it has no placement). Repeating the same call at the same server cannot succeed.
    """

    def __init__(self, message: str = "", *, owner: str = "", epoch: int = 0, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.owner = owner
        self.epoch = epoch


class PlacementError(DatastoreError, RuntimeError):
    """A change that does not fit the node's current placement; the text names both. Nothing was changed."""


class TruncatedStreamError(DatastoreError, ConnectionError):
    """Results ended without their closing summary: some may be missing."""


class StoreError(DatastoreError, OSError):
    """The storage below a store failed; a write that raised this was not acknowledged.

    `where` is the directory or file, on the machine of the storage. The text ends with it; `message` is the text
    without it, which is all that a server's clients see.
    """

    def __init__(self, message: str = "", *, where: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.where = where

    @property
    def message(self) -> str:
        """The text without `where`."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.message} (in {self.where})" if self.where else self.message


class StoreFullError(StoreError):
    """There is no space for this write; existing entries are intact."""


class StoreLockedError(StoreError):
    """Another process has this data directory open."""


class StoreFormatError(StoreError):
    """The data was written in another format, or belongs to another shard or cluster."""


class CorruptDataError(StoreError):
    """Stored bytes cannot be read back as what was stored."""


class ConfigError(DatastoreError, ValueError):
    """An invalid configuration file or store URL; the text says where, and what is valid."""


class InternalError(DatastoreError, RuntimeError):
    """Something unexpected. `incident` is the id under which the server logged it."""

    def __init__(self, message: str = "", *, incident: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.incident = incident
