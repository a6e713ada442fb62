"""A node's storage: any store that a URL opens, as one of WireValues, with where its node keeps its records.

Knows each engine by its package, and how its values are stored; no request and no message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datastore import wire
from datastore.aio import Datastore, DictDatastore, SerializerShimDatastore
from datastore.aio.lift import LiftedDatastore, lift
from datastore.lmdb import LMDBConfig, LMDBDatastore
from datastore.model.errors import ConfigError
from datastore.spec import Config, build_async
from datastore.spec.collections import MemoryConfig
from datastore.sync.serialize import SerializerShimDatastore as SerializerShim
from datastore_client.aio.remote import RemoteDatastore
from datastore_client.config import GrpcConfig
from datastore_server.placement.listing import Listing
from datastore_server.placement.system import (
    EngineSystemSpace,
    LMDBSystemSpace,
    MemorySystemSpace,
    NoSystemSpace,
    SystemSpace,
    in_directory,
)
from datastore_server.store_urls import SerializerName, StoreUrl
from datastore_server.stored_values import DocumentValues, JsonValues, PlainValues, WireValues

__all__ = ["IDLE_STREAM_S", "Storage", "open_storage"]

#: How long a proxy keeps its streams of the nodes for a query whose client does not read, or that waits for another
#: node's entries. Each costs the proxy 25 kB and its node 45.
IDLE_STREAM_S = 2.0


@dataclass(frozen=True)
class Storage:
    """A store of WireValues, and what its node needs beside it. Whoever serves it closes `datastore` and `system`."""

    datastore: Datastore
    system: SystemSpace
    listing: Listing
    #: What to call the store whose health the node follows; empty for one within the process.
    watched: str = ""


def open_storage(
    url: StoreUrl, *, cluster: str | None = None, shard: str | None = None, state_dir: Path | None = None
) -> Storage:
    """Open the store of a URL. Connects to nothing yet; creates a directory if needed.

    `state_dir` holds the node's records instead of the store's own system space. Raises ConfigError if it is missing
    although it is needed, or of no use, and what the store raises when it is opened.
    """
    tree = url.tree
    if isinstance(tree, MemoryConfig | LMDBConfig) and state_dir is not None:
        raise ConfigError(f"{url} holds its node's records itself: leave state_dir out")
    if isinstance(tree, MemoryConfig):
        memory = DictDatastore()
        return Storage(memory, MemorySystemSpace(), Listing(memory))
    if isinstance(tree, LMDBConfig):
        blocking = LMDBDatastore(
            tree.directory, durability=tree.durability, max_map_bytes=tree.max_size, cluster=cluster, shard=shard
        )
        lazy = SerializerShimDatastore(lift(blocking), wire.lazy)
        return Storage(lazy, LMDBSystemSpace(blocking), Listing(lazy))
    datastore, engine = _opened(tree, url.serializer)
    system = _system_of(engine, url, shard, state_dir)
    return Storage(datastore, system, Listing(datastore, engine), str(url))


def _opened(tree: Config, serializer: SerializerName | None) -> tuple[Datastore, Any]:
    """A store of WireValues, and the blocking store at its bottom; None if there is none."""
    if isinstance(tree, GrpcConfig):
        # Its clients retry: a node that did too would multiply their calls while the other is busy or unreachable.
        return RemoteDatastore(tree.url, lazy=True, retry=False, idle_stream_s=IDLE_STREAM_S), None
    if tree.kind == "mongodb":
        tree = replace(tree, aware_datetimes=True)  # type: ignore[call-arg]
    store = build_async(tree)
    engine = store.blocking if isinstance(store, LiftedDatastore) else None
    if isinstance(engine, SerializerShim):
        # Redis, whose values are serialized in the thread that sends them.
        engine.serializer = _serializer(serializer, PlainValues(tells_text=False))
        return store, engine
    plain = PlainValues(tells_text=True) if tree.kind in _TEXT_AND_BYTES else DocumentValues
    return SerializerShimDatastore(store, _serializer(serializer, plain)), engine


#: The kinds that store text and bytes, and tell one from the other.
_TEXT_AND_BYTES = ("file", "memcached")


def _serializer(name: SerializerName | None, plain: Any) -> Any:
    """The serializer of a name; `plain` is the default of its kind of store."""
    return plain if name in (None, "plain") else {"json": JsonValues, "wire": WireValues}[name]


def _system_of(engine: Any, url: StoreUrl, shard: str | None, state_dir: Path | None) -> SystemSpace:
    """Where the node's records are kept."""
    if state_dir is not None:
        return in_directory(state_dir)
    if url.directory is not None:
        return in_directory(url.directory)
    if hasattr(engine, "read_system") and hasattr(engine, "write_system"):
        return EngineSystemSpace(engine)
    if shard:
        raise ConfigError(
            f"{url} cannot keep the record of which slots shard {shard} owns: name a directory for it with --state-dir,"
            " or state_dir in the configuration"
        )
    return NoSystemSpace(str(url))
