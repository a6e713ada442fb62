"""The store as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from datastore.lmdb.store import MAX_MAP_BYTES, LMDBDatastore
from datastore.model.config import Config
from datastore.model.options import DIRECTORY, SIZE, one_of, option

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

    def open(self) -> LMDBDatastore:
        """Open the directory."""
        return LMDBDatastore(self.directory, durability=self.durability, max_map_bytes=self.max_size)
