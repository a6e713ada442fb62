"""Metrics and probes by HTTP: every metric that is defined has a value, and what it says is what happened."""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datastore import aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore.model.errors import ConditionFailedError, ConfigError, InvalidKeyError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import connect
from datastore_server import logs, observation
from datastore_server.app import SOON_BEATS, Server, serve
from datastore_server.certificates.authority import new_authority
from datastore_server.metrics import http
from datastore_server.metrics.definitions import METRICS
from datastore_server.metrics.http import CONNECTIONS
from datastore_server.service import DatastoreService
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node
from tests.support.certificates import write_files, write_pair
from tests.support.clusters import proxy
from tests.support.metrics import metrics, page
from tests.support.serving import Away

ANYWHERE = "127.0.0.1:0"


def url_of(server: Server, path: str = "/metrics") -> str:
    assert server.metrics_url
    return server.metrics_url.removesuffix("/metrics") + path


def stored(directory: Path, **options: Any) -> aio.Datastore:
    return aio.SerializerShimDatastore(lift(LMDBDatastore(directory, durability="async", **options)), wire.lazy)


async def test_calls_count_by_method_with_their_entries_bytes_and_durations() -> None:
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server, connect(server.url) as remote:
        for number in range(3):
            await remote.put(Key(f"/a:{number}"), "x" * 1000)
        await remote.get(Key("/a:1"))
        await remote.batch_get([Key("/a:1"), Key("/a:2")])
        assert len([entry async for entry in remote.query(Query(Key("/a")))]) == 3
        found = await metrics(url_of(server))
    for method, calls, entries in [("Put", 3, 3), ("Get", 1, 1), ("BatchGet", 1, 2), ("Query", 1, 3)]:
        assert found.value("datastore_calls_total", method=method) == calls
        assert found.value("datastore_entries_total", method=method) == entries
        assert found.value("datastore_call_duration_seconds_count", method=method) == calls
    assert 3000 < (found.value("datastore_received_bytes_total", method="Put") or 0) < 3500
    assert 1000 < (found.value("datastore_sent_bytes_total", method="Get") or 0) < 1100
    assert 3000 < (found.value("datastore_sent_bytes_total", method="Query") or 0) < 3500


async def test_failed_calls_count_by_reason_and_no_key_is_in_a_label() -> None:
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server, connect(server.url) as remote:
        await remote.put(Key("/secret:1"), 1)
        with suppress(ConditionFailedError):
            await remote.put(Key("/secret:1"), 1, if_absent=True)
        with suppress(InvalidKeyError):
            await remote._connection.unary(
                "/datastore.v1.DatastoreService/Get", lambda: b"\n\x03\n\x01\x01", is_read=True
            )
        found = await metrics(url_of(server))
        text = (await page(url_of(server))).text
    assert found.value("datastore_call_errors_total", method="Put", reason="CONDITION_FAILED") == 1
    assert found.value("datastore_call_errors_total", method="Get", reason="INVALID_KEY") == 1
    assert "secret" not in text


async def test_open_streams_are_there_while_they_are_open() -> None:
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server, connect(server.url) as remote:
        async with remote.watch(Query(Key("/a"))):
            found = await metrics(url_of(server))
            assert found.value("datastore_open_streams", method="Watch") == 1
            assert (found.value("datastore_oldest_stream_seconds", method="Watch") or 0) > 0
            assert found.value("datastore_store_watchers", store="dict") == 1
        while (await metrics(url_of(server))).value("datastore_open_streams", method="Watch"):
            await asyncio.sleep(0.01)
        found = await metrics(url_of(server))
        # A watch ends by its client: that is not an error.
        assert found.value("datastore_calls_total", method="Watch") == 1
        assert found.value("datastore_call_errors_total", method="Watch", reason="CANCELLED") is None


