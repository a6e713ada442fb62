"""A guarded server: one token, whose rights a test changes, and the store behind it, looked at beside the server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from datastore import aio
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import placement_pb2, service_pb2
from datastore.wire import WireValue, encode_value, reason_of, status_to_error
from datastore_server.auth.access import Grant, Quota
from datastore_server.auth.editing import added
from datastore_server.auth.rights import Right, Rights
from datastore_server.auth.secrets import hash_of, new_token
from tests.support.serving import Running

__all__ = ["KEYS", "METHODS", "SERVICES", "Answer", "Guarded", "bearer"]

SERVICES = (
    service_pb2.DESCRIPTOR.services_by_name["DatastoreService"],
    placement_pb2.DESCRIPTOR.services_by_name["PlacementService"],
)
METHODS = {method.name: method for service in SERVICES for method in service.methods}

#: What is stored at first; the value of each names its place here.
KEYS = ["/a", "/ab", "/a:b", "/a:bc", "/a/b", "/a/bc", "/a/b/c", "/a:b/c", "/a/T:x", "/A", "/b", "/b:a", "/b/a"]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with this token."""
    return (("authorization", f"Bearer {token}"),)


class Answer(NamedTuple):
    """The messages of an answer, and the reasons of all errors in it."""

    data: bytes
    reasons: set[str]
    texts: str


class Guarded:
    """A running server with one token."""

    def __init__(self, store: aio.DictDatastore, running: Running, path: Path) -> None:
        self.store = store
        self.running = running
        self.channel = running.channel
        self.path = path
        self.token = new_token("probe")
        self._hash = hash_of(self.token)

    def grant(self, rights: Iterable[Right], prefix: str, quota: Quota | None = None) -> None:
        """Give the token these rights from now on."""
        grant = Grant("probe", Rights(**{str(right): (prefix,) for right in rights}), quota or Quota(), self._hash)
        self.path.write_text(added("", grant, "tokens"), encoding="utf-8")
        self.running.server.reload()

    async def fill(self) -> dict[str, Any]:
        """Store the entries; returns the contents."""
        for place, key in enumerate(KEYS):
            await self.store.put(Key(key), _stored(place))
        for key in set(await self.contents()) - set(KEYS):
            await self.store.delete(Key(key))
        return await self.contents()

    async def contents(self) -> dict[str, Any]:
        """What is in the store itself."""
        cursor = self.store.query(Query(Key("/"), recursive=True))
        return {str(found.key): found.value.decode() async for found in cursor.entries()}

    async def ask(self, method: str, request: Message, token: str | None = None) -> Answer:
        """Call a method."""
        descriptor = METHODS[method]
        path = f"/{descriptor.containing_service.full_name}/{method}"
        metadata = bearer(self.token if token is None else token)
        data: list[bytes] = []
        try:
            if descriptor.server_streaming:
                call = self.channel.unary_stream(path)(request.SerializeToString(), metadata=metadata)
                async for message in call:
                    data.append(message)
                    if method == "Watch" and service_pb2.WatchResponse.FromString(message).caught_up:
                        call.cancel()
                        break
            else:
                data.append(await self.channel.unary_unary(path)(request.SerializeToString(), metadata=metadata))
        except grpc.aio.AioRpcError as error:
            status = rpc_status.from_call(error)
            return Answer(b"".join(data), {reason_of(type(status_to_error(status)))}, str(status))
        answers = [getattr(_module(method), f"{method}Response").FromString(message) for message in data]
        statuses = [
            result.status
            for answer in answers
            for result in getattr(answer, "results", ())
            if result.HasField("status")
        ]
        return Answer(b"".join(data), {reason_of(type(status_to_error(status))) for status in statuses}, str(statuses))


def _module(method: str) -> Any:
    return service_pb2 if METHODS[method].containing_service is SERVICES[0] else placement_pb2


def _stored(place: int) -> WireValue:
    return encode_value({"marker": f"marker-{place:02}", "n": place})
