"""Administrative calls to one node: PlacementService, DescribeStore and health.

Knows messages and channels; decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2

from datastore import wire
from datastore.engine.placement import NodePlacement, Placement, ShardBy
from datastore.model.errors import DatastoreError, QueryNotSupportedError, StoreFormatError
from datastore.v1 import placement_pb2, service_pb2
from datastore.wire import raw
from datastore_client._failures import call_error
from datastore_client._messages import BATCH_ITEMS, SERVING
from datastore_client.aio._calls import CALL_ERRORS, answered, messages, open_channel
from datastore_client.channel import parse_target
from datastore_client.tls import Credentials
from datastore_server.coordination.comparison import Answer
from datastore_server.coordination.planning import Slots, Summary

__all__ = ["NodeClient"]

_SERVICE = "/datastore.v1.PlacementService/"
_DESCRIBE_STORE = "/datastore.v1.DatastoreService/DescribeStore"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

#: Timeout in seconds for reading or changing a node's placement.
CALL_TIMEOUT_S = 10.0
#: Timeout in seconds for calls that scan all entries of a node.
SCAN_TIMEOUT_S = 24 * 3600.0


class NodeClient:
    """A client for administrative calls to the node at `url`. Nothing is sent before the first call.

    `coordinator` identifies the caller during a move: a node only accepts the last one that prepared it. `credentials`
    are for a URL with `grpcs:`, and for a node that wants a token.

    Every call raises UnavailableError if the node cannot be reached, DeadlineExceededError if it does not answer in
    time, StoreFormatError if its release has no placements, and the node's own refusals. The caller must close the
    client.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        coordinator: str = "",
        credentials: Credentials | None = None,
    ) -> None:
        self.url = url
        self._coordinator = coordinator
        self._target = parse_target(url)
        self._credentials = credentials or Credentials()
        self._credentials.check_target(self._target)
        self._timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. Idempotent."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def describe_store(self) -> service_pb2.DescribeStoreResponse:
        """The server's description of its store and shards."""
        data = await self.answer(_DESCRIBE_STORE, service_pb2.DescribeStoreRequest())
        return service_pb2.DescribeStoreResponse.FromString(data)

    async def is_serving(self) -> bool:
        """Whether the server's health is SERVING."""
        return await self.answer(_HEALTH_CHECK, health_pb2.HealthCheckRequest()) == SERVING

    async def get_placement(self) -> Answer:
        """The node's placement."""
        answer = await self._call("GetPlacement", placement_pb2.GetPlacementRequest())
        return Answer(
            wire.decode_node_placement(answer.placement),
            answer.is_empty,
            answer.in_memory,
            answer.started_cluster,
            answer.started_shard,
        )

    async def place(self, shard: str, placement: Placement, *, check_entries: bool = False) -> NodePlacement:
        """Give the node its first placement, or add missing identities to it."""
        request = placement_pb2.PlaceNodeRequest(
            shard=shard, placement=wire.encode_placement(placement), check_entries=check_entries
        )
        timeout_s = SCAN_TIMEOUT_S if check_entries else self._timeout_s
        return _node_placement(await self._call("PlaceNode", request, timeout_s))

    async def prepare(self, shard: str, placement: Placement, *, joins: bool = False, version: int = 0) -> int:
        """Make the node refuse writes until `placement` is committed or aborted.

        `shard` is '' for a node to be removed. A node that `joins` must be empty and owns nothing until the commit.
        From now on the node's entries get versions above `version`. Returns the latest version that it has given.
        """
        request = placement_pb2.PrepareMoveRequest(
            shard=shard,
            placement=wire.encode_placement(placement),
            joins=joins,
            coordinator=self._coordinator,
            version=version,
        )
        return int((await self._call("PrepareMove", request)).version)

    async def summarize(self, shard_by: ShardBy, *, owned_only: bool) -> Slots:
        """A summary of each slot of the node; empty slots are left out."""
        request = placement_pb2.SummarizeSlotsRequest(shard_by=wire.encode_shard_by(shard_by), owned_only=owned_only)
        slots = {}
        async with aclosing(self.stream(_SERVICE + "SummarizeSlots", request)) as responses:
            async for data in responses:
                for slot in placement_pb2.SummarizeSlotsResponse.FromString(data).slots:
                    slots[slot.slot] = Summary(slot.entries, slot.bytes, slot.checksum)
        return slots

    async def read_slots(self, shard_by: ShardBy, slots: Iterable[int]) -> AsyncGenerator[Any]:
        """The entries that the node owns in some slots, as batches of messages. The caller must close the generator."""
        request = placement_pb2.ReadSlotsRequest(shard_by=wire.encode_shard_by(shard_by), slots=slots)
        async with aclosing(self.stream(_SERVICE + "ReadSlots", request)) as responses:
            async for data in responses:
                yield raw.ReadSlotsResponse.FromString(data).entries

    async def write_slots(self, epoch: int, entries: Any) -> None:
        """Store entries that move to this node, as returned by `read_slots`."""
        for start in range(0, len(entries), BATCH_ITEMS):
            part = entries[start : start + BATCH_ITEMS]
            request = raw.WriteSlotsRequest(epoch=epoch, entries=part, coordinator=self._coordinator)
            await self._call("WriteSlots", request)

    async def clear_slots(self, epoch: int, slots: Iterable[int] = (), *, shard_by: ShardBy = "key") -> int:
        """Delete entries that the node does not own, in some slots or all. Returns the number deleted."""
        request = placement_pb2.ClearSlotsRequest(
            epoch=epoch, slots=slots, shard_by=wire.encode_shard_by(shard_by), coordinator=self._coordinator
        )
        answer = await self._call("ClearSlots", request, SCAN_TIMEOUT_S)
        return int(answer.entries)

    async def commit(self, epoch: int) -> NodePlacement:
        """Make the pending placement of this epoch the current one."""
        request = placement_pb2.CommitMoveRequest(epoch=epoch, coordinator=self._coordinator)
        return _node_placement(await self._call("CommitMove", request))

    async def abort(self, epoch: int) -> NodePlacement:
        """Drop the pending placement of this epoch."""
        request = placement_pb2.AbortMoveRequest(epoch=epoch, coordinator=self._coordinator)
        return _node_placement(await self._call("AbortMove", request, SCAN_TIMEOUT_S))

    async def get_record(self, name: str) -> tuple[int, bytes] | None:
        """The revision and content of a proxy's record, or None."""
        answer = await self._call("GetRecord", placement_pb2.GetRecordRequest(name=name))
        return (answer.record.revision, answer.record.data) if answer.HasField("record") else None

    async def put_record(self, name: str, revision: int, data: bytes) -> None:
        """Store a proxy's record. Raises PlacementError if the node has a higher revision."""
        record = placement_pb2.Record(name=name, revision=revision, data=data)
        await self._call("PutRecord", placement_pb2.PutRecordRequest(record=record))

    async def _call(self, method: str, request: Any, timeout_s: float | None = None) -> Any:
        data = await self.answer(_SERVICE + method, request, timeout_s)
        return getattr(placement_pb2, f"{method}Response").FromString(data)

    async def answer(self, path: str, request: Any, timeout_s: float | None = None) -> bytes:
        """The response of any method, as bytes."""
        timeout_s = timeout_s or self._timeout_s
        call: Any = self._open().unary_unary(path)
        try:
            data: bytes = await answered(
                call(
                    request.SerializeToString(),
                    timeout=None if timeout_s == math.inf else timeout_s,
                    metadata=self._credentials.metadata(),
                )
            )
        except CALL_ERRORS as error:
            raise self._error(error, timeout_s) from error
        return data

    async def stream(self, path: str, request: Any) -> AsyncGenerator[bytes]:
        """The responses of any method with several, as bytes. The caller must close the generator."""
        call: Any = self._open().unary_stream(path)
        metadata = self._credentials.metadata()
        received = messages(call(request.SerializeToString(), timeout=SCAN_TIMEOUT_S, metadata=metadata))
        try:
            async for data in received:
                yield data
        except CALL_ERRORS as error:
            raise self._error(error, SCAN_TIMEOUT_S) from error
        finally:
            await received.aclose()

    def _open(self) -> grpc.aio.Channel:
        # Opened by the first call, because an asyncio channel belongs to the loop it is created on.
        if self._channel is None:
            self._channel = open_channel(self._target, self._credentials)
        return self._channel

    def _error(self, error: BaseException, timeout_s: float) -> BaseException:
        if not isinstance(error, grpc.RpcError):
            return error
        known: DatastoreError = call_error(error, self.url, timeout_s)
        if isinstance(known, QueryNotSupportedError):
            return StoreFormatError(f"{self.url} does not keep a placement: it runs an older release; update it")
        return known


def _node_placement(response: Any) -> NodePlacement:
    return wire.decode_node_placement(response.placement)