async def test_the_stores_of_a_composition_report_under_their_places(tmp_path: Path) -> None:
    tiers = aio.TieredDatastore([aio.LRUCacheDatastore(2, max_bytes=10_000), stored(tmp_path)])
    async with serve(tiers, metrics=ANYWHERE) as server, connect(server.url) as remote:
        for number in range(5):
            await remote.put(Key(f"/a:{number}"), number)
        for number in (4, 0):
            await remote.get(Key(f"/a:{number}"))
        found = await metrics(url_of(server))
        assert (await remote.describe_store()).entries == 5
    lru, lmdb = "tiered.0.lru", "tiered.1.lmdb"
    assert found.value("datastore_store_hits_total", store=lru) == 1
    assert found.value("datastore_store_misses_total", store=lru) == 1
    assert found.value("datastore_store_evictions_total", store=lru) == 4
    assert found.value("datastore_store_entries", store=lmdb) == 5
    assert found.value("datastore_store_commit_writes_sum", store=lmdb) == 5
    assert found.value("datastore_store_commit_duration_seconds_count", store=lmdb) == found.value(
        "datastore_store_commit_writes_count", store=lmdb
    )
    used, most = (found.value(f"datastore_store_map_{name}_bytes", store=lmdb) or 0 for name in ("used", "limit"))
    assert 0 < used < most
    free, disk = (found.value(f"datastore_store_{name}_bytes", store=lmdb) or 0 for name in ("disk_free", "disk"))
    assert 0 < free <= disk


async def test_every_metric_that_is_defined_is_reported_and_no_other(tmp_path: Path) -> None:
    tiers = aio.TieredDatastore(
        [aio.LRUCacheDatastore(2, max_bytes=10_000), stored(tmp_path / "node", keep_changes=True)]
    )
    seen: dict[str, set[str]] = {}
    async with serve(tiers, metrics=ANYWHERE) as node, connect(node.url) as remote:
        await remote.put(Key("/a:1"), 1)
        with suppress(ConditionFailedError):
            await remote.put(Key("/a:1"), 1, if_absent=True)
        async with remote.watch(Query(Key("/a"))):
            seen |= (await metrics(url_of(node))).labels
    async with proxy(tmp_path / "nodes", metrics=ANYWHERE) as running, connect(running.url) as remote:
        await remote.put(Key("/a:1"), 1)
        for server in (running.proxy, running.nodes[0]):
            assert server is not None
            seen |= (await metrics(url_of(server))).labels
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as node, connect(node.url) as remote:
        async with remote.watch(Query(Key("/a"))):
            seen |= (await metrics(url_of(node))).labels
    workers = build_node(parse_store_url(f"lmdb:{tmp_path / 'workers'}"), workers=2)
    async with serve(workers.datastore, **workers.settings(), metrics=ANYWHERE) as node:
        seen |= (await metrics(url_of(node))).labels
    ours = {name: labels for name, labels in seen.items() if not name.startswith("process_")}
    assert ours == {metric.name: set(metric.labels) for metric in METRICS.values()}
    assert "process_resident_memory_bytes" in seen


async def test_a_proxy_reports_the_state_of_its_shards() -> None:
    async with proxy(metrics=ANYWHERE) as running, connect(running.url) as remote:
        await remote.put(Key("/a:1"), 1)
        await running.nodes[1].stop()
        assert running.proxy is not None
        found = await metrics(url_of(running.proxy))
    up = sorted(value for (name, _), value in found.items() if name == "datastore_shard_up")
    slots = [value for (name, _), value in found.items() if name == "datastore_shard_slots"]
    assert up == [0, 1, 1]
    assert sum(slots) == 16_384


async def test_the_probes_say_whether_the_server_lives_and_may_get_calls() -> None:
    store = Away()
    async with serve(store, metrics=ANYWHERE, watched="the shelf") as server:
        assert await page(url_of(server, "/readyz")) == (200, "ok\n")
        store.is_away = True
        while (ready := await page(url_of(server, "/readyz"))).status == 200:
            await asyncio.sleep(0.01)
        assert ready == (503, "the shelf does not answer: no route to it\n")
        assert await page(url_of(server, "/healthz")) == (200, "ok\n")
        found = await metrics(url_of(server))
        assert (found.value("datastore_serving"), found.value("datastore_store_up")) == (0, 0)


async def test_the_probes_answer_while_the_server_waits_for_its_store(unused_tcp_port: int) -> None:
    store = Away()
    store.is_away = True
    at = f"127.0.0.1:{unused_tcp_port}"
    server = serve(store, metrics=at, watched="the shelf")
    starting = asyncio.create_task(server.start())
    try:
        while True:
            with suppress(OSError):
                ready = await page(f"http://{at}/readyz")
                break
            await asyncio.sleep(0.01)
        assert ready == (503, "the server is starting\n")
        assert (await page(f"http://{at}/healthz")).status == 200
        store.is_away = False
        await starting
        assert (await page(f"http://{at}/readyz")).status == 200
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/healthz", "POST", 405), ("/healthz", "HEAD", 200)]
)
async def test_other_requests_are_answered_by_http_s_own_codes(path: str, method: str, status: int) -> None:
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server:
        assert (await page(url_of(server, path), method)).status == status


