"""Translates the driver's errors to the library's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datastore.model.errors import (
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InvalidValueError,
    LimitExceededError,
    StoreError,
    StoreFormatError,
    UnavailableError,
)

__all__ = ["DOCUMENT_BYTES", "is_taken", "refusal_of_write", "translated", "write_concern_error"]

#: The largest document that a server accepts, in bytes.
DOCUMENT_BYTES = 16 * 1024 * 1024
#: The server's codes for a duplicate key, e.g. of a document that another call created concurrently, and for a write
#: that was not replicated in time.
_DUPLICATE_KEY, _WRITE_CONCERN_FAILED = 11000, 64
#: Its codes for a document that it does not accept: BadValue, FailedToParse, names with $ or dots, DBRefs, long keys.
_BAD_VALUE = frozenset({2, 9, 52, 55, 57, 17280})
#: Its code for a write to a view.
_IS_A_VIEW = 166


@contextmanager
def translated() -> Iterator[None]:
    """Raise the driver's errors as the library's."""
    from bson.errors import BSONError
    from pymongo import errors

    try:
        yield
    except (
        errors.ExecutionTimeout,
        errors.WTimeoutError,
        errors.NetworkTimeout,
        errors.WaitQueueTimeoutError,
    ) as error:
        raise DeadlineExceededError(f"MongoDB: {error}") from error
    except errors.ConnectionFailure as error:
        # The rest is the driver's description of the whole topology.
        raise UnavailableError(f"MongoDB: {str(error).partition(', Timeout:')[0]}") from error
    except errors.DocumentTooLarge as error:
        raise LimitExceededError(f"MongoDB: {error}", limit="document_bytes", maximum=DOCUMENT_BYTES) from error
    except errors.InvalidOperation as error:
        raise DatastoreClosedError(f"MongoDB: {error}") from error
    except errors.OperationFailure as error:
        raise refusal_of_write(error.code, str(error)) from error
    except errors.PyMongoError as error:
        raise StoreError(f"MongoDB: {error}") from error
    except BSONError as error:
        raise InvalidValueError(f"MongoDB: {error}") from error
    except KeyError as error:
        raise StoreError(f"MongoDB: the server's answer lacks {error}") from error


def is_taken(code: int | None) -> bool:
    """Whether another write created or changed the document in between, or a unique index was violated."""
    return code == _DUPLICATE_KEY


def refusal_of_write(code: int | None, text: str) -> DatastoreError:
    """The error for a refusal: of a value that the server does not accept, or of anything else."""
    if code in _BAD_VALUE:
        return InvalidValueError(f"MongoDB: {text}", path="value")
    if code == _IS_A_VIEW:
        return StoreFormatError(f"MongoDB: a view can only be read: {text}")
    return StoreError(f"MongoDB: {text}")


def write_concern_error(failures: Sequence[Any]) -> DatastoreError:
    """The error for writes that were made, but not with the requested write concern."""
    texts = "; ".join(str(failure.get("errmsg")) for failure in failures) or "the write concern was not satisfied"
    late = any(failure.get("code") == _WRITE_CONCERN_FAILED for failure in failures)
    return (DeadlineExceededError if late else StoreError)(f"MongoDB: {texts}")
