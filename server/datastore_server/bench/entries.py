"""The entries that a benchmark uses: written before it, deleted after it. Others are never touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random

from datastore.aio._concurrency import run_to_completion
from datastore.aio.base import Datastore
from datastore.model.errors import QueryNotSupportedError
from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, Put, raise_error
from datastore.model.query import Query
from datastore_server.bench.plan import Plan
from datastore_server.bench.requests import key_text, value_of

__all__ = ["BenchEntries"]

#: How many entries are written at once, and about how many bytes.
BATCH_ENTRIES = 1000
BATCH_BYTES = 1024 * 1024


class BenchEntries:
    """The entries of one run, below a key that no one else uses."""

    def __init__(self, store: Datastore, plan: Plan, below: Key) -> None:
        self._store = store
        self._plan = plan
        self._at_once = max(1, min(BATCH_ENTRIES, BATCH_BYTES // plan.value_bytes[1]))
        self.root = below.child(f"{Random().getrandbits(48):012x}")
        #: How many entries may exist.
        self.left = 0

    async def write(self, advance: Callable[[int], None]) -> None:
        """Write all; `advance` gets the number of each batch."""
        random = Random(0)
        for start in range(0, self._plan.keys, self._at_once):
            numbers = range(start, min(start + self._at_once, self._plan.keys))
            self.left = numbers.stop
            puts = [Put(self._key(number), value_of(self._plan, random)) for number in numbers]
            # A write that was given up could be made after the deletion.
            await run_to_completion(partial(self._change, puts))
            advance(len(numbers))

    async def delete(self, advance: Callable[[int], None]) -> None:
        """Delete all that were written; `advance` gets the number of each batch."""
        if not self.left:
            return
        for start in range(0, self.left, BATCH_ENTRIES):
            numbers = range(start, min(start + BATCH_ENTRIES, self.left))
            await self._change([Delete(self._key(number)) for number in numbers])
            advance(len(numbers))
        with suppress(QueryNotSupportedError):
            await self._delete_again()
        self.left = 0

    async def _delete_again(self) -> None:
        """Delete what calls that were given up have written since."""
        query = Query(self.root, limit=BATCH_ENTRIES, recursive=True, keys_only=True)
        while keys := [entry.key async for entry in self._store.query(query).entries() if entry.key is not None]:
            await self._change([Delete(key) for key in keys])

    def _key(self, number: int) -> Key:
        return Key(key_text(str(self.root), number))

    async def _change(self, operations: Sequence[Operation]) -> None:
        for result in await self._store.batch_write(operations):
            raise_error(result)
