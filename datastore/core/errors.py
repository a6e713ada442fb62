"""Every error that the library raises on purpose, in one tree.

    DatastoreError
    ├── InvalidError (ValueError)             the caller's argument cannot be right
    │   ├── InvalidKeyError                   text that is no key, or too long
    │   ├── InvalidValueError                 a value out of range; `path` names the part
    │   ├── InvalidQueryError                 a filter, order, limit or offset out of range
    │   └── InvalidTokenError                 a resume or page token cut, altered or of another query
    ├── UnsupportedTypeError (TypeError)      a value of a type that cannot travel; `path` names the part
    ├── NoStoresError (ValueError)            a collection without stores was asked
    ├── LimitExceededError (ValueError)       more than a named limit allows
    ├── CursorRunningError (AssertionError)   a cursor that has begun cannot be changed
    ├── CircularLinkError (AssertionError)    links that lead back to themselves
    ├── CursorReuseError (RuntimeError)       a cursor can be read once
    ├── DatastoreClosedError (RuntimeError)   the store was closed
    ├── QueryNotSupportedError (NotImplementedError)
    ├── DeadlineExceededError (TimeoutError)  not answered in time; a write may have happened
    ├── UnavailableError (ConnectionError)    cannot be reached now; `shard` names who, if known
    │   └── OverloadedError                   busy; nothing was done, try again after `retry_after_s`
    ├── WrongShardError (RuntimeError)        not this server's key, or not the server that the caller expects
    ├── PlacementError (RuntimeError)         a change of a node's placement that does not fit the one it has
    ├── TruncatedStreamError (ConnectionError)  results ended without their summary
    ├── StoreError (OSError)                  the storage below failed
    │   ├── StoreFullError                    no room; nothing was changed
    │   ├── StoreLockedError                  another process serves this directory
    │   ├── StoreFormatError                  written by another format, or for another shard
    │   └── CorruptDataError                  stored bytes cannot be read back
    ├── ConfigError (ValueError)              a configuration file or a store's URL is wrong
    └── InternalError (RuntimeError)          unexpected; `incident` finds it in the server's log

Each class also derives from the builtin that users of the documented API catch. Instances carry their
facts as fields, survive pickle and copy, and their text says what was wrong and what would be valid.
This module imports nothing, so that every layer can raise from it.
"""

from __future__ import annotations

__all__ = [
    "CircularLinkError",
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
    "PlacementError",
    "QueryNotSupportedError",
    "StoreError",
    "StoreFormatError",
    "StoreFullError",
    "StoreLockedError",
    "TruncatedStreamError",
    "UnavailableError",
    "UnsupportedTypeError",
    "WrongShardError",
]


class DatastoreError(Exception):
    """The root of every error of this library.

    `shard` names the shard that failed, where a collection or a proxy knows it; else it is None.
    """

    shard: str | None = None

    def __init__(self, message: str = "", *, shard: str | None = None) -> None:
        super().__init__(message)
        if shard is not None:
            self.shard = shard

    def __reduce__(self) -> tuple[object, ...]:
        # The default keeps `args` alone as arguments; the fields travel as the instance's state.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[DatastoreError], args: tuple[object, ...], state: dict[str, object]) -> DatastoreError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidError(DatastoreError, ValueError):
    """An argument that can never be right, whatever the store holds.

    `field` names the argument, as `key` or `query.limit`; '' where the message alone tells.
    """

    def __init__(self, message: str = "", *, field: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.field = field


class InvalidKeyError(InvalidError):
    """Text that is no key: control characters, lone surrogates, or over the limit."""


class InvalidValueError(InvalidError):
    """A value of a supported type that cannot travel: out of range, too deep, too large.

    `path` names the part, in Python's notation: `value['a'][3]`.
    """

    def __init__(self, message: str = "", *, path: str = "", field: str = "", shard: str | None = None) -> None:
        super().__init__(message, field=field, shard=shard)
        self.path = path


class InvalidQueryError(InvalidError):
    """A query with an unknown operator, an empty field, or a number out of range."""


class InvalidTokenError(InvalidError):
    """A resume or page token that was cut, altered, or belongs to another query."""


class UnsupportedTypeError(DatastoreError, TypeError):
    """A value of a type that cannot travel. `path` names the part: `value['a'][3]`."""

    def __init__(self, message: str = "", *, path: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.path = path


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
    """A store, or a cursor of it, was used after the store's `close()`, or where its connection does not exist.

    That is on another event loop than that of its first call, or in a process forked from its own; the text says which.
    """


class QueryNotSupportedError(DatastoreError, NotImplementedError):
    """The store cannot answer queries, or not this one; the text says why."""


class DeadlineExceededError(DatastoreError, TimeoutError):
    """No answer in time. A read changed nothing; a write may or may not have happened."""


class UnavailableError(DatastoreError, ConnectionError):
    """The store cannot be reached now.

    Where `retry_after_s` is set, the same call may be made again after so many seconds, writes too: it did nothing, or
    was a read. Where it is None, a write may or may not have happened.
    """

    def __init__(self, message: str = "", *, retry_after_s: float | None = None, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.retry_after_s = retry_after_s


class OverloadedError(UnavailableError):
    """The server has as much to do as it can do in time, and refused the call before it began: nothing was done.

    The same call may be made again, writes too, after `retry_after_s`.
    """


class WrongShardError(DatastoreError, RuntimeError):
    """The key belongs to another shard, or the server is not, or no longer, what the caller expects. Nothing was done.

    `shard` is the shard that refused, `owner` the one that owns the key ('' if unknown), `epoch` the refusing node's
    placement epoch (0 if it has no placement). Repeating the same call at the same server cannot succeed.
    """

    def __init__(self, message: str = "", *, owner: str = "", epoch: int = 0, shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.owner = owner
        self.epoch = epoch


class PlacementError(DatastoreError, RuntimeError):
    """A change of a node's placement that does not fit what the node has; the text names both. Nothing was changed."""


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
        """The text without the place."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.message} (in {self.where})" if self.where else self.message


class StoreFullError(StoreError):
    """There is no room for this write; what was stored before is intact."""


class StoreLockedError(StoreError):
    """Another process has this data directory open."""


class StoreFormatError(StoreError):
    """The data were written in another format, or belong to another shard or cluster."""


class CorruptDataError(StoreError):
    """Stored bytes cannot be read back as what was stored."""


class ConfigError(DatastoreError, ValueError):
    """A configuration file, or a store's URL, is wrong; the text says where and what is valid."""


class InternalError(DatastoreError, RuntimeError):
    """Something unexpected. `incident` is the id under which the server logged it."""

    def __init__(self, message: str = "", *, incident: str = "", shard: str | None = None) -> None:
        super().__init__(message, shard=shard)
        self.incident = incident
