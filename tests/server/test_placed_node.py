"""A node that owns some slots: what it refuses, what its queries leave out, and what survives a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import wire
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, InvalidError, PlacementError, StoreFormatError, WrongShardError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.wire import rpc_error_to_error
from datastore_client.aio import RemoteDatastore
from datastore_server.config import Config, parse_config
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node
from tests.server.conftest import Start
from tests.support.placements import PlacedServer, keys_of, placement
from tests.support.storages import Storages

STORES = ["memory", "lmdb", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("workers", "file", "mongodb"))]


class Node:
    """A running node: its placement, and a client."""

    def __init__(self, placed: PlacedServer, client: RemoteDatastore) -> None:
        self.placed = placed
        self.client = client


@pytest.fixture(params=STORES)
async def node(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Any:
    """An unplaced, empty node."""
    topology = Storages(request.param, tmp_path, request).build("data")
    running = await start(topology.datastore, **topology.settings())
    async with RemoteDatastore(running.server.url) as client:
        yield Node(PlacedServer(running.channel), client)


async def test_a_node_without_placement_accepts_every_key(node: Node) -> None:
    await node.client.put(Key("/a"), 1)
    assert await node.client.get(Key("/a")) == 1
    answer = await node.placed.get()
    assert not answer.placement.HasField("current")
    assert len(answer.placement.node_id) == 32
    assert not answer.is_empty


async def test_a_placed_node_refuses_keys_of_other_shards_naming_the_owner(node: Node) -> None:
    placed = placement()
    assert (await node.placed.place("a", placed)).current == placed
    own, foreign = keys_of("a", placed, 1)[0], keys_of("b", placed, 1)[0]
    await node.client.put(own, 1)
    assert await node.client.get(own) == 1
    for call in (
        lambda: node.client.get(foreign),
        lambda: node.client.put(foreign, 1),
        lambda: node.client.delete(foreign),
        lambda: node.client.contains(foreign),
    ):
        with pytest.raises(WrongShardError, match=rf"{foreign} belongs to shard b of cluster trial") as raised:
            await call()
        assert (raised.value.owner, raised.value.epoch, raised.value.shard) == ("b", 1, "a")


async def test_in_a_batch_keys_of_other_shards_fail_alone(node: Node) -> None:
    placed = placement()
    await node.placed.place("a", placed)
    own, foreign = keys_of("a", placed, 2), keys_of("c", placed, 2)
    mixed = [foreign[0], own[0], foreign[1], own[1]]
    written = await node.client.batch_write([Write(key, str(key)) for key in mixed])
    assert [type(outcome.error) for outcome in written] == [WrongShardError, type(None)] * 2
    read = await node.client.batch_get(mixed)
    assert [outcome.value for outcome in read] == [None, str(own[0]), None, str(own[1])]
    assert [outcome.error.owner for outcome in read if outcome.error] == ["c", "c"]
    assert [value async for value in node.client.query(Query(Key("/"), recursive=True))] == [str(key) for key in own]


async def test_a_caller_that_expects_another_server_is_refused(node: Node) -> None:
    placed = placement()
    own = keys_of("a", placed, 1)[0]
    node.client.expects = "trial/a/1"
    with pytest.raises(WrongShardError, match="not placed in a cluster, and the caller expects trial/a/1"):
        await node.client.get(own)
    node.client.expects = ""
    with pytest.raises(WrongShardError, match="not placed in a cluster"):
        await node.client.get(own)
    node.client.expects = "trial/a/1"
    await node.placed.place("a", placed)
    assert await node.client.get(own) is None
    assert (await node.client.describe_store()).server_version
    for other in ("trial/b/1", "trial/a/2", "other/a/1", "", "trial/a/1 "):
        node.client.expects = other
        for call in (
            lambda: node.client.get(own),
            lambda: node.client.put(own, 1),
            lambda: anext(node.client.query(Query(Key("/")))),
            node.client.describe_store,
        ):
            with pytest.raises(WrongShardError, match="this server is trial/a/1, and the caller expects"):
                await call()
    await node.client.check_health()


async def refused(call: Any, kind: type[Exception]) -> str:
    """The text with which a call of the stub is refused."""
    with pytest.raises(Exception) as raised:
        await call
    error = rpc_error_to_error(raised.value)
    assert type(error) is kind
    return str(error)


async def test_placing_a_node_may_be_repeated_and_completed_but_not_changed(node: Node) -> None:
    node_id = (await node.placed.get()).placement.node_id
    await node.placed.place("a", placement())
    await node.placed.place("a", placement())
    complete = placement(a=node_id, b="0b", c="0c")
    assert (await node.placed.place("a", complete)).current == complete
    # A slower proxy that does not know the identities yet does not remove them.
    assert (await node.placed.place("a", placement())).current == complete
    for shard, other in (
        ("b", placement()),
        ("a", placement(epoch=2)),
        ("a", placement("a", "b")),
        ("a", placement(cluster="other")),
        ("a", placement(shard_by="collection")),
    ):
        assert "this node is trial/a/1" in await refused(node.placed.place(shard, other), PlacementError)
    assert "0b" in await refused(node.placed.place("a", placement(b="0d")), PlacementError)
    assert "another data directory" in await refused(node.placed.place("a", placement(a="0d")), PlacementError)
    assert "not a member" in await refused(node.placed.place("d", placement()), InvalidError)


async def test_a_node_with_entries_is_placed_only_if_asked_to_check_them(node: Node) -> None:
    placed = placement()
    own, foreign = keys_of("a", placed, 5), keys_of("b", placed, 3)
    for key in (*own, *foreign):
        await node.client.put(key, 1)
    assert "--adopt" in await refused(node.placed.place("a", placed), PlacementError)
    text = await refused(node.placed.place("a", placed, check_entries=True), PlacementError)
    assert "this node holds 3 entries of other shards than a: 3 to b" in text
    for key in foreign:
        await node.client.delete(key)
    assert (await node.placed.place("a", placed, check_entries=True)).shard == "a"
    assert [key async for key, _ in node.client.query(Query(Key("/"), recursive=True)).entries()] == own


async def test_a_placement_survives_a_restart(start: Start, tmp_path: Path) -> None:
    placed = placement()
    url = parse_store_url(f"lmdb://{tmp_path / 'data'}")
    topology = build_node(url, durability="async")
    running = await start(topology.datastore, system=topology.system)
    before = await PlacedServer(running.channel).place("a", placed)
    await running.server.stop()
    topology = build_node(url, durability="async")
    running = await start(topology.datastore, system=topology.system)
    kept = wire.decode_node_placement((await PlacedServer(running.channel).get()).placement)
    assert (kept.shard, kept.current, kept.node_id) == ("a", placed, before.node_id)


CONFIG = """
[cluster]
name = "trial"
shard_by = "collection"
[[shards]]
name = "a"
url = "grpc://127.0.0.1:7501"
store = "lmdb:a"
[[shards]]
name = "b"
url = "grpc://127.0.0.1:7502"
store = "memory:"
"""


async def started(start: Start, directory: Path, shard: str, config: Config | None) -> Any:
    """The placement of the node in a directory after it started as a shard."""
    url = parse_store_url(f"lmdb://{directory}")
    topology = build_node(url, cluster="trial", shard=shard, config=config)
    running = await start(
        topology.datastore, system=topology.system, place_as=topology.place_as, cluster=topology.cluster
    )
    answer = await PlacedServer(running.channel).get()
    await running.server.stop()
    return answer


async def test_an_empty_node_that_is_served_by_a_configuration_places_itself(start: Start, tmp_path: Path) -> None:
    config = parse_config(CONFIG, source="test")
    for _ in range(2):
        answer = await started(start, tmp_path / "data", "a", config)
        kept = wire.decode_node_placement(answer.placement)
        assert (kept.shard, kept.epoch, answer.started_shard) == ("a", 1, "a")
        assert kept.current is not None
        assert kept.current.owners == placement("a", "b", shard_by="collection").owners
        assert [(member.shard, member.node_id, member.url, member.in_memory) for member in kept.current.members] == [
            ("a", "", "grpc://127.0.0.1:7501", False),
            ("b", "", "grpc://127.0.0.1:7502", True),
        ]


async def test_a_node_with_entries_does_not_place_itself(start: Start, tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path / "data", cluster="trial", shard="a") as store:
        store.put(Key("/a"), wire.encode_value(1).data)
    answer = await started(start, tmp_path / "data", "a", parse_config(CONFIG, source="test"))
    assert not answer.placement.HasField("current")
    assert not answer.is_empty


async def test_a_placed_directory_is_served_as_its_own_shard_alone(start: Start, tmp_path: Path) -> None:
    config = parse_config(CONFIG, source="test")
    await started(start, tmp_path / "data", "a", config)
    with pytest.raises(StoreFormatError, match="the data belong to shard 'a', not to shard 'b'"):
        await started(start, tmp_path / "data", "b", None)


async def test_a_node_started_as_a_shard_cannot_be_placed_as_another(start: Start, tmp_path: Path) -> None:
    topology = build_node(parse_store_url(f"lmdb://{tmp_path / 'data'}"), cluster="trial", shard="a")
    running = await start(topology.datastore, system=topology.system, cluster=topology.cluster)
    placed = PlacedServer(running.channel)
    assert "started as" in await refused(placed.place("b", placement()), PlacementError)
    assert "started as" in await refused(placed.place("a", placement(cluster="other")), PlacementError)
    await placed.place("a", placement())


async def test_a_damaged_record_of_the_placement_keeps_a_node_from_starting(start: Start, tmp_path: Path) -> None:
    await started(start, tmp_path / "data", "a", parse_config(CONFIG, source="test"))
    with LMDBDatastore(tmp_path / "data") as store:
        kept = store.read_system("placement")
        assert kept is not None
        store.write_system("placement", kept[:-1])
    with pytest.raises(CorruptDataError, match="placement is damaged"):
        await started(start, tmp_path / "data", "a", None)
