"""How to back up a store that has no snapshots here, in words. Pure."""

from __future__ import annotations

__all__ = ["no_snapshots"]

#: A store in memory is described as a dict.
_EXPORT = "`datastore export` writes its entries to a file, but not as of one moment"
_REDIS = "make it with Redis itself: `redis-cli --rdb FILE`, or copy the append-only file"
_OF_ENGINES = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "mongodb": "make it with MongoDB itself: `mongodump --oplog`, or a snapshot of its volume",
    "memcached": "memcached is a cache, of which there are no backups",
    "file": "copy the directory while the node is stopped, or make a snapshot of its file system",
    "memory": _EXPORT,
    "dict": _EXPORT,
    "grpc": "make it of the server behind this one",
}


def no_snapshots(kind: str, *, is_proxy: bool) -> str:
    """Why a server has no snapshots, and what to do."""
    if is_proxy:
        return "this is a proxy: name the configuration file of its cluster to back up its nodes"
    advice = _OF_ENGINES.get(kind, "back up the stores that it is composed of; or `datastore export` its entries")
    return f"a store of kind {kind} has no snapshots: {advice}"
