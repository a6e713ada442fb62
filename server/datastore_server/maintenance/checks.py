"""What VerifyStore answers, made of a snapshot of a directory. Knows messages and placements, but no calls."""

from __future__ import annotations

from collections.abc import Iterator

from datastore import wire
from datastore.engine.placement import NodePlacement
from datastore.lmdb.checking import Checked, check_entries, check_log
from datastore.lmdb.snapshot import Snapshot
from datastore.model.errors import CorruptDataError, DatastoreError
from datastore.model.key import Key
from datastore.v1 import maintenance_pb2
from datastore_server.maintenance.snapshots import placement_in
from datastore_server.placement.owned import Ownership

__all__ = ["FINDINGS", "check_messages"]

#: How many findings are sent; the others are counted.
FINDINGS = 1000


def check_messages(snapshot: Snapshot, *, is_served: bool) -> Iterator[bytes]:
    """The messages of a check of all that a directory stores, with its progress.

    The values are checked if a node serves the directory, or has a placement in it: other programs store other values.
    """
    done = maintenance_pb2.VerifyStoreResponse(stored_entries=snapshot.stored_entries)
    for checked in _checks(snapshot, is_served=is_served):
        done.entries += checked.entries
        sent = checked.findings[: max(0, FINDINGS - done.found)]
        done.found += len(checked.findings)
        done.findings.extend(sent)
        yield done.SerializeToString()
        del done.findings[:]
    done.is_complete = True
    yield done.SerializeToString()


def _checks(snapshot: Snapshot, *, is_served: bool) -> Iterator[Checked]:
    try:
        placement = placement_in(snapshot)
    except CorruptDataError as error:
        placement = NodePlacement(snapshot.node_id)
        yield Checked(0, [str(error)])
    ownership = Ownership(placement)
    is_served = is_served or placement.current is not None
    foreign = 0
    for checked in check_entries(snapshot):
        for text, value in checked.sound:
            if is_served:
                checked.findings.extend(_faults_of_value(text, value))
            if not ownership.leaves_out:
                foreign += not ownership.owns(Key._trusted(text.decode("utf-8", "replace")))
        yield checked
    if foreign:
        yield Checked(0, [f"{foreign:,} entries are in slots that this node does not own"])
    yield from check_log(snapshot)


def _faults_of_value(text: bytes, value: bytes | str) -> Iterator[str]:
    if isinstance(value, str):
        yield f"the value of {text!r} is text, which no node stores"
        return
    try:
        wire.check_value(value)
    except (DatastoreError, ValueError) as error:
        yield f"the value of {text!r} cannot be read: {error}"
