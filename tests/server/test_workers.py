"""A node that several processes read: at one address, like one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datastore.model.entries import Write
from datastore.model.errors import (
    ConfigError,
    DatastoreError,
    LimitExceededError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import maintenance_pb2, service_pb2
from datastore.wire import encode_key
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig, parse_config, show_config
from datastore_server.coordination.nodes import NodeClient
from datastore_server.limits import limits_of
from datastore_server.server_config import load_server, show_server
from datastore_server.store_urls import parse_store_url, require_workers
from datastore_server.tls_config import TlsConfig
from datastore_server.topology import build_node, build_proxy
from datastore_server.workers.messages import Assignment
from tests.support.certificates import write_files
from tests.support.commands import command, run_here, server_process
from tests.support.metrics import metrics
from tests.support.waiting import PATIENCE_S, until

#: So many connections that each worker has some of them.
CONNECTIONS = 12
KEY = Key("/a")


@asynccontextmanager
async def node(directory: Path, *, workers: int = 2, store: str = "", **settings: Any) -> AsyncIterator[Server]:
    """A node on LMDB, whose writer is in this process. Settings are those of an Assignment, and of the Server."""
    given = {name: settings.pop(name) for name in ("tokens", "tls", "limits", "transport") if name in settings}
    topology = build_node(parse_store_url(f"lmdb:{directory}{store}"), workers=workers, assignment=Assignment(**given))
    if "tls" in given:
        settings["tls"] = given["tls"].files()
    if "limits" in given:
        settings["limits"] = limits_of(given["limits"])
    if "transport" in given:
        settings["transport"] = given["transport"]
    async with serve(topology.datastore, **topology.settings(), **settings) as server:
        yield server


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[list[RemoteDatastore]]:
    """So many clients that each worker has some."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(url, **settings)) for _ in range(CONNECTIONS)]


@pytest.mark.parametrize("transport", ["queue", pytest.param("aio", marks=pytest.mark.long("on the other transport"))])
async def test_what_one_client_has_written_all_read_at_once(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path / "data", transport=transport) as server, connected(server.url) as stores:
        # Where the workers reach the writer, nobody else does.
        assert (tmp_path / "data" / ".workers").stat().st_mode & 0o777 == 0o700
        for number, store in enumerate(stores):
            await store.put(KEY, number)
            assert [await other.get(KEY) for other in stores] == [number] * CONNECTIONS
            assert [await other.contains(Key("/absent")) for other in stores] == [False] * CONNECTIONS
        for store in stores:
            assert [entry.value async for entry in store.query(Query(KEY.parent)).entries()] == [CONNECTIONS - 1]


async def test_a_proxy_serves_nodes_with_workers(tmp_path: Path) -> None:
    names = ("shard-1", "shard-2")
    async with AsyncExitStack() as stack:
        shards = []
        for name in names:
            url = parse_store_url(f"lmdb:{tmp_path / name}")
            topology = build_node(url, workers=2, cluster="test", shard=name)
            server = await stack.enter_async_context(serve(topology.datastore, **topology.settings()))
            shards.append(ShardConfig(name=name, url=server.url))
        topology = build_proxy(Config(cluster=ClusterConfig(name="test"), shards=shards))
        proxy = await stack.enter_async_context(serve(topology.datastore, **topology.settings()))
        store = await stack.enter_async_context(connect(proxy.url))
        keys = [Key(f"/thing:{number:03}") for number in range(100)]
        await store.batch_write([Write(key, str(key)) for key in keys])
        assert [outcome.value for outcome in await store.batch_get(keys)] == list(map(str, keys))
        assert [entry.key async for entry in store.query(Query(Key("/thing"))).entries()] == keys


async def test_entries_expire_at_all_workers(tmp_path: Path) -> None:
    async with node(tmp_path / "data") as server, connected(server.url) as stores:
        await stores[0].put(KEY, 1, expires_in_s=0.5)
        for store in stores:
            await until(partial(store.get, KEY), None)


async def test_a_watch_continues_by_its_token_with_and_without_workers(tmp_path: Path) -> None:
    token = None
    for number, workers in enumerate([2, 1, 2]):
        async with node(tmp_path / "data", workers=workers, store="?changes=true") as server:
            async with connect(server.url) as store:
                async with (
                    asyncio.timeout(PATIENCE_S),
                    store.watch(Query(Key("/"), recursive=True), resume_token=token) as watcher,
                ):
                    await store.put(KEY, number)
                    assert (await anext(watcher)).value == number
                    token = watcher.token


