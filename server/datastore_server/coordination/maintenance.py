"""Calls of MaintenanceService to one node. Knows messages and channels; decides nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from datastore.v1 import maintenance_pb2
from datastore_server.coordination.nodes import SCAN_TIMEOUT_S, NodeClient

__all__ = ["MaintenanceClient"]

_SERVICE = "/datastore.v1.MaintenanceService/"
#: Timeout in seconds for storing one batch of entries: the disk may be busy, also with other restores.
WRITE_TIMEOUT_S = 120.0


class MaintenanceClient(NodeClient):
    """A client for the maintenance of the node at `url`. Errors are those of NodeClient."""

    async def read_snapshot(self, request: maintenance_pb2.ReadSnapshotRequest) -> AsyncGenerator[bytes]:
        """The messages of a snapshot, as bytes. The caller must close the generator."""
        async with aclosing(self.stream(_SERVICE + "ReadSnapshot", request)) as messages:
            async for message in messages:
                yield message

    async def verify_store(self) -> AsyncGenerator[Any]:
        """The messages of a check. The caller must close the generator."""
        request = maintenance_pb2.VerifyStoreRequest()
        async with aclosing(self.stream(_SERVICE + "VerifyStore", request)) as messages:
            async for message in messages:
                yield maintenance_pb2.VerifyStoreResponse.FromString(message)

    async def prepare_restore(self, backup: str) -> Any:
        """Make the node refuse calls until the restore of this backup is finished or aborted."""
        request = maintenance_pb2.PrepareRestoreRequest(backup=backup)
        data = await self.answer(_SERVICE + "PrepareRestore", request)
        return maintenance_pb2.PrepareRestoreResponse.FromString(data)

    async def restore_entries(self, backup: str, entries: Any) -> None:
        """Store the next entries of the backup."""
        request = maintenance_pb2.RestoreEntriesRequest(backup=backup, entries=entries)
        await self.answer(_SERVICE + "RestoreEntries", request, WRITE_TIMEOUT_S)

    async def finish_restore(self, request: maintenance_pb2.FinishRestoreRequest) -> None:
        """Make the node serve what was restored."""
        await self.answer(_SERVICE + "FinishRestore", request, SCAN_TIMEOUT_S)

    async def abort_restore(self) -> int:
        """Delete what was restored, and make the node serve. Returns how many entries were deleted."""
        data = await self.answer(_SERVICE + "AbortRestore", maintenance_pb2.AbortRestoreRequest(), SCAN_TIMEOUT_S)
        return int(maintenance_pb2.AbortRestoreResponse.FromString(data).entries)
