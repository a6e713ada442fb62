"""Restores a backup into empty nodes: each entry to the node that owns it, in key order, continued where it ended.

At the end each node compares the count and checksum of its entries with what was sent, and serves if they match.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datastore.model.errors import DatastoreError, PlacementError
from datastore.model.key import Key
from datastore.v1 import maintenance_pb2
from datastore_server.backups.catalog import Backup
from datastore_server.backups.merging import Row
from datastore_server.backups.rates import Rate
from datastore_server.backups.targets import Targets
from datastore_server.backups.together import together
from datastore_server.coordination.maintenance import MaintenanceClient
from datastore_server.maintenance.columns import SUM_MASK, content_checksum, encode_columns

__all__ = ["BATCH_BYTES", "BATCH_ENTRIES", "Restored", "Restoring", "restore", "sent_bytes"]

#: The maximum number of entries in one call, and about how many bytes; a larger entry is sent alone.
BATCH_ENTRIES = 500
BATCH_BYTES = 1024 * 1024
#: Entries that expire within this many seconds are not compared at the end: they may have expired by then.
COMPARED_AFTER_S = 24 * 3600


@dataclass(frozen=True)
class Restoring:
    """How to restore a backup."""

    backup: Backup
    #: The nodes. Entries of other owners are left out.
    targets: Targets
    rate: Rate
    #: Called with the number of entries that were read of the backup.
    advance: Callable[[int], None]


@dataclass(frozen=True)
class Restored:
    """What was restored: entries in all, those that had expired since, and the nodes that gave new versions."""

    entries: int
    expired: int
    with_new_versions: tuple[str, ...]


async def restore(rows: Iterable[Row], restoring: Restoring) -> Restored:
    """Restore rows, which are in key order.

    Raises PlacementError, before anything is changed anywhere, if a node is not empty.
    """
    now_us = int(time.time() * 1_000_000)
    nodes = await _prepared(restoring, now_us + COMPARED_AFTER_S * 1_000_000)
    entries = expired = 0
    for key, value, times in rows:
        entries += 1
        if entries % BATCH_ENTRIES == 0:
            restoring.advance(BATCH_ENTRIES)
        if times[3] and times[3] <= now_us:
            expired += 1
        elif (node := nodes.get(restoring.targets.owner_of(Key._trusted(key)))) is not None:
            if not node.has_room(key, value):
                await node.flush()
            node.add(key, value, times)
    restoring.advance(entries % BATCH_ENTRIES)
    await together([node.finish(restoring.backup.version) for node in nodes.values()])
    new = tuple(name for name, node in nodes.items() if not node.keeps_versions)
    return Restored(sum(node.entries for node in nodes.values()), expired, new)


async def _prepared(restoring: Restoring, compared_after_us: int) -> dict[str, _Node]:
    """The nodes, all of them ready. If one is not, those that were empty serve again."""
    nodes: dict[str, _Node] = {}
    backup_id = restoring.backup.backup_id
    for name, client in restoring.targets.clients.items():
        try:
            ready = await client.prepare_restore(backup_id)
        except DatastoreError:
            for node in nodes.values():
                if not node.restored_key:
                    await node.client.abort_restore()
            raise
        if not ready.is_finished:
            nodes[name] = _Node(client, restoring, ready, compared_after_us)
    if not nodes:
        raise PlacementError("this backup has been restored here before, and the nodes serve; nothing was changed")
    return nodes


class _Node:
    """A node that is restored: what waits to be sent to it, and the sums of what it must have in the end."""

    def __init__(
        self,
        client: MaintenanceClient,
        restoring: Restoring,
        ready: maintenance_pb2.PrepareRestoreResponse,
        compared_after_us: int,
    ) -> None:
        self.client = client
        self.restored_key = ready.restored_key
        self.keeps_versions = ready.keeps_versions
        self.entries = 0
        self._restoring = restoring
        self._compared_after_us = compared_after_us
        self._compared = self._checksum = 0
        self._waiting: list[Row] = []
        self._waiting_bytes = 0
        self._sending: asyncio.Task[None] | None = None

    def add(self, key: str, value: bytes, times: tuple[int, int, int, int]) -> None:
        """Count the next entry, and send it unless the node has it already."""
        self.entries += 1
        if not times[3] or times[3] > self._compared_after_us:
            kept = times if self.keeps_versions else (0, 0, 0, times[3])
            self._compared += 1
            self._checksum += content_checksum(key.encode(), value, kept)
        if key > self.restored_key:
            self._waiting.append((key, value, times))
            self._waiting_bytes += sent_bytes(key, value)

    def has_room(self, key: str, value: bytes) -> bool:
        """Whether another entry can be sent together with what waits."""
        has_bytes = not self._waiting or self._waiting_bytes + sent_bytes(key, value) <= BATCH_BYTES
        return has_bytes and len(self._waiting) < BATCH_ENTRIES

    async def flush(self) -> None:
        """Send what waits, once the batch before is stored. Returns without waiting for this one."""
        await self._sent()
        waiting, size = self._waiting, self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        if waiting:
            await self._restoring.rate.spend(size)
            keys, values, stamps = zip(*waiting, strict=True)
            sending = self.client.restore_entries(
                self._restoring.backup.backup_id, encode_columns(keys, values, stamps)
            )
            self._sending = asyncio.create_task(sending)

    async def _sent(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            await sending

    async def finish(self, version: int) -> None:
        """Make the node serve, if it has what was sent."""
        await self.flush()
        await self._sent()
        await self.client.finish_restore(
            maintenance_pb2.FinishRestoreRequest(
                backup=self._restoring.backup.backup_id,
                compared_after_us=self._compared_after_us,
                entries=self._compared,
                checksum=self._checksum & SUM_MASK,
                version=version,
            )
        )


def sent_bytes(key: str, value: bytes) -> int:
    """About how many bytes of a message an entry takes, with its metadata."""
    return len(key) + len(value) + 32