async def test_many_entries_are_changed_and_deleted(tmp_path: Path) -> None:
    async with node(tmp_path / "data") as server, connected(server.url) as stores:
        keys = [Key(f"/thing:{number}") for number in range(3000)]
        await stores[0].batch_write([Write(key, {"n": 1}) for key in keys])
        changed = await stores[1].patch_matching(Query(Key("/thing")), increment={"n": 1}).finish()
        assert changed.changed == len(keys)
        assert [outcome.value for outcome in await stores[2].batch_get(keys)] == [{"n": 2}] * len(keys)
        assert (await stores[3].delete_matching(Query(Key("/thing"))).finish()).changed == len(keys)
        for store in stores:
            assert [entry async for entry in store.query(Query(Key("/thing"))).entries()] == []


async def test_the_server_describes_itself_as_one(tmp_path: Path) -> None:
    async with node(tmp_path / "data", metrics="127.0.0.1:0") as server, connected(server.url) as stores:
        await stores[0].put(KEY, 1)
        for store in stores:
            assert await store.get(KEY) == 1
        url = server.metrics_url or ""

        async def counted() -> list[float | None]:
            found = await metrics(url)
            calls = [found.value("datastore_calls_total", method=method) for method in ("Get", "Put", "BatchWrite")]
            return [*calls, found.value("datastore_workers"), found.value("datastore_store_entries", store="lmdb")]

        # The workers report once a second.
        await until(counted, [CONNECTIONS, 1, None, 2, 1])
        for store in stores:
            found = await store.describe_store()
            assert (found.entries, found.transport_security) == (1, service_pb2.TRANSPORT_SECURITY_LOOPBACK)
            calls = {method.method: method.calls for method in found.load.methods}
            assert (calls["Get"], calls["Put"]) == (CONNECTIONS, 1)


