"""Caches before the shards: how stale they may be, what happens when one fails, and their hit rates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from datastore.aio import TieredDatastore
from datastore.model.errors import ConditionFailedError, ConfigError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import RemoteDatastore
from datastore_server.app import Server, serve
from datastore_server.cluster import plan_cluster
from datastore_server.config import dump_config, parse_config, show_config
from datastore_server.server_config import parse_server
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import Topology, build_node, build_proxy
from tests.support.commands import run_here
from tests.support.engines import Engine, engine

KEYS = [Key(f"/a:{number}") for number in range(20)]
HOT = '{ kind = "lru", max_entries = 1000, max_age = "30s" }'


@dataclass
class Proxy:
    """A proxy, its client, and the age of what it caches."""

    server: Server
    client: RemoteDatastore
    datastore: Any
    now: float = 0.0

    def __post_init__(self) -> None:
        # A cluster's proxy verifies its nodes first.
        tiered = self.datastore if isinstance(self.datastore, TieredDatastore) else self.datastore.child_datastore
        cache = tiered.datastore(0)
        cache._clock = lambda: self.now


Start = Callable[[str], Any]


@pytest.fixture(params=["the proxy of a cluster", "a server of a composition"])
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts proxies over the same two nodes, with the given tiers in TOML."""
    is_cluster = request.param == "the proxy of a cluster"
    async with AsyncExitStack() as stack:

        async def serving(topology: Topology) -> Server:
            return await stack.enter_async_context(serve(topology.datastore, **topology.settings()))

        nodes = {name: await serving(build_node(parse_store_url("memory:"))) for name in ("s1", "s2")}

        async def start(tiers: str) -> Proxy:
            if is_cluster:
                topology = build_proxy(parse_config(_cluster(nodes, tiers), source="cluster.toml"), "cluster.toml")
            else:
                topology = build_node(parse_server(_composition(nodes, tiers), source="server.toml").store)
            server = await serving(topology)
            client = await stack.enter_async_context(RemoteDatastore(server.url))
            return Proxy(server, client, topology.datastore)

        yield start


def _cluster(nodes: dict[str, Server], tiers: str) -> str:
    shards = [f'[[shards]]\nname = "{name}"\nurl = "{node.url}"\n' for name, node in nodes.items()]
    return f'[cluster]\nname = "c"\n[proxy]\ntiers = [{tiers}]\n' + "".join(shards)


def _composition(nodes: dict[str, Server], tiers: str) -> str:
    shards = ", ".join(f'{name} = "{node.url}"' for name, node in nodes.items())
    return (
        f'[store.main]\nkind = "sharded"\nchildren = {{ {shards} }}\n'
        f'[store.served]\nkind = "tiered"\nchildren = [{tiers}, "main"]\n[server]\nstore = "served"\n'
    )


async def test_staleness_between_two_proxies_is_bounded_by_max_age(start: Start):
    one, other = await start(HOT), await start(HOT)
    for key in KEYS:
        await one.client.put(key, "old")
        assert await other.client.get(key) == "old"
    for key in KEYS:
        await one.client.put(key, "new")
    # The other proxy may return its cached value, but no longer than max_age after caching it.
    other.now = 29.999
    assert {await other.client.get(key) for key in KEYS} == {"old"}
    other.now = 30.0
    assert {await other.client.get(key) for key in KEYS} == {"new"}
    # The proxy that wrote is never stale, and neither is a query.
    assert {await one.client.get(key) for key in KEYS} == {"new"}
    other.now = 0.0
    assert {value async for value in other.client.query(Query(Key("/a")))} == {"new"}


async def test_conditions_are_decided_by_the_shards_and_correct_the_cache(start: Start):
    one, other = await start(HOT), await start(HOT)
    for key in KEYS:
        await one.client.put(key, "old", if_absent=True)
        assert await other.client.get(key) == "old"
        entry = await one.client.entry(key)
        assert entry is not None
        await one.client.put(key, "new", if_version=entry.version)
        assert await one.client.get(key) == "new"
        # The other proxy still has the old value in its cache, but not the old version.
        assert await other.client.get(key) == "old"
        fresh = await other.client.entry(key)
        assert fresh is not None
        assert (fresh.value, fresh.version > entry.version) == ("new", True)
        with pytest.raises(ConditionFailedError) as failed:
            await other.client.put(key, "lost", if_version=entry.version)
        assert failed.value.version == fresh.version
        assert await other.client.get(key) == "new"


async def test_hit_rates_are_reported(start: Start):
    proxy = await start(HOT)
    await proxy.client.put(KEYS[0], 1)
    for _ in range(3):
        assert await proxy.client.get(KEYS[0]) == 1
    assert await proxy.client.get(KEYS[1]) is None
    store = (await proxy.client.describe_store()).store
    assert store.kind == "tiered"
    assert [(tier.hits, tier.misses) for tier in store.children] == [(3, 1), (0, 1)]
    assert not store.HasField("hits")


