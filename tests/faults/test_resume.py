"""Streams that are cut, on the wire and by their server: they continue exactly, or fail; none ends early."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    DeadlineExceededError,
    InternalError,
    InvalidTokenError,
    OverloadedError,
    TruncatedStreamError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing import model
from datastore_client import RemoteDatastore, _retry
from datastore_server.app import serve
from datastore_server.limits import Limits
from tests.support import clusters
from tests.support.colours import Tasks, Threads, connected
from tests.support.scripted import Scripted, Wire, broken_wire, fails, results, scripted, sends

CUT = UnavailableError("the server is shutting down")
BUSY = OverloadedError("the server is busy", retry_after_s=0.01)
DRAINING = UnavailableError("the server is shutting down", retry_after_s=0.01)

#: Several messages of results.
CONTENTS = {
    Key(f"/Thing:{index:05}"): {"n": index * 7919 % 4000, "group": index % 5, "filler": "x" * 400}
    for index in range(4000)
}


@pytest.fixture(params=[Tasks(), Threads()], ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def filled() -> Any:
    """A store in memory that holds CONTENTS, in the form that servers keep."""
    store = aio.DictDatastore()
    for key, value in CONTENTS.items():
        asyncio.run(store.put(key, wire.encode_value(value)))
    return store


@pytest.fixture
async def port(filled: Any) -> AsyncIterator[int]:
    """The port of a server on CONTENTS."""
    async with serve(Kept(filled), grace_s=0.2) as server:
        yield server.port


class Kept(aio.ShimDatastore):
    """Stays open when its server closes it."""

    async def aclose(self) -> None:
        pass


def by_key() -> Query:
    return Query(Key("/Thing"))


def by_order() -> Query:
    return Query(Key("/Thing")).order("group").order("-n")


def filtered_and_cut() -> Query:
    return Query(Key("/Thing"), offset=300, limit=2000).filter("group", "!=", 3).order("-n")


QUERIES = [by_key, by_order, filtered_and_cut]

#: Each query in each colour; one without the long ones.
each_query = pytest.mark.parametrize(
    ("colour", "query"),
    [
        pytest.param(colour, query, id=f"{colour.name}-{query.__name__}", marks=() if shown else pytest.mark.long)
        for colour in (Tasks(), Threads())
        for query in QUERIES
        for shown in [colour.name == "tasks" and query is by_order]
    ],
    indirect=["colour"],
)


def things_of_some_groups() -> Query:
    return Query(Key("/Thing"), offset=300, limit=2000).filter("group", "!=", 3)


def _connection_of(colour: Any) -> str:
    return str(colour.remote.__module__).replace("remote", "_connection")


#: For what takes seconds.
mostly_tasks = pytest.mark.parametrize(
    "colour", [Tasks(), pytest.param(Threads(), marks=pytest.mark.long)], indirect=True
)


async def is_exact(colour: Any, url: str, query: Query, broken: Wire | None = None) -> None:
    """Read a query to its end and compare the whole answer with the model's. The wire breaks after the first entry."""
    async with connected(colour, url) as store:
        cursor = store.query(query)
        begun = await colour.read(cursor, 1)
        if broken is not None:
            broken.arm()
        rest = await colour.read(cursor)
    expected = model.answer(query, CONTENTS)
    assert begun[0].value == expected.entries[0].value
    problem = model.difference(rest, expected.entries[1:])
    assert problem is None, problem
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)
    assert cursor.summary is not None


# The wire

#: The first message of results is smaller, that of a sorted query included, which comes with the others.
FIRST_BYTES = 450_000
FIRST_FRAMES = 30


@each_query
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))])
async def test_a_connection_that_breaks_anywhere_loses_and_repeats_nothing(
    colour: Any, port: int, query: Any, seed: int
) -> None:
    choose = random.Random(seed)
    breaks = [choose.randrange(FIRST_BYTES, 600_000), *(choose.randrange(1, 600_000) for _ in range(3))]
    async with broken_wire(port, breaks=breaks) as (url, broken):
        await is_exact(colour, url, query(), broken)
        assert broken.faults >= 1


