"""Every limit of a server holds: use one below it and at it is as usual, and one above it is refused or cut short.

There is a case for each limit of `Limits`; a limit without one fails the tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import grpc
import pytest

from datastore import aio, wire
from datastore.model.errors import DatastoreError
from datastore.v1 import placement_pb2, query_pb2, service_pb2, value_pb2
from datastore_server.call import Answer, Call, ServedMethod
from datastore_server.limits import Limits, unit_of
from datastore_server.store_urls import lmdb_url, parse_store_url
from datastore_server.topology import build_node
from datastore_server.transport import _options as transport_options
from datastore_server.transport import new_transport
from tests.support.commands import run_here
from tests.support.http2 import GET, dial
from tests.support.serving import Endless, Held, Running, entry, everything, value
from tests.support.waiting import PATIENCE_S

Start = Callable[..., Awaitable[Running]]
#: The reason for which a call failed, and the limit that it names.
Refusal = tuple[str, str]
Outcome = Refusal | str | None
OURS = "/datastore.v1.DatastoreService/"
PLACING = "/datastore.v1.PlacementService/"
LIMITS = Limits()
DOCS = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
OVERLOADED, CUT = ("OVERLOADED", ""), "cut short"
AND = query_pb2.CompositeFilter.JOINT_AND
Write = service_pb2.BatchWriteRequest.Write
REQUEST = service_pb2.GetRequest(key=value_pb2.Key(text="/k"))


class Case(NamedTuple):
    """`use(start, above)` uses a limit: one below it, at it, or one above it. `beyond` is what comes of the last."""

    use: Callable[[Start, int], Awaitable[Outcome]]
    beyond: Outcome


CASES: dict[str, Case] = {}


def limit(name: str, beyond: Outcome = None) -> Callable[[Any], Any]:
    """The case of a limit. By default what exceeds it is refused with LIMIT_EXCEEDED, which names it."""

    def add(use: Any) -> Any:
        CASES[name] = Case(use, beyond or ("LIMIT_EXCEEDED", name))
        return use

    return add


@pytest.mark.parametrize("above", [pytest.param(-1, marks=pytest.mark.long("one below each limit")), 0, 1])
@pytest.mark.parametrize("name", [one.name for one in fields(Limits)])
async def test_a_limit_holds(start: Start, name: str, above: int) -> None:
    case = CASES[name]
    async with asyncio.timeout(PATIENCE_S):
        assert await case.use(start, above) == (case.beyond if above > 0 else None)


async def test_every_limit_has_a_unit_and_is_described_reported_and_documented(start: Start) -> None:
    running = await start(aio.DictDatastore())
    described = await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())
    for one in fields(Limits):
        assert one.metadata["description"] and one.metadata["beyond"], one.name
        assert unit_of(one.name) in {"bytes", "milliseconds", "count"}
        assert getattr(described.limits, one.name) == getattr(LIMITS, one.name), one.name
        assert f"| `{one.name}` |" in DOCS, one.name


def test_every_limit_can_be_set_in_a_file_and_on_the_command_line(tmp_path: Path) -> None:
    names = Limits.settable()
    sevens = ", ".join(f"{name} = 7" for name in names)
    for file in (
        f'[server]\nstore = "memory:"\nlimits = {{ {sevens} }}\n',
        f'[cluster]\nname = "c"\nlimits = {{ {sevens} }}\n[[shards]]\nname = "s"\nurl = "grpc://127.0.0.1:1"\n',
    ):
        path = tmp_path / "file.toml"
        path.write_text(file)
        shown = run_here("config", "show", str(path)).out.replace('"', "")
        assert [name for name in names if f"{name} = 7" not in shown] == []
    for name in names:
        refused = run_here("serve", "memory:", "--limit", f"{name}=0")
        assert f"limits.{name}: expected" in refused.err


# How calls are made


async def refusal(call: Any) -> Refusal | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reported(wire.rpc_error_to_error(error))
    return None


def reported(error: DatastoreError) -> Refusal:
    return wire.reason_of(type(error)), getattr(error, "limit", "")


async def memory(start: Start, **limits: int) -> Running:
    """A server of an empty store with these limits."""
    return await start(aio.DictDatastore(), limits=Limits(**limits))


async def sent(running: Running, path: str, request: bytes) -> Refusal | None:
    """What comes of a request that need not be one: only whether its size is refused."""
    return of_size(await refusal(running.channel.unary_unary(path)(request)))


def of_size(refused: Refusal | None) -> Refusal | None:
    return refused if refused is not None and refused[0] == "LIMIT_EXCEEDED" else None


def padding(size: int) -> bytes:
    """A message of so many bytes: one field that is not known."""
    for length_bytes in range(1, 5):
        length = size - 2 - length_bytes
        if 0 <= length < 1 << 7 * length_bytes:
            head = [
                length >> 7 * place & 127 | (128 if place < length_bytes - 1 else 0) for place in range(length_bytes)
            ]
            return b"\xfa\x7f" + bytes(head) + bytes(length)
    raise AssertionError(size)


# Keys, values and batches


@limit("key_bytes")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, key_bytes=20)
    key = value_pb2.Key(text="/" + "k" * (19 + above))
    return await refusal(running.stub.Get(service_pb2.GetRequest(key=key)))


@limit("entry_bytes")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, entry_bytes=100)
    content = b"x" * (100 + above - len("/k") - len(wire.encode_value(b"").data))
    assert len("/k") + len(wire.encode_value(content).data) == 100 + above
    return await refusal(running.stub.Put(service_pb2.PutRequest(entry=entry("/k", content))))


@limit("value_depth", ("INVALID_VALUE", ""))
async def _(start: Start, above: int) -> Outcome:
    running, nested = await memory(start), value(1)
    for _ in range(LIMITS.value_depth + above):
        nested = value_pb2.Value(list_value=value_pb2.ListValue(values=[nested]))
    put = service_pb2.PutRequest(entry=value_pb2.Entry(key=REQUEST.key, value=nested))
    return await refusal(running.stub.Put(put))


@limit("message_parts")
async def _(start: Start, above: int) -> Outcome:
    # Each of them is two: an element and a value. The message, its entry, key and value are some more.
    keys = [value_pb2.Key()] * (LIMITS.message_parts + above)
    running = await memory(start)
    return of_parts(await refusal(running.stub.BatchGet(service_pb2.BatchGetRequest(keys=keys))))


def of_parts(refused: Refusal | None) -> Refusal | None:
    return refused if refused == ("LIMIT_EXCEEDED", "message_parts") else None


@limit("batch_items")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, batch_items=10)
    writes = [Write(put=entry(f"/{place}", 1)) for place in range(10 + above)]
    return await refusal(running.stub.BatchWrite(service_pb2.BatchWriteRequest(writes=writes)))


@limit("patched_bytes", OVERLOADED)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start)
    # A patch takes what it reads and what it makes.
    size = (LIMITS.patched_bytes + (1000 if above > 0 else -1000)) // 2
    await running.put("/large", {"a": b"x" * size})
    change = value_pb2.FieldChange(field_path="b", set=value(1))
    patches = [value_pb2.Patch(key=value_pb2.Key(text="/large"), changes=[change])] * 2
    batch = service_pb2.BatchWriteRequest(writes=[Write(patch=patch) for patch in patches])
    _, second = (await running.stub.BatchWrite(batch)).results
    return reported(wire.status_to_error(second.status)) if second.HasField("status") else None


# Queries


@limit("page_items", CUT)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, page_items=10)
    await running.put_all({f"/{place}": 1 for place in range(20)})
    request = service_pb2.ListEntriesRequest(query=everything().query, page_size=10 + above)
    return CUT if len((await running.stub.ListEntries(request)).entries) < 10 + above else None


def equal(plain: Any) -> query_pb2.Filter:
    condition = query_pb2.FieldFilter(field_path="a", operator=query_pb2.FieldFilter.OPERATOR_EQUAL, value=value(plain))
    return query_pb2.Filter(field=condition)


def joined(condition: query_pb2.Filter) -> query_pb2.Filter:
    return query_pb2.Filter(composite=query_pb2.CompositeFilter(joint=AND, filters=[condition]))


@limit("filters")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, filters=3)
    return await refusal(running.query(everything(filters=[equal(1)] * (3 + above))))


@limit("filter_depth")
async def _(start: Start, above: int) -> Outcome:
    running, tree = await memory(start), equal(1)
    for _ in range(LIMITS.filter_depth + above):
        tree = joined(tree)
    return await refusal(running.query(everything(filters=[tree])))


@limit("tree_value_depth")
async def _(start: Start, above: int) -> Outcome:
    running, plain = await memory(start), []
    for _ in range(LIMITS.tree_value_depth - 1 + above):
        plain = [plain]
    return await refusal(running.query(everything(filters=[joined(equal(plain))])))


@limit("orders")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, orders=3)
    return await refusal(running.query(everything(orders=[query_pb2.Order(field_path="a")] * (3 + above))))


@limit("field_path_bytes", ("INVALID_QUERY", ""))
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start)
    order = query_pb2.Order(field_path="a" * (LIMITS.field_path_bytes + above))
    return await refusal(running.query(everything(orders=[order])))


@limit("fields")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, fields=3)
    return await refusal(running.query(everything(field_paths=["a", "b", "c", "d"][: 3 + above])))


@limit("groups")
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, groups=3)
    await running.put_all({f"/{place}": {"a": place} for place in range(3 + above)})
    count = service_pb2.Aggregation(name="n", function=service_pb2.Aggregation.FUNCTION_COUNT)
    asked = service_pb2.AggregateRequest(query=everything().query, group_by=["a"], aggregations=[count])
    return await refusal(running.stub.Aggregate(asked).read())


@limit("sort_bytes")
async def _(start: Start, above: int) -> Outcome:
    return await sorting(start, 10 if above <= 0 else 100, all_sort_bytes=100_000)


async def sorting(start: Start, entries: int, **limits: int) -> Outcome:
    """Sort so many entries of two kilobytes each, sort key and value."""
    running = await memory(start, **limits)
    await running.put_all({f"/{place}": {"a": "x" * 1000} for place in range(entries)})
    return await refusal(running.query(everything(orders=[query_pb2.Order(field_path="a")])))


@limit("sort_memory_bytes", ("STORE_FULL", ""))
async def _(start: Start, above: int) -> Outcome:
    # What exceeds it finds no room in files.
    return await sorting(start, 10 if above <= 0 else 100, sort_memory_bytes=100_000, sort_disk_bytes=1)


@limit("sort_disk_bytes", ("STORE_FULL", ""))
async def _(start: Start, above: int) -> Outcome:
    return await sorting(start, 10 if above <= 0 else 100, sort_memory_bytes=1, sort_disk_bytes=100_000)


@limit("all_sort_bytes", OVERLOADED)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, all_sort_bytes=10_000_000)
    await running.put_all({f"/{place}": {"a": "x" * 100_000} for place in range(20)})
    # Each query holds four megabytes, sort keys and values, because it is not read to its end.
    open_ones = [running.stub.Query(everything(orders=[query_pb2.Order(field_path="a")])) for _ in range(2 + above)]
    outcomes = [await refusal(one.read()) for one in open_ones]
    for one in open_ones:
        one.cancel()
    return next(filter(None, outcomes), None)


@limit("sort_key_bytes", CUT)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start)
    await running.put("/k", {"a": "x" * (LIMITS.sort_key_bytes + (1 if above > 0 else 100 * (above - 1)))})
    asked = everything(orders=[query_pb2.Order(field_path="a")])
    return CUT if any(message.needs_last_entry for message in await running.query(asked)) else None


@limit("query_time_ms", ("DEADLINE_EXCEEDED", ""))
async def _(start: Start, above: int) -> Outcome:
    store = Endless(stop_after=0) if above > 0 else aio.DictDatastore()
    running = await start(store, limits=Limits(query_time_ms=200 if above > 0 else 60_000))
    return await refusal(running.query(everything()))


@limit("stream_bytes", CUT)
async def _(start: Start, above: int) -> Outcome:
    # A quarter of it is for messages, of which a batch of results may be one.
    running = await memory(start, stream_bytes=40_000)
    await running.put_all({f"/{place:03}": "x" * 1000 for place in range(100 if above > 0 else 2 + above)})
    messages = [message for message in await running.query(everything()) if message.entries]
    assert all(message.ByteSize() <= 10_000 + 2000 for message in messages)
    return CUT if len(messages) > 3 else None


# What a server does at once


@limit("calls_in_hand", OVERLOADED)
async def _(start: Start, above: int) -> Outcome:
    store = Held()
    running = await start(store, limits=Limits(calls_in_hand=3))
    calls = [running.stub.Get(REQUEST) for _ in range(2 + above)]
    await reached(lambda: store.begun, 2 + above)
    last = asyncio.ensure_future(refusal(running.stub.Get(REQUEST)))
    await reached(lambda: store.begun + last.done(), 3 + above)
    store.go_on.set()
    await asyncio.gather(*calls)
    return await last


async def reached(count: Callable[[], int], least: int) -> None:
    while count() < least:
        await asyncio.sleep(0)


async def opened(running: Running, count: int) -> Outcome:
    calls = [running.stub.Query(everything()) for _ in range(count)]
    outcomes = [await refusal(call.read()) for call in calls]
    for call in calls:
        call.cancel()
    return next(filter(None, outcomes), None)


@limit("open_streams", OVERLOADED)
async def _(start: Start, above: int) -> Outcome:
    return await opened(await start(Endless(), limits=Limits(open_streams=3)), 3 + above)


@limit("open_streams_per_client")
async def _(start: Start, above: int) -> Outcome:
    return await opened(await start(Endless(), limits=Limits(open_streams_per_client=3)), 3 + above)


@limit("read_bytes", CUT)
async def _(start: Start, above: int) -> Outcome:
    store = Held()
    # Each takes what an answer may: in pieces, and as a message.
    running = await start(store, limits=Limits(read_bytes=2 * 2 * LIMITS.message_bytes))
    batch = service_pb2.BatchGetRequest(keys=[REQUEST.key])
    calls = [running.stub.BatchGet(batch) for _ in range(2 + above)]
    await reached(lambda: store.begun, min(2 + above, 2))
    await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())
    outcome = CUT if store.begun < 2 + above else None
    store.go_on.set()
    await asyncio.gather(*calls)
    return outcome


@limit("unread_bytes", CUT)
async def _(_: Start, above: int) -> Outcome:
    begun = 0

    async def large(_: bytes, call: Call) -> Answer:
        nonlocal begun
        begun += 1
        return b"x" * 500_000

    # Each counts as a megabyte. After three, less is left than the client has.
    methods = [ServedMethod("/t.T/Large", False, large)]
    server: Any = new_transport("auto", Limits(unread_bytes=4_000_000), methods)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with dial(port) as client, dial(port) as other:
        for place in range(3 + above):
            client.call("/t.T/Large", REQUEST)
            await client.ping()
            await reached(lambda: begun, min(place + 1, 3))
        last = other.call("/t.T/Unknown", REQUEST)
        await other.flush()
        await other.ended(last)
        outcome = CUT if begun < 3 + above else None
    await server.stop(0)
    return outcome


@limit("connections", CUT)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, connections=3)
    async with AsyncExitStack() as stack:
        for _ in range(2 + above):
            await (await stack.enter_async_context(dial(running.server.port))).ping()
        last = await stack.enter_async_context(dial(running.server.port))
        return await closed(last.ping())


async def closed(use: Any) -> Outcome:
    """Whether the server closes a connection during its use."""
    try:
        await use
    except ConnectionError:
        return CUT
    return None


@limit("calls_per_connection", CUT)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, open_streams_per_client=1)
    async with dial(running.server.port) as client:
        await client.ping()
        # What the server announces; gRPC ends connections that exceed it.
        announced = client.h2.remote_settings.max_concurrent_streams
    return CUT if LIMITS.calls_per_connection + 1 + above > announced else None


@limit("snapshots", OVERLOADED)
async def _(start: Start, above: int) -> Outcome:
    with TemporaryDirectory() as directory:
        node = build_node(parse_store_url(lmdb_url(Path(directory))), durability="async")
        running = await start(node.datastore, **node.settings())
        path = "/datastore.v1.MaintenanceService/ReadSnapshot"
        calls = [running.channel.unary_stream(path)(b"") for _ in range(LIMITS.snapshots + above)]
        outcomes = await asyncio.gather(*(refusal(call.read()) for call in calls))
        for call in calls:
            call.cancel()
        await running.server.stop()
        return next(filter(None, outcomes), None)


@limit("pending_calls", CUT)
async def _(_: Start, above: int) -> Outcome:
    # gRPC refuses only what arrives while it has as many: that cannot be arranged reliably.
    most = dict(transport_options(LIMITS, shares_port=False))["grpc.server.max_pending_requests"]
    return CUT if LIMITS.pending_calls + above > most else None


@limit("request_time_ms", ("DEADLINE_EXCEEDED", ""))
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, request_time_ms=100 if above > 0 else 60_000)
    async with dial(running.server.port) as client:
        stream = client.begin() if above > 0 else client.call(GET, REQUEST)
        await client.flush()
        status = (await client.ended(stream))[b"grpc-status"]
    return None if status == b"0" else ("DEADLINE_EXCEEDED" if status == b"4" else "", "")


@limit("handshake_time_ms", CUT)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start, handshake_time_ms=100 if above > 0 else 60_000)
    async with dial(running.server.port) as client:
        if above <= 0:
            return await closed(client.ping())
        await client.closed()
        return CUT


@limit("grace_ms", ("UNAVAILABLE", ""))
async def _(start: Start, above: int) -> Outcome:
    store = Held()
    running = await start(store, limits=Limits(grace_ms=100 if above > 0 else 60_000), grace_s=None)
    call = asyncio.ensure_future(refusal(running.stub.Get(REQUEST)))
    await reached(lambda: store.begun, 1)
    stopping = asyncio.create_task(running.server.stop())
    if above <= 0:
        store.go_on.set()
    outcome = await call
    await stopping
    return outcome


# Messages


@limit("message_bytes")
async def _(start: Start, above: int) -> Outcome:
    return await sent(await memory(start), OURS + "Put", padding(LIMITS.message_bytes + above))


@limit("query_request_bytes", ("LIMIT_EXCEEDED", ""))
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start)
    return await sent(running, OURS + "ListEntries", padding(LIMITS.query_request_bytes + above))


@limit("key_request_bytes")
async def _(start: Start, above: int) -> Outcome:
    return await sent(await memory(start), OURS + "Get", padding(LIMITS.key_request_bytes + above))


@limit("record_bytes")
async def _(start: Start, above: int) -> Outcome:
    record = placement_pb2.Record(name="n", revision=1, data=b"x" * (LIMITS.record_bytes + above))
    request = placement_pb2.PutRecordRequest(record=record).SerializeToString()
    return await refusal((await memory(start)).channel.unary_unary(PLACING + "PutRecord")(request))


@limit("record_request_bytes")
async def _(start: Start, above: int) -> Outcome:
    return await sent(await memory(start), PLACING + "PlaceNode", padding(LIMITS.record_request_bytes + above))


@limit("slots_request_bytes")
async def _(start: Start, above: int) -> Outcome:
    return await sent(await memory(start), PLACING + "ClearSlots", padding(LIMITS.slots_request_bytes + above))


@limit("metadata_bytes", CUT)
async def _(start: Start, above: int) -> Outcome:
    running = await memory(start)
    # What every call has takes less than 400 bytes.
    size = LIMITS.metadata_bytes + (1 if above > 0 else 400 * (above - 1))
    async with dial(running.server.port) as client:
        # It holds from when the client has acknowledged it.
        await client.ping()
        stream = client.call(GET, REQUEST, [(b"x", b"x" * size)])
        await client.flush()
        return None if (await client.ended(stream))[b"grpc-status"] == b"0" else CUT
