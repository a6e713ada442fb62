"""MaintenanceService: every RPC is check, call, convert. Knows messages, one node, and the readers of its snapshots."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from datastore import wire
from datastore.engine.placement import NAME, NAME_FORM
from datastore.model.errors import InvalidError, UnsupportedError
from datastore.model.expiry import MAX_EXPIRES_US
from datastore.model.metadata import Metadata
from datastore.v1 import maintenance_pb2
from datastore.wire import raw
from datastore_server import checks
from datastore_server.auth.gate import Gate
from datastore_server.call import Call, ServedMethod
from datastore_server.calls import CallLog
from datastore_server.limits import KEY_REQUEST, Limits, RequestLimit
from datastore_server.maintenance.columns import stamps_of
from datastore_server.maintenance.readers import SnapshotReaders
from datastore_server.maintenance.restores import Restores
from datastore_server.rpc import Completion, admin_methods, checked, parse_request

__all__ = ["MAINTENANCE", "MAINTENANCE_SERVICE", "MaintenanceService", "maintenance_limit"]

MAINTENANCE = maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"]
MAINTENANCE_SERVICE: str = MAINTENANCE.full_name

#: A restore carries anything that a node may hold, so it ignores limits that an operator has set since.
_LIMITS = Limits()


class MaintenanceService:
    """Serves the maintenance of one node. Methods take the bytes of a request and return those of the response.

    Without `snapshots` the node's store has none. `why_none` says what to do then. With a `gate` only callers that may
    administer the server are served.
    """

    def __init__(
        self,
        restores: Restores | None,
        snapshots: SnapshotReaders | None = None,
        *,
        why_none: Callable[[], str] = lambda: "this server's store has no snapshots",
        calls: CallLog | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self._restores = restores
        self._snapshots = snapshots
        self._why_none = why_none
        self._calls = calls
        # What was begun must be recorded.
        self._changes = Completion()

    async def load(self) -> None:
        """Keep refusing calls if a restore was not finished before the node was restarted."""
        if self._restores is not None:
            await self._restores.load()

    def methods(self) -> list[ServedMethod]:
        """Every RPC of the service, for a transport."""
        return admin_methods(MAINTENANCE, self, maintenance_limit, calls=self._calls, gate=self._gate)

    # Snapshots

    async def read_snapshot(self, request: bytes, call: Call) -> None:
        """ReadSnapshot: the entries as of one moment."""
        message = parse_request(maintenance_pb2.ReadSnapshotRequest, request)
        if message.since_version < 0 or message.since_epoch < 0:
            raise InvalidError("since_version and since_epoch are those of an earlier snapshot", field="since_version")
        await _sent(self._readers().read("snapshot", request), call)

    async def verify_store(self, request: bytes, call: Call) -> None:
        """VerifyStore: what is wrong with the store."""
        parse_request(maintenance_pb2.VerifyStoreRequest, request)
        await _sent(self._readers().read("checks", request), call)

    def _readers(self) -> SnapshotReaders:
        if self._snapshots is None:
            raise UnsupportedError(self._why_none())
        return self._snapshots

    # Restores

    async def prepare_restore(self, request: bytes, call: Call) -> bytes:
        """PrepareRestore: answered once calls for entries are refused."""
        message = parse_request(maintenance_pb2.PrepareRestoreRequest, request)
        restores = self._of(message.backup)
        restored_key = await self._changes.run(restores.prepare(message.backup))
        response = maintenance_pb2.PrepareRestoreResponse(
            restored_key=restored_key or "",
            keeps_versions=restores.keeps_metadata,
            is_finished=restored_key is None,
        )
        return response.SerializeToString()

    async def restore_entries(self, request: bytes, call: Call) -> bytes:
        """RestoreEntries: answered once they are on disk."""
        backup, entries = await checked(_entries_of, request)
        await self._changes.run(self._of(backup).write(backup, entries))
        return b""

    async def finish_restore(self, request: bytes, call: Call) -> bytes:
        """FinishRestore: answered once the node serves."""
        message = parse_request(maintenance_pb2.FinishRestoreRequest, request)
        # As in PrepareMove: above the greatest int64 there would be no more versions, so no more writes.
        if not 0 <= message.version <= MAX_EXPIRES_US:
            raise InvalidError(f"version must be up to {MAX_EXPIRES_US}, got {message.version}", field="version")
        finish = self._of(message.backup).finish(
            message.backup,
            compared_after_us=message.compared_after_us,
            entries=message.entries,
            checksum=message.checksum,
            version=message.version,
        )
        await self._changes.run(finish)
        return b""

    async def abort_restore(self, request: bytes, call: Call) -> bytes:
        """AbortRestore: answered once nothing of the restore is left."""
        parse_request(maintenance_pb2.AbortRestoreRequest, request)
        deleted = await self._changes.run(self._node_restores().abort())
        return maintenance_pb2.AbortRestoreResponse(entries=deleted).SerializeToString()

    def _of(self, backup: str) -> Restores:
        if not NAME.fullmatch(backup):
            raise InvalidError(f"{backup[:80]!r} is not the identity of a backup: expected {NAME_FORM}", field="backup")
        return self._node_restores()

    def _node_restores(self) -> Restores:
        if self._restores is None:
            raise UnsupportedError("this is a proxy: name the configuration file of its cluster to restore its nodes")
        return self._restores

    async def finish(self, timeout_s: float) -> None:
        """Wait until all changes are done, including those whose clients have disconnected."""
        await self._changes.finish(timeout_s)


def maintenance_limit(name: str) -> RequestLimit:
    """The limit of a method's requests."""
    if name == "RestoreEntries":
        return RequestLimit("message_bytes", _LIMITS.message_bytes)
    return KEY_REQUEST


async def _sent(messages: AsyncGenerator[bytes], call: Call) -> None:
    async with aclosing(messages):
        async for message in messages:
            await call.send(message)


def _entries_of(request: bytes) -> tuple[str, list[tuple[str, bytes, Metadata]]]:
    """The backup and the entries of a RestoreEntriesRequest, checked."""
    message: Any = parse_request(maintenance_pb2.RestoreEntriesRequest, request)
    columns = message.entries
    counts = {len(column) for column in (columns.keys, columns.values, columns.versions, columns.created_us)}
    if len(counts | {len(columns.updated_us), len(columns.expires_us)}) > 1:
        raise InvalidError("the columns of entries must have the same length", field="entries")
    raw.check_keys(list(columns.keys))
    checks.check_batch(len(columns.keys), _LIMITS)
    for value in columns.values:
        wire.check_value(value)
    stamps = [Metadata(*stamp) for stamp in stamps_of(columns)]
    if any(not 1 <= stamp.version <= MAX_EXPIRES_US for stamp in stamps):
        raise InvalidError(f"the version of an entry is from 1 to {MAX_EXPIRES_US}", field="entries.versions")
    return message.backup, list(zip(columns.keys, columns.values, stamps, strict=True))
