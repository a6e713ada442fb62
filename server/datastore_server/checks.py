"""Every check of a request, in one place.

Pure: data in, an error or nothing out. Knows keys, queries and sizes, but no stores, gRPC or messages. The contents
of values are checked by `wire.check_value`.
"""

from __future__ import annotations

from datastore.model.aggregates import Aggregate
from datastore.model.errors import (
    DatastoreError,
    InvalidError,
    InvalidKeyError,
    InvalidQueryError,
    InvalidValueError,
    LimitExceededError,
)
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.model.query import Query
from datastore_server.limits import PAGE_ITEMS, Limits, RequestLimit

__all__ = [
    "check_aggregate",
    "check_batch",
    "check_entry",
    "check_fits",
    "check_page_size",
    "check_query",
    "check_request",
    "check_value",
    "required_key",
]


def required_key(present: bool, text: str, limits: Limits, *, field: str = "key") -> Key:
    """The key of a request, in canonical form.

    Raises InvalidKeyError if it is missing or not a key, LimitExceededError if it exceeds this server's limit.
    """
    if not present:
        raise InvalidKeyError(f"{field} is not set; every request names its key", field=field)
    try:
        key = Key(text)
    except InvalidError as error:
        error.field = error.field or field
        raise
    if limits.key_bytes < KEY_BYTES and len(str(key).encode()) > limits.key_bytes:
        raise exceeded("key_bytes", limits.key_bytes, f"the key {str(key)[:64]}... is longer")
    return key


def check_value(data: bytes, *, field: str = "entry.value") -> None:
    """Raise InvalidValueError if a value is missing, which reads as empty, or is empty."""
    if not data:
        raise InvalidValueError(
            f"{field} is not set; send a value of some kind, or delete the key", field=field, path="value"
        )


def check_entry(key: Key, value_bytes: int, limits: Limits) -> None:
    """Raise LimitExceededError if an entry is too large."""
    total = len(str(key).encode()) + value_bytes
    if total > limits.entry_bytes:
        raise exceeded("entry_bytes", limits.entry_bytes, f"the entry of {key} has {total:,}")


def check_batch(items: int, limits: Limits) -> None:
    """Raise LimitExceededError if a batch has too many items."""
    if items > limits.batch_items:
        raise exceeded("batch_items", limits.batch_items, f"the batch has {items:,}; send it in parts")


def check_query(query: Query, limits: Limits) -> None:
    """Raise LimitExceededError if a query has too many filters, orders or fields."""
    for name, count, most in (
        ("filters", len(query.comparisons), limits.filters),
        ("orders", len(query.orders), limits.orders),
        ("fields", len(query.fields or ()), limits.fields),
    ):
        if count > most:
            raise exceeded(name, most, f"the query has {count:,}")


def check_aggregate(asked: Aggregate, limits: Limits) -> None:
    """Raise LimitExceededError if an aggregate has too many orders, or fields and aggregations."""
    fields = len(asked.group_by) + len(asked.aggregations)
    for name, count, most in (("orders", len(asked.orders), limits.orders), ("fields", fields, limits.fields)):
        if count > most:
            raise exceeded(name, most, f"the aggregate has {count:,}")


def check_page_size(page_size: int, limits: Limits) -> int:
    """The number of entries in a page. Raises InvalidQueryError for a negative size."""
    if page_size < 0:
        raise InvalidQueryError(f"page_size cannot be negative, got {page_size}", field="page_size")
    return min(page_size or PAGE_ITEMS, limits.page_items)


def check_fits(message_bytes: int, limits: Limits, what: str) -> None:
    """Raise LimitExceededError if a response is larger than clients accept."""
    if message_bytes > limits.message_bytes:
        raise exceeded("message_bytes", limits.message_bytes, f"{what} has {message_bytes:,}")


def check_request(request_bytes: int, limit: RequestLimit) -> None:
    """Raise LimitExceededError if a request is larger than its method allows."""
    if request_bytes > limit.maximum:
        raise exceeded(limit.name, limit.maximum, f"the request has {request_bytes:,}")


def exceeded(limit: str, maximum: int, what: str) -> DatastoreError:
    """The error for a limit: it names the limit, and what exceeded it."""
    return LimitExceededError(
        f"at most {maximum:,} {limit.replace('_', ' ')} are allowed here: {what}", limit=limit, maximum=maximum
    )
