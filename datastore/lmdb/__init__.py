"""A directory on disk as a Datastore of bytes, stored by LMDB: durable, in key order, for one process at a time.

Only this package knows LMDB, the record format and the data directory. It knows nothing of value types (a serializer
shim does), event loops or the network. `docs/storage.md` specifies on-disk formats and durability.

`store` reads by `reading`, and hands its writes to `writer`, one thread that commits all waiting writes together.
`changes` makes them, with their versions and conditions, in the transaction. `reader` reads in another process. `gate`
is a readers-writer lock around replacing the memory map, `scan` one step of a query, `records` the record format,
`directory` the data directory, `errors` the translation of the driver's errors, and `config` the store as data.
"""

from __future__ import annotations

from datastore.model.extras import require

require("lmdb", "lmdb")

from datastore.lmdb.config import LMDBConfig
from datastore.lmdb.store import LMDBDatastore, Stats

__all__ = ["LMDBConfig", "LMDBDatastore", "Stats"]
