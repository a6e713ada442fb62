"""From a configuration to a Datastore: what is put together."""

from __future__ import annotations

from pathlib import Path

import pytest

from datastore import wire
from datastore.core.composition import Durability
from datastore.core.errors import StoreFormatError, StoreLockedError
from datastore.core.key import Key
from datastore_server.app import serve
from datastore_server.config import Config, parse_config, parse_store_url
from datastore_server.topology import build_node, build_proxy


def config_of(urls: dict[str, str], shard_by: str = "key") -> Config:
    text = f'[cluster]\nname = "trial"\nshard_by = "{shard_by}"\n'
    for name, url in urls.items():
        text += f'[[shards]]\nname = "{name}"\nurl = "{url}"\n'
    return parse_config(text, source="test")


async def test_a_node_on_lmdb_keeps_values_as_the_bytes_they_came_in(tmp_path: Path) -> None:
    node = build_node(parse_store_url(f"lmdb://{tmp_path / 'data'}"), cluster="trial", shard="a")
    async with node.datastore as store:
        await store.put(Key("/a"), wire.encode_value({"n": 1}))
        value = await store.get(Key("/a"))
        assert isinstance(value, wire.WireValue)
        assert value.decode() == {"n": 1}
        assert store.describe().durability is Durability.SYNC
    assert (node.cluster.cluster_name, node.cluster.shard_name) == ("trial", "a")
    assert node.check_values


async def test_durability_async_is_what_the_store_describes(tmp_path: Path) -> None:
    node = build_node(parse_store_url(f"lmdb://{tmp_path / 'data'}"), durability="async")
    async with node.datastore as store:
        assert store.describe().durability is Durability.ASYNC


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


async def test_what_a_proxy_says_of_its_shards_is_in_the_order_of_their_names() -> None:
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


async def test_the_placement_depends_on_names_and_rule_alone() -> None:
    def epoch(urls: dict[str, str], shard_by: str = "key") -> str:
        return build_proxy(config_of(urls, shard_by)).cluster.placement_epoch

    first = epoch({"a": "grpc://127.0.0.1:1", "b": "grpc://127.0.0.1:2"})
    assert epoch({"b": "grpc://127.0.0.1:8", "a": "grpc://127.0.0.1:9"}) == first
    assert epoch({"a": "grpc://127.0.0.1:1", "c": "grpc://127.0.0.1:2"}) != first
    assert epoch({"a": "grpc://127.0.0.1:1", "b": "grpc://127.0.0.1:2"}, "collection") != first
