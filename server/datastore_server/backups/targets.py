"""What a backup is restored into: one node, or the nodes of a cluster. Knows how to reach them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from datastore.engine.placement import NodePlacement, Placement
from datastore.model.errors import ConfigError, PlacementError
from datastore.model.key import Key
from datastore_client.tls import Credentials
from datastore_server.backups.sources import is_node_url, require_settled
from datastore_server.config import load_config
from datastore_server.coordination.maintenance import MaintenanceClient
from datastore_server.coordination.survey import surveyed

__all__ = ["Targets", "targets_of"]


@dataclass(frozen=True)
class Targets:
    """The nodes to restore into, by shard, and the placement that says which entry is whose."""

    clients: dict[str, MaintenanceClient]
    placement: Placement | None

    def owner_of(self, key: Key) -> str:
        """The shard that owns a key; '' for a node without a placement."""
        return "" if self.placement is None else self.placement.owner_of(key)


@asynccontextmanager
async def targets_of(
    name: str, only: str | None = None, credentials: Credentials | None = None
) -> AsyncIterator[Targets]:
    """The nodes of a name, a URL or the path of a configuration; of a cluster `only` this shard.

    `credentials` are for the URL of a node; a configuration has its own.

    Raises PlacementError for one node of several of a cluster, which owns only a part of the entries, and for a cluster
    that is not placed.
    """
    async with AsyncExitStack() as stack:
        if is_node_url(name):
            client = await stack.enter_async_context(MaintenanceClient(name, credentials=credentials))
            placement = (await client.get_placement()).placement
            _require_alone(placement, name)
            yield Targets({placement.shard: client}, placement.current)
            return
        config = load_config(Path(name))
        survey = await stack.enter_async_context(surveyed(config, {}))
        current = require_settled(survey, config, name)
        urls = {node.name: node.url for node in survey.nodes if node.name and only in (None, node.name)}
        if not urls:
            raise ConfigError(f"--only {only}: {name} has no such shard; it has {', '.join(current.shards)}")
        opened = {shard: MaintenanceClient(url, credentials=config.credentials()) for shard, url in urls.items()}
        clients = {shard: await stack.enter_async_context(client) for shard, client in opened.items()}
        yield Targets(clients, current)


def _require_alone(placement: NodePlacement, url: str) -> None:
    current = placement.current
    if current is not None and len(current.members) > 1:
        raise PlacementError(
            f"{url} is shard {placement.shard} of the cluster {current.cluster}: name the configuration file of the"
            f" cluster, with --only {placement.shard} to restore this shard alone"
        )
