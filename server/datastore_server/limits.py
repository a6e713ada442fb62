"""Every limit of a server: those that its operator can set, and those that are fixed.

Pure data. docs/configuration.md has its tables from here, by tools/kinds.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

from datastore.engine.placement import SLOTS
from datastore.model.config import did_you_mean
from datastore.model.errors import ConfigError, InvalidError
from datastore.model.limits import (
    ENTRY_BYTES,
    FIELD_PATH_BYTES,
    FIELDS,
    FILTER_DEPTH,
    FILTERS,
    GROUPS,
    KEY_BYTES,
    LONG_SORT_KEY_BYTES,
    MESSAGE_BYTES,
    MESSAGE_PARTS,
    ORDERS,
    PATCHED_BYTES,
    QUERY_REQUEST_BYTES,
    SORT_BYTES,
    SORT_DISK_BYTES,
    SORT_MEMORY_BYTES,
    TREE_VALUE_DEPTH,
    VALUE_DEPTH,
)
from datastore.model.options import COUNT, SIZE, OptionType, option

__all__ = [
    "CALLS_PER_CONNECTION",
    "KEY_REQUEST",
    "KEY_REQUEST_BYTES",
    "PAGE_ITEMS",
    "PENDING_CALLS",
    "QUERY_REQUEST",
    "RECORD_BYTES",
    "RECORD_REQUEST_BYTES",
    "RESERVED_BYTES",
    "SLOTS_REQUEST_BYTES",
    "SNAPSHOTS",
    "Limits",
    "RequestLimit",
    "limits_of",
    "unit_of",
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
#: The largest record that a proxy may store at a node, in bytes: two placements, with room to spare.
RECORD_BYTES = 1024 * _KIB
#: The largest request with a placement or a record, in bytes.
RECORD_REQUEST_BYTES = RECORD_BYTES + KEY_REQUEST_BYTES
#: The largest request with slots, in bytes: all of them, at up to four bytes each, with room to spare.
SLOTS_REQUEST_BYTES = 8 * SLOTS
#: The room for calls on one connection besides the queries that may be open on it.
CALLS_PER_CONNECTION = 1000
#: Above this number gRPC refuses some pending calls, with a bare CANCELLED. It is higher than the number of calls that
#: can arrive, and `admission` decides instead.
PENDING_CALLS = 10_000
#: How many snapshots of a node are read at once, by `datastore backup` and `verify`.
SNAPSHOTS = 2
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


def _fixed(value: int, description: str, beyond: str, why: str, kind: OptionType = COUNT) -> Any:
    """A limit that no configuration changes, and why not."""
    return field(default=value, init=False, metadata=option(description, kind) | {"beyond": beyond, "why": why})


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
        "open queries. An idle one takes up to 100 kB, at a proxy over four nodes as well, unless single entries are"
        " larger; one with orders that a client reads at a node directly also takes what it sorts",
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
        "what all BatchGet and ListEntries calls read at once: eight answers by default, because more are not faster;"
        " through a proxy also an answer of each shard, for a minute after an answer was large",
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
    sort_memory_bytes: int = _limit(
        SORT_MEMORY_BYTES,
        SORT_BYTES,
        "what one query with orders holds of serialized values to sort, counted like `sort_bytes`",
        "all that it holds is moved to a temporary file, as one sorted run, which takes a file descriptor, and 64 KiB"
        " while the runs are merged",
        SIZE,
    )
    sort_disk_bytes: int = _limit(
        SORT_DISK_BYTES,
        _TIB,
        "the temporary files of one query with orders, in the directory that TMPDIR names, by default `/var/tmp`",
        "STORE_FULL, as where the disk is full",
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
        MESSAGE_BYTES, "a message in either direction", "LIMIT_EXCEEDED", "gRPC clients accept no more by default", SIZE
    )
    query_request_bytes: int = _fixed(
        QUERY_REQUEST_BYTES,
        "a request of Query, ListEntries, Aggregate, Watch, DeleteMatching or PatchMatching",
        "LIMIT_EXCEEDED; RESOURCE_EXHAUSTED from gRPC itself",
        "its filters, its position and its last entry may each fill a message",
        SIZE,
    )
    key_request_bytes: int = _fixed(
        KEY_REQUEST_BYTES,
        "a request that names one key or none, e.g. of Get, DescribeStore or a health check",
        "LIMIT_EXCEEDED",
        "it holds the longest key; parsing it takes at most 2 ms",
        SIZE,
    )
    record_bytes: int = _fixed(
        RECORD_BYTES, "the record of a proxy that a node keeps", "LIMIT_EXCEEDED", "it holds two placements", SIZE
    )
    record_request_bytes: int = _fixed(
        RECORD_REQUEST_BYTES,
        "a request of PlaceNode, PrepareMove or PutRecord",
        "LIMIT_EXCEEDED",
        "it holds the largest record",
        SIZE,
    )
    slots_request_bytes: int = _fixed(
        SLOTS_REQUEST_BYTES,
        "a request of ReadSlots or ClearSlots",
        "LIMIT_EXCEEDED",
        "it holds the numbers of all slots",
        SIZE,
    )
    metadata_bytes: int = _fixed(
        METADATA_BYTES,
        "metadata of a call: names, values, and 32 bytes for each",
        "RESOURCE_EXHAUSTED, from gRPC itself",
        "gRPC clients accept no more by default",
        SIZE,
    )
    message_parts: int = _fixed(
        MESSAGE_PARTS,
        "parts of a message, or of a value in it",
        "LIMIT_EXCEEDED",
        "the values of one server must be valid on another",
    )
    value_depth: int = _fixed(
        VALUE_DEPTH, "nested lists and maps in a value", "INVALID_VALUE", "it is part of the definition of a value"
    )
    filter_depth: int = _fixed(
        FILTER_DEPTH, "nested `and`, `or` and `not` in a filter", "LIMIT_EXCEEDED", "protobuf parses no deeper messages"
    )
    tree_value_depth: int = _fixed(
        TREE_VALUE_DEPTH,
        "nested lists and maps in a value within such a filter",
        "LIMIT_EXCEEDED",
        "protobuf parses no deeper messages",
    )
    field_path_bytes: int = _fixed(
        FIELD_PATH_BYTES, "the path of a field, in UTF-8", "INVALID_QUERY", "a longer one is a mistake", SIZE
    )
    patched_bytes: int = _fixed(
        PATCHED_BYTES,
        "what the patches of a batch rewrite, before and after, until the next one is refused",
        "OVERLOADED for the item; LIMIT_EXCEEDED if the batch is atomic",
        "it keeps the server busy for 0.3 s",
        SIZE,
    )
    sort_bytes: int = _fixed(
        SORT_BYTES,
        "what one query with orders holds in memory to sort, and one aggregate to group. Of serialized values, a query"
        " moves what exceeds `sort_memory_bytes` to temporary files",
        "LIMIT_EXCEEDED",
        "`all_sort_bytes`, if lower, limits it too",
        SIZE,
    )
    sort_key_bytes: int = _fixed(
        LONG_SORT_KEY_BYTES,
        "a sort key that is sent",
        "the entry's value is sent instead",
        "entry, sort key and token fit in a message",
        SIZE,
    )
    calls_per_connection: int = _fixed(
        CALLS_PER_CONNECTION,
        "calls in progress on one connection, besides `open_streams_per_client`",
        "more wait in the client's gRPC",
        "no client gains by more",
    )
    pending_calls: int = _fixed(
        PENDING_CALLS,
        "calls that gRPC has accepted and the server has not looked at",
        "CANCELLED, from gRPC itself",
        "more than arrive before the server decides about each",
    )
    snapshots: int = _fixed(
        SNAPSHOTS,
        "snapshots of a node that are read at once",
        "OVERLOADED",
        "each takes a process, and keeps the pages that it sees from being reused",
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


def unit_of(name: str) -> str:
    """The unit of a limit, which ends its name."""
    return {"bytes": "bytes", "ms": "milliseconds"}.get(name.rpartition("_")[2], "count")


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
