"""The node as a reader sees it: what its records in the store say, read again after each commit of the writer.

A read may only be answered under a placement that is as new as what it has read: then no reader answers for slots that
have moved away, however long it was suspended meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from datastore.aio.base import Datastore
from datastore.engine.placement import NodePlacement
from datastore.lmdb.reader import LMDBReader
from datastore.model.errors import DatastoreError
from datastore_server.maintenance.progress import RESTORE_RECORD, backup_under_way
from datastore_server.maintenance.restores import restoring
from datastore_server.placement import record
from datastore_server.placement.node import PlacedNode

__all__ = ["FollowedNode"]

#: How often the records are looked at without a call, in seconds, because health depends on them.
FOLLOW_S = 1.0


class FollowedNode(PlacedNode):
    """A node whose records are in `engine`, from which `store` reads; only its writer changes them."""

    def __init__(self, store: Datastore, engine: LMDBReader) -> None:
        super().__init__(store, look=self.look)
        self._engine = engine
        self._looking = threading.Lock()
        #: The last commit whose records are in force, and those records.
        self._seen = -1
        self._records: list[bytes | None] | None = None

    async def load(self, *, cluster: str = "", shard: str = "") -> None:
        """Enforce what the records say. The writer has compared the names."""
        self.look()

    def look(self) -> None:
        """Enforce what the records say now. In any thread. Raises CorruptDataError if they cannot be read."""
        # Before the records: they may be of a later commit, but not of an earlier one.
        commit = self._engine.last_commit()
        if commit == self._seen:
            return
        with self._looking:
            # Threads must not enforce what they have read in another order.
            commit = self._engine.last_commit()
            records = self._engine.read_records([record.RECORD_NAME, RESTORE_RECORD])
            if records != self._records:
                self._enforce(*records)
                self._records = records
            self._seen = commit

    def _enforce(self, placement: bytes | None, restore: bytes | None) -> None:
        backup = backup_under_way(restore)
        self.datastore.refusal = restoring(backup) if backup else None
        self.datastore.become(NodePlacement(self._engine.node_id()) if placement is None else record.unpack(placement))

    async def follow(self, report: Callable[[], Awaitable[None]]) -> None:
        """Call `report` when the node begins to refuse all calls, and when it serves again, until cancelled."""
        refused = self.datastore.refusal
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                self.look()
            except DatastoreError:
                # Calls raise it, too.
                continue
            if self.datastore.refusal is not refused:
                refused = self.datastore.refusal
                await report()
