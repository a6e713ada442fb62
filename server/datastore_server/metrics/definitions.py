"""Every metric of a server: its name, type, labels and meaning. docs/metrics.md is made from them.

Pure data. A name ends with its unit; a count that only grows ends with `_total`. The values of labels are names of
methods, reasons, stores and shards, which are few: never keys, tokens or clients.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["METRICS", "STORE_PREFIX", "Metric"]

#: What stores measure themselves (`Description.figures`) is reported under their names with this before them.
STORE_PREFIX = "datastore_store_"


class Metric(NamedTuple):
    """The definition of one metric. Names of histograms get `_bucket`, `_sum` and `_count` by the convention."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


_METHOD, _STORE, _SHARD = ("method",), ("store",), ("shard",)

_DEFINED = (
    # The server
    Metric("datastore_build_info", "gauge", "Always 1; `version` is the version of the software.", ("version",)),
    Metric("datastore_serving", "gauge", "Whether health is SERVING: 1, or 0 while calls are refused."),
    Metric("datastore_warnings", "gauge", "How many warnings `datastore status` shows, e.g. of a full disk."),
    Metric(
        "datastore_event_loop_lag_seconds",
        "gauge",
        "The maximum delay of the event loop in the last 10 seconds: calls waited this long before they began.",
    ),
    Metric(
        "datastore_workers", "gauge", "The processes that answer reads now, of a server with `--workers` of 2 or more."
    ),
    # Calls
    Metric("datastore_calls_total", "counter", "Calls that have ended, including those that failed.", _METHOD),
    Metric(
        "datastore_call_errors_total",
        "counter",
        "Calls that failed, by reason: those of docs/protocol.md, and `CANCELLED` if the client of a unary call"
        " disconnected or its deadline passed; a stream may end like that. Refused calls have `OVERLOADED`.",
        ("method", "reason"),
    ),
    Metric(
        "datastore_call_duration_seconds",
        "histogram",
        "From the arrival of the request to the end of the call, without calls refused before their requests were read."
        " Streams include the time that their readers take.",
        _METHOD,
    ),
    Metric("datastore_calls_in_hand", "gauge", "Unary calls in progress; the limit is `calls_in_hand`."),
    Metric("datastore_received_bytes_total", "counter", "Bytes of requests.", _METHOD),
    Metric("datastore_sent_bytes_total", "counter", "Bytes of responses.", _METHOD),
    Metric(
        "datastore_entries_total",
        "counter",
        "Entries that were sent, written, or looked up; each item of a batch, each change of a watch, and each call for"
        " one key counts as one.",
        _METHOD,
    ),
    Metric("datastore_open_streams", "gauge", "Open streams; the limit is `open_streams`.", _METHOD),
    Metric(
        "datastore_oldest_stream_seconds",
        "gauge",
        "The age of the oldest open stream, and of its cursor; 0 without one.",
        _METHOD,
    ),
    # Stores
    Metric("datastore_store_up", "gauge", "Whether the node's store answers: 1, or 0 while calls are refused."),
    Metric("datastore_store_entries", "gauge", "Entries, if the store counts them.", _STORE),
    Metric("datastore_store_stored_bytes", "gauge", "Size on disk, including reusable space.", _STORE),
    Metric("datastore_store_hits_total", "counter", "Reads of values that a tier answered.", _STORE),
    Metric("datastore_store_misses_total", "counter", "Reads of values that a tier did not have.", _STORE),
    Metric("datastore_store_evictions_total", "counter", "Entries that a cache (`lru`) dropped to make room.", _STORE),
    Metric("datastore_store_held_bytes", "gauge", "Size of the entries in a cache (`lru`) with `max_bytes`.", _STORE),
    Metric("datastore_store_commit_duration_seconds", "histogram", "Duration of commits (`lmdb`).", _STORE),
    Metric("datastore_store_commit_writes", "histogram", "Writes in a commit (`lmdb`).", _STORE),
    Metric("datastore_store_waiting_writes", "gauge", "Writes that wait for a commit (`lmdb`).", _STORE),
    Metric("datastore_store_map_used_bytes", "gauge", "The part of the map (`lmdb`) with data in it.", _STORE),
    Metric("datastore_store_map_limit_bytes", "gauge", "The limit of the map (`lmdb`), `max_map_bytes`.", _STORE),
    Metric("datastore_store_disk_free_bytes", "gauge", "Free space on the disk that the store is on.", _STORE),
    Metric("datastore_store_disk_bytes", "gauge", "Size of the disk that the store is on.", _STORE),
    Metric(
        "datastore_store_change_log_age_seconds",
        "gauge",
        "Age of the oldest change that is kept: how long a watch may be interrupted and still continue.",
        _STORE,
    ),
    Metric("datastore_store_change_log_bytes", "gauge", "Size of the changes kept in memory.", _STORE),
    Metric("datastore_store_watchers", "gauge", "Open watches of the store; equal watches of clients are one.", _STORE),
    # Placement
    Metric("datastore_placement_epoch", "gauge", "The epoch of the placement; missing without one."),
    Metric("datastore_owned_slots", "gauge", "How many of the 16,384 slots a placed node owns."),
    # Shards, at a proxy
    Metric("datastore_shard_up", "gauge", "Whether the shard answers: 1 or 0.", _SHARD),
    Metric("datastore_shard_slots", "gauge", "How many of the 16,384 slots the shard owns.", _SHARD),
    Metric("datastore_shard_entries", "gauge", "Entries of the shard, if it answers and counts them.", _SHARD),
    Metric("datastore_shard_stored_bytes", "gauge", "Size of the shard on disk, if it answers and is on disk.", _SHARD),
)

#: Every metric by name, in the order in which they are documented.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _DEFINED}
