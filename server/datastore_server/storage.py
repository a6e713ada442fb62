"""A node's storage: any store with a URL, as a store of WireValues, and where its node keeps its records.

Knows each engine by its package, and how its values are stored, but no requests or messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from datastore import wire
from datastore.aio import Datastore, DictDatastore, SerializerShimDatastore
from datastore.aio.lift import LiftedDatastore, lift
from datastore.lmdb import LMDBConfig
from datastore.model.errors import ConfigError
from datastore.model.options import option
from datastore.spec import CHILD, CHILDREN, MOUNTS, NAMED_CHILDREN, Composed, Config, build_async
from datastore.spec.checks import walk
from datastore.spec.collections import MemoryConfig, TieredConfig
from datastore.sync.serialize import SerializerShimDatastore as SerializerShim
from datastore_client.aio.remote import RemoteDatastore
from datastore_client.config import GrpcConfig
from datastore_server.maintenance.readers import SnapshotReaders
from datastore_server.placement.listing import Listing
from datastore_server.placement.system import (
    EngineSystemSpace,
    MemorySystemSpace,
    NoSystemSpace,
    SystemSpace,
    in_directory,
)
from datastore_server.store_urls import SerializerName, StoreUrl
from datastore_server.stored_values import DocumentValues, JsonValues, PlainValues, WireValues, decoded

__all__ = ["IDLE_STREAM_S", "Storage", "behind_tiers", "open_storage"]

#: How long a proxy keeps its streams to the nodes for a query whose client does not read, or that waits for another
#: node's entries, in seconds. Each stream costs the proxy 25 kB and its node 45 kB.
IDLE_STREAM_S = 2.0


class SharedFiles(NamedTuple):
    """A store that other processes can read: its directory, and how large its file may become, in bytes."""

    directory: Path
    max_map_bytes: int
    #: Called when one of the processes has ended.
    forget_readers: Callable[[], None]


@dataclass(frozen=True)
class Storage:
    """A store of WireValues, and what its node needs besides it. Its server must close `datastore` and `system`."""

    datastore: Datastore
    system: SystemSpace
    listing: Listing
    #: The name of the store whose health the node follows; empty for a store in this process.
    watched: str = ""
    #: What reads snapshots of the store; None if it has none.
    snapshots: SnapshotReaders | None = None
    #: What other processes need to read the store; None if they cannot.
    shared: SharedFiles | None = None


def open_storage(
    url: StoreUrl, *, cluster: str | None = None, shard: str | None = None, state_dir: Path | None = None
) -> Storage:
    """Open the store of a URL. Does not connect yet; creates a directory if needed.

    `state_dir` holds the node's records instead of the store's own system space. Raises ConfigError if it is needed but
    missing, or given but not needed, and the errors of opening the store.
    """
    tree = url.tree
    if isinstance(tree, MemoryConfig | LMDBConfig) and state_dir is not None:
        raise ConfigError(f"{url} holds its node's records itself: leave state_dir out")
    if isinstance(tree, MemoryConfig):
        memory = cast("DictDatastore", build_async(tree))
        return Storage(memory, MemorySystemSpace(memory), Listing(memory))
    if isinstance(tree, LMDBConfig):
        blocking = tree.open_as(cluster, shard)
        lazy = SerializerShimDatastore(lift(blocking), wire.lazy)
        snapshots = SnapshotReaders(blocking.directory, blocking.forget_readers)
        shared = SharedFiles(blocking.directory, tree.max_size, blocking.forget_readers)
        return Storage(lazy, EngineSystemSpace(blocking), Listing(lazy), snapshots=snapshots, shared=shared)
    if any(tree.parts()):
        # Before the stores are opened: if there is no place for the records, none has to be closed again.
        system = _system_of(None, url, shard, state_dir)
        try:
            composed = _composed(tree)
        except BaseException:
            system.release()
            raise
        return Storage(composed, system, Listing(composed), str(url))
    datastore, engine = _leaf(tree, url.serializer)
    try:
        system = _system_of(engine, url, shard, state_dir)
    except BaseException:
        if engine is not None:
            engine.close()
        raise
    return Storage(datastore, system, Listing(datastore, engine), str(url))


def _leaf(tree: Config, serializer: SerializerName | None = None) -> tuple[Datastore, Any]:
    """A store of WireValues that is not built on others, and the blocking store below it, or None."""
    store = build_async(_as_served(tree))
    return _of_wire_values(tree, store, serializer), store.blocking if isinstance(store, LiftedDatastore) else None


def _as_served(tree: Config) -> Config:
    """The leaf of a tree as a node opens it."""
    if isinstance(tree, GrpcConfig):
        return _Remote(inner=tree, origin=tree.origin)
    return replace(tree, aware_datetimes=True) if tree.kind == "mongodb" else tree  # type: ignore[call-arg]


@dataclass(frozen=True, kw_only=True)
class _Remote(Config):
    """Another server, whose calls a node does not repeat."""

    inner: GrpcConfig

    def open_async(self) -> Datastore:
        # Clients retry. If the node did too, calls would multiply while the other server is busy or unreachable.
        return RemoteDatastore(
            self.inner.url,
            timeout_s=self.inner.timeout,
            query_timeout_s=self.inner.query_timeout,
            lazy=True,
            retry=False,
            idle_stream_s=IDLE_STREAM_S,
            credentials=self.inner.credentials(),
        )


def _of_wire_values(tree: Config, store: Any, serializer: SerializerName | None = None) -> Datastore:
    """An opened leaf as a store of WireValues."""
    if isinstance(tree, GrpcConfig):
        return cast("Datastore", store)
    if isinstance(tree, LMDBConfig):
        return SerializerShimDatastore(store, wire.lazy)
    engine = store.blocking if isinstance(store, LiftedDatastore) else None
    if isinstance(engine, SerializerShim):
        # Redis, whose values are serialized in the thread that sends them.
        engine.serializer = _serializer(serializer, PlainValues(tells_text=False))
        return cast("Datastore", store)
    plain = PlainValues(tells_text=True) if tree.kind in _TEXT_AND_BYTES else DocumentValues()
    return SerializerShimDatastore(store, _serializer(serializer, plain))


#: The kinds that store text and bytes, and distinguish them.
_TEXT_AND_BYTES = ("file", "memcached")
#: The kinds of stores built on others that read values only as queries do, if at all: they pass WireValues on unread.
_BLIND = frozenset(
    ("cache", "key-transform", "logging", "lowercase", "lru", "memory", "mount", "namespace", "nested-path", "null")
) | {"sharded", "tiered"}


def _composed(tree: Config) -> Datastore:
    """A store of WireValues that is built on others.

    Stores below a `serializer` have the values that it returns; others store values like a node of their kind.
    """
    is_blind = all(config.kind in _BLIND or not any(config.parts()) for _, config in walk(tree))
    store = build_async(_with_leaves(tree, {}, is_plain=not is_blind))
    return store if is_blind else SerializerShimDatastore(store, DocumentValues())


def behind_tiers(tiers: Sequence[Config], store: Datastore, *, invalidate: Literal["watch"] | None = None) -> Datastore:
    """A store of WireValues with these caches before it; the store itself without caches."""
    if not tiers:
        return store
    return _composed(TieredConfig(children=(*tiers, _Opened(store=store)), invalidate=invalidate))


@dataclass(frozen=True, kw_only=True)
class _Opened(Composed):
    """A store that is already open, as part of a composition."""

    kind = "opened"
    store: Datastore

    def build(self, stores: Any, below: Mapping[str, Any]) -> Datastore:
        return self.store


def _with_leaves(tree: Config, done: dict[int, Config], *, is_plain: bool) -> Config:
    """The tree, with each leaf storing values like a node of its kind. A store with several parents stays one store."""
    if tree.kind == "serializer" or (isinstance(tree, Composed) and not any(tree.parts())):
        return tree
    if id(tree) not in done:
        done[id(tree)] = (
            _changed_children(tree, lambda child: _with_leaves(child, done, is_plain=is_plain))
            if any(tree.parts())
            else _Leaf(child=_as_served(tree), inner=tree, is_plain=is_plain)
        )
    return done[id(tree)]


def _changed_children(tree: Config, change: Callable[[Config], Config]) -> Config:
    children: dict[str, Any] = {}
    for name, part in tree.options().items():
        value = getattr(tree, name)
        if part.metadata["option"] is CHILD and value is not None:
            children[name] = change(value)
        elif part.metadata["option"] in (CHILDREN, NAMED_CHILDREN, MOUNTS) and value is not None:
            is_named = isinstance(value, dict)
            children[name] = {key: change(one) for key, one in value.items()} if is_named else list(map(change, value))
    return replace(tree, **children)


@dataclass(frozen=True, kw_only=True)
class _Leaf(Composed):
    """A store in a composition. Its values are WireValues, or plain ones if a store above it reads them."""

    kind = "leaf"
    child: Config = field(metadata=option("the store", CHILD))
    inner: Config
    is_plain: bool

    def parts(self) -> Iterator[tuple[str, Config]]:
        """None: it counts as the store itself, which was checked with its tree."""
        return iter(())

    def can_query(self) -> bool:
        """Whether the store itself answers queries."""
        return self.inner.can_query()

    def build(self, stores: Any, below: Mapping[str, Any]) -> Datastore:
        store = _of_wire_values(self.inner, below["child"])
        return SerializerShimDatastore(store, decoded) if self.is_plain else store


def _serializer(name: SerializerName | None, plain: Any) -> Any:
    """The serializer with this name; `plain` is the default of the kind of store."""
    return plain if name in (None, "plain") else {"json": JsonValues(), "wire": WireValues()}[name]


def _system_of(engine: Any, url: StoreUrl, shard: str | None, state_dir: Path | None) -> SystemSpace:
    """The system space for the node's records."""
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
