"""What is backed up: one node, the nodes of a cluster, or a directory. Knows how to reach them, but no files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datastore.engine.placement import NodePlacement, Placement
from datastore.lmdb import LMDBConfig
from datastore.lmdb.snapshot import Snapshot
from datastore.model.errors import ConfigError, PlacementError
from datastore.v1 import maintenance_pb2
from datastore_client.tls import Credentials
from datastore_server.config import Config, load_config
from datastore_server.coordination.maintenance import MaintenanceClient
from datastore_server.coordination.survey import Survey, surveyed
from datastore_server.maintenance.engines import no_snapshots
from datastore_server.maintenance.snapshots import placement_in, snapshot_messages
from datastore_server.store_urls import parse_store_url

__all__ = ["DirectorySource", "NodeSource", "Source", "is_node_url", "lmdb_directory", "require_settled", "sources_of"]


class Source(Protocol):
    """A node to be backed up."""

    placement: NodePlacement

    def read(self, request: maintenance_pb2.ReadSnapshotRequest) -> AsyncGenerator[bytes]:
        """The messages of a snapshot. The caller must close the generator."""

    async def stored_entries(self) -> int | None:
        """The approximate number of entries, None if unknown."""


@dataclass(frozen=True)
class NodeSource(Source):
    """A running node."""

    client: MaintenanceClient
    placement: NodePlacement

    def read(self, request: maintenance_pb2.ReadSnapshotRequest) -> AsyncGenerator[bytes]:
        return self.client.read_snapshot(request)

    async def stored_entries(self) -> int | None:
        described = await self.client.describe_store()
        return described.entries if described.HasField("entries") else None


class DirectorySource(Source):
    """The directory of a node, which may be running, on this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with Snapshot(directory) as snapshot:
            self.placement = placement_in(snapshot)
            self._stored_entries = snapshot.stored_entries

    async def read(self, request: maintenance_pb2.ReadSnapshotRequest) -> AsyncGenerator[bytes]:
        with Snapshot(self._directory) as snapshot:
            for message in snapshot_messages(snapshot, request):
                yield message

    async def stored_entries(self) -> int | None:
        return self._stored_entries


def is_node_url(name: str) -> bool:
    """Whether a name is the URL of a server, and not of a store or a file."""
    return name.startswith(("grpc:", "grpcs:"))


def lmdb_directory(name: str) -> Path | None:
    """The directory of a URL `lmdb:///DIRECTORY`; None for the path of a file.

    Raises ConfigError for the URL of another store, with what to do instead.
    """
    if is_node_url(name) or ":" not in name:
        return None
    tree = parse_store_url(name).tree
    if not isinstance(tree, LMDBConfig):
        raise ConfigError(no_snapshots(tree.kind, is_proxy=False))
    return Path(tree.directory)


def sources_of(name: str, credentials: Credentials | None = None) -> AbstractAsyncContextManager[list[Source]]:
    """What is backed up by this name, the URL of a node or of a directory, or the path of a cluster's configuration.

    `credentials` are for the URL of a node; a configuration has its own. Raises ConfigError for a store that has no
    snapshots, with what to do instead.
    """
    if is_node_url(name):
        return _node_source(name, credentials)
    directory = lmdb_directory(name)
    if directory is None:
        return _cluster_sources(load_config(Path(name)), name)
    return _directory_source(directory)


@asynccontextmanager
async def _directory_source(directory: Path) -> AsyncIterator[list[Source]]:
    yield [DirectorySource(directory)]


@asynccontextmanager
async def _node_source(url: str, credentials: Credentials | None) -> AsyncIterator[list[Source]]:
    async with MaintenanceClient(url, credentials=credentials) as client:
        answer = await client.get_placement()
        yield [NodeSource(client, answer.placement)]


@asynccontextmanager
async def _cluster_sources(config: Config, source: str) -> AsyncIterator[list[Source]]:
    async with surveyed(config, {}) as survey:
        require_settled(survey, config, source)
        credentials = config.credentials()
        clients = [(node, MaintenanceClient(node.url, credentials=credentials)) for node in survey.nodes if node.name]
        try:
            yield [NodeSource(client, node.answer.placement) for node, client in clients]
        finally:
            for _, client in clients:
                await client.aclose()


def require_settled(survey: Survey, config: Config, source: str) -> Placement:
    """The placement of a cluster. `source` is the path of its configuration.

    Raises UnavailableError unless all nodes answer, PlacementError unless they have the same placement, which is that
    of the configuration, and no change is under way.
    """
    survey.require_all(config, source)
    current = survey.newest
    named = [node for node in survey.nodes if node.name]
    if current is None or survey.pending is not None or not all(node.is_of(current) for node in named):
        raise PlacementError(
            "the nodes are not placed as one cluster, or a change is not finished: `datastore placement check"
            f" {source}` says what differs"
        )
    if sorted(node.name for node in named) != sorted(current.shards):
        raise PlacementError(
            f"the cluster has the shards {', '.join(current.shards)}, and {source} others: `datastore placement check"
            f" {source}` says what to do"
        )
    return current
