"""The limits of the library, each in one place. `datastore_server.limits` has those of servers."""

from __future__ import annotations

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "BATCH_GROWTH",
    "CHANGES_AGE_S",
    "CHANGES_BYTES",
    "CHANGES_KEPT",
    "COMPARED_DEPTH",
    "ENTRY_BYTES",
    "FIELDS",
    "FIELD_PATH_BYTES",
    "FILTERS",
    "FILTER_DEPTH",
    "FIRST_BATCH_BYTES",
    "FIRST_SCAN_ENTRIES",
    "GROUPS",
    "KEY_BYTES",
    "LONG_SORT_KEY_BYTES",
    "MESSAGE_BYTES",
    "MESSAGE_PARTS",
    "ORDERS",
    "PATCHED_BYTES",
    "QUERY_REQUEST_BYTES",
    "REQUESTS_KEPT",
    "REQUESTS_KEPT_S",
    "SORT_BYTES",
    "SORT_DISK_BYTES",
    "SORT_ENTRY_BYTES",
    "SORT_MEMORY_BYTES",
    "TREE_VALUE_DEPTH",
    "VALUE_DEPTH",
]

#: The longest key, in bytes of UTF-8. LMDB allows 1,978; other engines index a little over 1,024.
KEY_BYTES = 1024

#: The largest message in either direction, in bytes: the default maximum of every gRPC client.
MESSAGE_BYTES = 4 * 1024 * 1024

#: The largest request of a query, in bytes: its filters, its `start_after`, and its last entry with the token may each
#: fill a message.
QUERY_REQUEST_BYTES = 3 * MESSAGE_BYTES

#: The largest entry on the wire, key and value together, in bytes. With its framing it fits in a message.
ENTRY_BYTES = 3 * 1024 * 1024

#: The maximum number of parts of a message, or of a value in it: lists, maps, their elements and members, keys and
#: timestamps count one each. A parser creates an object for each, 100,000 in 40 ms, and the reader of a value holds
#: them all.
MESSAGE_PARTS = 100_000

#: How much the patches of one batch may rewrite at a server, in bytes of values before and after, before the next one
#: is refused. A patch of 30 bytes may rewrite 3 MiB, and a batch holds 1,000: the server would be busy for minutes, and
#: answer nobody else. With this limit it takes some 0.3 s, apart from what the last patch takes.
PATCHED_BYTES = 2 * 1024 * 1024

#: The deepest nesting of lists and maps in a value on the wire.
VALUE_DEPTH = 32

#: The deepest nesting at which values are compared; far below the limit of Python's own comparison of nested lists.
COMPARED_DEPTH = 100

#: The target size of a batch of results, in bytes of keys and values.
BATCH_BYTES = 256 * 1024

#: The size of the first batch of results in bytes, small so that it arrives quickly.
FIRST_BATCH_BYTES = 2 * 1024

#: The growth factor from one batch of results to the next, up to BATCH_BYTES.
BATCH_GROWTH = 4

#: The maximum number of entries in a batch of results, however small they are.
BATCH_ENTRIES = 2000

#: The entries of the first batch of a scan: few, so that the first results come quickly.
FIRST_SCAN_ENTRIES = 64

#: The longest path of a field, in bytes of UTF-8: on the wire, and of a patch everywhere.
FIELD_PATH_BYTES = 1024

#: The maximum number of fields that a query on the wire returns of each value: each is looked up in every result.
FIELDS = 256

#: The maximum number of comparisons in the filters of a query on the wire, including those within trees.
FILTERS = 64

#: The deepest nesting of `and`, `or` and `not` in a filter.
FILTER_DEPTH = 16

#: The deepest nesting of a value within such a tree, on the wire. With both at their limits, messages are nested 86
#: deep; protobuf parses up to 100.
TREE_VALUE_DEPTH = 16

#: The maximum number of orders in a query on the wire.
ORDERS = 16

#: The maximum number of groups of an aggregate: all are in memory until the last entry has been read, with some 500
#: bytes each.
GROUPS = 10_000

#: How many changes a store in memory keeps for watchers: enough for one that is away for seconds of a busy store.
CHANGES_KEPT = 100_000

#: How many bytes of changes it keeps, with their values: a slow watcher costs no more than this.
CHANGES_BYTES = 64 * 1024 * 1024

#: For how many seconds it keeps them: enough for a watcher that restarts.
CHANGES_AGE_S = 600.0

#: For how many seconds a store remembers the request of a write, so that a repeated one is not made again: far longer
#: than any client repeats it.
REQUESTS_KEPT_S = 600.0

#: How many requests it remembers at most: the writes of some seconds, with some 100 bytes each on disk.
REQUESTS_KEPT = 100_000

#: The maximum memory that an ordered query may use for sorting, in bytes: sort keys, keys, serialized values (except in
#: a keys-only query) and SORT_ENTRY_BYTES per entry. A query with a limit holds few.
SORT_BYTES = 1024 * 1024 * 1024

#: Above this size, what a query holds of serialized values to sort is moved to a temporary file, as one sorted run;
#: `sort_memory_bytes` of a server.
SORT_MEMORY_BYTES = 64 * 1024 * 1024

#: The maximum size of the temporary files of one query, in bytes; `sort_disk_bytes` of a server.
SORT_DISK_BYTES = 64 * 1024 * 1024 * 1024

#: The overhead per entry when sorting, besides the bytes themselves: the objects and their list slots. The entries of
#: finished runs, packed in blocks, take less.
SORT_ENTRY_BYTES = 96

#: A sort key longer than this is not sent, because entry, sort key and token would not fit in one message: the value
#: that it is computed from is sent instead.
LONG_SORT_KEY_BYTES = 64 * 1024
