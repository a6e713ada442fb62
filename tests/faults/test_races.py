"""Shims and tiers under many concurrent threads or tasks, with faults: answers are checked against what was done.

A worker is a generator of calls; it gets the outcome of each. So threads and tasks do the same work. Every test
begins with a new seed, which is printed where it fails.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import settings

from datastore import aio, core
from datastore.aio.testing.faults import FaultyDatastore
from datastore.model import errors
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.operations import ReadResult
from datastore.model.query import Query

#: A call without arguments, which an async store answers with an awaitable.
Call = Callable[[], Any]
Worker = Generator[Call, ReadResult, None]

#: How many calls a worker makes: as many as the profile has examples, 40, 300 or 20,000.
ROUNDS = settings().max_examples
WORKERS = 4
FAULTS = 0.1
#: How long a failed cache is skipped: it is back for the next call.
AT_ONCE_S = 1e-9


class Threads:
    """Each worker in a thread."""

    library: Any = core

    def run(self, workers: Sequence[Worker]) -> None:
        failed: list[BaseException] = []
        threads = [threading.Thread(target=self._drive, args=(worker, failed)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def _drive(self, worker: Worker, failed: list[BaseException]) -> None:
        try:
            call = next(worker)
            while True:
                try:
                    outcome = ReadResult(call())
                except errors.DatastoreError as error:
                    outcome = ReadResult(error=error)
                call = worker.send(outcome)
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by the thread that began it
            failed.append(error)

    def now(self, call: Call) -> Any:
        return call()

    def values(self, cursor: Any) -> list[Any]:
        return list(cursor)


class Tasks:
    """Each worker in a task of one loop."""

    library: Any = aio

    def run(self, workers: Sequence[Worker]) -> None:
        async def together() -> None:
            await asyncio.gather(*map(self._drive, workers))

        asyncio.run(together())

    async def _drive(self, worker: Worker) -> None:
        try:
            call = next(worker)
            while True:
                try:
                    outcome = ReadResult(await call())
                except errors.DatastoreError as error:
                    outcome = ReadResult(error=error)
                call = worker.send(outcome)
        except StopIteration:
            pass

    def now(self, call: Call) -> Any:
        async def done() -> Any:
            return await call()

        return asyncio.run(done())

    async def values(self, cursor: Any) -> list[Any]:
        return [value async for value in cursor]


@pytest.fixture(params=[Threads(), Tasks()], ids=["threads", "tasks"])
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def chooser() -> random.Random:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it where the test fails
    return random.Random(seed)


def unreliable(colour: Any, store: Any, seed: float, *calls: str) -> Any:
    """A shim of the colour that lets others go first, and fails some of these calls: half of them after the child."""
    chooser = random.Random(seed)

    class Unreliable(colour.library.ShimDatastore):
        if colour.library is core:

            def _do(self, name: str, *arguments: Any) -> Any:
                # Long enough for another thread to go on, now and then.
                time.sleep(chooser.choice([0, 0, 1e-5]))
                return self._end(name, getattr(self.child_datastore, name)(*self._begin(name, arguments)))

            def get(self, key):
                return self._do("get", key)

            def put(self, key, value):
                self._do("put", key, value)

            def delete(self, key):
                self._do("delete", key)
        else:

            async def _do(self, name: str, *arguments: Any) -> Any:
                await asyncio.sleep(0)
                answer = await getattr(self.child_datastore, name)(*self._begin(name, arguments))
                await asyncio.sleep(0)
                return self._end(name, answer)

            async def get(self, key):
                return await self._do("get", key)

            async def put(self, key, value):
                await self._do("put", key, value)

            async def delete(self, key):
                await self._do("delete", key)

        def _begin(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if name in calls and chooser.random() < FAULTS / 2:
                raise errors.StoreError("not done")
            return arguments

        def _end(self, name: str, answer: Any) -> Any:
            if name in calls and chooser.random() < FAULTS / 2:
                raise errors.UnavailableError("perhaps done")
            return answer

    return Unreliable(store)


# Caches


class History:
    """What was written to one key, by one worker, and what a reader may thus find.

    Writes are numbered, and a value is its number. A read may find what the last write before it left that is known to
    have been done, or any that began since and is not known to have failed.
    """

    def __init__(self) -> None:
        #: For each write: whether it left a value. The first represents the empty store.
        self.leaves = [False]
        self.failed: set[int] = set()
        self.done = 0

    def begin(self, *, value: bool) -> int:
        self.leaves.append(value)
        return len(self.leaves) - 1

    def end(self, number: int, outcome: ReadResult) -> None:
        if outcome.error is None:
            self.done = number
        elif isinstance(outcome.error, errors.StoreError):
            self.failed.add(number)

    def may_be(self, found: Any, since: int) -> bool:
        """Whether a read that began when write `since` was the last one done, and ends now, may find this."""
        possible = set(range(since, len(self.leaves))) - self.failed | {since}
        return found in {number if self.leaves[number] else None for number in possible}


def caching_worker(colour: Any, store: Any, own: Key, histories: dict[Key, History], seed: float) -> Worker:
    """Writes one key and reads all."""
    chooser, keys = random.Random(seed), list(histories)
    for _ in range(ROUNDS):
        if chooser.random() < 0.4:
            history, value = histories[own], chooser.random() < 0.7
            number = history.begin(value=value)
            if chooser.random() < 0.5:
                outcome = yield partial(store.put, own, number) if value else partial(store.delete, own)
            else:
                outcome = yield partial(store.batch_write, [Write(own, number if value else None)])
                outcome = outcome if outcome.error is not None else outcome.value[0]
            history.end(number, outcome)
        elif chooser.random() < 0.3:
            since_all = {key: histories[key].done for key in keys}
            outcome = yield partial(store.batch_get, keys)
            for key, found in zip(keys, outcome.value or (), strict=False):
                if found.error is None:
                    assert histories[key].may_be(found.value, since_all[key]), (str(key), found.value, since_all[key])
        else:
            key = chooser.choice(keys)
            since = histories[key].done
            outcome = yield partial(store.get, key)
            if outcome.error is None:
                assert histories[key].may_be(outcome.value, since), (str(key), outcome.value, since)


@pytest.mark.parametrize("kind", ["tiered", "three tiers", "cache"])
def test_no_read_through_a_cache_is_older_than_the_last_write_that_is_done(
    kind: str, colour: Any, chooser: random.Random
):
    library = colour.library
    last = unreliable(colour, library.DictDatastore(), chooser.random(), "get", "put", "delete")
    # What cannot be deleted in a cache may be stale there, so deletes do not fail.
    upper = unreliable(colour, library.LRUCacheDatastore(2), chooser.random(), "get", "put")
    if kind == "cache":
        store = library.CacheShimDatastore(last, cache=upper, skip_failed_s=AT_ONCE_S)
    else:
        middle = unreliable(colour, library.DictDatastore(), chooser.random(), "get", "put")
        tiers = [upper, *([middle] if kind == "three tiers" else []), last]
        store = library.TieredDatastore(tiers, skip_failed_s=AT_ONCE_S)
    histories = {Key(f"/a/{number}"): History() for number in range(WORKERS)}
    workers = [caching_worker(colour, store, key, histories, chooser.random()) for key in histories]
    colour.run(workers)
    for key, history in histories.items():
        left = colour.now(partial(last.child_datastore.get, key))
        assert history.may_be(left, history.done)
        assert found_in_the_end(colour, store, key) == left


def found_in_the_end(colour: Any, store: Any, key: Key) -> Any:
    """What a store whose calls may fail answers once it does not."""
    while True:
        with suppress(errors.DatastoreError):
            return colour.now(partial(store.get, key))


@pytest.mark.parametrize("kind", ["tiered", "cache"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("put", (Key("/a"), "new")),
        ("delete", (Key("/a"),)),
        ("batch_write", ([Write(Key("/a"), "new"), Write(Key("/b"), 1)],)),
    ],
    ids=["put", "delete", "batch"],
)
async def test_a_write_that_is_cancelled_twice_is_forgotten_above(name: str, arguments: tuple[Any, ...], kind: str):
    upper, last = FaultyDatastore(aio.DictDatastore()), FaultyDatastore(aio.DictDatastore())
    store: Any = aio.TieredDatastore([upper, last]) if kind == "tiered" else aio.CacheShimDatastore(last, cache=upper)
    await store.put(Key("/a"), "old")
    last.hang(name)
    task = asyncio.create_task(getattr(store, name)(*arguments))
    await last.hanging.wait()
    upper.hang("delete", "batch_write")
    task.cancel()
    await upper.hanging.wait()
    task.cancel()
    upper.release()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await upper.child_datastore.get(Key("/a")) is None
    last.release()
    await store.put(Key("/a"), "newer")
    assert await store.get(Key("/a")) == "newer"


# Links


def linking_worker(colour: Any, links: Any, keys: Sequence[Key], seed: float) -> Worker:
    """Links, writes, reads and deletes keys, which soon refer to one another in circles."""
    chooser = random.Random(seed)
    for _ in range(ROUNDS):
        one, other = chooser.choice(keys), chooser.choice(keys)
        call: Call = chooser.choice(
            [
                partial(links.link, one, other),
                partial(links.link, one, other),
                partial(links.put, one, "value"),
                partial(links.get, one),
                partial(links.delete, one),
                lambda: colour.values(links.query(Query(Key("/")))),
            ]
        )
        outcome = yield call
        assert outcome.error is None or isinstance(outcome.error, errors.CircularLinkError)
        values = outcome.value if isinstance(outcome.value, list) else [outcome.value]
        assert set(values) <= {None, "value"}


def test_links_in_a_circle_are_reported_and_nothing_hangs(colour: Any, chooser: random.Random):
    child = unreliable(colour, colour.library.DictDatastore(), chooser.random())
    links = colour.library.SymlinkDatastore(child)
    keys = [Key(f"/{number}") for number in range(5)]
    colour.run([linking_worker(colour, links, keys, chooser.random()) for _ in range(WORKERS)])


def closing_worker(links: Any, held: Any, keys: Sequence[Key], seed: float) -> Worker:
    """Links and deletes keys, and checks after each call what is stored."""
    chooser = random.Random(seed)
    for _ in range(ROUNDS):
        one, other = chooser.sample(keys, 2)
        outcome = yield partial(links.delete, one) if chooser.random() < 0.3 else partial(links.link, one, other)
        assert outcome.error is None or isinstance(outcome.error, errors.CircularLinkError)
        stored = dict(held._items.get("/", {}))
        for key in keys:
            passed = set()
            while key in stored:
                assert key not in passed, stored
                passed.add(key)
                key = Key(stored[key].removesuffix("/datastore_link"))


def test_no_two_links_close_a_circle(colour: Any, chooser: random.Random):
    held = colour.library.DictDatastore()
    links = colour.library.SymlinkDatastore(unreliable(colour, held, chooser.random()))
    keys = [Key(f"/{number}") for number in range(5)]
    colour.run([closing_worker(links, held, keys, chooser.random()) for _ in range(WORKERS)])


def one_call(call: Call) -> Worker:
    outcome = yield call
    assert outcome.error is None


@pytest.mark.parametrize("other", ["put", "delete", "batch_write", "link"])
def test_a_write_concurrent_with_a_link_takes_effect_before_or_after_it(
    other: str, colour: Any, chooser: random.Random
):
    source, target, third = Key("/source"), Key("/target"), Key("/third")
    arguments: tuple[Any, ...] = {
        "put": (target, "new"),
        "delete": (target,),
        "batch_write": ([Write(target, "new")],),
        "link": (third, target),
    }[other]
    # The values of source and target if the write comes before the link, and if it comes after.
    sequences = {
        "put": [("old", "old"), ("new", "new")],
        "delete": [("old", "old"), ("old", None)],
        "batch_write": [("old", "old"), ("new", "new")],
        "link": [("old", "old"), ("old", "third")],
    }[other]
    for _ in range(ROUNDS):
        links = colour.library.SymlinkDatastore(unreliable(colour, colour.library.DictDatastore(), chooser.random()))
        colour.now(partial(links.put, source, "old"))
        colour.now(partial(links.put, third, "third"))
        calls = [partial(links.link, source, target), partial(getattr(links, other), *arguments)]
        chooser.shuffle(calls)
        colour.run(list(map(one_call, calls)))
        found = tuple(colour.now(partial(links.get, key)) for key in (source, target))
        assert found in sequences


# Directories


def listing_worker(directories: Any, own: Key, seed: float) -> Worker:
    """Puts and deletes a key of a directory that others change too, and checks the list."""
    chooser = random.Random(seed)
    for _ in range(ROUNDS):
        puts = chooser.random() < 0.5
        outcome = yield partial(directories.put, own, 1) if puts else partial(directories.delete, own)
        assert outcome.error is None or isinstance(outcome.error, (errors.StoreError, errors.UnavailableError))
        if outcome.error is None:
            listed = yield partial(directories.directory, own.parent)
            assert (str(own) in listed.value) == puts


@pytest.mark.parametrize("faults", [(), ("put", "delete")], ids=["sound", "faulty"])
def test_a_directory_lists_every_key_that_has_a_value(faults: tuple[str, ...], colour: Any, chooser: random.Random):
    child = unreliable(colour, colour.library.DictDatastore(), chooser.random(), *faults)
    directories = colour.library.DirectoryDatastore(child)
    keys = [Key(f"/A/{number}") for number in range(WORKERS)]
    colour.run([listing_worker(directories, key, chooser.random()) for key in keys])
    there = {str(key) for key in keys if colour.now(partial(child.child_datastore.get, key)) is not None}
    listed = colour.now(partial(child.child_datastore.get, Key("/A:directory"))) or []
    assert len(listed) == len(set(listed))
    # After a fault a name may be left without a value, and is skipped; a value is never left without a name.
    assert there <= set(listed) if faults else there == set(listed)
