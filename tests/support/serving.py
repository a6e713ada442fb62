"""Helpers for tests of servers: a stub of a running server, requests, and stores that hang, count or fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from datastore import aio, wire
from datastore.aio.cursor import Cursor
from datastore.model.entries import Batch, Position
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.v1 import query_pb2, service_pb2, service_pb2_grpc, value_pb2
from datastore_server.app import Server


class Running:
    """A server, and a channel to it."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.channel = channel
        self.stub: Any = service_pb2_grpc.DatastoreServiceStub(channel)

    async def put(self, key: str, value: Any) -> None:
        """Put a plain value."""
        await self.stub.Put(service_pb2.PutRequest(entry=entry(key, value)))

    async def put_all(self, entries: dict[str, Any]) -> None:
        """Put plain values, in batches."""
        writes = [service_pb2.BatchWriteRequest.Write(put=entry(*pair)) for pair in entries.items()]
        for start in range(0, len(writes), 1000):
            response = await self.stub.BatchWrite(service_pb2.BatchWriteRequest(writes=writes[start : start + 1000]))
            assert not any(result.HasField("status") for result in response.results)

    async def query(self, request: service_pb2.QueryRequest) -> list[service_pb2.QueryResponse]:
        """All messages of a query."""
        return [message async for message in self.stub.Query(request)]


def value(plain: Any) -> value_pb2.Value:
    """A plain value as a message."""
    return value_pb2.Value.FromString(wire.encode_value(plain).data)


def entry(key: str, plain: Any) -> value_pb2.Entry:
    """An entry as a message."""
    return value_pb2.Entry(key=value_pb2.Key(text=key), value=value(plain))


def everything(**query: Any) -> service_pb2.QueryRequest:
    """The query for all entries."""
    return service_pb2.QueryRequest(query=query_pb2.Query(scope=query_pb2.QUERY_SCOPE_RECURSIVE, **query))


class Endless(aio.Datastore):
    """A store whose queries never end: batches of ten entries of `entry_bytes`, counted as they are pulled.

    After `stop_after` batches it waits forever, like a backend that hangs.
    """

    ordered_queries = True

    def __init__(self, *, entry_bytes: int = 100_000, stop_after: int | None = None) -> None:
        self.pulled = 0
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()
        self._value = wire.encode_value(b"x" * entry_bytes)
        self._stop_after = stop_after

    async def contains(self, key: Key) -> bool:
        return False

    def query(self, query: Any) -> Cursor:
        return Cursor.from_batches(query, self._batches())

    async def _batches(self) -> AsyncGenerator[Batch]:
        try:
            while True:
                if self.pulled == self._stop_after:
                    self.waiting.set()
                    await asyncio.Event().wait()
                keys = [Key(f"/k{self.pulled * 10 + index:09}") for index in range(10)]
                self.pulled += 1
                yield Batch(keys, [self._value] * 10, position=Position(b"", keys[-1]), scanned=10)
        finally:
            self.closed.set()


class Held(aio.DictDatastore):
    """Answers when released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.go_on = asyncio.Event()

    async def get(self, key: Key) -> Any:
        self.begun += 1
        await self.go_on.wait()
        return await super().get(key)

    async def put(self, key: Key, value: Any) -> None:
        await self.get(key)
        await super().put(key, value)


class Away(aio.DictDatastore):
    """A store that does not answer while `is_away`."""

    is_away = False

    async def read(self, keys: Any, options: Any) -> Any:
        if self.is_away:
            raise UnavailableError("no route to it")
        return await super().read(keys, options)


class Failing(aio.DictDatastore):
    """A store whose reads fail as no store should."""

    async def get(self, key: Key) -> Any:
        raise RuntimeError("unexpected")


async def not_probed() -> None:
    """The probe of a shard that must not be probed, only watched."""
    raise AssertionError("only its health is watched")
