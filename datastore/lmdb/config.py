"""The store as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from datastore.lmdb.store import CHANGES_AGE_S, CHANGES_BYTES, MAX_MAP_BYTES, LMDBDatastore
from datastore.model.config import Config
from datastore.model.limits import REQUESTS_KEPT, REQUESTS_KEPT_S
from datastore.model.options import BOOLEAN, COUNT, DIRECTORY, DURATION, SIZE, one_of, option

__all__ = ["LMDBConfig"]


@dataclass(frozen=True, kw_only=True)
class LMDBConfig(Config):
    """Stores text and bytes in an LMDB database: durable and in key order, for one process at a time."""

    kind = "lmdb"
    url_form = "lmdb:///DIRECTORY"
    driver = ("lmdb", "lmdb")
    directory: str = field(metadata=option("the database's directory; it is created if needed", DIRECTORY))
    durability: Literal["sync", "async"] = field(
        default="sync",
        metadata=option(
            "`sync`: a write is on disk when it returns; `async`: a power failure loses the last second",
            one_of("sync", "async"),
        ),
    )
    max_size: int = field(default=MAX_MAP_BYTES, metadata=option("how large the database may become", SIZE))

    changes: bool = field(
        default=False, metadata=option("keep a log of changes, so that the store can be watched", BOOLEAN)
    )
    change_bytes: int = field(default=CHANGES_BYTES, metadata=option("how large the log may become", SIZE))
    change_age: float = field(default=CHANGES_AGE_S, metadata=option("for how long changes are kept", DURATION))
    requests: int = field(
        default=REQUESTS_KEPT, metadata=option("how many writes it remembers, so that none is repeated", COUNT)
    )
    request_age: float = field(default=REQUESTS_KEPT_S, metadata=option("for how long it remembers them", DURATION))

    def open(self) -> LMDBDatastore:
        """Open the directory."""
        return self.open_as(None, None)

    def open_as(self, cluster: str | None, shard: str | None) -> LMDBDatastore:
        """Open the directory as that of a cluster and a shard; None for any."""
        return LMDBDatastore(
            self.directory,
            cluster=cluster,
            shard=shard,
            durability=self.durability,
            max_map_bytes=self.max_size,
            keep_changes=self.changes,
            most_change_bytes=self.change_bytes,
            most_change_age_s=self.change_age,
            most_requests=self.requests,
            most_request_age_s=self.request_age,
        )
