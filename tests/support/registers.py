"""Clients that read and write registers at random, and write down what was answered, for the search in `histories`."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

from datastore.aio.base import Datastore
from datastore.model.entries import StoredEntry
from datastore.model.errors import (
    ConditionFailedError,
    DeadlineExceededError,
    RequestForgottenError,
    StoreFullError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.metadata import Precondition
from datastore.model.operations import Delete, Operation, Put
from tests.support.histories import Call, is_linearizable, versions_grow

__all__ = ["KEYS", "RegisterClient", "check_histories"]

#: On how many keys calls are made.
KEYS = 500


class RegisterClient:
    """Makes random calls on random keys, and writes them down with their answers."""

    def __init__(self, store: Datastore, number: int, history: dict[Key, list[Call]], *, keys: int = KEYS) -> None:
        self._store = store
        self._values = (f"{number}.{place}" for place in itertools.count())
        self._history = history
        self._keys = keys
        self._random = random.Random(number)
        self._seen: dict[Key, StoredEntry | None] = {}

    async def call(self) -> bool:
        """Make one call. Returns whether it was answered."""
        key = Key(f"/register:{self._random.randrange(self._keys)}")
        choice = self._random.random()
        if choice < 0.4:
            return await self._read(key)
        if choice < 0.55:
            return await self._write(key, Put(key, next(self._values)), "put")
        if choice < 0.65:
            return await self._write(key, Delete(key), "delete")
        return await self._write_if(key)

    async def _read(self, key: Key) -> bool:
        call = Call("get", time.monotonic())
        try:
            entry = await self._store.entry(key)
        except (UnavailableError, DeadlineExceededError):
            return False
        call.end = time.monotonic()
        self._seen[key] = entry
        if entry is not None:
            call.found, call.version = entry.value, entry.version
        self._history[key].append(call)
        return True

    async def _write_if(self, key: Key) -> bool:
        """Write on the condition that the entry is still as it was last seen by this client."""
        seen = self._seen.get(key)
        condition = Precondition(exists=False) if seen is None else Precondition(version=seen.version)
        return await self._write(
            key, Put(key, next(self._values), condition), "put_if", expected=None if seen is None else seen.value
        )

    async def _write(self, key: Key, operation: Operation, kind: str, expected: Any = None) -> bool:
        call = Call(kind, time.monotonic(), argument=operation.value, expected=expected)
        # Before its answer, which a client that is cancelled does not see.
        self._history[key].append(call)
        [result] = await self._store.batch_write([operation])
        if isinstance(result.error, StoreFullError) or getattr(result.error, "retry_after_s", None) is not None:
            self._history[key].remove(call)
            return False
        if isinstance(result.error, (UnavailableError, DeadlineExceededError, RequestForgottenError)):
            return False
        call.end = time.monotonic()
        if isinstance(result.error, ConditionFailedError):
            call.held = False
            return True
        assert result.error is None, result.error
        call.version = 0 if result.metadata is None else result.metadata.version
        return True


def check_histories(history: dict[Key, list[Call]]) -> None:
    """Check that one order explains all answers about each key, and that versions grow in it."""
    for key, calls in history.items():
        assert is_linearizable(calls), (key, calls)
        assert versions_grow(calls), (key, calls)
