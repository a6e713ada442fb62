"""Every limit of the server and every check of a request, in one place.

Pure: data in, an error or nothing out. Knows keys, queries and sizes, but no stores, gRPC or messages. The contents
of values are checked by `wire.check_value`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

from datastore.model.errors import (
    ConfigError,
    DatastoreError,
    InvalidError,
    InvalidKeyError,
    InvalidQueryError,
    InvalidValueError,
    LimitExceededError,
)
from datastore.model.key import Key
from datastore.model.limits import (
    ENTRY_BYTES,
    FILTERS,
    KEY_BYTES,
    MESSAGE_BYTES,
    MESSAGE_PARTS,
    ORDERS,
    QUERY_REQUEST_BYTES,
    SORT_BYTES,
    VALUE_DEPTH,
)
from datastore.model.query import Query

__all__ = [
    "KEY_REQUEST",
    "KEY_REQUEST_BYTES",
    "MESSAGE_BYTES",
    "PAGE_ITEMS",
    "RESERVED_BYTES",
    "Limits",
    "RequestLimit",
    "check_batch",
    "check_entry",
    "check_fits",
    "check_page_size",
    "check_query",
    "check_request",
    "check_value",
    "required_key",
]

#: The bytes of a message beside the largest entry: framing, a resume token, a summary.
RESERVED_BYTES = 256 * 1024
#: The most bytes of a batch item's response without its value.
ITEM_BYTES = 2048
#: The largest request with at most one key, e.g. of Get, DescribeStore or a health check, in bytes: a key, possibly not
#: in canonical form, and fields of later clients. Parsing it on the event loop takes at most 2 ms.
KEY_REQUEST_BYTES = 4 * 1024
#: The default number of entries in a page.
PAGE_ITEMS = 100


class RequestLimit(NamedTuple):
    """The largest request of a method in bytes, and what the limit is called in errors."""

    name: str
    maximum: int


#: The limit of methods whose requests name one key or none.
KEY_REQUEST = RequestLimit("key_request_bytes", KEY_REQUEST_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server, with units at the ends of their names. DescribeStore reports them.

    Raises ConfigError for a limit below 1, above the library's maximum, or inconsistent with another.
    """

    #: The longest key, in bytes of UTF-8.
    key_bytes: int = KEY_BYTES
    #: The largest entry: key text and serialized value together, in bytes.
    entry_bytes: int = ENTRY_BYTES
    #: The largest message in either direction, in bytes.
    message_bytes: int = MESSAGE_BYTES
    #: The most parts of a message, or of a value in it; the same on every server.
    message_parts: int = field(default=MESSAGE_PARTS, init=False)
    #: The most items in a BatchGet or BatchWrite.
    batch_items: int = 1000
    #: The most entries in a page of ListEntries.
    page_items: int = 1000
    #: The most filters in a query.
    filters: int = FILTERS
    #: The most orders in a query.
    orders: int = ORDERS
    #: The deepest nesting of lists and maps in a value; the same on every server, as it is part of the definition of
    #: a value.
    value_depth: int = field(default=VALUE_DEPTH, init=False)
    #: The most that an ordered query may buffer for sorting, in bytes; the same on every server.
    sort_bytes: int = field(default=SORT_BYTES, init=False)
    #: The longest that a call of Query or ListEntries may run, in seconds, so that an abandoned reader does not hold
    #: resources indefinitely.
    query_time_ms: int = 60 * 60 * 1000

    @property
    def query_request_bytes(self) -> int:
        """The largest request of a query: its filters, position and last entry may each be as large as a message."""
        return self.message_bytes * QUERY_REQUEST_BYTES // MESSAGE_BYTES

    def __post_init__(self) -> None:
        ceilings = {
            "key_bytes": KEY_BYTES,
            "entry_bytes": self.message_bytes - RESERVED_BYTES,
            "batch_items": self.message_bytes // ITEM_BYTES,
            "filters": FILTERS,
            "orders": ORDERS,
        }
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value < 1:
                raise ConfigError(f"the limit {limit.name} must be 1 or more, got {value:,}")
        for name, ceiling in ceilings.items():
            value = getattr(self, name)
            if value > ceiling:
                raise ConfigError(f"the limit {name} can be {ceiling:,} at most, got {value:,}")


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


def check_value(present: bool, data: bytes, *, field: str = "entry.value") -> None:
    """Raise InvalidValueError if a value is missing or empty."""
    if not present or not data:
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
    """Raise LimitExceededError if a query has too many filters or orders."""
    for name, count, most in (
        ("filters", len(query.filters), limits.filters),
        ("orders", len(query.orders), limits.orders),
    ):
        if count > most:
            raise exceeded(name, most, f"the query has {count:,}")


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
        f"at most {maximum:,} {limit.replace('_', ' ')} are allowed here: {what}",
        limit=limit,
        maximum=maximum,
    )
