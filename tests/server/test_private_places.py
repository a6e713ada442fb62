"""A server logs where it keeps its data, but never reveals it to a client."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.errors import DatastoreError, StoreError
from datastore.model.key import Key
from datastore.v1 import service_pb2, value_pb2
from tests.support.serving import Running, entry


@pytest.mark.parametrize("kind", [kind for kind in wire.ERRORS if issubclass(kind, StoreError)])
def test_the_directory_of_an_error_is_in_its_text_but_not_in_its_status(kind: type[StoreError]) -> None:
    error = kind("no room for this write", where="/var/lib/secret")
    assert str(error) == "no room for this write (in /var/lib/secret)"
    assert "secret" not in str(wire.error_to_status(error))
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.message) == (str(error), "no room for this write")


def damage(path: str) -> None:
    Path(path).write_bytes(b"damaged")


def server_text(error: grpc.aio.AioRpcError) -> str:
    return f"{error.details()} {error.trailing_metadata()}"


async def test_a_full_store_reveals_its_directory_only_in_the_log(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = LMDBDatastore(tmp_path, max_map_bytes=1024 * 1024)
    running: Running = await start(aio.SerializerShimDatastore(lift(store), wire.lazy))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        for index in range(10):
            await running.put(f"/k{index}", b"x" * 300_000)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "full" in (caught.value.details() or "")
    assert str(tmp_path) not in server_text(caught.value)
    assert str(tmp_path) in caplog.text


async def test_a_closed_store_does_not_reveal_its_directory(start: Any, tmp_path: Path) -> None:
    store = LMDBDatastore(tmp_path)
    running: Running = await start(aio.SerializerShimDatastore(lift(store), wire.lazy))
    store.close()
    for call in (
        running.stub.Get(service_pb2.GetRequest(key=value_pb2.Key(text="/k"))),
        running.stub.Put(service_pb2.PutRequest(entry=entry("/k", 1))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert str(tmp_path) not in server_text(caught.value)


async def test_a_damaged_file_does_not_reveal_its_path(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileSystemDatastore(tmp_path)
    key = Key("/" + "long" * 200)
    store.put(key, "text")
    damage(store.object_path(key))
    with pytest.raises(DatastoreError, match=str(tmp_path)):
        store.get(key)
    running: Running = await start(lift(store))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Get(service_pb2.GetRequest(key=value_pb2.Key(text=str(key))))
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert str(tmp_path) not in server_text(caught.value)
    assert str(tmp_path) in caplog.text