async def test_callers_have_their_rights_at_each_worker(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    granted = ["token", "create", "shop", "--rights", "read,write", "--prefix", "/shop", "--tokens", str(tokens)]
    (tmp_path / "shop").write_text(run_here(*granted).out.splitlines()[-1])
    async with (
        node(tmp_path / "data", store="?changes=true", tokens=str(tokens)) as server,
        connected(server.url) as strangers,
        connected(server.url, token_file=tmp_path / "shop") as shops,
        NodeClient(server.url) as stranger,
    ):
        for store in strangers:
            with pytest.raises(UnauthenticatedError):
                await store.get(KEY)
            with pytest.raises(UnauthenticatedError):
                await store.put(KEY, 1)
        with pytest.raises(UnauthenticatedError):
            await stranger.get_placement()
        for number, store in enumerate(shops):
            await store.put(Key("/shop/a"), number)
            assert await store.get(Key("/shop/a")) == number
            for refused in (
                lambda store=store: store.get(KEY),
                lambda store=store: store.put(KEY, 1),
                lambda store=store: store.delete_matching(Query(Key("/shop"))).finish(),
                lambda store=store: anext(store.watch(Query(Key("/")))),
            ):
                with pytest.raises(PermissionDeniedError):
                    await refused()  # type: ignore[no-untyped-call]
            found = await store.describe_store()
            assert found.limits.batch_items
            assert not found.HasField("entries")
        # A token that is revoked while they run.
        assert run_here("token", "revoke", "shop", "--tokens", str(tokens)).code == 0
        server.reload()
        for store in shops:
            await until(partial(_error_of_get, store, Key("/shop/a")), UnauthenticatedError)


async def _error_of_get(store: RemoteDatastore, key: Key) -> type[BaseException] | None:
    return await _error_of(store.get(key))


async def _error_of(call: Any) -> type[BaseException] | None:
    try:
        await call
    except DatastoreError as error:
        return type(error)
    return None


async def test_workers_listen_with_tls(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    tls = TlsConfig(cert=str(files.cert), key=str(files.key))
    async with node(tmp_path / "data", tls=tls) as server, connected(server.url, **files.client()) as stores:
        assert server.url.startswith("grpcs://")
        await stores[0].put(KEY, 1)
        assert [await store.get(KEY) for store in stores] == [1] * CONNECTIONS
        assert (await stores[0].describe_store()).transport_security == service_pb2.TRANSPORT_SECURITY_TLS


async def test_no_worker_answers_while_the_node_is_restored(tmp_path: Path) -> None:
    async with node(tmp_path / "data") as server, connected(server.url, retry=False) as stores:
        assert await stores[0].get(KEY) is None
        await stores[0].check_health()
        await maintained(stores[0], "PrepareRestore", maintenance_pb2.PrepareRestoreRequest(backup="b1"))
        for store in stores:
            with pytest.raises(UnavailableError, match="is being restored from the backup b1"):
                await store.get(KEY)
            with pytest.raises(UnavailableError, match="is being restored from the backup b1"):
                await store.put(KEY, 1)
        for store in stores:
            await until(partial(_error_of_health, store), UnavailableError)
        await maintained(stores[0], "AbortRestore", maintenance_pb2.AbortRestoreRequest())
        for store in stores:
            assert await store.get(KEY) is None
            await until(partial(_error_of_health, store), None)


async def _error_of_health(store: RemoteDatastore) -> type[BaseException] | None:
    return await _error_of(store.check_health())


async def maintained(store: RemoteDatastore, method: str, request: Any) -> None:
    path = f"/datastore.v1.MaintenanceService/{method}"
    await store._connection.unary(path, request.SerializeToString, is_read=False)


async def test_limits_hold_at_each_worker(tmp_path: Path) -> None:
    async with node(tmp_path / "data", limits={"batch_items": 5}) as server, connected(server.url) as stores:
        for store in stores:
            request = service_pb2.BatchGetRequest(keys=[encode_key(Key(f"/{n}")) for n in range(6)])
            with pytest.raises(LimitExceededError, match="at most 5 batch items"):
                await store._connection.unary(
                    "/datastore.v1.DatastoreService/BatchGet", request.SerializeToString, is_read=True
                )


async def test_streams_are_counted_by_the_connections_of_clients(tmp_path: Path) -> None:
    limits = {"open_streams_per_client": 1}
    async with (
        node(tmp_path / "data", store="?changes=true", limits=limits) as server,
        connected(server.url) as stores,
        AsyncExitStack() as watches,
    ):
        for store in stores:
            await watches.enter_async_context(store.watch(Query(KEY.parent)))
        with pytest.raises(LimitExceededError, match="at most 1 queries may be open on one connection"):
            await watches.enter_async_context(stores[0].watch(Query(KEY.parent)))


async def test_a_port_that_is_in_use_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path / "one") as first:
        with pytest.raises(ConfigError, match="the port is in use"):
            async with node(tmp_path / "other", listen=f"127.0.0.1:{first.port}"):
                pass
        # Nor by a server that is alone.
        with pytest.raises(ConfigError, match="the port is in use"):
            async with node(tmp_path / "other", workers=1, listen=f"127.0.0.1:{first.port}"):
                pass


async def test_a_worker_that_cannot_start_ends_the_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        async with node(tmp_path / "data", tokens=str(tmp_path / "absent")):
            pass


@pytest.mark.parametrize(
    ("store", "workers", "reason"),
    [
        ("memory:", 2, "only lmdb: itself"),
        ("file:/tmp", 2, "only lmdb: itself"),
        ("redis://127.0.0.1:1/0", 2, "only lmdb: itself"),
        ("lmdb:/tmp/data", 0, "from 1 to 64, got 0"),
        ("lmdb:/tmp/data", 65, "from 1 to 64, got 65"),
    ],
)
def test_workers_are_refused_where_they_cannot_read(store: str, workers: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        require_workers(parse_store_url(store), workers)


def test_workers_are_refused_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigError, match="need Linux"):
        require_workers(parse_store_url("lmdb:/tmp/data"), 2)
    require_workers(parse_store_url("lmdb:/tmp/data"), 1)


async def test_the_command_refuses_them_before_it_opens_anything(tmp_path: Path) -> None:
    code, output = await command("serve", f"file:{tmp_path}/data", "--workers", "2")
    assert (code, "only lmdb: itself" in output) == (3, True)
    code, output = await command("serve", "memory:", "--workers", "0")
    assert (code, "1<=x<=64" in output) == (2, True)
    assert not (tmp_path / "data").exists()


async def test_files_say_how_many_there_are(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(f'[server]\nstore = "lmdb:{tmp_path}/data"\nlisten = "127.0.0.1:0"\nworkers = 2\n')
    assert "workers = 2" in show_server(load_server(file))
    with server_process("serve", "--config", str(file)) as ready:
        async with connected(ready["url"]) as stores:
            await stores[0].put(KEY, 1)
            assert [await store.get(KEY) for store in stores] == [1] * CONNECTIONS


def test_files_are_refused_with_the_key(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[server]\nstore = "memory:"\nworkers = 2\n')
    with pytest.raises(ConfigError, match=r"server\.workers: memory: is served by one process"):
        load_server(file)
    shard = '[cluster]\nname = "c"\n[[shards]]\nname = "a"\nurl = "grpc://127.0.0.1:1"\nstore = "{}"\nworkers = {}\n'
    with pytest.raises(ConfigError, match=r"shards\[0\]\.workers: memory: is served by one process"):
        parse_config(shard.format("memory:", 2), source="cluster.toml")
    with pytest.raises(ConfigError, match=r"shards\[0\]\.workers: workers must be from 1 to 64"):
        parse_config(shard.format("lmdb:data", 65), source="cluster.toml")
    assert "workers = 2" in show_config(parse_config(shard.format("lmdb:data", 2), source="cluster.toml"))
