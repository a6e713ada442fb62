"""PlacementService: every RPC is check, call, convert. Knows messages and one PlacedNode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from datastore import wire
from datastore.engine.placement import NAME, NAME_FORM, SLOTS, Placement, ShardBy, slot_of
from datastore.model.errors import InvalidError, InvalidValueError
from datastore.model.expiry import MAX_EXPIRES_US, Expiry
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES
from datastore.model.operations import Put
from datastore.v1 import placement_pb2
from datastore.wire import WireValue, raw
from datastore_server import checks
from datastore_server.auth.gate import Gate
from datastore_server.call import Call, ServedMethod
from datastore_server.calls import CallLog
from datastore_server.framing import entry_frames
from datastore_server.limits import (
    KEY_REQUEST,
    RECORD_BYTES,
    RECORD_REQUEST_BYTES,
    SLOTS_REQUEST_BYTES,
    Limits,
    RequestLimit,
)
from datastore_server.placement import slots
from datastore_server.placement.node import PlacedNode
from datastore_server.requests import checked_entry
from datastore_server.rpc import Completion, admin_methods, checked, parse_request

__all__ = ["PLACEMENT", "PLACEMENT_SERVICE", "PlacementService", "placement_limit"]

PLACEMENT = placement_pb2.DESCRIPTOR.services_by_name["PlacementService"]
PLACEMENT_SERVICE: str = PLACEMENT.full_name


_RECORD_REQUESTS = frozenset({"PlaceNode", "PrepareMove", "PutRecord"})
_SLOTS_REQUESTS = frozenset({"ReadSlots", "ClearSlots"})
#: A move carries whatever a node may hold, so it is not bound by the limits that an operator has set since.
_LIMITS = Limits()
#: Slot summaries per message: about 100 KiB.
SUMMARIES = 4096


def placement_limit(name: str) -> RequestLimit:
    """The limit of a method's requests."""
    if name == "WriteSlots":
        return RequestLimit("message_bytes", _LIMITS.message_bytes)
    if name in _RECORD_REQUESTS:
        return RequestLimit("record_request_bytes", RECORD_REQUEST_BYTES)
    if name in _SLOTS_REQUESTS:
        return RequestLimit("slots_request_bytes", SLOTS_REQUEST_BYTES)
    return KEY_REQUEST


