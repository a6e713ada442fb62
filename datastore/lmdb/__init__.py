"""A directory on disk as a Datastore of bytes, kept by LMDB: durable, in key order, for one process at a time.

This package alone knows LMDB, the stored record and the data directory. It knows nothing of value types (a
serializer shim does), of event loops and of the network. `docs/storage.md` specifies the files and what survives what.

`store` reads, and hands its writes to `writer`, one thread that gives all that wait one commit. `gate` lets reads in,
and keeps them out for the moment in which the memory map is replaced. `scan` is one step of a query, `records` the
stored form of a value, `directory` what lies on disk, `errors` the driver's errors as ours, `config` the store as data.
"""

from __future__ import annotations

from datastore.model.extras import require

require("lmdb", "lmdb")

from datastore.lmdb.config import LMDBConfig
from datastore.lmdb.store import LMDBDatastore, Stats

__all__ = ["LMDBConfig", "LMDBDatastore", "Stats"]