async def test_status_shows_hit_rates(start: Start):
    proxy = await start(HOT)
    await proxy.client.put(KEYS[0], 1)
    for key in (KEYS[0], KEYS[0], KEYS[0], KEYS[1]):
        await proxy.client.get(key)
    (shown,) = (await asyncio.to_thread(run_here, "status", "--json", "--server", proxy.server.url)).lines
    lru, last = shown["tiers"]
    assert lru == {"store": "lru: at most 1000 entries, for 30 s", "hits": 3, "misses": 1, "hit_rate": 0.75}
    assert (last["hits"], last["misses"], last["hit_rate"]) == (0, 1, 0.0)
    text = (await asyncio.to_thread(run_here, "status", "--server", proxy.server.url)).out
    assert "lru: at most 1000 entries, for 30 s 3 1 75.0%" in " ".join(text.split())


async def test_values_come_back_from_a_redis_tier_unchanged(start: Start, redis_server: Engine):
    with redis.Redis(port=redis_server.port) as cache:
        cache.flushall()
        tiers = f'"redis://127.0.0.1:{redis_server.port}/0?expire=30s"'
        proxy = await start(f"{HOT}, {tiers}")
        values = [1, 1.0, "1", b"1", b"\xff", {"a": [1.0, None, b"x"]}, True, -0.0, 2**62]
        for key, value in zip(KEYS, values, strict=False):
            await proxy.client.put(key, value)
        assert all(0 < cache.pttl(str(key)) <= 30_000 for key in KEYS[: len(values)])
        proxy.now = 30.0
        found = [await proxy.client.get(key) for key in KEYS[: len(values)]]
        assert [(type(value), repr(value)) for value in found] == [(type(value), repr(value)) for value in values]
        lru, tier, last = (await proxy.client.describe_store()).store.children
        assert (lru.hits, tier.hits, last.hits) == (0, len(values), 0)


async def test_a_redis_cache_that_dies_does_not_fail_calls(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with engine("redis", tmp_path / "data") as cache:
        proxy = await start(f'{HOT}, "redis://127.0.0.1:{cache.port}/0?expire=30s"')
        for key in KEYS:
            await proxy.client.put(key, 1)
        cache.kill()
        for key in KEYS:
            await proxy.client.put(key, 2)
        assert any(message.startswith("an upper tier, redis, failed for") for message in caplog.messages)
        proxy.now = 30.0
        assert [await proxy.client.get(key) for key in KEYS] == [2] * len(KEYS)
        await proxy.client.delete(KEYS[0])
        assert not await proxy.client.contains(KEYS[0])
        results = await proxy.client.batch_get(KEYS)
        assert [result.value for result in results] == [None] + [2] * (len(KEYS) - 1)


# The key `tiers` of a cluster's file

ONE_SHARD = '[cluster]\nname = "c"\n[[shards]]\nname = "a"\nurl = "grpc://127.0.0.1:7421"\n[proxy]\n'


def test_tiers_survive_being_written(tmp_path: Path):
    text = ONE_SHARD + f'tiers = [{HOT}, "redis://me:secret@127.0.0.1/0?expire=30s"]\n'
    config = parse_config(text, source="cluster.toml")
    assert parse_config(dump_config(config), source="again") == config
    assert "secret" not in show_config(config)
    assert "redis://***@127.0.0.1/0?expire=30s" in show_config(config)
    (tmp_path / "cluster.toml").write_text(text)
    planned = plan_cluster(tmp_path, nodes=None, port=17420, durability="sync")
    assert planned.proxy.listen == "127.0.0.1:17420"
    assert planned.proxy.tiers == config.proxy.tiers


@pytest.mark.parametrize(
    ("tiers", "problem"),
    [
        ('["redis:"]', "proxy.tiers[0]: 'redis:': expected redis://HOST:PORT/DATABASE"),
        ('[{ kind = "lru" }]', "proxy.tiers[0].max_bytes: max_entries or max_bytes is missing"),
        (f'[{HOT}, {{ kind = "lrru" }}]', "proxy.tiers[1].kind: unknown kind 'lrru'"),
        ('["hot"]', "proxy.tiers[0]: there is no store 'hot'"),
        ('"hot"', "proxy.tiers: expected `array`, got `str`; it should be a list of caches before the shards"),
    ],
)
def test_a_wrong_tier_is_named(tiers: str, problem: str):
    with pytest.raises(ConfigError) as raised:
        parse_config(f"{ONE_SHARD}tiers = {tiers}\n", source="cluster.toml")
    assert str(raised.value).startswith(f"cluster.toml: {problem}")