class PlacementService:
    """Serves one node's placement. Methods take the bytes of a request and return those of the response.

    With a `gate` only callers that may administer the server are served.
    """

    def __init__(
        self, node: PlacedNode, *, check_values: bool = True, calls: CallLog | None = None, gate: Gate | None = None
    ) -> None:
        self._node = node
        self._gate = gate
        self._calls = calls
        self._check_values = check_values
        # A stored change must be enforced.
        self._changes = Completion()

    def methods(self) -> list[ServedMethod]:
        """Every RPC of the service, for a transport."""
        return admin_methods(PLACEMENT, self, placement_limit, calls=self._calls, gate=self._gate)

    # The placement

    async def get_placement(self, request: bytes, call: Call) -> bytes:
        """GetPlacement: the placement in force."""
        parse_request(placement_pb2.GetPlacementRequest, request)
        response = placement_pb2.GetPlacementResponse(
            placement=wire.encode_node_placement(self._node.placement),
            is_empty=await self._node.is_empty(),
            in_memory=self._node.system.in_memory,
            started_cluster=self._node.started_cluster,
            started_shard=self._node.started_shard,
        )
        return response.SerializeToString()

    async def place_node(self, request: bytes, call: Call) -> bytes:
        """PlaceNode: sets the first placement, or adds missing identities."""
        message, placement = await checked(partial(_placing, placement_pb2.PlaceNodeRequest), request)
        change = self._node.place(message.shard, placement, check_entries=message.check_entries)
        placed = await self._changes.run(change)
        return placement_pb2.PlaceNodeResponse(placement=wire.encode_node_placement(placed)).SerializeToString()

    async def prepare_move(self, request: bytes, call: Call) -> bytes:
        """PrepareMove: answered once no write is active and new ones are refused."""
        message, placement = await checked(partial(_placing, placement_pb2.PrepareMoveRequest), request)
        # About the time in microseconds. Above the greatest int64 there would be no more versions, so no more writes.
        if not 0 <= message.version <= MAX_EXPIRES_US:
            raise InvalidError(
                f"version must be the latest version of a node, up to {MAX_EXPIRES_US}, got {message.version}",
                field="version",
            )
        change = self._node.prepare(
            message.shard,
            placement,
            joins=message.joins,
            coordinator=message.coordinator,
            version=message.version,
        )
        placed = await self._changes.run(change)
        response = placement_pb2.PrepareMoveResponse(
            placement=wire.encode_node_placement(placed), version=await self._node.system.latest_version()
        )
        return response.SerializeToString()

    async def commit_move(self, request: bytes, call: Call) -> bytes:
        """CommitMove: answered once it is durable."""
        message = parse_request(placement_pb2.CommitMoveRequest, request)
        placed = await self._changes.run(self._node.commit(message.epoch, coordinator=message.coordinator))
        return placement_pb2.CommitMoveResponse(placement=wire.encode_node_placement(placed)).SerializeToString()

    async def abort_move(self, request: bytes, call: Call) -> bytes:
        """AbortMove: answered once it is durable."""
        message = parse_request(placement_pb2.AbortMoveRequest, request)
        placed = await self._changes.run(self._node.abort(message.epoch, coordinator=message.coordinator))
        return placement_pb2.AbortMoveResponse(placement=wire.encode_node_placement(placed)).SerializeToString()

    # Entries on their way

    async def summarize_slots(self, request: bytes, call: Call) -> None:
        """SummarizeSlots: streams a summary of each slot."""
        message = parse_request(placement_pb2.SummarizeSlotsRequest, request)
        shard_by = wire.decode_shard_by(message.shard_by)
        if self._node.placement.pending is not None:
            # These counts decide whether the move is committed, so the entries must survive a power failure.
            await self._node.system.flush()
        async with aclosing(self._node.scan(owned_only=message.owned_only)) as batches:
            found = await slots.summarize(batches, shard_by)
        summaries = [
            placement_pb2.SlotSummary(slot=slot, entries=one.entries, bytes=one.size_bytes, checksum=one.checksum)
            for slot, one in found.items()
        ]
        for start in range(0, len(summaries), SUMMARIES):
            response = placement_pb2.SummarizeSlotsResponse(slots=summaries[start : start + SUMMARIES])
            await call.send(response.SerializeToString())

    async def read_slots(self, request: bytes, call: Call) -> None:
        """ReadSlots: a stream of entries."""
        message = await checked(partial(parse_request, placement_pb2.ReadSlotsRequest), request)
        is_chosen = _choice(wire.decode_shard_by(message.shard_by), message.slots)
        async with aclosing(self._node.scan(owned_only=True, chosen=is_chosen)) as batches:
            async for batch in batches:
                if not any(slots.expiries_of(batch)):
                    # Nothing else of it is kept.
                    batch.metadata = None
                for data in _filled(entry_frames(batch, keys_only=False)):
                    await call.send(data)

    async def write_slots(self, request: bytes, call: Call) -> bytes:
        """WriteSlots: answered once the entries are stored."""
        message, writes = await checked(self._writes_of, request)
        await self._changes.run(self._node.write(message.epoch, writes, coordinator=message.coordinator))
        return b""

    async def clear_slots(self, request: bytes, call: Call) -> bytes:
        """ClearSlots: answered once the entries are deleted."""
        message = await checked(partial(parse_request, placement_pb2.ClearSlotsRequest), request)
        is_chosen = _choice(wire.decode_shard_by(message.shard_by), message.slots) if message.slots else None
        cleared = await self._changes.run(self._node.clear(message.epoch, is_chosen, coordinator=message.coordinator))
        return placement_pb2.ClearSlotsResponse(entries=cleared).SerializeToString()

    def _writes_of(self, request: bytes) -> tuple[Any, list[Put]]:
        message = parse_request(raw.WriteSlotsRequest, request)
        checks.check_batch(len(message.entries), _LIMITS)
        return message, list(map(self._write_of, message.entries))

    def _write_of(self, entry: Any) -> Put:
        metadata = entry.metadata if entry.HasField("metadata") else None
        expires_us = 0 if metadata is None else wire.decode_metadata(metadata).expires_us
        entry.ClearField("metadata")
        key = checked_entry(entry, _LIMITS, "entries", check_value=self._check_values)
        if wire.is_null(entry.value):
            raise InvalidValueError(
                f"the value of {key} is null, which no store holds", field="entries.value", path="value"
            )
        return Put(key, WireValue(entry.value), expiry=Expiry(at_us=expires_us) if expires_us else None)

    # Records of proxies

    async def get_record(self, request: bytes, call: Call) -> bytes:
        """GetRecord: the record, or an answer without one."""
        message = parse_request(placement_pb2.GetRecordRequest, request)
        _check_record_name(message.name)
        kept = await self._node.read_record(message.name)
        record = None if kept is None else placement_pb2.Record(name=message.name, revision=kept[0], data=kept[1])
        return placement_pb2.GetRecordResponse(record=record).SerializeToString()

    async def put_record(self, request: bytes, call: Call) -> bytes:
        """PutRecord: answered once it is durable."""
        message = (await checked(partial(parse_request, placement_pb2.PutRecordRequest), request)).record
        _check_record_name(message.name)
        if message.revision < 1:
            raise InvalidError(f"the revision of a record is 1 or more, not {message.revision}", field="revision")
        if len(message.data) > RECORD_BYTES:
            raise checks.exceeded("record_bytes", RECORD_BYTES, f"the record {message.name} has {len(message.data):,}")
        await self._changes.run(self._node.write_record(message.name, message.revision, message.data))
        return b""

    async def finish(self, timeout_s: float) -> None:
        """Wait until all changes are done, including those whose clients have disconnected."""
        await self._changes.finish(timeout_s)


def _placing(kind: Any, request: bytes) -> tuple[Any, Placement]:
    """A request that contains a placement, and that placement."""
    message = parse_request(kind, request)
    if not message.HasField("placement"):
        raise InvalidError("placement is not set", field="placement")
    return message, wire.decode_placement(message.placement)


def _check_record_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidError(f"{name!r} is not the name of a record: expected {NAME_FORM}", field="name")


def _choice(shard_by: ShardBy, chosen: Iterable[int]) -> Callable[[Key], bool]:
    """Whether a key is in one of the slots."""
    marks = bytearray(SLOTS)
    for slot in chosen:
        if slot >= SLOTS:
            raise InvalidError(f"a slot is a number from 0 to {SLOTS - 1:,}, not {slot:,}", field="slots")
        marks[slot] = 1
    return lambda key: marks[slot_of(key, shard_by)] == 1


def _filled(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Frames of entries, joined into messages of a reasonable size."""
    held: list[bytes] = []
    size = 0
    for frame in frames:
        if held and size + len(frame) > BATCH_BYTES:
            yield b"".join(held)
            held, size = [], 0
        held.append(frame)
        size += len(frame)
    if held:
        yield b"".join(held)
