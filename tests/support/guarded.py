"""A guarded server: one token, whose rights a test changes, and the store behind it, looked at beside the server."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from datastore import aio, v1
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import WireValue, encode_value, reason_of, status_to_error
from datastore_client.reloading import reload_all
from datastore_server.auth.access import Grant, Quota
from datastore_server.auth.editing import added, edit
from datastore_server.auth.rights import Right, Rights
from datastore_server.auth.secrets import hash_of, new_token
from tests.support.serving import Running

__all__ = ["KEYS", "METHODS", "SERVICES", "Answer", "Guarded", "bearer"]

#: The services of the protocol, all of them: what is not known here is not tested.
SERVICES: list[ServiceDescriptor] = [
    service
    for module in sorted(found.name for found in iter_modules(v1.__path__) if found.name.endswith("_pb2"))
    for service in import_module(f"datastore.v1.{module}").DESCRIPTOR.services_by_name.values()
]
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
        reload_all()

    def other(self, name: str, rights: Iterable[Right], prefix: str) -> str:
        """Another token, with these rights; that of `grant` keeps its own."""
        token = new_token(name)
        grant = Grant(name, Rights(**{str(right): (prefix,) for right in rights}), hash=hash_of(token))
        edit(self.path, lambda text: added(text, grant, "tokens"))
        reload_all()
        return token

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

    async def ask(self, method: str, request: Message, metadata: Any = None) -> Answer:
        """Call a method, with the token, or other metadata."""
        descriptor = METHODS[method]
        path = f"/{descriptor.containing_service.full_name}/{method}"
        metadata = bearer(self.token) if metadata is None else metadata
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
        answers = [GetMessageClass(descriptor.output_type).FromString(message) for message in data]
        statuses = [
            result.status
            for answer in answers
            for result in getattr(answer, "results", ())
            if result.HasField("status")
        ]
        return Answer(b"".join(data), {reason_of(type(status_to_error(status))) for status in statuses}, str(statuses))


def _stored(place: int) -> WireValue:
    return encode_value({"marker": f"marker-{place:02}", "n": place})
