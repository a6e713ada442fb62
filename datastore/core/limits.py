"""The limits of the library, each in one place. What servers limit besides is in `datastore_server.checks`."""

from __future__ import annotations

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "BATCH_GROWTH",
    "COMPARED_DEPTH",
    "ENTRY_BYTES",
    "FILTERS",
    "FIRST_BATCH_BYTES",
    "KEY_BYTES",
    "LONG_SORT_KEY_BYTES",
    "MESSAGE_BYTES",
    "MESSAGE_PARTS",
    "ORDERS",
    "QUERY_REQUEST_BYTES",
    "SORT_BYTES",
    "SORT_ENTRY_BYTES",
    "VALUE_DEPTH",
]

#: The longest key, in bytes of UTF-8. LMDB allows 1,978; other engines index a little over 1,024.
KEY_BYTES = 1024

#: The largest message in either direction, in bytes: what every gRPC client accepts with its default settings.
MESSAGE_BYTES = 4 * 1024 * 1024

#: The largest request of a query, in bytes: its filters, its `start_after` and its last entry with the token may each
#: fill a message.
QUERY_REQUEST_BYTES = 3 * MESSAGE_BYTES

#: The largest entry on the wire, key and value together, in bytes. With its framing it fits in a message.
ENTRY_BYTES = 3 * 1024 * 1024

#: The most parts of a message, or of a value in it: lists, maps, their elements and members, keys and timestamps each
#: count one. A parser makes an object of each, 100,000 in 40 ms, and whatever reads the value holds them all.
MESSAGE_PARTS = 100_000

#: The deepest nesting of lists and maps in a value that travels.
VALUE_DEPTH = 32

#: How deep values are looked into to compare them; far below what Python's own comparison of nested lists allows.
COMPARED_DEPTH = 100

#: How many bytes of keys and values a batch of results is filled to.
BATCH_BYTES = 256 * 1024

#: The first batch of results is this small, so that it comes at once.
FIRST_BATCH_BYTES = 2 * 1024

#: How much larger each batch of results is than the one before, up to BATCH_BYTES.
BATCH_GROWTH = 4

#: The most entries in a batch of results, however small they are.
BATCH_ENTRIES = 2000

#: The most filters in a query that travels.
FILTERS = 64

#: The most orders in a query that travels.
ORDERS = 16

#: The most that an ordered query may hold to sort, in bytes: sort keys, keys, serialized values (but for a query for
#: keys only) and SORT_ENTRY_BYTES for each entry. With a limit it holds few. Larger results would have to be sorted on
#: disk.
SORT_BYTES = 1024 * 1024 * 1024

#: What sorting holds for each entry besides the bytes themselves: the objects around them and their places in lists.
SORT_ENTRY_BYTES = 160

#: A sort key longer than this does not travel, as entry, sort key and token would not fit in one message: the value
#: that it is made of travels in its place.
LONG_SORT_KEY_BYTES = 64 * 1024
