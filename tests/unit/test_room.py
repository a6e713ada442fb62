"""What a server can use bounds what stores read for it, and nothing else does."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from datastore import DictDatastore
from datastore.core.errors import LimitExceededError
from datastore.core.key import Key
from datastore.core.limits import BATCH_BYTES
from datastore.core.query import Query
from datastore.core.room import set_batch_bytes, set_read_room
from datastore.lmdb import LMDBDatastore

KEYS = [Key(f"/k{index}") for index in range(10)]


@pytest.fixture(params=["dict", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with DictDatastore() if request.param == "dict" else LMDBDatastore(tmp_path) as made:
        for key in KEYS:
            made.put(key, b"x" * 1000)
        yield made


def within(room_bytes: int, store: Any) -> list[Any]:
    def read() -> list[Any]:
        set_read_room(room_bytes)
        outcomes: list[Any] = store.batch_get(KEYS)
        return outcomes

    return copy_context().run(read)


@pytest.mark.parametrize(("room_bytes", "read"), [(1, 1), (2999, 3), (3000, 3), (3001, 4), (10_000, 10)])
def test_a_batch_is_read_until_its_room_is_full(store: Any, room_bytes: int, read: int) -> None:
    outcomes = within(room_bytes, store)
    assert [outcome.value is not None for outcome in outcomes] == [True] * read + [False] * (10 - read)
    for outcome in outcomes[read:]:
        assert isinstance(outcome.error, LimitExceededError)
        assert outcome.error.limit == "message_bytes"


def test_without_a_server_all_is_read(store: Any) -> None:
    assert all(outcome.value for outcome in store.batch_get(KEYS))


def test_batches_of_results_have_the_size_that_the_reader_can_use(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        for index in range(100):
            store.put(Key(f"/k{index:03}"), b"x" * 10_000)

        def sizes(wanted: int | None) -> list[int]:
            if wanted is not None:
                set_batch_bytes(lambda: wanted)
            return [len(batch) for batch in store.query(Query(Key("/"))).batches()]

        assert max(copy_context().run(sizes, 20_000)) == 2
        assert max(copy_context().run(sizes, None)) == BATCH_BYTES // 10_000 + 1
