"""Orders by fields as large as an entry: every valid entry is returned, in every way, and after resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import Key, Query, aio, wire
from datastore.aio.lift import lift
from datastore.engine import sorting
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Position
from datastore.model.errors import InvalidTokenError
from datastore.model.limits import ENTRY_BYTES, LONG_SORT_KEY_BYTES, MESSAGE_BYTES
from datastore.testing import model
from datastore.v1 import query_pb2, service_pb2
from datastore_client.aio import RemoteDatastore
from datastore_server.streaming import is_long
from datastore_server.tokens import Token, decode_token, encode_token, query_hash
from tests.support.serving import Running, entry


def texts(length: int) -> dict[Key, Any]:
    """Texts that differ only in their last letter, equal ones, short ones, and one whose sort key is twice as long."""
    return {
        Key("/T:a"): {"t": "a" + "x" * length + "c"},
        Key("/T:b"): {"t": "a" + "x" * length + "b"},
        Key("/T:c"): {"t": "a" + "x" * length + "b"},
        Key("/T:d"): {"t": "b"},
        Key("/T:e"): {"t": "\x00" * length},
        Key("/T:f"): {},
        Key("/T:g"): {"t": "a" + "x" * LONG_SORT_KEY_BYTES},
    }


CONTENTS = texts(2 * LONG_SORT_KEY_BYTES)
#: Up to a few bytes as large as an entry may be.
LARGEST = texts(ENTRY_BYTES - 64)


@pytest.fixture(params=["proxy", *(pytest.param(name, marks=pytest.mark.long) for name in ("node", "nested proxy"))])
async def running(request: pytest.FixtureRequest, start: Any, tmp_path: Path) -> Running:
    """A node on LMDB; a proxy over two; a proxy over such a proxy and a third node."""

    async def node(name: str) -> Running:
        blocking = LMDBDatastore(tmp_path / name, durability="async")
        found: Running = await start(aio.SerializerShimDatastore(lift(blocking), wire.lazy))
        return found

    async def proxy(*shards: Running) -> Running:
        stores = [RemoteDatastore(shard.server.url, lazy=True, timeout_s=600) for shard in shards]
        found: Running = await start(aio.ShardedDatastore(stores), check_values=False)
        return found

    found = await node("1")
    if request.param != "node":
        found = await proxy(found, await node("2"))
    if request.param == "nested proxy":
        found = await proxy(found, await node("3"))
    return found


async def fill(running: Running, contents: dict[Key, Any]) -> None:
    for key, value in contents.items():
        await running.put(str(key), value)


def query_message(query: Query) -> query_pb2.Query:
    return wire.encode_query(query)


def things(*orders: str, **settings: Any) -> Query:
    query = Query(Key("/T"), **settings)
    for order in orders:
        query.order(order)
    return query


#: The maximum number of orders, nearly all by a long field.
MANY = ("t", *("-t", "t") * 7, "n")

QUERIES = [
    things("t"),
    things("-t"),
    things(*MANY),
    things("t", keys_only=True),
    things("-t", "t", offset=2, limit=3),
    things("t", offset=1, keys_only=True).filter("t", "!=", None),
    things("-t", fields=["n"]),
]


def each(queries: list[Query], *usual: int) -> pytest.MarkDecorator:
    """For each of the queries; those that are not `usual` are long tests."""
    return pytest.mark.parametrize(
        "query",
        [
            pytest.param(query, id=str(place), marks=() if place in usual else pytest.mark.long)
            for place, query in enumerate(queries)
        ],
    )


each_query = each(QUERIES, 1, 4, 6)


def expected(query: Query, contents: dict[Key, Any] = CONTENTS) -> list[tuple[str, Any]]:
    whole = query.copy()
    whole.keys_only = False
    return [
        (str(key), None if query.keys_only else wire.encode_value(value).data)
        for key, value in model.answer(whole, contents).entries
    ]


def pairs(entries: Any, query: Query) -> list[tuple[str, Any]]:
    return [(each.key.text, shown(each.value.SerializeToString(), query)) for each in entries]


def shown(value: bytes, query: Query) -> bytes | None:
    """The fields of a value, which is sent whole if its sort key is too long."""
    if query.keys_only:
        return None
    return value if query.fields is None else wire.WireValue(value).projected(query.fields).data


@each_query
async def test_a_stream_cut_after_each_of_its_messages_is_whole(running: Running, query: Query) -> None:
    await fill(running, CONTENTS)
    assert await read_cut(running, query) == expected(query)


@each([things("t"), things("-t", "t", keys_only=True)], 1)
async def test_the_largest_entries_can_be_ordered_by_their_whole_values(running: Running, query: Query) -> None:
    assert all(len(wire.encode_value(LARGEST[Key(f"/T:{name}")]).data) > ENTRY_BYTES - 64 for name in "abce")
    await fill(running, LARGEST)
    whole = service_pb2.QueryRequest(query=query_message(query))
    found = [each for message in await running.query(whole) for each in message.entries]
    assert pairs(found, query) == expected(query, LARGEST)
    assert await read_pages(running, query, 4) == expected(query, LARGEST)


#: Short ones, of which many tie by `n`.
SHORT = {Key(f"/T:{number:03}"): {"n": number * 7 % 11, "m": number % 3, "x": "x" * 40} for number in range(150)}
SHORT_QUERIES = [
    things("n"),
    things("-n", "m"),
    things("-m", keys_only=True),
    things("n", offset=20, limit=100),
    things("-n").filter("m", ">", 0),
]
each_short_query = each(SHORT_QUERIES, 1, 3)


@each_short_query
async def test_a_stream_cut_after_each_message_makes_progress_with_every_call(
    running: Running, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After each position, a part is selected first and the rest comes from many runs.
    monkeypatch.setattr(sorting, "LEAD_ENTRIES", 8)
    monkeypatch.setattr(sorting, "RUN_ENTRIES", 16)
    await fill(running, SHORT)
    assert await read_cut(running, query) == expected(query, SHORT)


async def read_cut(running: Running, query: Query) -> list[tuple[str, Any]]:
    """All entries, with a separate call for each message that has some."""
    request = service_pb2.QueryRequest(query=query_message(query))
    found = []
    while True:
        call = running.stub.Query(request)
        async for message in call:
            assert message.ByteSize() <= MESSAGE_BYTES
            found += pairs(message.entries, query)
            request.resume_token = message.resume_token
            if not message.needs_last_entry:
                request.ClearField("last_entry")
            elif message.entries:
                request.last_entry.CopyFrom(message.entries[-1])
            if message.entries:
                break
        if message.HasField("summary"):
            return found
        assert len(found) <= len(SHORT)
        call.cancel()


@each([things("t", "-__version__"), things("-t", "__update_time__", keys_only=True)], 0, 1)
async def test_orders_that_also_read_metadata_continue_anywhere(running: Running, query: Query) -> None:
    await fill(running, CONTENTS)
    store = RemoteDatastore(running.server.url, lazy=True, timeout_s=600)
    async with store, store.query(query) as cursor:
        wanted = [(str(entry.key), entry.value and entry.value.data) async for entry in cursor.entries()]
    assert sorted(wanted) == sorted(expected(Query(query.key, keys_only=query.keys_only)))
    assert await read_cut(running, query) == wanted
    assert await read_pages(running, query, 2) == wanted


@each_query
async def test_pages_are_complete(running: Running, query: Query) -> None:
    await fill(running, CONTENTS)
    for page_size in (1, 3):
        assert await read_pages(running, query, page_size) == expected(query)


async def read_pages(running: Running, query: Query, page_size: int) -> list[tuple[str, Any]]:
    """All entries, page by page."""
    request = service_pb2.ListEntriesRequest(query=query_message(query), page_size=page_size)
    found = []
    while True:
        page = await running.stub.ListEntries(request)
        assert page.ByteSize() <= MESSAGE_BYTES
        found += pairs(page.entries, query)
        request.page_token = page.next_page_token
        request.ClearField("last_entry")
        if page.needs_last_entry:
            request.last_entry.CopyFrom(page.entries[-1])
        if not page.next_page_token:
            return found
        assert len(found) <= len(SHORT)


@each_query
async def test_the_client_reads_it_and_continues_after_any_entry(running: Running, query: Query) -> None:
    await fill(running, CONTENTS)
    wanted = expected(query)
    async with RemoteDatastore(running.server.url, lazy=True, timeout_s=600) as store:
        entries = [each async for each in store.query(query).entries()]
        assert [(str(key), value and value.data) for key, value in entries] == wanted
        if not query.returns_whole_values or query.offset:
            return
        for index, (key, value) in enumerate(entries):
            rest = query.copy()
            rest.start_after = Position(query.order_sort_key(key, value), key, value)
            found = [each.key async for each in store.query(rest).entries()]
            assert [str(key) for key in found] == [text for text, _ in wanted[index + 1 :]]


async def half_of_the_pages(running: Running, query: Query) -> service_pb2.ListEntriesRequest:
    """Continues after /T:b, where only the last letter decides the order."""
    await fill(running, CONTENTS)
    request = service_pb2.ListEntriesRequest(query=query_message(query), page_size=4)
    page = await running.stub.ListEntries(request)
    assert [each.key.text for each in page.entries] == ["/T:f", "/T:e", "/T:g", "/T:b"]
    assert page.needs_last_entry
    assert len(page.next_page_token) < 1000
    request.page_token = page.next_page_token
    request.last_entry.CopyFrom(page.entries[-1])
    return request


@pytest.mark.parametrize("keys_only", [False, True])
async def test_a_position_means_the_same_after_its_entry_was_changed_or_deleted(
    running: Running, keys_only: bool
) -> None:
    request = await half_of_the_pages(running, things("t", keys_only=keys_only))
    for change in ({"t": 0}, {"t": "a"}, None):
        if change is not None:
            await running.put("/T:b", change)
        else:
            await running.stub.Delete(service_pb2.DeleteRequest(key=request.last_entry.key))
        page = await running.stub.ListEntries(request)
        assert [each.key.text for each in page.entries] == ["/T:c", "/T:a", "/T:d"]


async def test_a_token_without_its_last_entry_or_with_another_is_refused(running: Running) -> None:
    request = await half_of_the_pages(running, things("t"))
    for wrong in (None, entry("/T:b", {"t": "other"}), entry("/T:c", CONTENTS[Key("/T:b")]), entry("/T:b", None)):
        request.ClearField("last_entry")
        if wrong is not None:
            request.last_entry.CopyFrom(wrong)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.ListEntries(request)
        error = wire.rpc_error_to_error(caught.value)
        assert isinstance(error, InvalidTokenError)
        assert error.field == "last_entry"
        assert "last_entry" in str(error)


@pytest.mark.parametrize("excess", [-1, 0, 1])
async def test_a_sort_key_is_sent_up_to_its_limit_and_its_entry_beyond(running: Running, excess: int) -> None:
    # The kind, and the two bytes at the end.
    text = "a" * (LONG_SORT_KEY_BYTES - 3 + excess)
    await running.put("/S:a", {"t": text})
    await running.put("/S:b", {"t": text + "b"})
    query = Query(Key("/S"), limit=2).order("t")
    assert is_long(query.order_sort_key(Key("/S:a"), {"t": text})) == (excess > 0)
    request = service_pb2.ListEntriesRequest(query=query_message(query), page_size=1)
    page = await running.stub.ListEntries(request)
    assert page.needs_last_entry == (excess > 0)
    streamed = service_pb2.QueryRequest(query=query_message(query), include_sort_keys=True)
    sort_keys = [key for message in await running.query(streamed) for key in message.sort_keys]
    lengths = [LONG_SORT_KEY_BYTES + excess, LONG_SORT_KEY_BYTES + excess + 1]
    assert [len(key) for key in sort_keys] == [0 if length > LONG_SORT_KEY_BYTES else length for length in lengths]


async def test_sort_keys_left_out_can_be_made_from_the_values_in_a_query_for_less_too(running: Running) -> None:
    await fill(running, CONTENTS)
    for query in (things("t"), things("t", keys_only=True), things("t", fields=["n"])):
        request = service_pb2.QueryRequest(query=query_message(query), include_sort_keys=True)
        seen = []
        async for message in running.stub.Query(request):
            assert message.ByteSize() <= MESSAGE_BYTES
            for each, sort_key in zip(message.entries, message.sort_keys, strict=True):
                key = Key(each.key.text)
                expected_key = query.sort_key_of(key, CONTENTS[key])
                made = sort_key or query.sort_key_of(key, wire.WireValue(each.value.SerializeToString()))
                assert made == expected_key
                seen.append(str(key))
        assert seen == [text for text, _ in expected(query)]


def test_an_old_server_refuses_a_token_that_it_would_misread() -> None:
    token = Token(query_hash=query_hash(b"q")).at(
        Position(b"x" * (LONG_SORT_KEY_BYTES + 1), Key("/a")), limit=None, offset=0
    )
    data = encode_token(token)
    assert data[0] == 2
    assert decode_token(data, query_hash(b"q")) == token
    assert encode_token(Token(query_hash=1))[0] == 1
