"""Restores the backup of one node as a directory: the same node, with its identity and its placement.

The directory appears when it is complete: until then it has another name.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from datastore import wire
from datastore.engine.placement import NodePlacement
from datastore.filesystem.disk import sync_directory
from datastore.lmdb import LMDBDatastore
from datastore.lmdb.records import stamps_of, unpack_all
from datastore.lmdb.snapshot import Snapshot
from datastore.model.errors import CorruptDataError, PlacementError
from datastore.model.metadata import Metadata
from datastore_server.backups.catalog import Catalog, NodeBackup
from datastore_server.backups.merging import Row, rows_of
from datastore_server.backups.parts import read_part
from datastore_server.backups.restoring import BATCH_BYTES, BATCH_ENTRIES, Restored, sent_bytes
from datastore_server.maintenance.columns import SUM_MASK, listing_checksum, whole_stamps
from datastore_server.placement import record

__all__ = ["restore_directory"]


def restore_directory(catalog: Catalog, node: NodeBackup, directory: Path, advance: Callable[[int], None]) -> Restored:
    """Make a directory with the entries of a backup, and the identity and the placement that the node had.

    The node must not run any more. Raises PlacementError if the directory exists and is not empty. An interruption
    leaves `DIRECTORY.restoring` behind, which the next restore removes.
    """
    if directory.exists() and any(directory.iterdir()):
        raise PlacementError(f"{directory} is not empty, and a backup is restored only into an empty directory")
    making = directory.with_name(f"{directory.name}.restoring")
    shutil.rmtree(making, ignore_errors=True)
    now_us = int(time.time() * 1_000_000)
    paths = catalog.paths(node)
    with LMDBDatastore(making, durability="async") as store:
        kept, sums, entries = 0, 0, 0
        for rows in _batches(rows_of(paths)):
            live = [(key.encode(), value, times) for key, value, times in rows if not 0 < times[3] <= now_us]
            store.restore([(text, value, Metadata(*times)) for text, value, times in live])
            sums += listing_checksum([text for text, *_ in live], [times for *_, times in live])
            kept, entries = kept + len(live), entries + len(rows)
            advance(len(rows))
        store.raise_versions(node.version)
        store.forget_requests()
        placement = _placement(paths)
        if placement.current is not None:
            store.write_system(record.RECORD_NAME, record.pack(placement))
        store.take_node_id(placement.node_id)
    _require(making, kept, sums & SUM_MASK)
    directory.mkdir(parents=True, exist_ok=True)
    making.replace(directory)
    sync_directory(directory.parent)
    return Restored(kept, entries - kept, ())


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows in batches, as large as those that are sent to a node: values may be large."""
    batch: list[Row] = []
    batch_bytes = 0
    for row in rows:
        row_bytes = sent_bytes(*row[:2])
        if batch and (len(batch) == BATCH_ENTRIES or batch_bytes + row_bytes > BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(row)
        batch_bytes += row_bytes
    if batch:
        yield batch


def _placement(paths: Sequence[Path]) -> NodePlacement:
    """The placement that the node had. It has only its own entries now, and takes part in no change."""
    header = next(read_part(paths[-1])).header
    had = wire.decode_node_placement(header.placement)
    return replace(had, pending=None, pending_shard="", may_hold_foreign=False)


def _require(directory: Path, entries: int, checksum: int) -> None:
    """Raise CorruptDataError unless a directory has this number of entries, with this sum of their checksums."""
    found = total = 0
    with Snapshot(directory) as snapshot:
        for texts, records in snapshot.batches(with_expired=True):
            unpack_all(texts, records)
            found += len(texts)
            total += listing_checksum(texts, whole_stamps(stamps_of(records)))
    if (found, total & SUM_MASK) != (entries, checksum):
        raise CorruptDataError(
            f"{directory} has {found:,} entries, and not the {entries:,} of the backup: restore again"
        )
