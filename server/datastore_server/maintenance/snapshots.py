"""What ReadSnapshot answers, made of a snapshot of a directory. Knows messages and placements, but no calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import compress
from typing import Any

from datastore import wire
from datastore.engine.placement import NodePlacement
from datastore.lmdb.records import stamps_of, unpack_all
from datastore.lmdb.snapshot import Snapshot
from datastore.model.errors import CorruptDataError, PlacementError
from datastore.model.key import Key
from datastore.v1 import maintenance_pb2
from datastore_server.maintenance.columns import SUM_MASK, encode_columns, listing_checksum, whole_stamps
from datastore_server.maintenance.progress import RESTORE_RECORD, backup_under_way
from datastore_server.placement import record
from datastore_server.placement.owned import Ownership

__all__ = ["placement_in", "snapshot_messages"]


def placement_in(snapshot: Snapshot) -> NodePlacement:
    """The placement that the node had at that moment."""
    kept = snapshot.read_system(record.RECORD_NAME)
    return NodePlacement(snapshot.node_id) if kept is None else record.unpack(kept)


def snapshot_messages(snapshot: Snapshot, request: maintenance_pb2.ReadSnapshotRequest) -> Iterator[bytes]:
    """The messages of the entries that the node owns: a header, entries in key order, and a summary.

    A backup must not miss an entry: raises CorruptDataError for a record that is damaged, and PlacementError if the
    node is being restored.
    """
    placement = placement_in(snapshot)
    backup = backup_under_way(snapshot.read_system(RESTORE_RECORD))
    if backup:
        raise PlacementError(f"this node is being restored from the backup {backup}: it has only a part of its entries")
    since = _since(request, placement, snapshot.version)
    header = maintenance_pb2.SnapshotHeader(
        placement=wire.encode_node_placement(placement),
        version=snapshot.version,
        time_us=snapshot.time_us,
        is_incremental=since > 0,
        stored_entries=snapshot.stored_entries,
    )
    yield maintenance_pb2.ReadSnapshotResponse(header=header).SerializeToString()
    since_key = request.since_key.encode() if since else b""
    summary = maintenance_pb2.SnapshotSummary()
    for texts, records in _owned_batches(snapshot, Ownership(placement)):
        values = list(map(_value, texts, unpack_all(texts, records)))
        stamps = whole_stamps(stamps_of(records))
        if since and (not since_key or texts[0] <= since_key):
            values = [
                b"" if stamp[0] <= since and (not since_key or text <= since_key) else value
                for text, value, stamp in zip(texts, values, stamps, strict=True)
            ]
        summary.entries += len(texts)
        summary.checksum = (summary.checksum + listing_checksum(texts, stamps)) & SUM_MASK
        columns = encode_columns([text.decode() for text in texts], values, stamps)
        yield maintenance_pb2.ReadSnapshotResponse(entries=columns).SerializeToString()
    yield maintenance_pb2.ReadSnapshotResponse(summary=summary).SerializeToString()


def _since(request: maintenance_pb2.ReadSnapshotRequest, placement: NodePlacement, version: int) -> int:
    """The version up to which the receiver has the values; 0 if it has none of this node's at this epoch."""
    is_same = (request.since_node_id, request.since_epoch) == (placement.node_id, placement.epoch)
    return request.since_version if is_same and request.since_version <= version else 0


def _owned_batches(snapshot: Snapshot, ownership: Ownership) -> Iterator[tuple[list[bytes], list[bytes]]]:
    owns: Callable[[Key], bool] = ownership.owns
    for texts, records in snapshot.batches():
        if ownership.leaves_out:
            held = [owns(Key._trusted(text.decode())) for text in texts]
            texts, records = list(compress(texts, held)), list(compress(records, held))
        if texts:
            yield texts, records


def _value(text: bytes, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise CorruptDataError(
        f"the value of {text.decode('utf-8', 'backslashreplace')!r} is text, which no node stores: the directory was"
        " written by another program; copy it while that is stopped"
    )
