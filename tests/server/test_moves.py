"""Entries that move between nodes: what each step of a move promises, on real servers in memory and on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.engine.placement import slot_of
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.entries import Write
from datastore.model.errors import (
    DatastoreError,
    InvalidError,
    InvalidKeyError,
    InvalidValueError,
    LimitExceededError,
    PlacementError,
    RequestForgottenError,
    UnavailableError,
    WrongShardError,
)
from datastore.model.expiry import MAX_EXPIRES_US
from datastore.model.key import Key
from datastore.model.limits import MESSAGE_PARTS
from datastore.model.operations import Put
from datastore.model.query import Query
from datastore.v1 import placement_pb2, query_pb2, service_pb2, value_pb2
from datastore.wire import rpc_error_to_error
from datastore_client.aio import RemoteDatastore
from datastore_server.limits import Limits
from datastore_server.placement.listing import Listing
from datastore_server.placement.system import MemorySystemSpace
from tests.server.conftest import Start
from tests.support.placements import PlacedServer, keys_of, placement
from tests.support.serving import Running, entry
from tests.support.storages import Storages

BEFORE, AFTER = placement("a", "b"), placement("a", "b", "c", epoch=2)
StartNode = Callable[..., Awaitable["Node"]]


class Node:
    """A running node: its server, its placement, and a client."""

    def __init__(self, running: Running, client: RemoteDatastore) -> None:
        self.running = running
        self.placed = PlacedServer(running.channel)
        self.client = client

    async def keys(self, **query: Any) -> list[Key]:
        """The keys of a query for everything."""
        cursor = self.client.query(Query(Key("/"), recursive=True, keys_only=True, **query))
        return [found.key async for found in cursor.entries() if found.key]


LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in ("memory", "workers", "file", "mongodb")]


@pytest.fixture(params=["lmdb", *LONG])
async def start_node(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> AsyncIterator[StartNode]:
    """Starts nodes by their names, on storage of one kind."""
    storages = Storages(request.param, tmp_path, request)
    async with AsyncExitStack() as stack:

        async def start_node(name: str, **settings: Any) -> Node:
            topology = storages.build(name)
            running = await start(topology.datastore, **topology.settings(), **settings)
            client = await stack.enter_async_context(RemoteDatastore(running.server.url, retry=False))
            return Node(running, client)

        yield start_node


@pytest.fixture
async def nodes(start_node: StartNode) -> dict[str, Node]:
    """Two placed nodes with a hundred entries, and an empty one."""
    found = {name: await start_node(name) for name in ("a", "b", "c")}
    for shard in BEFORE.shards:
        await found[shard].placed.place(shard, BEFORE)
        for key in keys_of(shard, BEFORE, 50):
            await found[shard].client.put(key, {"n": int(key.name)})
    return found


def moving(source: str) -> list[Key]:
    """The keys of a source that move to the new node."""
    return [key for key in keys_of(source, BEFORE, 50) if AFTER.owner_of(key) == "c"]


async def prepare(nodes: dict[str, Node]) -> None:
    for name, node in nodes.items():
        await node.placed.prepare(name, AFTER)


async def copy(nodes: dict[str, Node]) -> None:
    slots = [slot for slot, owner in enumerate(AFTER.owners) if AFTER.shards[owner] == "c"]
    for source in ("a", "b"):
        entries = await nodes[source].placed.read(slots)
        await nodes["c"].placed.write(2, entries)


async def all_keys(nodes: dict[str, Node]) -> list[Key]:
    return sorted([key for node in nodes.values() for key in await node.keys()])


async def refused(call: Awaitable[Any], kind: type[DatastoreError]) -> str:
    """The text with which a call of a stub is refused."""
    with pytest.raises(Exception) as raised:
        await call
    error = rpc_error_to_error(raised.value)
    assert type(error) is kind, error
    return str(error)


async def test_no_node_repeats_a_write_that_was_made_before_its_entry_moved(nodes: dict[str, Node]) -> None:
    """The old owner would know that it was made; the new one knows only that it cannot tell."""
    moved, kept = moving("a")[0], next(key for key in keys_of("a", BEFORE, 50) if AFTER.owner_of(key) == "a")
    sent_us = elapsed_us()
    attempts = {moved: Attempt.new(), kept: Attempt.new()}
    for key, attempt in attempts.items():
        [made] = await nodes["a"].client.batch_write([Put(key, "mine", attempt=attempt)])
        assert made.error is None
        await nodes["a"].client.put(key, "theirs")
    await prepare(nodes)
    await copy(nodes)
    for node in nodes.values():
        await node.placed.commit(2)
    [again] = await nodes["c"].client.batch_write([Put(moved, "mine", attempt=attempts[moved].followed(sent_us))])
    assert isinstance(again.error, RequestForgottenError)
    assert await nodes["c"].client.get(moved) == "theirs"
    [again] = await nodes["a"].client.batch_write([Put(kept, "mine", attempt=attempts[kept].followed(sent_us))])
    # Unless it remembers nothing anyway.
    assert again.error is None or isinstance(again.error, RequestForgottenError)
    assert await nodes["a"].client.get(kept) == "theirs"


async def test_entries_move_to_a_new_node(nodes: dict[str, Node]) -> None:
    every = sorted(keys_of("a", BEFORE, 50) + keys_of("b", BEFORE, 50))
    moved = sorted(moving("a") + moving("b"))
    assert moved
    await prepare(nodes)
    await copy(nodes)
    slots = {slot_of(key) for key in moved}
    totals: dict[int, tuple[int, ...]] = {}
    for source in ("a", "b"):
        for slot, summary in (await nodes[source].placed.summarize(owned_only=True)).items():
            if slot in slots:
                totals[slot] = tuple(map(sum, zip(totals.get(slot, (0, 0, 0)), summary, strict=True)))
    assert await nodes["c"].placed.summarize() == {
        slot: (entries, size, checksum % 2**64) for slot, (entries, size, checksum) in sorted(totals.items())
    }
    # Nothing of it is visible or missing before the commit.
    assert await nodes["c"].keys() == []
    assert await all_keys(nodes) == every
    for node in nodes.values():
        await node.placed.commit(2)
    assert await nodes["c"].keys() == moved
    assert await all_keys(nodes) == every
    assert [await node.placed.clear(2) for node in nodes.values()] == [len(moving("a")), len(moving("b")), 0]
    assert await all_keys(nodes) == every
    for node in nodes.values():
        assert not (await node.placed.get()).placement.may_hold_foreign
    assert await nodes["c"].client.get(moved[0]) == {"n": int(moved[0].name)}
    await nodes["c"].client.put(moved[0], "new")
    with pytest.raises(WrongShardError) as raised:
        await nodes["a"].client.get(moved[0])
    assert (raised.value.owner, raised.value.epoch) == ("c", 2)


async def test_during_a_move_reads_continue_and_writes_are_refused_with_the_time_to_wait(
    nodes: dict[str, Node],
) -> None:
    node, (key, other) = nodes["a"], keys_of("a", BEFORE, 2)
    await prepare(nodes)
    assert await node.client.get(key) == {"n": int(key.name)}
    assert await node.client.contains(key)
    for call in (lambda: node.client.put(key, 1), lambda: node.client.delete(key)):
        with pytest.raises(UnavailableError, match="entries are being moved") as raised:
            await call()
        assert raised.value.retry_after_s
    outcomes = await node.client.batch_write([Write(key, 1), Write(other, None)])
    assert [type(outcome.error) for outcome in outcomes] == [UnavailableError] * 2
    await node.placed.abort(2)
    await node.client.put(key, 1)
    assert await node.client.get(key) == 1


async def test_a_write_delayed_by_a_move_is_done_once_the_move_is_over(nodes: dict[str, Node]) -> None:
    key = keys_of("a", AFTER, 1)[0]
    await prepare(nodes)
    async with RemoteDatastore(nodes["a"].running.server.url) as client:
        writing = asyncio.create_task(client.put(key, "new"))
        await copy(nodes)
        for node in nodes.values():
            await node.placed.commit(2)
        await writing
    assert await nodes["a"].client.get(key) == "new"


async def test_entries_counted_for_a_move_are_on_disk(start: Start) -> None:
    flushed: list[str] = []

    class Space(MemorySystemSpace):
        async def flush(self) -> None:
            flushed.append("flush")

    placed = PlacedServer((await start(aio.DictDatastore(), system=Space())).channel)
    await placed.place("a", BEFORE)
    await placed.summarize()
    assert flushed == []
    await placed.prepare("a", AFTER)
    await placed.summarize()
    assert flushed == ["flush"]


async def test_a_long_scan_lets_other_calls_run_in_between(start: Start) -> None:
    store = aio.DictDatastore()
    for number in range(20_000):
        await store.put(Key(f"/Thing:{number}"), wire.encode_value(number))
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    async for batch in Listing(store).scan():
        assert len(batch) <= 2000
    beating.cancel()
    # At least once for each batch.
    assert beats >= 10


async def test_the_joining_member_owns_nothing_before_the_commit(nodes: dict[str, Node]) -> None:
    await prepare(nodes)
    await copy(nodes)
    key = moving("a")[0]
    for call in (lambda: nodes["c"].client.get(key), lambda: nodes["c"].client.contains(key)):
        with pytest.raises(WrongShardError, match="its first slots come with a move"):
            await call()
    with pytest.raises(UnavailableError):
        await nodes["c"].client.put(key, 1)


async def test_an_aborted_move_leaves_everything_unchanged(nodes: dict[str, Node]) -> None:
    await prepare(nodes)
    await copy(nodes)
    for node in nodes.values():
        await node.placed.abort(2)
    assert await nodes["a"].keys() == keys_of("a", BEFORE, 50)
    answer = await nodes["c"].placed.get()
    assert answer.is_empty
    assert not answer.placement.HasField("current")
    # It may also be started again, or the new node used for something else.
    await nodes["c"].placed.place("z", placement("z", cluster="other"))


async def test_a_former_member_owns_nothing_and_is_emptied(nodes: dict[str, Node]) -> None:
    del nodes["c"]
    without = placement("a", epoch=2)
    await nodes["a"].placed.prepare("a", without)
    await nodes["b"].placed.prepare("", without)
    await nodes["a"].placed.write(2, await nodes["b"].placed.read(range(16384)))
    for node in nodes.values():
        await node.placed.commit(2)
    assert len(await nodes["a"].keys()) == 100
    assert await nodes["b"].keys() == []
    key = keys_of("b", BEFORE, 1)[0]
    with pytest.raises(WrongShardError, match="this is a node that was removed") as raised:
        await nodes["b"].client.get(key)
    assert raised.value.owner == "a"
    assert await nodes["b"].placed.clear(2) == 50
    assert (await nodes["b"].placed.get()).is_empty


async def test_a_move_by_another_rule_finds_entries_by_the_slots_of_that_rule(nodes: dict[str, Node]) -> None:
    after = placement("a", "b", epoch=2, shard_by="collection")
    slot = slot_of(keys_of("a", BEFORE, 1)[0], "collection")
    owner = after.shards[after.owners[slot]]
    (other,) = {"a", "b"} - {owner}
    for name in ("a", "b"):
        await nodes[name].placed.prepare(name, after)
        assert list(await nodes[name].placed.summarize("collection")) == [slot]
    await nodes[owner].placed.write(2, await nodes[other].placed.read([slot], "collection"))
    for name in ("a", "b"):
        await nodes[name].placed.commit(2)
    assert len(await nodes[owner].keys()) == 100
    assert await nodes[other].keys() == []


async def test_a_partial_copy_is_cleared_and_copied_again(nodes: dict[str, Node]) -> None:
    await prepare(nodes)
    await copy(nodes)
    slots = sorted(await nodes["c"].placed.summarize())
    assert await nodes["c"].placed.clear(2, slots[:1]) >= 1
    assert sorted(await nodes["c"].placed.summarize()) == slots[1:]
    # What a node owns is never cleared, whatever the request.
    own = sorted(await nodes["a"].placed.summarize())
    assert await nodes["a"].placed.clear(2, own) == 0
    assert await nodes["a"].placed.clear(2) == 0
    await copy(nodes)
    assert sorted(await nodes["c"].placed.summarize()) == slots


async def pages(
    node: Node, query: query_pb2.Query, *, token: str = "", most: int | None = None
) -> tuple[list[str], str]:
    """The keys of so many pages of seven entries, and the token of the next."""
    read: list[str] = []
    while most is None or most > 0:
        request = service_pb2.ListEntriesRequest(query=query, page_size=7, page_token=token)
        page = await node.running.stub.ListEntries(request)
        read += [found.key.text for found in page.entries]
        token, most = page.next_page_token, None if most is None else most - 1
        if not token:
            break
    return read, token


@pytest.mark.parametrize("order", [[], ["-n"]], ids=["by key", "by order"])
@pytest.mark.parametrize(("offset", "limit"), [(0, None), (3, 20)])
async def test_pages_and_streams_leave_out_foreign_entries_and_continue_over_a_commit(
    nodes: dict[str, Node], order: list[str], offset: int, limit: int | None
) -> None:
    asked = Query(Key("/Thing"), offset=offset, limit=limit)
    for part in order:
        asked.order(part)
    query = wire.encode_query(asked)
    moved = sorted(moving("a") + moving("b"), reverse=bool(order))
    expected = [str(key) for key in moved[offset : None if limit is None else offset + limit]]
    await prepare(nodes)
    await copy(nodes)
    assert await pages(nodes["c"], query) == ([], "")
    stream = nodes["a"].running.stub.Query(service_pb2.QueryRequest(query=query))
    token = b""
    async for message in stream:
        token = message.resume_token
        if message.entries:
            break
    stream.cancel()
    source = [str(key) for key in sorted(keys_of("a", BEFORE, 50), reverse=bool(order))]
    begun, page_token = await pages(nodes["a"], query, most=1)
    assert begun == source[offset : offset + 7]
    for node in nodes.values():
        await node.placed.commit(2)
    assert await pages(nodes["c"], query) == (expected, "")
    # The remaining pages have what the node owns now, after the position where they stopped.
    rest, _ = await pages(nodes["a"], query, token=page_token)
    stay = [key for key in source if AFTER.owner_of(Key(key)) == "a"]
    after = stay[sum(key in source[: offset + 7] for key in stay) :]
    assert rest == after[: None if limit is None else limit - 7]
    request = service_pb2.QueryRequest(query=query, resume_token=token)
    messages = await nodes["a"].running.query(request)
    assert messages[-1].HasField("summary")
    resumed = [found.key.text for message in messages for found in message.entries]
    assert set(resumed) <= set(stay)


async def test_an_expectation_of_any_form_is_compared_as_it_is(nodes: dict[str, Node]) -> None:
    stub, key = nodes["a"].running.stub, str(keys_of("a", BEFORE, 1)[0])
    request = service_pb2.GetRequest(key=value_pb2.Key(text=key))
    await stub.Get(request, metadata=[(wire.EXPECTATION, "trial/a/1")])
    for metadata in (
        [(wire.EXPECTATION, "x" * 4000)],
        [(wire.EXPECTATION, "trial/a/1"), (wire.EXPECTATION, "trial/b/1")],
        [(wire.EXPECTATION, "TRIAL/A/1")],
        [(wire.EXPECTATION, "trial/a/01")],
        [(wire.EXPECTATION, "%74rial/a/1")],
        [(wire.EXPECTATION, "")],
    ):
        text = await refused(stub.Get(request, metadata=metadata), WrongShardError)
        assert len(text) < 1000


async def test_a_move_is_not_bound_by_limits_that_were_set_later(start_node: StartNode) -> None:
    limits = Limits(batch_items=1, entry_bytes=1, key_bytes=1)
    found = {name: await start_node(name, **({"limits": limits} if name == "c" else {})) for name in ("a", "b", "c")}
    for shard in BEFORE.shards:
        await found[shard].placed.place(shard, BEFORE)
        for key in keys_of(shard, BEFORE, 50):
            await found[shard].client.put(key, {"n": int(key.name)})
    await prepare(found)
    await copy(found)
    moved = sum(entries for entries, *_ in (await found["c"].placed.summarize()).values())
    assert moved == len(moving("a")) + len(moving("b"))


async def test_write_slots_takes_only_what_moves_here(nodes: dict[str, Node]) -> None:
    node = nodes["a"]
    own, foreign = keys_of("a", AFTER, 1)[0], moving("a")[0]
    text = await refused(node.placed.write(2, [entry(str(foreign), 1)]), PlacementError)
    assert "no move to epoch 2 is being prepared here" in text
    await prepare(nodes)
    assert "to epoch 2, not 3" in await refused(node.placed.write(3, [entry(str(foreign), 1)]), PlacementError)
    assert "is this node's already" in await refused(node.placed.write(2, [entry(str(own), 1)]), PlacementError)
    await refused(node.placed.write(2, [entry(str(foreign), 1)]), WrongShardError)
    await refused(nodes["c"].placed.write(2, [entry(str(foreign), 1), entry(str(own), 1)]), WrongShardError)
    for bad, kind in (
        (value_pb2.Entry(), InvalidKeyError),
        (entry("/\n", 1), InvalidKeyError),
        (value_pb2.Entry(key=value_pb2.Key(text=str(foreign))), InvalidValueError),
        (value_pb2.Entry(key=value_pb2.Key(text=str(foreign)), value=value_pb2.Value(null_value=0)), InvalidValueError),
        (
            value_pb2.Entry(key=value_pb2.Key(text="/" + "x" * 1024), value=value_pb2.Value(int64_value=1)),
            InvalidKeyError,
        ),
    ):
        await refused(nodes["c"].placed.write(2, [entry(str(foreign), 1), bad]), kind)
    await refused(nodes["c"].placed.write(2, [entry(str(foreign), 1)] * 1001), LimitExceededError)
    tiny = wire.encode_value([[None] * 10] * (MESSAGE_PARTS // 11 + 1)).data
    many_parts = value_pb2.Entry(key=value_pb2.Key(text=str(foreign)), value=value_pb2.Value.FromString(tiny))
    await refused(nodes["c"].placed.write(2, [many_parts]), LimitExceededError)
    assert await nodes["c"].placed.summarize() == {}
    await nodes["c"].placed.write(2, [])


async def test_bytes_that_are_not_a_request_are_refused_by_every_method(nodes: dict[str, Node]) -> None:
    for method in placement_pb2.DESCRIPTOR.services_by_name["PlacementService"].methods:
        path = f"/datastore.v1.PlacementService/{method.name}"
        channel: Any = nodes["a"].running.channel
        for data in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\x08"):
            call = (
                channel.unary_stream(path)(data).read() if method.server_streaming else channel.unary_unary(path)(data)
            )
            with pytest.raises(grpc.RpcError) as raised:
                await call
            assert isinstance(rpc_error_to_error(raised.value), InvalidError), (method.name, data, raised.value)
    assert await nodes["a"].keys() == keys_of("a", BEFORE, 50)


async def test_every_request_checks_its_epoch_and_its_slots(nodes: dict[str, Node]) -> None:
    stub = nodes["a"].placed.stub
    for epoch in (-(2**63), -1, 0, 2, 2**63 - 1):
        await refused(nodes["a"].placed.clear(epoch), PlacementError)
        if epoch != 2:
            await refused(nodes["a"].placed.commit(epoch), PlacementError)
    await refused(nodes["a"].placed.commit(2), PlacementError)
    await refused(nodes["a"].placed.abort(1), PlacementError)
    for slots in ([16384], [2**32 - 1]):
        await refused(nodes["a"].placed.read(slots), InvalidError)
        await refused(nodes["a"].placed.clear(1, slots), InvalidError)
    for call in (
        stub.ReadSlots(placement_pb2.ReadSlotsRequest(slots=[1])).read(),
        stub.SummarizeSlots(placement_pb2.SummarizeSlotsRequest()).read(),
        stub.ClearSlots(placement_pb2.ClearSlotsRequest(epoch=1, slots=[1])),
        stub.PlaceNode(placement_pb2.PlaceNodeRequest(shard="a")),
        stub.PrepareMove(placement_pb2.PrepareMoveRequest(shard="a")),
        *(
            stub.PrepareMove(
                placement_pb2.PrepareMoveRequest(shard="a", placement=wire.encode_placement(AFTER), version=version)
            )
            for version in (-1, MAX_EXPIRES_US + 1, 2**63 - 1)
        ),
        stub.PlaceNode(placement_pb2.PlaceNodeRequest(shard="a", placement=placement_pb2.Placement())),
        stub.GetRecord(placement_pb2.GetRecordRequest()),
        stub.PutRecord(placement_pb2.PutRecordRequest()),
        stub.PutRecord(placement_pb2.PutRecordRequest(record=placement_pb2.Record(name="x", revision=0))),
        stub.PutRecord(placement_pb2.PutRecordRequest(record=placement_pb2.Record(name="../x", revision=1))),
    ):
        await refused(call, InvalidError)
    assert await nodes["a"].placed.read([]) == []
    assert await nodes["a"].keys() == keys_of("a", BEFORE, 50)
