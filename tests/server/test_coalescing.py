"""A client that coalesces: fewer messages, and to each caller its own result, error, deadline, order and end."""

from __future__ import annotations

import asyncio
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import datastore_client._connection
import datastore_client._gathering
import datastore_client.aio._connection
import datastore_client.aio._gathering
from datastore import aio
from datastore.model.deadline import set_time_left
from datastore.model.errors import (
    ConditionFailedError,
    DatastoreClosedError,
    DeadlineExceededError,
    InvalidValueError,
    LimitExceededError,
    OverloadedError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES
from datastore_client._gather import BATCHES_AT_ONCE, MESSAGES_AT_ONCE
from datastore_client.aio import connect
from datastore_server.limits import Limits
from tests.server.conftest import Start
from tests.support.colours import Tasks, connected
from tests.support.waiting import until

KEYS = [Key(f"/k:{number}") for number in range(24)]


class Gated(aio.DictDatastore):
    """Answers while it is open, and notes how many keys or operations each call has."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.opened.set()
        self.sizes: list[int] = []
        self._held: list[asyncio.Event] = []

    async def read(self, keys: Any, options: Any) -> Any:
        await self._pass(len(keys))
        return await super().read(keys, options)

    async def write(self, operations: Any) -> Any:
        await self._pass(len(operations))
        return await super().write(operations)

    async def _pass(self, size: int) -> None:
        self.sizes.append(size)
        answered = asyncio.Event()
        self._held.append(answered)
        waits = [asyncio.ensure_future(event.wait()) for event in (self.opened, answered)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if answered in self._held:
            self._held.remove(answered)

    def answer(self, calls: int) -> None:
        """Answer so many of the calls that wait longest."""
        for _ in range(calls):
            self._held.pop(0).set()


@pytest.fixture(autouse=True)
async def threads() -> None:
    """Enough threads for all callers of a test."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(KEYS) + 8))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for the messages in flight however long that takes."""
    for module in (datastore_client._gathering, datastore_client.aio._gathering):
        monkeypatch.setattr(module, "HURRY_S", math.inf)


class Callers:
    """Calls of one client that are made while a store does not answer, in their order."""

    def __init__(self, colour: Any, store: Gated, *gatherings: Any) -> None:
        self._colour = colour
        self._store = store
        self._gatherings = gatherings
        self._begun: list[asyncio.Future[Any]] = []

    async def begin(self, method: Any, *arguments: Any, **options: Any) -> asyncio.Future[Any]:
        """Begin a call. Returns once it has been sent, or waits for others."""
        self._store.opened.clear()
        joined = await self._joined() + 1
        call = asyncio.ensure_future(self._colour.call(method, *arguments, **options))
        self._begun.append(call)

        async def has_begun() -> bool:
            return call.done() or await self._joined() == joined

        await until(has_begun, answer=True)
        return call

    async def sent(self) -> int:
        """How many calls the store has seen."""
        return sum(self._store.sizes)

    async def _joined(self) -> int:
        return await self.sent() + sum(gathering._gather.waiting for gathering in self._gatherings)

    async def results(self) -> list[Any]:
        """The results or errors of all calls, once the store answers."""
        self._store.opened.set()
        return await asyncio.gather(*self._begun, return_exceptions=True)


def reading(colour: Any, store: Gated, client: Any) -> Callers:
    return Callers(colour, store, *client._coalesced._reads.values())


def writing(colour: Any, store: Gated, client: Any) -> Callers:
    return Callers(colour, store, client._coalesced._writes)


@pytest.mark.usefixtures("unhurried")
async def test_gets_that_wait_share_a_message_and_have_their_own_results(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    await server.put_all({str(key): {"n": number} for number, key in enumerate(KEYS[1:])})
    async with connected(colour, server.server.url, coalesce=True) as client:
        callers = reading(colour, store, client)
        store.sizes.clear()
        for key in reversed(KEYS):
            await callers.begin(client.get, key)
        assert await callers.results() == [*({"n": number} for number in reversed(range(len(KEYS) - 1))), None]
        assert store.sizes == [1] * MESSAGES_AT_ONCE + [len(KEYS) - MESSAGES_AT_ONCE]


@pytest.mark.usefixtures("unhurried")
async def test_writes_that_wait_share_a_message_and_have_their_own_errors(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    async with connected(colour, server.server.url, coalesce=True) as client:
        await colour.call(client.put, KEYS[3], "there")
        callers = writing(colour, store, client)
        store.sizes.clear()
        await callers.begin(client.put, KEYS[0], 0)
        await callers.begin(client.put, KEYS[1], 1)
        await callers.begin(client.put, KEYS[2], 2)
        await callers.begin(client.put, KEYS[3], 3, if_absent=True)
        await callers.begin(client.delete, KEYS[4])
        await callers.begin(client.put, KEYS[5], 5, expires_in_s=3600)
        results = await callers.results()
        assert store.sizes == [1, 1, 4]
        assert isinstance(results.pop(3), ConditionFailedError)
        assert results == [None] * 5
        found = await colour.call(client.batch_get, KEYS[:6])
        assert [result.value for result in found] == [0, 1, 2, "there", None, 5]


async def test_what_cannot_be_sent_is_refused_to_its_caller_alone(colour: Any, start: Start) -> None:
    server = await start(aio.DictDatastore())
    async with connected(colour, server.server.url, coalesce=True) as client:
        calls = [
            colour.call(client.put, KEYS[0], 0),
            colour.call(client.put, KEYS[1], {"n": 2**63}),
            colour.call(client.put, KEYS[2], b"x" * ENTRY_BYTES),
            colour.call(client.put, KEYS[3], 3),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[1], InvalidValueError)
        assert results[1].path == "value['n']"
        assert isinstance(results[2], LimitExceededError)
        assert [results[0], results[3]] == [None, None]


@pytest.mark.usefixtures("unhurried")
async def test_writes_of_one_key_are_made_in_their_order(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    async with connected(colour, server.server.url, coalesce=True) as client:
        callers = writing(colour, store, client)
        await callers.begin(client.put, KEYS[0], {"n": 0})
        for number in range(1, 6):
            await callers.begin(client.put, KEYS[0], {"n": number})
            await callers.begin(client.patch, KEYS[0], increment={"n": 10})
        results = await callers.results()
        assert results[2::2] == [{"n": 10 + number} for number in range(1, 6)]
        assert await colour.call(client.get, KEYS[0]) == {"n": 15}


async def test_calls_do_not_wait_long_for_a_message_that_is_not_answered(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    async with connected(colour, server.server.url, coalesce=True) as client:
        callers = reading(colour, store, client)
        for key in KEYS[: MESSAGES_AT_ONCE + 2]:
            await callers.begin(client.get, key)
        await until(callers.sent, MESSAGES_AT_ONCE + 2)
        assert await callers.results() == [None] * (MESSAGES_AT_ONCE + 2)


@pytest.mark.usefixtures("unhurried")
async def test_each_call_has_its_own_deadline(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    async with connected(colour, server.server.url, coalesce=True) as client:
        callers = reading(colour, store, client)
        for key in KEYS[:MESSAGES_AT_ONCE]:
            await callers.begin(client.get, key)
        patient = await callers.begin(client.get, KEYS[2])
        # Of a call made here, and of the tasks and threads that it uses.
        set_time_left(0.05)
        hasty = await callers.begin(client.get, KEYS[3])
        with pytest.raises(DeadlineExceededError):
            await hasty
        assert not patient.done()
        await callers.results()
        assert patient.result() is None


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("which", [slice(2, 4), slice(5, 6), slice(2, 6)], ids=["members", "the leader", "all"])
async def test_a_caller_that_is_cancelled_leaves_the_others(start: Start, which: slice, *, sent: bool) -> None:
    store = Gated()
    server = await start(store)
    await server.put_all({str(key): number for number, key in enumerate(KEYS)})
    store.sizes.clear()
    async with connect(server.server.url, coalesce=True) as client:
        callers = reading(Tasks(), store, client)
        calls = [await callers.begin(client.get, key) for key in KEYS[:6]]
        if sent:
            # The message of the others is in flight.
            store.answer(MESSAGES_AT_ONCE)
            await until(callers.sent, 6)
        for call in calls[which]:
            call.cancel()
        cancelled = range(6)[which]
        results = await callers.results()
        assert [number for number, result in enumerate(results) if isinstance(result, asyncio.CancelledError)] == [
            *cancelled
        ]
        assert all(results[number] == number for number in range(6) if number not in cancelled)
        assert await client.get(KEYS[7]) == 7


@pytest.mark.usefixtures("unhurried")
async def test_closing_the_client_ends_all_calls(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    async with connected(colour, server.server.url, coalesce=True) as client:
        callers = writing(colour, store, client)
        for number, key in enumerate(KEYS):
            await callers.begin(client.put, key, number)
        await colour.close(client)
        results = await callers.results()
        assert all(isinstance(result, DatastoreClosedError) for result in results)


async def test_a_server_that_is_down_is_an_error_of_every_caller(colour: Any, start: Start) -> None:
    server = await start(aio.DictDatastore())
    async with connected(colour, server.server.url, coalesce=True, retry=False) as client:
        await colour.call(client.put, KEYS[0], 1)
        await server.server.stop()
        results = await asyncio.gather(*(colour.call(client.get, key) for key in KEYS), return_exceptions=True)
        assert all(isinstance(result, UnavailableError) for result in results)
        # Each may be raised by its own caller.
        assert len({id(result) for result in results}) == len(KEYS)


@pytest.mark.usefixtures("unhurried")
async def test_a_limited_number_of_calls_wait(colour: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (datastore_client._connection, datastore_client.aio._connection):
        monkeypatch.setattr(module, "WAITING_CALLS", 3)
    store = Gated()
    server = await start(store)
    async with connected(colour, server.server.url, coalesce=True) as client:
        callers = reading(colour, store, client)
        for key in KEYS[: MESSAGES_AT_ONCE + 3]:
            await callers.begin(client.get, key)
        with pytest.raises(OverloadedError, match=r"^3 calls .* are already waiting") as caught:
            await colour.call(client.get, KEYS[10])
        assert caught.value.retry_after_s is not None
        assert await callers.results() == [None] * (MESSAGES_AT_ONCE + 3)


async def test_values_that_do_not_fit_in_one_answer_all_arrive(colour: Any, start: Start) -> None:
    server = await start(aio.DictDatastore())
    async with connected(colour, server.server.url, coalesce=True) as client:
        for number, key in enumerate(KEYS):
            await colour.call(client.put, key, bytes([number]) * 1_000_000)
        for _ in range(2):
            values = await asyncio.gather(*(colour.call(client.get, key) for key in KEYS))
            assert [value[:1] for value in values] == [bytes([number]) for number in range(len(KEYS))]
            assert {len(value) for value in values} == {1_000_000}


@pytest.mark.usefixtures("unhurried")
async def test_batches_that_wait_share_a_message_and_have_their_own_results(colour: Any, start: Start) -> None:
    store = Gated()
    server = await start(store)
    await server.put_all({str(key): {"n": number} for number, key in enumerate(KEYS[1:])})
    async with connected(colour, server.server.url, coalesce=True) as client:
        batches = [KEYS[place : place + 3] for place in range(0, len(KEYS), 3)]
        gatherings = client._coalesced._batches.values()
        store.sizes.clear()
        store.opened.clear()
        calls = []
        for waiting, batch in enumerate(batches, 1 - BATCHES_AT_ONCE):
            calls.append(asyncio.ensure_future(colour.call(client.batch_get, batch)))

            async def waits(expected: int = waiting) -> bool:
                are_waiting = sum(gathering._gather.waiting for gathering in gatherings)
                return (len(store.sizes), are_waiting) == (min(expected, 0) + BATCHES_AT_ONCE, max(expected, 0))

            await until(waits, answer=True)
        store.opened.set()
        found = [[result.value for result in results] for results in await asyncio.gather(*calls)]
        assert found == [[None if key is KEYS[0] else {"n": KEYS.index(key) - 1} for key in batch] for batch in batches]
        assert store.sizes == [3] * BATCHES_AT_ONCE + [3 * (len(batches) - BATCHES_AT_ONCE)]


async def test_batches_whose_values_do_not_fit_in_one_answer_all_arrive(colour: Any, start: Start) -> None:
    server = await start(aio.DictDatastore())
    async with connected(colour, server.server.url, coalesce=True) as client:
        for number, key in enumerate(KEYS):
            await colour.call(client.put, key, bytes([number]) * 1_000_000)
        for _ in range(2):
            batches = [KEYS[place : place + 3] for place in range(0, len(KEYS), 3)]
            found = await asyncio.gather(*(colour.call(client.batch_get, batch) for batch in batches))
            values = [result.value for results in found for result in results]
            assert [value[:1] for value in values] == [bytes([number]) for number in range(len(KEYS))]


async def test_batches_share_messages_within_the_limit_of_the_server(colour: Any, start: Start) -> None:
    server = await start(aio.DictDatastore(), limits=Limits(batch_items=4))
    async with connected(colour, server.server.url, coalesce=True) as client:
        for number, key in enumerate(KEYS):
            await colour.call(client.put, key, {"n": number})
        batches = [KEYS[place : place + 3] for place in range(0, len(KEYS), 3)]
        found = await asyncio.gather(*(colour.call(client.batch_get, batch) for batch in batches))
        assert [result.value["n"] for results in found for result in results] == list(range(len(KEYS)))


async def test_conditional_increments_of_many_callers_all_count(colour: Any, start: Start) -> None:
    server = await start(aio.DictDatastore())
    async with connected(colour, server.server.url, coalesce=True) as client:
        increment = [
            colour.call(client.update, KEYS[number % 2], lambda value: {"n": (value or {"n": 0})["n"] + 1})
            for number in range(len(KEYS))
        ]
        await asyncio.gather(*increment)
        assert [await colour.call(client.get, key) for key in KEYS[:2]] == [{"n": len(KEYS) // 2}] * 2


#: How many of ten event loops are left in a process of its own: in others, gRPC keeps loops while it has channels.
LOOPS_LEFT = """
import asyncio, gc, sys, weakref
from datastore.model.key import Key
from datastore_client.aio import connect

loops = []

async def use(url):
    loops.append(weakref.ref(asyncio.get_running_loop()))
    async with connect(url, coalesce=True) as store:
        await asyncio.gather(*(store.put(Key(f"/K:{number}"), number) for number in range(100)))

for _ in range(10):
    asyncio.run(use(sys.argv[1]))
gc.collect()
print(sum(loop() is not None for loop in loops))
"""


async def test_event_loops_are_not_held_by_clients_that_were_closed(start: Start) -> None:
    running = await start(aio.DictDatastore())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOOPS_LEFT, running.server.url), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    # The last one may be held by what gRPC has not let go of yet.
    assert int(output) <= 2