async def test_a_port_of_metrics_needs_permission_beyond_this_machine_and_must_be_free() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:0 can be reached from other machines"):
        async with serve(aio.DictDatastore(), metrics="0.0.0.0:0"):
            pass
    async with serve(aio.DictDatastore(), metrics="0.0.0.0:0", insecure=True) as server:
        assert server.metrics_url
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"cannot listen on .* for metrics: Address already in use"):
            async with serve(aio.DictDatastore(), metrics=f"127.0.0.1:{taken.getsockname()[1]}"):
                pass


async def test_a_server_with_tls_serves_its_metrics_to_other_machines_by_https(tmp_path: Path) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    async with serve(aio.DictDatastore(), metrics="0.0.0.0:0", tls=files.server(mutual=True)) as server:
        url = url_of(server, "/readyz").replace("0.0.0.0", "127.0.0.1")
        assert url.startswith("https://")
        assert await page(url, ca=files.ca) == (200, "ok\n")
        with pytest.raises(OSError):
            await page(url.replace("https", "http"))
        # The port answers others after a connection that is not TLS, and with another certificate once there is one.
        write_pair(authority.server("later", ["127.0.0.1"]), files.cert, files.key)
        while b"later" not in await asyncio.to_thread(certificate, url):
            await asyncio.sleep(0.05)
        assert await page(url, ca=files.ca) == (200, "ok\n")
    async with serve(aio.DictDatastore(), metrics=ANYWHERE, tls=files.server()) as server:
        assert url_of(server).startswith("http://")


def certificate(url: str) -> bytes:
    """The certificate that the server at a URL shows."""
    host, port = url.split("/")[2].split(":")
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))


async def test_connections_beyond_the_limit_are_closed() -> None:
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server:
        address = ("127.0.0.1", int(url_of(server, "").rsplit(":", 1)[1]))
        held = [await asyncio.open_connection(*address) for _ in range(CONNECTIONS)]
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        for _, each in [*held, (reader, writer)]:
            each.close()
            await each.wait_closed()
        while (await _status(server)) != 200:
            await asyncio.sleep(0.01)


async def _status(server: Server) -> int:
    with suppress(OSError):
        return (await page(url_of(server, "/healthz"))).status
    return 0


async def test_what_is_nearly_full_is_logged_once_until_nothing_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(observation, "DISK_FREE_PART", 1.1)
    with logs.to_file(tmp_path / "log"):
        async with serve(stored(tmp_path / "data"), metrics=ANYWHERE) as server:
            assert (await metrics(url_of(server))).value("datastore_warnings") == 1
            for beat in range(3):
                server._check_soon(beat * SOON_BEATS)
            monkeypatch.setattr(observation, "DISK_FREE_PART", 0.0)
            server._check_soon(0)
            assert (await metrics(url_of(server))).value("datastore_warnings") == 0
            monkeypatch.setattr(observation, "DISK_FREE_PART", 1.1)
            server._check_soon(0)
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "of the disk is free" in line]
    assert len(lines) == 2
    assert all(" WARNING lmdb " in line for line in lines)


async def test_a_server_that_is_too_busy_to_answer_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_S", 0.05)
    async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server:
        with ThreadPoolExecutor() as threads:
            asked = [
                threads.submit(asyncio.run, page(url_of(server, path))) for path in ("/healthz", "/readyz", "/metrics")
            ]
            # The event loop does nothing else until all are answered.
            answers = [each.result() for each in asked]
        assert answers == [(503, "no answer within 0.05 s: the server is too busy\n")] * 3


async def test_a_fault_is_an_answer_without_its_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def failing(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(DatastoreService, "observe", failing)
    with logs.to_file(tmp_path / "log"):
        async with serve(aio.DictDatastore(), metrics=ANYWHERE) as server:
            assert await page(url_of(server)) == (503, "unexpected error; see the server's log\n")
            assert (await page(url_of(server, "/healthz"))).status == 200
    assert "ERROR /metrics failed" in (tmp_path / "log").read_text()
