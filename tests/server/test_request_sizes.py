"""Each method has a maximum request size; a larger request is refused before it is parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from datastore import aio
from datastore.engine.placement import SLOTS
from datastore.model.errors import LimitExceededError
from datastore.model.limits import MESSAGE_BYTES
from datastore.v1 import maintenance_pb2, placement_pb2, service_pb2
from datastore.wire.errors import rpc_error_to_error
from datastore_server.limits import KEY_REQUEST_BYTES, QUERY_REQUEST, RECORD_REQUEST_BYTES, SLOTS_REQUEST_BYTES
from tests.support.serving import Running

DATASTORE = service_pb2.DESCRIPTOR.services_by_name["DatastoreService"]
PLACEMENT = placement_pb2.DESCRIPTOR.services_by_name["PlacementService"]
MAINTENANCE = maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"]
LONG = QUERY_REQUEST.maximum
#: The methods whose requests are more than a key.
MOST_BYTES = {
    **dict.fromkeys(
        ["Put", "Patch", "BatchGet", "BatchWrite", "WriteSlots", "RestoreEntries"], ("message_bytes", MESSAGE_BYTES)
    ),
    **dict.fromkeys(["PlaceNode", "PrepareMove", "PutRecord"], ("record_request_bytes", RECORD_REQUEST_BYTES)),
    **dict.fromkeys(["ReadSlots", "ClearSlots"], ("slots_request_bytes", SLOTS_REQUEST_BYTES)),
}
METHODS = {
    f"/{service.full_name}/{method.name}": MOST_BYTES.get(method.name, ("key_request_bytes", KEY_REQUEST_BYTES))
    for service in (DATASTORE, PLACEMENT, MAINTENANCE)
    for method in service.methods
    # The largest that gRPC accepts at all.
    if method.name not in {"Query", "ListEntries", "Aggregate", "Watch", "DeleteMatching", "PatchMatching"}
}
STANDARD = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]
REFLECTION = [f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")]
#: The tag of a field that no request has, of bytes.
UNKNOWN = b"\xfa\x7f"


def padding(size: int) -> bytes:
    """A request of so many bytes: one unknown field."""
    for length_bytes in range(1, 5):
        length = size - len(UNKNOWN) - length_bytes
        head = bytearray(UNKNOWN)
        for index in range(length_bytes):
            head.append(length >> 7 * index & 0x7F | (0x80 if index < length_bytes - 1 else 0))
        if length >> 7 * length_bytes == 0:
            return bytes(head) + b"\0" * length
    raise AssertionError(size)


async def refused_limit(running: Running, method: str, request: bytes) -> str | None:
    """The limit because of which a call was refused."""
    channel = running.channel

    async def requests() -> AsyncIterator[bytes]:
        yield request

    try:
        if method in REFLECTION:
            [_ async for _ in channel.stream_stream(method)(requests())]
        elif method.rpartition("/")[2] in {"Watch", "SummarizeSlots", "ReadSlots"}:
            stream = channel.unary_stream(method)(request)
            await stream.read()
            stream.cancel()
        else:
            await channel.unary_unary(method)(request)
    except grpc.aio.AioRpcError as error:
        reported = rpc_error_to_error(error)
        return reported.limit if isinstance(reported, LimitExceededError) else None
    return None


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_a_request_has_at_most_the_bytes_of_its_method(start: Any, above: int) -> None:
    running: Running = await start(aio.DictDatastore())
    for method in [*METHODS, *STANDARD, *REFLECTION]:
        limit, most = METHODS.get(method, ("key_request_bytes", KEY_REQUEST_BYTES))
        refused = await refused_limit(running, method, padding(most + above))
        assert refused == (limit if above > 0 else None), method


def test_every_slot_can_be_named_in_one_request() -> None:
    for name in ("ReadSlotsRequest", "ClearSlotsRequest"):
        kind = GetMessageClass(placement_pb2.DESCRIPTOR.message_types_by_name[name])
        assert kind(slots=range(SLOTS)).ByteSize() < SLOTS_REQUEST_BYTES // 2
