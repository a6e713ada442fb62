"""Every limit of a server: those that its operator can set, and those that are fixed.

Pure data. docs/configuration.md has its tables from here, by tools/kinds.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

from datastore.model.config import did_you_mean
from datastore.model.errors import ConfigError, InvalidError
from datastore.model.limits import (
    ENTRY_BYTES,
    FIELDS,
    FILTERS,
    GROUPS,
    KEY_BYTES,
    MESSAGE_BYTES,
    MESSAGE_PARTS,
    ORDERS,
    QUERY_REQUEST_BYTES,
    SORT_BYTES,
    VALUE_DEPTH,
)
from datastore.model.options import COUNT, SIZE, OptionType, option

__all__ = [
    "KEY_REQUEST",
    "KEY_REQUEST_BYTES",
    "PAGE_ITEMS",
    "QUERY_REQUEST",
    "RESERVED_BYTES",
    "Limits",
    "RequestLimit",
    "limits_of",
]

_KIB, _MIB, _GIB, _TIB = 1024, 1024**2, 1024**3, 1024**4
_HOUR_MS = 60 * 60 * 1000

#: The bytes of a message beside the largest entry: framing, a resume token, a summary.
RESERVED_BYTES = 256 * _KIB
#: The maximum size of a batch item's response without its value, in bytes.
ITEM_BYTES = 2 * _KIB
#: The largest request with at most one key, e.g. of Get, DescribeStore or a health check, in bytes: a key, possibly not
#: in canonical form, and fields of later clients. Parsing it on the event loop takes at most 2 ms.
KEY_REQUEST_BYTES = 4 * _KIB
#: The largest metadata of a call, in bytes: gRPC's default.
METADATA_BYTES = 8 * _KIB
#: The default number of entries in a page.
PAGE_ITEMS = 100


class RequestLimit(NamedTuple):
    """The largest request of a method in bytes, and what the limit is called in errors."""

    name: str
    maximum: int


#: The limit of methods whose requests name one key or none.
KEY_REQUEST = RequestLimit("key_request_bytes", KEY_REQUEST_BYTES)
#: The limit of queries: filters, position and last entry may each be as large as a message.
QUERY_REQUEST = RequestLimit("query_request_bytes", QUERY_REQUEST_BYTES)


def _limit(default: int, most: int, description: str, beyond: str, kind: OptionType = COUNT) -> Any:
    """A limit from 1 to `most`. `beyond` says what happens to calls that exceed it."""
    return field(default=default, metadata=option(description, kind) | {"most": most, "beyond": beyond})


def _fixed(value: int, description: str, why: str, kind: OptionType = COUNT) -> Any:
    """A limit that no configuration changes, and why not."""
    return field(default=value, init=False, metadata=option(description, kind) | {"why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server, with units at the ends of their names. DescribeStore reports them.

    Sizes may be given as text, e.g. "64MiB". Raises ConfigError, with the valid range, for a limit outside it.
    """

    key_bytes: int = _limit(KEY_BYTES, KEY_BYTES, "the longest key, in UTF-8", "LIMIT_EXCEEDED, for reads too", SIZE)
    entry_bytes: int = _limit(
        ENTRY_BYTES, MESSAGE_BYTES - RESERVED_BYTES, "the largest entry, key and value together", "LIMIT_EXCEEDED", SIZE
    )
    batch_items: int = _limit(
        1000, MESSAGE_BYTES // ITEM_BYTES, "items of a BatchGet or BatchWrite", "LIMIT_EXCEEDED; send it in parts"
    )
    page_items: int = _limit(1000, 10_000, "entries of a page of ListEntries", "the page has fewer entries")
    filters: int = _limit(FILTERS, FILTERS, "filters of a query", "LIMIT_EXCEEDED")
    orders: int = _limit(ORDERS, ORDERS, "orders of a query", "LIMIT_EXCEEDED")
    fields: int = _limit(
        FIELDS,
        FIELDS,
        "fields that a query returns of each value; fields and aggregations of an aggregate",
        "LIMIT_EXCEEDED",
    )
    groups: int = _limit(
        GROUPS,
        100_000,
        "groups of an aggregate: all are in memory until the last entry has been read. What they take counts toward"
        " `all_sort_bytes`",
        "LIMIT_EXCEEDED",
    )
    query_time_ms: int = _limit(
        _HOUR_MS,
        366 * 24 * _HOUR_MS,
        "how long one call of Query, ListEntries, Aggregate, DeleteMatching or PatchMatching may run, so that an"
        " abandoned reader does not hold resources indefinitely",
        "DEADLINE_EXCEEDED; a stream continues by its last token",
    )
    calls_in_hand: int = _limit(
        5000, 100_000, "unary calls in progress; each holds its request, up to 4 MiB, and some 10 kB", "OVERLOADED"
    )
    open_streams: int = _limit(
        2000,
        100_000,
        "open queries. An idle one takes up to 100 kB, at a proxy over four nodes as well; one with orders that a"
        " client reads at a node directly also takes what it sorts",
        "OVERLOADED",
    )
    open_streams_per_client: int = _limit(
        1000,
        100_000,
        "of these, on one connection, so that one client cannot take them all. The connection has room for 1,000 other"
        " calls; more wait in the client's gRPC",
        "LIMIT_EXCEEDED",
    )
    stream_bytes: int = _limit(
        8 * _MIB,
        _TIB,
        "unread results held by all open queries together, each its share, so that memory does not grow with their"
        " number",
        "smaller messages",
        SIZE,
    )
    read_bytes: int = _limit(
        64 * _MIB,
        _TIB,
        "what all BatchGet and ListEntries calls read at once: eight answers on a node by default, because more are not"
        " faster",
        "the call waits, first come, first served; other calls do not",
        SIZE,
    )
    all_sort_bytes: int = _limit(
        SORT_BYTES,
        _TIB,
        "what all queries with orders hold together to sort, counted like `sort_bytes`; a single query may use all of"
        " it, until it is read or its cursor is closed",
        "OVERLOADED while others hold it",
        SIZE,
    )
    unread_bytes: int = _limit(
        64 * _MIB,
        _TIB,
        "answers of unary calls that clients have not read, each counted twice, as the server holds it twice; a client"
        " may leave as much as is left for all others, and each has room for one answer",
        "the client's further calls wait until it has read; UNAVAILABLE if they had begun",
        SIZE,
    )
    request_time_ms: int = _limit(
        60_000, _HOUR_MS, "how long the request of a call may take to arrive", "DEADLINE_EXCEEDED"
    )
    connections: int = _limit(
        10_000, 1_000_000, "connections; an idle one takes some 20 kB", "the connection is closed: UNAVAILABLE"
    )
    handshake_time_ms: int = _limit(
        10_000,
        _HOUR_MS,
        "how long a connection may take to begin, with TLS and HTTP/2: some round trips",
        "the connection is closed",
    )
    grace_ms: int = _limit(
        5000, _HOUR_MS, "how long active calls may take to finish when the server stops", "UNAVAILABLE"
    )
    message_bytes: int = _fixed(
        MESSAGE_BYTES, "a message in either direction", "gRPC clients accept no more by default", SIZE
    )
    message_parts: int = _fixed(
        MESSAGE_PARTS, "parts of a message, or of a value in it", "the values of one server must be valid on another"
    )
    metadata_bytes: int = _fixed(
        METADATA_BYTES,
        "metadata of a call: names, values, and 32 bytes each",
        "gRPC clients accept no more by default",
        SIZE,
    )
    value_depth: int = _fixed(
        VALUE_DEPTH, "nested lists and maps in a value", "it is part of the definition of a value"
    )
    sort_bytes: int = _fixed(
        SORT_BYTES, "what one query with orders holds to sort", "`all_sort_bytes`, if lower, limits it too", SIZE
    )

    def __post_init__(self) -> None:
        for limit in self.settable().values():
            object.__setattr__(self, limit.name, _checked(limit, getattr(self, limit.name)))
        object.__setattr__(self, "sort_bytes", min(SORT_BYTES, self.all_sort_bytes))

    @classmethod
    def settable(cls) -> dict[str, Field[Any]]:
        """The limits that a configuration can set, by their names."""
        return {limit.name: limit for limit in fields(cls) if limit.init}

    def shown(self) -> dict[str, int | str]:
        """The settable limits as a configuration file writes them."""
        return {name: limit.metadata["option"].dump(getattr(self, name)) for name, limit in self.settable().items()}


def limits_of(given: Mapping[str, Any]) -> Limits:
    """The limits with these settings. Raises ConfigError, which names the limit and what is valid."""
    names = Limits.settable()
    for name in given:
        if name not in names:
            near = did_you_mean(name, names)
            raise ConfigError(f"limits.{name}: unknown limit; valid here: {', '.join(names)}{near}")
    return Limits(**given)


def _checked(limit: Field[Any], given: Any) -> int:
    kind, most = limit.metadata["option"], limit.metadata["most"]
    try:
        value: int = kind.read(given)
    except InvalidError:
        value = 0
    if 1 <= value <= most:
        return value
    what = 'bytes, e.g. 4096 or "4KiB",' if kind is SIZE else "a whole number"
    raise ConfigError(f"limits.{limit.name}: expected {what} from 1 to {most:,}, got {given!r}")
