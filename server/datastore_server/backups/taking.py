"""Takes a backup: a snapshot of each node, continued where an interrupted one ended, and checked at the end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from datastore.engine.placement import NodePlacement
from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    PlacementError,
    TruncatedStreamError,
    UnavailableError,
)
from datastore.v1 import maintenance_pb2
from datastore_server.backups.catalog import Backup, Catalog, NodeBackup
from datastore_server.backups.merging import check_node
from datastore_server.backups.parts import Part, PartWriter
from datastore_server.backups.rates import Rate
from datastore_server.backups.sources import Source
from datastore_server.backups.together import together

__all__ = ["ATTEMPTS", "PAUSE_S", "Taking", "take_backup"]

#: How often a node is tried before the backup fails, and the pause between attempts, in seconds.
ATTEMPTS = 5
PAUSE_S = 2.0


@dataclass(frozen=True)
class Taking:
    """How to take a backup."""

    catalog: Catalog
    #: What is backed up, as it was named.
    source: str
    #: Whether to read all values, also those that the backup before has.
    full: bool
    rate: Rate
    #: Called with the number of entries of each message.
    advance: Callable[[int], None]
    say: Callable[[str], None]


class _Taken(NamedTuple):
    """The backup of one node, the cluster and the epoch at its moment, and whether it needs the backup before."""

    node: NodeBackup
    cluster: tuple[str, int]
    is_incremental: bool


async def take_backup(sources: Sequence[Source], taking: Taking) -> Backup:
    """Take the next backup of these nodes, or finish the one that was interrupted.

    The backup of each node is as of one moment. The moments differ, but not the epochs: PlacementError if the placement
    changed meanwhile. Raises CorruptDataError if what was written is not what the nodes had.
    """
    begun = _now()
    catalog = taking.catalog
    latest = catalog.latest
    number = 0 if latest is None else latest.number + 1
    earlier = None if latest is None or taking.full else latest
    taken = await together([_NodeTaking(taking, source, number, earlier).take() for source in sources])
    clusters = {one.cluster for one in taken} | {_cluster(source.placement) for source in sources}
    if len(clusters) > 1:
        raise PlacementError(
            f"the placement changed during the backup, from {_shown(min(clusters))} to {_shown(max(clusters))}, so the"
            " backup is not complete: run the same command again"
        )
    ((cluster, epoch),) = clusters
    backup = Backup(
        number=number,
        backup_id=secrets.token_hex(8),
        source=taking.source,
        begun=begun,
        ended=_now(),
        cluster=cluster,
        epoch=epoch,
        incremental=any(one.is_incremental for one in taken),
        nodes=tuple(sorted((one.node for one in taken), key=lambda node: node.shard)),
    )
    catalog.add(backup)
    catalog.discard_unfinished()
    return backup


class _NodeTaking:
    """Takes the backup of one node."""

    def __init__(self, taking: Taking, source: Source, number: int, earlier: Backup | None) -> None:
        self._taking = taking
        self._source = source
        self._number = number
        self._shard = source.placement.shard
        #: The backup of this node before, whose values need not be read again; and its epoch.
        self._earlier = None if earlier is None else earlier.node(self._shard)
        self._earlier_epoch = 0 if earlier is None else earlier.epoch

    async def take(self) -> _Taken:
        """Read the snapshot, and check it against the summary that the node sent."""
        while True:
            parts, summary = await self._read_through()
            taken = self._taken(parts, summary)
            try:
                await asyncio.to_thread(check_node, self._taking.catalog, taken.node)
            except CorruptDataError as error:
                self._discard()
                if not taken.is_incremental:
                    raise
                # The node has a different history, e.g. because its directory was replaced by an older copy.
                self._taking.say(f"{self._name}: all values are read again: {error}")
                self._earlier = None
            else:
                return taken

    async def _read_through(self) -> tuple[list[Part], maintenance_pb2.SnapshotSummary]:
        """Read the snapshot to its end, and continue if the node is unavailable for a moment."""
        attempts = 0
        while True:
            parts = self._left()
            if parts and parts[-1].summary is not None:
                return parts, parts[-1].summary
            try:
                return await self._read(parts)
            except DatastoreError as error:
                error.shard = error.shard or self._shard or None
                attempts += 1
                if attempts == ATTEMPTS or not isinstance(error, UnavailableError | TruncatedStreamError):
                    raise
                self._taking.say(f"{self._name}: {error}. Continuing in {PAUSE_S:g} s.")
                await asyncio.sleep(PAUSE_S)

    @property
    def _name(self) -> str:
        return f"shard {self._shard}" if self._shard else "the node"

    def _left(self) -> list[Part]:
        """The parts that an interrupted backup left, if they are of this node at this epoch."""
        parts = self._taking.catalog.unfinished(self._number, self._shard)
        now = self._source.placement
        known = {(part.header.placement.node_id, part.header.placement.current.epoch) for part in parts}
        is_based = bool(parts) and parts[0].header.is_incremental
        if known - {(now.node_id, now.epoch)} or (is_based and self._earlier is None):
            self._discard()
            return []
        if parts and parts[-1].summary is None and not parts[-1].last_key:
            # Only a header: what comes next does not build on it.
            parts.pop().path.unlink()
        return parts

    def _discard(self) -> None:
        self._taking.catalog.discard(self._number, self._shard)

    def _request(self, parts: Sequence[Part]) -> maintenance_pb2.ReadSnapshotRequest:
        if parts:
            last = parts[-1]
            return maintenance_pb2.ReadSnapshotRequest(
                since_node_id=last.header.placement.node_id,
                since_epoch=last.header.placement.current.epoch,
                since_version=last.header.version,
                since_key=last.last_key,
            )
        if self._earlier is not None:
            return maintenance_pb2.ReadSnapshotRequest(
                since_node_id=self._earlier.node_id,
                since_epoch=self._earlier_epoch,
                since_version=self._earlier.version,
            )
        return maintenance_pb2.ReadSnapshotRequest()

    async def _read(self, parts: list[Part]) -> tuple[list[Part], maintenance_pb2.SnapshotSummary]:
        """Read the rest, as the next part. Returns all parts, and the summary.

        Raises TruncatedStreamError if the stream ends early.
        """
        request = self._request(parts)
        async with aclosing(self._source.read(request)) as messages:
            first = await anext(messages)
            header = maintenance_pb2.ReadSnapshotResponse.FromString(first).header
            if request.since_version and not header.is_incremental:
                self._taking.say(f"{self._name}: all values are read, because it is another node or at another epoch")
                self._discard()
                parts = []
            path = self._taking.catalog.part_path(self._number, self._shard, len(parts))
            summary = None
            with PartWriter.opened(path) as writer:
                writer.write(first)
                async for data in messages:
                    await self._taking.rate.spend(len(data))
                    writer.write(data)
                    message = maintenance_pb2.ReadSnapshotResponse.FromString(data)
                    self._taking.advance(len(message.entries.keys))
                    if message.HasField("summary"):
                        summary = message.summary
        if summary is None:
            raise TruncatedStreamError(f"the snapshot of {self._name} ended early: run the same command again")
        return [*parts, Part(path, header, "", summary)], summary

    def _taken(self, parts: Sequence[Part], summary: maintenance_pb2.SnapshotSummary) -> _Taken:
        header = parts[-1].header
        is_incremental = parts[0].header.is_incremental
        names = [part.path.name for part in parts]
        sizes = [part.path.stat().st_size for part in parts]
        if is_incremental and self._earlier is not None:
            names = [*self._earlier.parts, *names]
            sizes = [*self._earlier.part_bytes, *sizes]
        node = NodeBackup(
            shard=self._shard,
            node_id=header.placement.node_id,
            version=header.version,
            time_us=header.time_us,
            entries=summary.entries,
            checksum=summary.checksum,
            parts=tuple(names),
            part_bytes=tuple(sizes),
        )
        current = header.placement.current
        return _Taken(node, (current.cluster, current.epoch), is_incremental)


def _cluster(placement: NodePlacement) -> tuple[str, int]:
    return ("", 0) if placement.current is None else (placement.current.cluster, placement.epoch)


def _shown(cluster: tuple[str, int]) -> str:
    name, epoch = cluster
    return f"{name} at epoch {epoch}" if name else "none"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
