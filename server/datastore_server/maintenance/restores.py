"""A node while it is restored from a backup: empty before, closed to clients meanwhile, compared at the end.

What was done so far is a record in the node's system space, so a restart changes nothing. Knows a node and its store,
but no messages or calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from datastore.model.entries import Batch
from datastore.model.errors import CorruptDataError, PlacementError, UnavailableError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import Metadata
from datastore.model.operations import Put
from datastore.wire import WireValue
from datastore_server.framing import value_data
from datastore_server.maintenance.columns import SUM_MASK, content_checksum, whole_stamps
from datastore_server.maintenance.progress import RESTORE_RECORD, pack, unpack
from datastore_server.placement import slots
from datastore_server.placement.node import PlacedNode

__all__ = ["RESTORING_RETRY_S", "Restores", "restoring"]

#: Retry delay in seconds for calls refused because the node is being restored.
RESTORING_RETRY_S = 5.0


class Restores:
    """The restores of one node. Call `load` first. Requests are idempotent, and raise PlacementError out of turn.

    `changed` is called when the node begins to refuse calls, and when it serves again.
    """

    def __init__(self, node: PlacedNode, changed: Callable[[], Awaitable[None]] | None = None) -> None:
        self._node = node
        self._changed = changed
        self._backup = ""
        self._restored_key: str | None = ""

    @property
    def keeps_metadata(self) -> bool:
        """Whether the store keeps the versions and times of a backup. Otherwise it gives its own."""
        return self._node.system.restores

    async def load(self) -> None:
        """Keep refusing calls if a restore was not finished."""
        kept = await self._node.system.read(RESTORE_RECORD)
        if kept:
            self._backup, self._restored_key = unpack(kept)
        if self._is_under_way:
            self._node.datastore.refusal = restoring(self._backup)

    @property
    def _is_under_way(self) -> bool:
        return bool(self._backup) and self._restored_key is not None

    async def prepare(self, backup: str) -> str | None:
        """Refuse calls from now on. Returns the last key that is restored already; '' for none.

        None if all of the backup was restored before: then nothing is changed, and the node serves.
        Raises PlacementError unless the node is empty or already being restored from this backup.
        """
        node = self._node
        async with node.changing, node.datastore.without_writes():
            if self._is_under_way and self._backup == backup:
                return self._restored_key
            if self._is_under_way:
                raise PlacementError(
                    f"this node is being restored from another backup, {self._backup}: finish or abort that"
                )
            if node.placement.pending is not None:
                raise PlacementError("a change of the cluster's placement is not finished: finish it first")
            if not await node.is_empty():
                if self._backup == backup:
                    return None
                raise PlacementError(
                    "this node holds entries, and a backup is restored only into an empty one; nothing was changed"
                )
            await self._keep(backup, "")
            await self._refuse(restoring(backup))
        return ""

    async def write(self, backup: str, entries: Sequence[tuple[str, bytes, Metadata]]) -> None:
        """Store the next entries of the backup, each the text of its key, its value in wire form, and its metadata."""
        node = self._node
        async with node.changing:
            self._require(backup)
            ownership = node.datastore.placed_ownership
            for text, *_ in entries:
                ownership.require(Key._trusted(text))
            if self.keeps_metadata:
                await node.system.restore([(text.encode(), data, metadata) for text, data, metadata in entries])
            else:
                await slots.write(node.store, [_put(*entry) for entry in entries])
            if entries:
                await self._keep(backup, entries[-1][0])

    async def finish(self, backup: str, *, compared_after_us: int, entries: int, checksum: int, version: int) -> None:
        """Serve, if the entries that do not expire by this time have this count and this sum of checksums.

        Raises CorruptDataError if they are not.
        """
        node = self._node
        async with node.changing:
            self._require(backup)
            found = await self._summarized(compared_after_us)
            if found != (entries, checksum):
                raise CorruptDataError(
                    f"the restored entries are not those that were sent: {found[0]:,} instead of {entries:,}, with the"
                    f" checksum {found[1]:016x} instead of {checksum:016x}; the node stays closed: abort the"
                    " restore, and begin again"
                )
            await node.system.raise_versions(version)
            if node.system.forgets_requests:
                await node.system.forget_requests()
            await self._keep(backup, None)
            await self._refuse(None)

    async def abort(self) -> int:
        """Delete what was restored, and serve. Returns how many entries were deleted; 0 if nothing is restored."""
        node = self._node
        async with node.changing:
            if not self._is_under_way:
                return 0
            deleted = await slots.clear(node.store, node.listing, lambda _: False)
            await self._keep("", None)
            await self._refuse(None)
            return deleted

    async def _summarized(self, compared_after_us: int) -> tuple[int, int]:
        count = total = 0
        async with aclosing(self._node.listing.scan()) as batches:
            async for batch in batches:
                for text, value, stamp in zip(batch.texts, batch.values, _stamps(batch), strict=True):
                    if stamp[3] and stamp[3] <= compared_after_us:
                        continue
                    kept = stamp if self.keeps_metadata else (0, 0, 0, stamp[3])
                    count += 1
                    total += content_checksum(text, value_data(value), kept)
        return count, total & SUM_MASK

    def _require(self, backup: str) -> None:
        if not self._is_under_way or self._backup != backup:
            now = f"being restored from {self._backup}" if self._is_under_way else "not being restored"
            raise PlacementError(f"this node is {now}: the restore from {backup} was finished or aborted meanwhile")

    async def _refuse(self, refusal: UnavailableError | None) -> None:
        self._node.datastore.refusal = refusal
        if self._changed is not None:
            await self._changed()

    async def _keep(self, backup: str, restored_key: str | None) -> None:
        await self._node.system.write(RESTORE_RECORD, pack(backup, restored_key))
        self._backup, self._restored_key = backup, restored_key


def _put(text: str, data: bytes, metadata: Metadata) -> Put:
    expiry = Expiry(at_us=metadata.expires_us) if metadata.expires_us else None
    return Put(Key._trusted(text), WireValue(data), expiry=expiry)


def _stamps(batch: Batch) -> list[tuple[int, int, int, int]]:
    return [(0, 0, 0, 0)] * len(batch) if batch.metadata is None else whole_stamps(batch.metadata)


def restoring(backup: str) -> UnavailableError:
    """What calls raise while a node is restored from a backup."""
    return UnavailableError(
        f"this server is being restored from the backup {backup}, and serves when that is finished: run `datastore"
        " restore` again to finish it, or with --abort to delete what was restored",
        retry_after_s=RESTORING_RETRY_S,
    )
