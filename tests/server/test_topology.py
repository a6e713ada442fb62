"""From a configuration to a Datastore: how it is composed."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import pytest

from datastore import aio, wire
from datastore.model.capability import Durability
from datastore.model.entries import Write
from datastore.model.errors import StoreFormatError, StoreLockedError, UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_server import describe
from datastore_server.app import serve
from datastore_server.config import Config, parse_config
from datastore_server.describe import ShardProbes
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.waiting import PATIENCE_S


def config_of(urls: dict[str, str], shard_by: str = "key") -> Config:
    text = f'[cluster]\nname = "trial"\nshard_by = "{shard_by}"\n'
    for name, url in urls.items():
        text += f'[[shards]]\nname = "{name}"\nurl = "{url}"\n'
    return parse_config(text, source="test")


async def test_a_node_on_lmdb_stores_values_as_the_bytes_received(tmp_path: Path) -> None:
    node = build_node(parse_store_url(f"lmdb://{tmp_path / 'data'}"), cluster="trial", shard="a")
    async with node.datastore as store:
        await store.put(Key("/a"), wire.encode_value({"n": 1}))
        value = await store.get(Key("/a"))
        assert isinstance(value, wire.WireValue)
        assert value.decode() == {"n": 1}
        assert store.describe().capability.durability is Durability.SYNC
    assert (node.cluster.cluster_name, node.cluster.shard_name) == ("trial", "a")
    assert node.check_values


async def test_durability_async_is_what_the_store_describes(tmp_path: Path) -> None:
    node = build_node(parse_store_url(f"lmdb://{tmp_path / 'data'}"), durability="async")
    async with node.datastore as store:
        assert store.describe().capability.durability is Durability.ASYNC


async def test_a_data_directory_serves_one_node_at_a_time(tmp_path: Path) -> None:
    url = parse_store_url(f"lmdb://{tmp_path / 'data'}")
    async with build_node(url).datastore:
        with pytest.raises(StoreLockedError):
            build_node(url)


async def test_a_data_directory_is_of_one_shard(tmp_path: Path) -> None:
    url = parse_store_url(f"lmdb://{tmp_path / 'data'}")
    async with build_node(url, cluster="trial", shard="a").datastore:
        pass
    with pytest.raises(StoreFormatError, match="a"):
        build_node(url, cluster="trial", shard="b")


async def test_a_proxy_puts_each_key_where_the_slot_map_says() -> None:
    nodes = {name: build_node(parse_store_url("memory:"), cluster="trial", shard=name) for name in ("b", "a", "c")}
    servers = {name: serve(node.datastore, cluster=node.cluster) for name, node in nodes.items()}
    async with servers["a"], servers["b"], servers["c"]:
        proxy = build_proxy(config_of({name: server.url for name, server in servers.items()}))
        keys = [Key(f"/Thing:{number}") for number in range(60)]
        async with proxy.datastore as store:
            for number, key in enumerate(keys):
                await store.put(key, wire.encode_value(number))
            assert [(await store.get(key)).decode() for key in keys] == list(range(60))
        held = {name: [key for key in keys if await node.datastore.contains(key)] for name, node in nodes.items()}
    assert sorted(key for part in held.values() for key in part) == sorted(keys)
    assert all(held.values())


async def refused(store: aio.Datastore, query: Query) -> list[WrongShardError]:
    """What each kind of call raises."""
    errors = []
    keys = [Key("/a"), Key("/b")]
    for call in (
        lambda: store.get(Key("/a")),
        lambda: store.put(Key("/a"), wire.encode_value(1)),
        lambda: store.delete(Key("/a")),
        lambda: store.contains(Key("/a")),
        lambda: anext(store.query(query)),
    ):
        with pytest.raises(WrongShardError) as raised:
            await call()
        errors.append(raised.value)
    for outcomes in (await store.batch_get(keys), await store.batch_write([Write(key, None) for key in keys])):
        assert all(isinstance(outcome.error, WrongShardError) for outcome in outcomes)
        errors += [outcome.error for outcome in outcomes]
    return errors


@pytest.mark.parametrize(
    ("cluster", "named", "says"),
    [
        ("trial", {"a": "b", "b": "a"}, r"is shard '[ab]', but CONFIG has shard '[ab]' there"),
        ("other", {"a": "a", "b": "b"}, "belongs to cluster 'other', but CONFIG has shard 'a' of 'trial' there"),
    ],
    ids=["exchanged", "of another cluster"],
)
async def test_a_different_node_is_refused_by_name(
    cluster: str, named: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "PROBE_TIMEOUT_S", PATIENCE_S)
    nodes = {name: build_node(parse_store_url("memory:"), cluster=cluster, shard=name) for name in named}
    servers = {name: serve(node.datastore, cluster=node.cluster) for name, node in nodes.items()}
    async with servers["a"], servers["b"]:
        proxy = build_proxy(config_of({name: servers[there].url for name, there in named.items()}))
        async with proxy.datastore as store:
            for error in await refused(store, Query(Key("/"))):
                assert re.search(says, str(error))
            failures = await ShardProbes(proxy.cluster.shards).failures()
            assert [type(failure) for failure in failures] == [WrongShardError, WrongShardError]
        assert all(len(node.datastore) == 0 for node in nodes.values())


async def test_a_node_is_asked_again_after_it_could_not_be_reached() -> None:
    first = build_node(parse_store_url("memory:"), cluster="trial", shard="a")
    async with serve(first.datastore, cluster=first.cluster) as server:
        listen = str(server.address)
        store = build_proxy(config_of({"a": server.url})).datastore
        await store.put(Key("/a"), wire.encode_value(1))
    with pytest.raises(UnavailableError):
        await store.get(Key("/a"))
    second = build_node(parse_store_url("memory:"), cluster="trial", shard="b")
    async with serve(second.datastore, cluster=second.cluster, listen=listen):
        with pytest.raises(WrongShardError, match="is shard 'b', but CONFIG has shard 'a' there"):
            while True:
                # Its connection may take a moment to be restored.
                with suppress(UnavailableError):
                    await store.get(Key("/a"))
                await asyncio.sleep(0.01)
        await store.aclose()


async def test_a_node_started_without_names_is_accepted() -> None:
    node = build_node(parse_store_url("memory:"))
    async with serve(node.datastore) as server, build_proxy(config_of({"a": server.url})).datastore as store:
        await store.put(Key("/a"), wire.encode_value(1))
        assert await store.contains(Key("/a"))


async def test_a_proxy_reports_its_shards_in_the_order_of_their_names() -> None:
    proxy = build_proxy(config_of({"b": "grpc://127.0.0.1:2", "a": "grpc://127.0.0.1:1"}))
    async with proxy.datastore:
        shards = proxy.cluster.shards
        assert [(shard.name, shard.url) for shard in shards] == [
            ("a", "grpc://127.0.0.1:1"),
            ("b", "grpc://127.0.0.1:2"),
        ]
        assert sum(shard.slots for shard in shards) == 16_384
        assert proxy.cluster.cluster_name == "trial"
        assert not proxy.check_values


async def test_the_placement_depends_only_on_names_and_rule() -> None:
    def first(urls: dict[str, str], shard_by: str = "key") -> tuple[object, ...]:
        membership = build_proxy(config_of(urls, shard_by)).membership
        assert membership is not None
        placement = membership.placement
        return placement.epoch, placement.shard_by, placement.shards, placement.owners

    one = first({"a": "grpc://127.0.0.1:1", "b": "grpc://127.0.0.1:2"})
    assert first({"b": "grpc://127.0.0.1:8", "a": "grpc://127.0.0.1:9"}) == one
    assert first({"a": "grpc://127.0.0.1:1", "c": "grpc://127.0.0.1:2"}) != one
    assert first({"a": "grpc://127.0.0.1:1", "b": "grpc://127.0.0.1:2"}, "collection") != one
