"""Explanations over the wire: of nodes, proxies and nested proxies, and of servers without explanations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import aio, wire
from datastore.core.key import Key
from datastore.model.capability import Support
from datastore.model.explanation import Explanation, QueryPart
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire.explanations import EXPLANATION_BYTES, EXPLANATION_DEPTH
from datastore_client._messages import explanation
from datastore_client.aio import RemoteDatastore
from datastore_server.requests import Requests
from tests.server.conftest import Start
from tests.support import clusters

COUNT = 90


async def fill(store: Any) -> None:
    for number in range(COUNT):
        await store.put(Key(f"/Airport:{number:02}"), {"country": "CH" if number % 3 else "AT", "feet": number})


def parts(explanation: Explanation) -> dict[str, str]:
    return {part.text: part.support.value for part in explanation.parts}


async def test_a_node_says_what_its_storage_did(tmp_path: Path) -> None:
    async with clusters.node(tmp_path / "data") as node, RemoteDatastore(node.url) as store:
        await fill(store)
        found = await store.explain(Query(Key("/Airport")).filter("__key__", "<", Key("/Airport:10")).order("-feet"))
        assert (found.kind, found.returned, found.scanned, found.remaining) == ("remote", 10, 11, None)
        (serializer,) = found.children
        (lmdb,) = serializer.children
        assert (serializer.kind, serializer.remaining) == ("serializer", 10)
        assert (lmdb.kind, lmdb.scanned, lmdb.returned) == ("lmdb", 11, 10)
        assert parts(serializer) == {"filter __key__ < /Airport:10": "inexact", "order -feet": "none"}
        assert parts(lmdb) == {"filter __key__ < /Airport:10": "inexact"}


async def test_a_node_in_memory_examines_less_with_a_limit(tmp_path: Path) -> None:
    async with clusters.node(tmp_path / "data") as node, RemoteDatastore(node.url) as store:
        await fill(store)
        found = await store.explain(Query(Key("/Airport"), limit=3))
        assert (found.scanned, found.children[0].children[0].scanned) == (3, 3)


async def test_a_proxy_shows_each_shard_with_what_its_node_did(tmp_path: Path) -> None:
    async with clusters.proxy(tmp_path) as proxy, RemoteDatastore(proxy.url) as store:
        await fill(store)
        found = await store.explain(Query(Key("/Airport"), limit=4).filter("country", "=", "CH").order("feet"))
        (sharded,) = found.children
        assert (sharded.kind, sharded.returned, sharded.remaining) == ("sharded", 4, None)
        assert [shard.shard for shard in sharded.children] == list(clusters.SHARDS)
        held = []
        for shard, backend in zip(sharded.children, proxy.backends, strict=True):
            assert shard.kind == "remote"
            storage = shard.children[0].children[0]
            entries = [entry async for entry in backend.query(Query(Key("/Airport")))]
            assert (storage.kind, storage.scanned, storage.returned) == ("lmdb", len(entries), len(entries))
            held.append(len(entries))
        assert sum(held) == sharded.scanned == COUNT


async def test_a_proxy_behind_a_proxy_shows_its_own_shards(start: Start) -> None:
    async with clusters.proxy() as inner:
        outer = await start(aio.ShardedDatastore([RemoteDatastore(inner.url, lazy=True)], names=["inner"]))
        async with RemoteDatastore(outer.server.url) as store:
            await fill(store)
            found = await store.explain(Query(Key("/Airport")))
            (shard,) = found.children[0].children
            assert (shard.shard, shard.children[0].kind) == ("inner", "sharded")
            assert [node.shard for node in shard.children[0].children] == list(clusters.SHARDS)


async def test_a_query_that_does_not_ask_gets_no_explanation(tmp_path: Path) -> None:
    async with clusters.node(tmp_path / "data") as node, RemoteDatastore(node.url) as store:
        cursor = store.query(Query(Key("/Airport")))
        assert [batch async for batch in cursor.batches() if len(batch)] == []
        assert cursor.summary is not None
        assert cursor.summary.explanation is None


async def test_a_server_that_ignores_the_request_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Requests.query

    def as_before(self: Requests, request: bytes) -> Any:
        query, *rest = read(self, request)
        return query.replaced(explain=False), *rest

    monkeypatch.setattr(Requests, "query", as_before)
    async with clusters.node(tmp_path / "data") as node, RemoteDatastore(node.url) as store:
        await fill(store)
        found = await store.explain(Query(Key("/Airport")))
        assert (found.kind, found.returned) == ("remote", COUNT)
        assert [child.note for child in found.children] == [
            "this server does not explain queries: its version is too old"
        ]


def test_a_resumed_query_says_that_it_explains_its_last_call() -> None:
    summary = service_pb2.QuerySummary(explanation=service_pb2.Explanation(kind="dict", note="more"))
    assert explanation(summary, is_continued=False).note == "more"
    assert explanation(summary, is_continued=True).note == "only since the query was last resumed; more"


def tree(depth: int) -> Explanation:
    found = Explanation("dict")
    for _ in range(depth - 1):
        found = Explanation("shim", children=[found])
    return found


def shown_depth(explanation: Explanation) -> int:
    return 1 + max(map(shown_depth, explanation.children), default=0)


@pytest.mark.parametrize("depth", [EXPLANATION_DEPTH - 1, EXPLANATION_DEPTH, EXPLANATION_DEPTH + 1, 200])
def test_the_depth_of_a_sent_explanation_is_bounded(depth: int) -> None:
    data = wire.encode_explanation(tree(depth)).SerializeToString()
    found = wire.decode_explanation(service_pb2.Explanation.FromString(data))
    assert shown_depth(found) == min(depth, EXPLANATION_DEPTH)
    deepest = found
    while deepest.children:
        (deepest,) = deepest.children
    assert ("left out" in deepest.note) is (depth > EXPLANATION_DEPTH)


def test_the_size_of_a_sent_explanation_is_bounded() -> None:
    part = QueryPart("x" * 200, Support.NONE)
    bulky = Explanation("sharded", note="all", children=[Explanation("dict", parts=(part,) * 64) for _ in range(19)])
    assert len(wire.decode_explanation(wire.encode_explanation(bulky)).children) == 19
    bulky.children *= 2
    message = wire.encode_explanation(bulky)
    assert message.ByteSize() <= EXPLANATION_BYTES
    assert wire.decode_explanation(message).note.startswith("all; the stores below are left out")


def test_an_explanation_survives_a_round_trip() -> None:
    every = tuple(QueryPart(support.name, support) for support in Support)
    sent = Explanation("a", "b", every, "c", 1, 2, 0, 0.25, "d", [Explanation("e")])
    assert wire.decode_explanation(wire.encode_explanation(sent)) == sent
