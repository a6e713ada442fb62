"""The store of a node that owns some slots: its queries, and calls in progress when its placement changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, wire
from datastore.engine.placement import NodePlacement
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.entries import Batch, Position, Write
from datastore.model.errors import (
    ChangesExpiredError,
    RequestForgottenError,
    StoreError,
    UnavailableError,
    WrongShardError,
)
from datastore.model.key import Key
from datastore.model.operations import Put, WriteResult
from datastore.model.query import Query
from datastore.testing import cases, model
from datastore_server.placement import record
from datastore_server.placement.node import PlacedNode
from datastore_server.placement.owned import OwnedDatastore
from datastore_server.placement.system import MemorySystemSpace
from tests.support.placements import keys_of, placement

PLACED = placement("a", "b")
AFTER = placement("a", "b", "c", epoch=2)
#: A node that may hold entries of the other shard, and one during a move.
HOLDING = NodePlacement("0a", shard="a", current=PLACED, may_hold_foreign=True)
MOVING = replace(HOLDING, pending=placement("a", "b", "c", epoch=2), pending_shard="a")


@pytest.mark.parametrize("node", [HOLDING, MOVING], ids=["after a move", "during a move"])
@given(data=st.data())
async def test_queries_ignore_entries_of_other_shards(node: NodePlacement, data: st.DataObject) -> None:
    contents = data.draw(cases.contents(cases.wire_values(), max_size=24))
    child = aio.DictDatastore()
    for key, value in contents.items():
        await child.put(key, wire.encode_value(value))
    owned = {key: value for key, value in contents.items() if PLACED.owner_of(key) == "a"}
    store = OwnedDatastore(child, node)
    for query in data.draw(st.lists(cases.queries(cases.wire_values()), min_size=1, max_size=5)):
        await check(store, query, owned)
        whole = model.answer(query, owned).entries
        if whole and query.returns_whole_values and data.draw(st.booleans()):
            after = data.draw(st.sampled_from(whole))
            assert after.key is not None
            sort_key = query.order_sort_key(after.key, after.value) if query.orders else b""
            query.start_after = Position(sort_key, after.key)
            await check(store, query, owned, after)


@pytest.mark.parametrize("orders", [[], ["-__version__"]], ids=["by key", "by version"])
@pytest.mark.parametrize("metadata", [False, True])
async def test_queries_for_metadata_ignore_entries_of_other_shards(orders: list[str], metadata: bool) -> None:
    child = aio.DictDatastore()
    keys = [Key(f"/Thing:{number:03}") for number in range(60)]
    for key in keys:
        await child.put(key, wire.encode_value(1))
    query = Query(Key("/Thing").parent, recursive=True, metadata=metadata, limit=9)
    for order in orders:
        query.order(order)
    found = [entry async for entry in OwnedDatastore(child, HOLDING).query(query).entries()]
    owned = [key for key in keys if PLACED.owner_of(key) == "a"]
    assert [entry.key for entry in found] == (owned[::-1] if orders else owned)[:9]
    known = [await child.entry(entry.key) for entry in found if entry.key is not None]
    assert [entry.metadata for entry in found] == [entry.metadata if metadata else None for entry in known if entry]


@pytest.mark.parametrize("order", ["__key__", "-__key__", "n", "-n"])
@pytest.mark.parametrize("keys_only", [False, True])
async def test_offset_and_limit_count_only_the_nodes_own_entries(order: str, keys_only: bool) -> None:
    child = aio.DictDatastore()
    contents = {Key(f"/Thing:{number:03}"): {"n": number % 7} for number in range(200)}
    for key, value in contents.items():
        await child.put(key, wire.encode_value(value))
    owned = {key: value for key, value in contents.items() if PLACED.owner_of(key) == "a"}
    assert 50 < len(owned) < 150
    store = OwnedDatastore(child, HOLDING)
    for offset, limit in ((0, 1), (0, 10), (5, 10), (len(owned) - 1, 5), (0, len(owned)), (len(owned), 1), (0, 0)):
        for filters in ([], [("n", ">", 2)]):
            query = Query(Key("/Thing"), offset=offset, limit=limit, keys_only=keys_only)
            if order != "__key__":
                query.order(order)
            for part in filters:
                query.filter(*part)
            await check(store, query, owned)


async def check(store: OwnedDatastore, query: Query, owned: Any, after: Any = None) -> None:
    """Compare with the naive answer: entries, counts, and the rest after the position of each batch."""
    expected = model.answer(query, owned, after)
    cursor = store.query(query)
    read: list[Any] = []
    async for batch in cursor.batches():
        read += [entry._replace(value=plain(entry.value)) for entry in batch.entries()]
        if query.limit is None and not query.offset and batch.position is not None:
            left = query.copy()
            left.start_after = batch.position
            rest = [entry.key async for entry in store.query(left).entries()]
            assert [entry.key for entry in read] + rest == expected.keys
    assert model.difference(read, expected.entries) is None
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, wire.WireValue) else value


async def test_an_ordered_query_with_a_limit_holds_no_more_while_entries_are_moved() -> None:
    # Only the node's entries are sorted, with the limit's bound, not every match.
    asked: list[Query] = []

    class Asked(aio.DictDatastore):
        ordered_queries = True

        def query(self, query: Query) -> aio.Cursor:
            asked.append(query)
            return super().query(query)

    store = OwnedDatastore(Asked(), HOLDING)
    query = Query(Key("/Thing"), limit=3, offset=1).order("-n").filter("n", ">", 5)
    assert [value async for value in store.query(query)] == []
    assert [(part.orders, part.limit, part.offset, len(part.filters)) for part in asked] == [([], None, 0, 1)]


class Held(aio.DictDatastore):
    """A store whose calls wait until they are released."""

    ordered_queries = True

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.is_held = True

    async def _hold(self) -> None:
        if self.is_held:
            self.begun.set()
            await self.go.wait()

    async def get(self, key: Key) -> Any:
        await self._hold()
        return await super().get(key)

    async def put(self, key: Key, value: Any) -> None:
        await self._hold()
        await super().put(key, value)

    async def delete(self, key: Key) -> None:
        await self._hold()
        await super().delete(key)


async def settle() -> None:
    """Let every task run as far as possible."""
    for _ in range(20):
        await asyncio.sleep(0)


KEY = keys_of("a", PLACED, 1)[0]
MOVES = next(key for key in keys_of("a", PLACED, 50) if placement("b", "c", epoch=2).owner_of(key) == "b")


async def placed_node(store: Held) -> PlacedNode:
    node = PlacedNode(store)
    await node.load()
    await node.place("a", PLACED)
    return node


WRITES: dict[str, Callable[[OwnedDatastore], Coroutine[Any, Any, Any]]] = {
    "put": lambda store: store.put(KEY, 1),
    "put of None": lambda store: store.put(KEY, None),
    "delete": lambda store: store.delete(KEY),
    "batch": lambda store: store.batch_write([Write(KEY, 1)]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_move_is_prepared_only_after_the_writes_in_progress(write: Any) -> None:
    store = Held()
    node = await placed_node(store)
    writing = asyncio.create_task(write(node.datastore))
    await store.begun.wait()
    preparing = asyncio.create_task(node.prepare("a", placement("a", "b", "c", epoch=2)))
    await settle()
    assert not preparing.done()
    assert node.placement.pending is None
    # Later arrivals are refused at once rather than queued.
    for later in WRITES.values():
        with pytest.raises(UnavailableError, match="entries are being moved"):
            await later(node.datastore)
    store.go.set()
    assert (await preparing).pending is not None
    assert writing.done()
    await writing


async def test_a_node_whose_store_cannot_forget_refuses_writes_from_before_a_move_itself() -> None:
    """E.g. a proxy that is a node: its own nodes remember what they made, and nothing of other proxies."""
    node = PlacedNode(aio.DictDatastore())
    await node.load()
    await node.place("a", PLACED)
    key = next(key for key in keys_of("a", PLACED, 50) if AFTER.owner_of(key) == "a")
    before = Attempt.new().followed(elapsed_us())
    assert (await made(node, Put(key, 1, attempt=before))).error is None
    await node.prepare("a", AFTER)
    await node.commit(2)
    for attempt in (before, Attempt.new().followed(before.first_us or 0)):
        assert isinstance((await made(node, Put(key, 2, attempt=attempt))).error, RequestForgottenError)
    for attempt in (Attempt.new(), Attempt.new().followed(elapsed_us())):
        assert (await made(node, Put(key, 3, attempt=attempt))).error is None
    sent_us = elapsed_us()
    again = PlacedNode(node.datastore.child_datastore, node.system)
    await again.load()
    # Between the two processes slots may have come.
    attempt = Attempt.new().followed(sent_us)
    assert isinstance((await made(again, Put(key, 4, attempt=attempt))).error, RequestForgottenError)
    assert await again.datastore.get(key) == 3


async def made(node: PlacedNode, put: Put) -> WriteResult:
    [result] = await node.datastore.batch_write([put])
    return result


async def test_a_failed_or_cancelled_write_does_not_block_a_move() -> None:
    store = Held()
    node = await placed_node(store)
    writing = asyncio.create_task(node.datastore.put(KEY, 1))
    await store.begun.wait()
    writing.cancel()
    await asyncio.wait([writing])
    with pytest.raises(WrongShardError):
        await node.datastore.put(keys_of("b", PLACED, 1)[0], 1)
    assert (await node.prepare("a", placement("a", "b", "c", epoch=2))).pending is not None


async def test_a_read_overtaken_by_a_move_never_reports_an_absent_key() -> None:
    store = Held()
    node = await placed_node(store)
    store.is_held = False
    await node.datastore.put(MOVES, 1)
    store.is_held = True
    reads = [
        asyncio.create_task(node.datastore.get(MOVES)),
        asyncio.create_task(node.datastore.contains(MOVES)),
    ]
    batch = asyncio.create_task(node.datastore.batch_get([MOVES]))
    await settle()
    await node.prepare("", placement("b", "c", epoch=2))
    await node.commit(2)
    store.is_held = False
    assert await node.clear(2, None) == 1
    store.go.set()
    for read in reads:
        with pytest.raises(WrongShardError) as raised:
            await read
        assert (raised.value.owner, raised.value.epoch) == ("b", 2)
    (outcome,) = await batch
    assert isinstance(outcome.error, WrongShardError)


async def fill(node: PlacedNode, store: aio.Datastore) -> list[Key]:
    keys = keys_of("a", PLACED, 300)
    for key in keys:
        await store.put(key, 1)
    return keys


async def test_a_query_overtaken_by_a_move_ends_with_an_error_that_its_reader_can_act_on() -> None:
    store = aio.DictDatastore()
    node = PlacedNode(store)
    await node.load()
    await node.place("a", PLACED)
    keys = await fill(node, store)
    before = node.datastore.query(Query(Key("/Thing"))).batches()
    first = await anext(before)
    assert 0 < len(first) < len(keys)
    await node.prepare("a", placement("a", "b", "c", epoch=2))
    with pytest.raises(UnavailableError, match="continue by the last token") as raised:
        await anext(before)
    assert raised.value.retry_after_s
    # A query that begins now skips arriving entries, and continues until the commit.
    during = node.datastore.query(Query(Key("/Thing"), start_after=first.position)).batches()
    second = await anext(during)
    assert first.keys + second.keys == keys[: len(first) + len(second)]
    await node.commit(2)
    with pytest.raises(WrongShardError, match="this server was trial/a/1 when the query began, and is now trial/a/2"):
        await anext(during)


async def test_a_query_whose_remaining_entries_moved_away_does_not_seem_complete() -> None:
    keys = keys_of("a", PLACED, 2)
    go = asyncio.Event()

    class Scanned(aio.DictDatastore):
        """Continues only when released, and finds no more entries."""

        ordered_queries = True

        def query(self, query: Query) -> aio.Cursor:
            return super().query(query) if query.limit == 1 else aio.Cursor.from_batches(query, self._reads())

        async def _reads(self) -> AsyncGenerator[Batch]:
            yield Batch(keys[:1], [1], scanned=1)
            await go.wait()

    node = PlacedNode(Scanned())
    await node.load()
    await node.place("a", PLACED)
    cursor = node.datastore.query(Query(Key("/Thing"))).batches()
    assert (await anext(cursor)).keys == keys[:1]
    rest = asyncio.ensure_future(anext(cursor, None))
    await node.prepare("", placement("b", "c", epoch=2))
    await node.commit(2)
    go.set()
    with pytest.raises(WrongShardError, match="this server was trial/a/1 when the query began"):
        await rest


async def test_a_query_continues_if_a_new_placement_does_not_affect_it() -> None:
    store = aio.DictDatastore()
    node = PlacedNode(store)
    await node.load()
    keys = await fill(node, store)
    for change in (
        lambda: node.place("a", PLACED, check_entries=True),
        lambda: node.place("a", placement("a", "b", a=node.placement.node_id, b="0b")),
    ):
        cursor = node.datastore.query(Query(Key("/Thing"))).batches()
        read = list((await anext(cursor)).keys)
        await change()
        async for batch in cursor:
            read += batch.keys
        assert read == keys


class FailingSpace(MemorySystemSpace):
    """Records whose writing fails, after they were stored or before."""

    fails = ""

    async def write(self, name: str, content: bytes) -> None:
        if self.fails == "before":
            raise StoreError("the disk is gone")
        await super().write(name, content)
        if self.fails == "after":
            raise StoreError("whether it is on disk is not known")


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_the_effective_placement_is_what_a_restart_would_find(fails: str) -> None:
    space = FailingSpace()
    node = PlacedNode(aio.DictDatastore(), space)
    await node.load()
    await node.place("a", PLACED)
    steps: list[Callable[[], Coroutine[Any, Any, NodePlacement]]] = [
        lambda: node.prepare("a", placement("a", "b", "c", epoch=2)),
        lambda: node.commit(2),
    ]
    for step in steps:
        space.fails = fails
        with pytest.raises(StoreError):
            await step()
        kept = await space.read(record.RECORD_NAME)
        assert kept is not None
        assert node.placement == record.unpack(kept)
        space.fails = ""
        # And the request may be repeated.
        assert await step() == node.placement


async def test_a_watch_shows_owned_entries_and_ends_when_the_placement_changes() -> None:
    child = aio.DictDatastore()
    store = OwnedDatastore(child, HOLDING)
    own, foreign = (keys_of(shard, PLACED, 1)[0] for shard in ("a", "b"))
    everything = Query(Key("/"), recursive=True)
    async with store.watch(everything) as watcher:
        for key in (foreign, own):
            await child.put(key, 1)
        assert (await anext(watcher)).key == own
        token = watcher.token
        store.become(MOVING)
        for key in (foreign, own):
            await child.put(key, 2)
        assert (await anext(watcher)).value == 2
        store.become(replace(HOLDING, current=placement("a", "b", "c", epoch=2)))
        with pytest.raises(ChangesExpiredError):
            await anext(watcher)
    with pytest.raises(ChangesExpiredError):
        await store.watch(everything, resume_token=token).__aenter__()
    store.become(HOLDING)
    async with store.watch(everything, resume_token=token) as watcher:
        assert (await anext(watcher)).value == 2