@each_query
async def test_a_stream_reset_in_transit_continues(colour: Any, port: int, query: Any) -> None:
    async with broken_wire(port, resets=[FIRST_FRAMES, 1, 5]) as (url, broken):
        await is_exact(colour, url, query(), broken)
        assert broken.faults == 3


@each_query
async def test_a_connection_that_breaks_before_the_first_result_loses_nothing_either(
    colour: Any, port: int, query: Any
) -> None:
    async with broken_wire(port, breaks=[FIRST_BYTES // 100]) as (url, broken):
        broken.arm()
        await is_exact(colour, url, query())
        assert broken.faults == 1


@pytest.mark.parametrize(
    "query",
    [pytest.param(by_key, marks=pytest.mark.long), by_order, pytest.param(filtered_and_cut, marks=pytest.mark.long)],
)
async def test_a_connection_between_a_proxy_and_its_shard_may_break_too(filled: Any, query: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        whole = await stack.enter_async_context(serve(Kept(filled), grace_s=0.2))
        url, broken = await stack.enter_async_context(broken_wire(whole.port, breaks=[FIRST_BYTES, 1]))
        shard = Tasks.remote(url, lazy=True, name="only")
        sharded = aio.ShardedDatastore([shard], hash, names=["only"])
        proxy = await stack.enter_async_context(serve(sharded, check_values=False, grace_s=0.2))
        await is_exact(Tasks(), proxy.url, query(), broken)
        assert broken.faults == 2


@each_query
async def test_a_server_that_stops_gracefully_and_its_replacement_give_one_answer(
    colour: Any, filled: Any, query: Any
) -> None:
    async with serve(Kept(filled), grace_s=0.2) as first, connected(colour, first.url) as store:
        cursor = store.query(query())
        begun = await colour.read(cursor, 1)
        await first.stop()
        async with serve(Kept(filled), listen=f"127.0.0.1:{first.port}", grace_s=0.2):
            rest = await colour.read(cursor)
    expected = model.answer(query(), CONTENTS)
    assert [entry.value for entry in [*begun, *rest]] == [entry.value for entry in expected.entries]
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)


@mostly_tasks
async def test_a_query_longer_than_its_servers_time_is_continued(colour: Any, filled: Any) -> None:
    class Hanging(Kept):
        """Returns one batch of results per query, and then nothing."""

        ordered_queries = True

        def query(self, query: Any) -> Any:
            return aio.Cursor.from_batches(query, self._one(super().query(query).batches()))

        async def _one(self, batches: Any) -> Any:
            async for batch in batches:
                yield batch
                if batch.keys:
                    await asyncio.Event().wait()

    async with serve(Hanging(filled), limits=Limits(query_time_ms=500), grace_s=0.2) as server:
        await is_exact(colour, server.url, by_key())


# The script


def numbers(entries: Any) -> list[int]:
    return [entry.value for entry in entries]


def tokens(script: Scripted) -> list[bytes]:
    return [request.resume_token for request in script.queries]


def things(**query: Any) -> Query:
    return Query(Key("/K"), **query)


@pytest.mark.parametrize("cut_after", [1, 2, 3, 4])
async def test_a_stream_cut_after_each_message_continues_after_it(colour: Any, cut_after: int) -> None:
    messages = [results(0, 1), results(), results(2, token=b"t2"), results(3, 4)]
    messages[1].resume_token = b"moved on"
    received = sum(len(message.entries) for message in messages[:cut_after])
    rest = [*messages[cut_after:], results(5, last=6 - received)]
    async with (
        scripted(Query=[sends(*messages[:cut_after], error=CUT), sends(*rest)]) as script,
        connected(colour, script.url) as store,
    ):
        cursor = store.query(things())
        assert numbers(await colour.read(cursor)) == [0, 1, 2, 3, 4, 5]
        assert tokens(script) == [b"", messages[cut_after - 1].resume_token]
        assert script.queries[0].query == script.queries[1].query
        assert cursor.summary is not None
        assert cursor.summary.entries == 6


@pytest.mark.parametrize("error", [BUSY, grpc.StatusCode.CANCELLED], ids=str)
async def test_a_stream_that_its_server_cancels_or_refuses_to_continue_continues_later(colour: Any, error: Any) -> None:
    answers = [sends(results(0, 1), error=error), fails(error), sends(results(2, last=1))]
    async with scripted(Query=answers) as script, connected(colour, script.url) as store:
        assert numbers(await colour.read(store.query(things()))) == [0, 1, 2]
        assert tokens(script) == [b"", b"after 1", b"after 1"]


# Unread streams


@pytest.mark.parametrize("stopped_at", [1, 2])
@pytest.mark.parametrize("order", ["__key__", "n"])
async def test_a_stream_that_is_not_read_ends_and_continues_where_it_was(
    colour: Any, order: str, stopped_at: int
) -> None:
    answers = [sends(results(0, 1), hangs=True), sends(results(2, skipped=1, last=1))]
    async with scripted(Query=answers) as script, connected(colour, script.url, idle_stream_s=0.001) as store:
        cursor = store.query(things(offset=1).order(order))
        begun = await colour.read(cursor, stopped_at)
        await script.until_cancelled()
        assert numbers([*begun, *await colour.read(cursor)]) == [0, 1, 2]
        assert tokens(script) == [b"", b"after 1"]
        assert cursor.summary is not None
        assert (cursor.summary.entries, cursor.summary.skipped, cursor.summary.scanned) == (3, 1, 3)


async def test_a_stream_that_was_continued_may_be_unread_for_twice_as_long_before_it_ends(
    colour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []

    class Noted(import_module(colour.remote.__module__).IdleLimit):  # type: ignore[misc]
        def __init__(self, idle_s: float | None, end: Any) -> None:
            limits.append(idle_s)
            super().__init__(idle_s, end)

    monkeypatch.setattr(f"{colour.remote.__module__}.IdleLimit", Noted)
    answers = [sends(results(number), hangs=True) for number in range(3)]
    async with scripted(Query=answers) as script, connected(colour, script.url, idle_stream_s=0.001) as store:
        cursor = store.query(things())
        for times in range(1, 4):
            await colour.read(cursor, 1)
            await script.until_cancelled(times)
        await colour.close(cursor)
    assert limits == [0.001, 0.002, 0.004]


async def test_a_stream_that_is_not_read_makes_room_and_may_be_closed(
    colour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{_connection_of(colour)}.STREAMS_AT_ONCE", 1)
    async with (
        scripted(Query=sends(results(1), hangs=True)) as script,
        connected(colour, script.url, idle_stream_s=0.001) as store,
    ):
        cursors = [store.query(things()) for _ in range(3)]
        for times, cursor in enumerate(cursors, 1):
            await colour.read(cursor, 1)
            await script.until_cancelled(times)
        for cursor in cursors:
            await colour.close(cursor)


async def test_a_server_that_is_gone_while_a_stream_is_not_read_is_an_error_like_any_other(colour: Any) -> None:
    gone = InvalidTokenError("of another query", field="resume_token")
    answers = [sends(results(0), hangs=True), fails(gone)]
    async with scripted(Query=answers) as script, connected(colour, script.url, idle_stream_s=0.001) as store:
        cursor = store.query(things())
        await colour.read(cursor, 1)
        await script.until_cancelled()
        with pytest.raises(InvalidTokenError):
            await colour.read(cursor)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
async def test_a_stream_that_is_read_with_pauses_loses_and_repeats_nothing(colour: Any, port: int, seed: int) -> None:
    choose = random.Random(seed)
    query = things_of_some_groups()
    async with connected(colour, f"grpc://127.0.0.1:{port}", idle_stream_s=0.0005) as store:
        cursor = store.query(query)
        read: list[Any] = []
        while part := await colour.next_values(cursor, choose.randrange(1, 200)):
            read += part
            await asyncio.sleep(choose.choice([0, 0, 0.002]))
    expected = model.answer(query, CONTENTS)
    assert read == [entry.value for entry in expected.entries]
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)


async def test_counts_add_up_over_all_calls(colour: Any) -> None:
    first, last = results(1, 2, skipped=3), results(3, skipped=2, last=1)
    async with (
        scripted(Query=[sends(first, error=CUT), sends(last)]) as script,
        connected(colour, script.url) as store,
    ):
        cursor = store.query(things(offset=5))
        await colour.read(cursor)
        assert cursor.summary is not None
        assert (cursor.summary.entries, cursor.summary.skipped, cursor.summary.scanned) == (3, 5, 3)


@pytest.mark.parametrize("error", [DRAINING, BUSY, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED], ids=str)
async def test_a_query_that_is_cut_before_its_first_message_starts_over(colour: Any, error: Any) -> None:
    answers = [fails(error), fails(error), sends(results(0, 1, last=2))]
    async with scripted(Query=answers) as script, connected(colour, script.url) as store:
        assert numbers(await colour.read(store.query(things()))) == [0, 1]
        assert tokens(script) == [b"", b"", b""]


async def test_a_query_that_a_proxy_cannot_answer_fails_immediately(colour: Any) -> None:
    gone = UnavailableError("nothing answers", shard="shard-2")
    async with scripted(Query=fails(gone)) as script, connected(colour, script.url) as store:
        with pytest.raises(UnavailableError):
            await colour.read(store.query(things()))
        assert len(script.calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        InternalError("unexpected", incident="abc"),
        InvalidTokenError("of another query", field="resume_token"),
        CorruptDataError("a value cannot be read", shard="s1"),
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAUTHENTICATED,
    ],
    ids=str,
)
async def test_any_other_error_during_a_stream_is_raised_and_not_retried(colour: Any, error: Any) -> None:
    async with scripted(Query=sends(results(1), error=error)) as script, connected(colour, script.url) as store:
        cursor = store.query(things())
        with pytest.raises(type(error) if isinstance(error, DatastoreError) else DatastoreError):
            await colour.read(cursor)
        assert cursor.summary is None
        assert len(script.calls) == 1


@pytest.mark.parametrize(
    "end",
    [
        sends(results(1), results(2)),
        sends(),
        # The summary counts more than arrived, and less.
        sends(results(1), results(2, last=3)),
        sends(results(1), results(2, last=1)),
    ],
    ids=["no summary", "nothing", "too few", "too many"],
)
async def test_a_stream_that_is_not_whole_raises(colour: Any, end: Any) -> None:
    async with scripted(Query=end) as script, connected(colour, script.url, name="shard-7") as store:
        cursor = store.query(things())
        with pytest.raises(TruncatedStreamError) as caught:
            await colour.read(cursor)
        assert caught.value.shard == "shard-7"
        assert script.url in str(caught.value)
        assert cursor.summary is None
        assert len(script.calls) == 1


@mostly_tasks
async def test_a_server_that_stays_down_is_given_up(colour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "RESUME_TIMEOUT_S", 0.4)
    async with (
        scripted(Query=[sends(results(1), error=CUT), fails(CUT)]) as script,
        connected(colour, script.url, name="shard-7") as store,
    ):
        cursor = store.query(things())
        with pytest.raises(UnavailableError) as caught:
            await colour.read(cursor)
        assert caught.value.shard == "shard-7"
        assert cursor.summary is None
        assert len(script.calls) > 2
        assert set(tokens(script)[1:]) == {b"after 1"}


async def test_a_query_ends_at_its_deadline_and_so_does_its_call(colour: Any) -> None:
    async with (
        scripted(Query=sends(results(1), hangs=True)) as script,
        connected(colour, script.url, query_timeout_s=0.3) as store,
    ):
        with pytest.raises(DeadlineExceededError, match=r"0\.3 s"):
            await colour.read(store.query(things()))
        await script.until_cancelled()


@mostly_tasks
async def test_the_deadline_of_a_query_is_for_all_its_calls(colour: Any) -> None:
    async with (
        scripted(Query=sends(results(1), error=CUT)) as script,
        connected(colour, script.url, query_timeout_s=0.5) as store,
    ):
        with pytest.raises((UnavailableError, DeadlineExceededError)):
            await colour.read(store.query(things()))
        assert len(script.calls) > 1


async def test_a_servers_time_limit_does_not_end_a_query_that_makes_progress(colour: Any) -> None:
    late = DeadlineExceededError("a query may run for 1 s here")
    answers = [sends(results(number), error=late) for number in range(4)]
    async with (
        scripted(Query=[*answers, sends(results(4, last=1))]) as script,
        connected(colour, script.url) as store,
    ):
        assert numbers(await colour.read(store.query(things()))) == [0, 1, 2, 3, 4]


async def test_a_query_that_makes_no_progress_within_its_servers_time_fails(colour: Any) -> None:
    sorting = sends(results(), error=DeadlineExceededError("a query may run for 1 s here"))
    async with scripted(Query=sorting) as script, connected(colour, script.url) as store:
        with pytest.raises(DeadlineExceededError, match="may run for 1 s"):
            await colour.read(store.query(things().order("n")))
        assert len(script.calls) == 2


async def test_a_cursor_that_is_closed_while_it_waits_for_its_server_does_not_retry() -> None:
    async with (
        scripted(Query=[sends(results(1), error=CUT), fails(CUT)]) as script,
        connected(Tasks(), script.url) as store,
    ):
        task = asyncio.create_task(Tasks().read(store.query(things())))
        while len(script.calls) < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        tried = len(script.calls)
        await asyncio.sleep(0.3)
        assert len(script.calls) == tried


def test_ctrl_c_ends_the_call_of_a_cursor() -> None:
    with clusters.background() as background:
        script_ = scripted(Query=sends(results(1), hangs=True))
        script: Any = background.run(script_.__aenter__())
        try:
            with RemoteDatastore(script.url) as store:
                cursor = store.query(things())
                assert next(cursor) == 1
                timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
                timer.start()
                with pytest.raises(KeyboardInterrupt):
                    next(cursor)
                timer.join()
                background.run(script.until_cancelled())
                with pytest.raises(StopIteration):
                    next(cursor)
        finally:
            background.run(script_.__aexit__(None, None, None))


# What is promised of entries that change meanwhile


async def read_over_a_restart(colour: Any, query: Query, changes: dict[Key, Any]) -> list[str]:
    """The keys of a query that is read in part, then continued by another server after these changes."""
    store = aio.DictDatastore()
    for key, value in CONTENTS.items():
        await store.put(key, wire.encode_value(value))
    async with serve(Kept(store), grace_s=0.2) as first, connected(colour, first.url) as remote:
        cursor = remote.query(query)
        begun = await colour.read(cursor, 1)
        await first.stop()
        for key, value in changes.items():
            await (store.delete(key) if value is None else store.put(key, wire.encode_value(value)))
        async with serve(Kept(store), listen=f"127.0.0.1:{first.port}", grace_s=0.2):
            rest = await colour.read(cursor)
    (first_key,) = [key for key, value in CONTENTS.items() if value == begun[0].value]
    return [str(first_key), *(str(entry.key) for entry in rest)]


@mostly_tasks
async def test_by_key_no_entry_is_returned_twice_however_entries_change(colour: Any) -> None:
    first, last = min(CONTENTS), max(CONTENTS)
    changes = {first: {"n": -1}, last: {"n": 10**6}, Key("/Thing:00001"): None}
    keys = await read_over_a_restart(colour, by_key(), changes)
    assert keys == sorted(set(keys))
    assert set(map(str, CONTENTS.keys() - changes.keys())) <= set(keys)


@mostly_tasks
async def test_by_fields_an_entry_is_returned_once_unless_its_order_fields_change(colour: Any) -> None:
    ordered = sorted(CONTENTS, key=lambda key: (CONTENTS[key]["n"], str(key)))
    first, last, other = ordered[0], ordered[-1], ordered[-2]
    changes = {
        # From before the place where the results were cut to after it, and vice versa.
        first: {**CONTENTS[first], "n": 10**6},
        last: {**CONTENTS[last], "n": -1},
        # Changed, but not in the fields by which it is ordered.
        other: {**CONTENTS[other], "filler": "changed"},
    }
    keys = await read_over_a_restart(colour, Query(Key("/Thing")).order("n"), changes)
    assert keys.count(str(first)) == 2
    assert keys.count(str(last)) == 0
    assert keys[1:] == [str(key) for key in [*ordered[1:-1], first]]
