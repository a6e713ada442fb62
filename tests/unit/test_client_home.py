"""A store used away from its connection: on another event loop, after its loop, in a forked process, without a loop.

Each is an error of the library that says what to do; closing works everywhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from datastore import aio, wire
from datastore.model.errors import DatastoreClosedError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client import connect
from datastore_client.aio import connect as connect_tasks
from datastore_server.app import serve
from tests.support import clusters

KEY = Key("/K:00001")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with entries for several messages."""

    async def filled() -> aio.DictDatastore:
        store = aio.DictDatastore()
        for number in range(3000):
            await store.put(Key(f"/K:{number:05}"), wire.encode_value("x" * 400))
        return store

    with clusters.background() as background, background.running(serve(background.run(filled()))) as server:
        yield server.url


def end_of(work: Coroutine[Any, Any, Any]) -> BaseException | None:
    """How `work` ends on a new event loop, which is closed then."""

    async def caught() -> BaseException | None:
        (end,) = await asyncio.gather(work, return_exceptions=True)
        return end if isinstance(end, BaseException) else None

    return asyncio.run(caught())


def test_a_store_whose_loop_is_closed_says_so_and_closes(url: str) -> None:
    store = connect_tasks(url)
    assert end_of(store.get(KEY)) is None
    error = end_of(store.get(KEY))
    assert isinstance(error, DatastoreClosedError)
    assert "the event loop of its first call is closed; connect again" in str(error)
    assert end_of(store.aclose()) is None
    assert end_of(store.aclose()) is None


def test_a_cursor_whose_loop_is_closed_says_so_and_closes(url: str) -> None:
    store = connect_tasks(url)
    cursor = store.query(Query(Key("/K")))

    async def begin() -> None:
        await anext(cursor)

    async def go_on() -> None:
        async for _ in cursor:
            pass

    assert end_of(begin()) is None
    error = end_of(go_on())
    assert isinstance(error, DatastoreClosedError)
    assert "with the event loop that read them" in str(error)
    assert cursor.summary is None
    assert end_of(cursor.aclose()) is None


def test_a_store_of_another_running_loop_says_so_and_still_works_there(url: str) -> None:
    with clusters.background() as background:
        store = connect_tasks(url)
        assert background.run(store.get(KEY)) == "x" * 400
        error = end_of(store.get(KEY))
        assert isinstance(error, DatastoreClosedError)
        assert "belongs to another event loop" in str(error)
        assert background.run(store.get(KEY)) == "x" * 400
        background.run(store.aclose())


def test_a_store_made_before_its_loop_belongs_to_the_loop_of_its_first_call(url: str) -> None:
    stores = [connect_tasks(url)]
    made = threading.Thread(target=lambda: stores.append(connect_tasks(url)))
    made.start()
    made.join()
    for store in stores:

        async def use(store: Any = store) -> None:
            async with store:
                assert await store.get(KEY) == "x" * 400

        assert end_of(use()) is None


@pytest.mark.parametrize("used", [False, True])
def test_a_call_without_a_loop_names_the_client_for_threads(url: str, used: bool) -> None:
    store = connect_tasks(url)
    if used:
        assert end_of(store.get(KEY)) is None
    call = store.get(KEY)
    with pytest.raises(
        DatastoreClosedError, match=r"needs a running asyncio event loop; use datastore_client\.connect"
    ):
        call.send(None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_store_in_a_forked_process_says_so_and_a_new_one_works_there(url: str) -> None:
    program = f"""
import os, sys
from datastore import Key
from datastore.errors import DatastoreClosedError
from datastore_client import connect
store, unused = connect({url!r}), connect({url!r})
store.get(Key("/a"))
child = os.fork()
if not child:
    try:
        store.get(Key("/a"))
    except DatastoreClosedError as error:
        print(error, flush=True)
    store.close()
    print(unused.get(Key("{KEY}")) == "x" * 400, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
store.get(Key("/a"))
sys.exit(status)
"""
    done = asyncio.run(_run(program))
    assert done == (
        0,
        (
            f"the connection to {url} cannot be used here: it was opened in the process that this one was forked from; "
            "connect again in each process\nTrue\n"
        ),
    )


async def _run(program: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def test_threads_without_loops_use_one_store(url: str) -> None:
    with connect(url) as store:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(store.get(KEY))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["x" * 400] * 8
