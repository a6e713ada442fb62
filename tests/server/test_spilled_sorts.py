"""A node that sorts more than it may hold in memory: exact, bounded, and without a file left."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import get_ident
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore.spill import SpillFile
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore_server.limits import Limits
from tests.support.serving import Running, everything
from tests.support.waiting import until

Start = Callable[..., Awaitable[Running]]

COUNT = 3000
BY_NUMBER = everything(orders=[query_pb2.Order(field_path="n")])


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return directory


@pytest.fixture
async def node(start: Start, tmp_path: Path, directory: Path, request: pytest.FixtureRequest) -> Running:
    """A node on LMDB with entries that are too many for the memory that it may use to sort."""
    limits = Limits(sort_memory_bytes=100_000, **getattr(request, "param", {}))
    blocking = LMDBDatastore(tmp_path / "data", durability="async")
    running: Running = await start(aio.SerializerShimDatastore(lift(blocking), wire.lazy), limits=limits)
    await running.put_all({f"/{place:05}": {"n": place * 7919 % COUNT, "x": "x" * 100} for place in range(COUNT)})
    return running


def number_of(entry: value_pb2.Entry) -> int:
    number: int = wire.decode_value(entry.value.SerializeToString())["n"]
    return number


def files(directory: Path) -> list[Path]:
    """The open files of this process in a directory."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if str(link.readlink()).startswith(str(directory))]


async def test_all_entries_come_in_order_and_no_file_is_left(node: Running, directory: Path) -> None:
    responses = await node.query(BY_NUMBER)
    entries = [entry for response in responses for entry in response.entries]
    assert [number_of(entry) for entry in entries] == list(range(COUNT))
    assert responses[-1].summary.entries == COUNT
    await until(async_files(directory), [])


async def test_the_files_have_no_name_and_end_with_the_call(node: Running, directory: Path) -> None:
    call = node.stub.Query(BY_NUMBER)
    response = await call.read()
    while not response.entries:
        response = await call.read()
    assert len(files(directory)) > 3
    assert names(directory) == []
    call.cancel()
    await until(async_files(directory), [])


async def test_files_are_used_and_freed_beside_the_event_loop(
    node: Running, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[int]] = {"append": set(), "read": set(), "truncate": set(), "close": set()}

    def noted(name: str) -> Callable[..., Any]:
        made = getattr(SpillFile, name)

        def call(*arguments: Any) -> Any:
            threads[name].add(get_ident())
            return made(*arguments)

        return call

    for name in threads:
        monkeypatch.setattr(SpillFile, name, noted(name))
    # With a limit, what comes after it is removed from the files.
    await node.query(everything(orders=[query_pb2.Order(field_path="n")], limit=2100))
    call = node.stub.Query(BY_NUMBER)
    while not (await call.read()).entries:
        pass
    call.cancel()

    await until(async_files(directory), [])
    assert all(threads.values())
    assert get_ident() not in set.union(*threads.values())


async def test_a_stream_continues_by_its_token(node: Running) -> None:
    first, *_ = [response for response in await node.query(BY_NUMBER) if response.entries]
    request = service_pb2.QueryRequest()
    request.CopyFrom(BY_NUMBER)
    request.resume_token = first.resume_token
    rest = [entry for response in await node.query(request) for entry in response.entries]
    assert len(rest) == COUNT - len(first.entries)
    assert number_of(rest[0]) == len(first.entries)


@pytest.mark.parametrize("node", [{"sort_disk_bytes": 200_000}], indirect=True)
async def test_files_beyond_the_limit_are_refused(node: Running, directory: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"more than 200,000 bytes of temporary files \(sort_disk_bytes\)"):
        await node.query(BY_NUMBER)
    await until(async_files(directory), [])
    # A query with a limit holds little.
    limited = everything(orders=[query_pb2.Order(field_path="n")], limit=10)
    assert sum(len(response.entries) for response in await node.query(limited)) == 10


def names(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def async_files(directory: Path) -> Callable[[], Awaitable[list[Path]]]:
    async def found() -> list[Path]:
        return files(directory)

    return found
