"""Builds the Datastore that a server serves from its configuration, and the server's description.

A node's Datastore is a backend; a proxy's is a sharded store of remote ones. There is no other difference between
them. Knows which classes to combine, but no requests or messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from datastore.aio import Datastore
from datastore.engine.placement import Member, Placement, first_placement
from datastore_client.aio.remote import RemoteDatastore
from datastore_server.config import Config, tiers_of
from datastore_server.coordination.records import ProxySystemSpace
from datastore_server.describe import ClusterInfo, ShardInfo
from datastore_server.documents import within
from datastore_server.maintenance.readers import SnapshotReaders
from datastore_server.membership import Membership
from datastore_server.placement.listing import Listing
from datastore_server.placement.system import SystemSpace
from datastore_server.storage import IDLE_STREAM_S, SharedFiles, behind_tiers, open_storage
from datastore_server.store_urls import Durability, StoreUrl, parse_store_url, require_workers
from datastore_server.verified import MemberDatastore, MembersDatastore, VerifiedDatastore
from datastore_server.workers.fleet import SOCKETS, Fleet
from datastore_server.workers.messages import Assignment

__all__ = ["NODE_TIMEOUT_S", "Topology", "build_node", "build_proxy"]

#: How long a proxy waits for a node, in seconds, if its caller waits longer or has no deadline.
NODE_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Topology:
    """A Datastore and its cluster. The server that serves the Datastore must close it."""

    datastore: Datastore
    cluster: ClusterInfo
    #: Whether values are checked before they are stored; a proxy leaves that to its nodes.
    check_values: bool = True
    #: Where the placement is stored; None if it ends with the server.
    system: SystemSpace | None = None
    #: How the entries of a node are listed; None for a proxy, which is queried.
    listing: Listing | None = None
    #: What reads snapshots of a node's store; None if it has none.
    snapshots: SnapshotReaders | None = None
    #: The name of the store whose health a node follows; empty if it follows none.
    watched: str = ""
    #: The shard and placement to give the node if it is empty and unplaced.
    place_as: tuple[str, Placement] | None = None
    #: The processes that read beside this one; None if it is alone.
    fleet: Fleet | None = None
    #: The nodes of a proxy; None for a node.
    membership: Membership | None = None

    def settings(self) -> dict[str, Any]:
        """What a Server of `datastore` needs besides it."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name != "datastore"}


def build_node(
    store: StoreUrl,
    *,
    durability: Durability | None = None,
    cluster: str | None = None,
    shard: str | None = None,
    config: Config | None = None,
    state_dir: Path | None = None,
    workers: int = 1,
    assignment: Assignment | None = None,
) -> Topology:
    """A node on any storage.

    `cluster` and `shard` are recorded in a new data directory and must match those in an existing one. With `config`,
    an empty, unplaced node gets the first placement of that cluster when it is served. `state_dir` is as for
    `open_storage`. Raises StoreLockedError if another process uses the directory, StoreFormatError if it belongs to
    another cluster or shard. Several `workers` get this assignment, completed by what they read: ConfigError if they
    cannot read this store. Call it in a running event loop for a store on another server.
    """
    info = ClusterInfo(cluster_name=cluster or "", shard_name=shard or "")
    require_workers(store, workers)
    place_as = None if config is None or shard is None else (shard, _first_placement(config))
    storage = open_storage(store.with_durability(durability), cluster=cluster, shard=shard, state_dir=state_dir)
    return Topology(
        storage.datastore,
        info,
        system=storage.system,
        listing=storage.listing,
        snapshots=storage.snapshots,
        watched=storage.watched,
        place_as=place_as,
        fleet=None if workers == 1 else _fleet(workers, assignment or Assignment(), storage.shared),
    )


def _fleet(workers: int, assignment: Assignment, files: SharedFiles | None) -> Fleet:
    if files is None:
        raise TypeError("this store cannot be shared, see `require_workers`")
    found = replace(
        assignment,
        directory=str(files.directory),
        max_map_bytes=files.max_map_bytes,
        sockets=str(files.directory / SOCKETS),
    )
    return Fleet(workers, found, files.forget_readers)


def _first_placement(config: Config) -> Placement:
    """The first placement of a new cluster with this configuration."""
    stores = {shard.name: parse_store_url(shard.store) for shard in config.shards if shard.store}
    in_memory = {name for name, store in stores.items() if store.kind == "memory"}
    members = [Member(shard.name, url=shard.url, in_memory=shard.name in in_memory) for shard in config.shards]
    return first_placement(config.cluster.name, members, config.cluster.shard_by)


def build_proxy(config: Config, source: str = "CONFIG", reread: Callable[[], Config] | None = None) -> Topology:
    """A proxy over the nodes of a configuration, which routes each key by the nodes' placement.

    Empty, unplaced nodes are placed, by the names of the shards. The caches of `proxy.tiers` are before the nodes. If
    the nodes do not match the configuration, every call raises WrongShardError, which says how and
    what to do; `source` is the file's path, and `reread` returns its current contents. Must be called inside the event
    loop that the channels will belong to. Does not connect yet.
    """
    info = ClusterInfo(cluster_name=config.cluster.name)
    credentials = within(f"{source}: ", Config.credentials, config)
    remotes = {
        # Clients retry. If the proxy did too, calls would multiply while a shard is busy or down.
        shard.name: RemoteDatastore(
            shard.url,
            lazy=True,
            name=shard.name,
            retry=False,
            coalesce=True,
            timeout_s=NODE_TIMEOUT_S,
            idle_stream_s=IDLE_STREAM_S,
            credentials=credentials,
        )
        for shard in config.shards
    }
    membership = Membership(config, remotes, info, source, reread, credentials=credentials)
    stores = {name: MemberDatastore(remote, membership, name) for name, remote in remotes.items()}
    info.shards = tuple(
        ShardInfo(
            shard.name,
            shard.url,
            0,
            probe=stores[shard.name].check,
            describe=remotes[shard.name].describe_store,
            credentials=credentials,
        )
        for shard in config.shards
    )
    info.place(membership.placement)
    sharded = MembersDatastore(stores.values(), membership, names=list(stores))
    before = partial(behind_tiers, tiers_of(config, source), invalidate=config.proxy.invalidate)
    tiered = within(f"{source}: proxy.tiers: ", before, sharded)
    return Topology(
        VerifiedDatastore(tiered, membership),
        info,
        check_values=False,
        system=ProxySystemSpace({shard.name: shard.url for shard in config.shards}, credentials),
        membership=membership,
    )
