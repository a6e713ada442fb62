"""A store that fails, delays or hangs on request, to test what is built on top of stores.

Knows only the Datastore contract.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from datastore.aio.base import Datastore, exact_query
from datastore.aio.cursor import Cursor
from datastore.aio.shims import ShimDatastore
from datastore.aio.testing._parallel import Event, pause
from datastore.model.arguments import check_query, check_versions
from datastore.model.entries import Batch, Write
from datastore.model.key import Key
from datastore.model.operations import ReadResult, WriteResult
from datastore.model.query import Query

__all__ = ["FaultyDatastore"]


class FaultyDatastore(ShimDatastore):
    """Passes calls to its child, except those that should fail, be delayed, or hang.

    The calls are get, put, delete, contains, batch_get, batch_write, query (which acts at the first item), and
    entry, one for each entry that a query reads. `calls` counts them. A call that fails does not reach the child; with
    `afterwards` it does, and its answer is lost, as when a connection breaks.
    """

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.calls: dict[str, int] = {}
        #: Set while some call hangs.
        self.hanging = Event()
        self._released = Event()
        self._faults: list[_Fault] = []

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """True: the child's answers are made exact here."""
        return True

    def fail(
        self, *calls: str, error: Exception, after: int = 0, times: int | None = None, afterwards: bool = False
    ) -> None:
        """Make `times` calls of these names (none: of any) raise `error`, after `after` more that do not."""
        self._faults.append(_Fault(calls, after, times, error=error, afterwards=afterwards))

    def delay(self, *calls: str, seconds: float) -> None:
        """Delay calls of these names (none: of any)."""
        self._faults.append(_Fault(calls, 0, None, seconds=seconds))

    def hang(self, *calls: str, after: int = 0, times: int | None = None) -> None:
        """Make calls of these names (none: of any) wait until `release`; `hanging` is set while one does."""
        self._released.clear()
        self._faults.append(_Fault(calls, after, times, hangs=True))

    def release(self) -> None:
        """Release the hanging calls, and forget all faults."""
        self._faults.clear()
        self.hanging.clear()
        self._released.set()

    async def _meet(self, call: str) -> Exception | None:
        """Apply the faults to one call. Returns the error with which its answer is lost, if any."""
        self.calls[call] = self.calls.get(call, 0) + 1
        lost: Exception | None = None
        for fault in list(self._faults):
            if not fault.strikes(call):
                continue
            if fault.seconds:
                await pause(fault.seconds)
            if fault.hangs:
                self.hanging.set()
                await self._released.wait()
            if fault.error is not None and not fault.afterwards:
                raise fault.error
            lost = lost or fault.error
        return lost

    async def get(self, key: Key) -> Any:
        """The child's value, unless a fault applies."""
        return await self._do("get", self.child_datastore.get, key)

    async def put(self, key: Key, value: Any) -> None:  # type: ignore[override]
        """Put into the child, unless a fault applies."""
        await self._do("put", self.child_datastore.put, key, value)

    async def delete(self, key: Key) -> None:  # type: ignore[override]
        """Delete from the child, unless a fault applies."""
        await self._do("delete", self.child_datastore.delete, key)

    async def contains(self, key: Key) -> bool:
        """The child's answer, unless a fault applies."""
        return bool(await self._do("contains", self.child_datastore.contains, key))

    async def batch_get(self, keys: Sequence[Key]) -> list[ReadResult]:
        """The child's values, unless a fault applies."""
        outcomes: list[ReadResult] = await self._do("batch_get", self.child_datastore.batch_get, keys)
        return outcomes

    async def batch_write(self, writes: Sequence[Write]) -> list[WriteResult]:  # type: ignore[override]
        """Write to the child, unless a fault applies."""
        outcomes: list[WriteResult] = await self._do("batch_write", self.child_datastore.batch_write, writes)
        return outcomes

    async def _do(self, call: str, operation: Callable[..., Any], *arguments: Any) -> Any:
        lost = await self._meet(call)
        answer = await operation(*arguments)
        if lost is not None:
            raise lost
        return answer

    def query(self, query: Query) -> Cursor:
        """The child's answer, entry by entry, until a fault applies."""
        check_query(query)
        check_versions(self, query)
        child = exact_query(self.child_datastore, query)
        return Cursor.from_batches(query, self._read(child), shards=child.shards, source=child)

    async def _read(self, child: Cursor) -> AsyncGenerator[Batch]:
        async with aclosing(child):
            await self._meet("query")
            async for batch in child.batches():
                for index in range(len(batch)):
                    lost = await self._meet("entry")
                    if lost is not None:
                        raise lost
                    yield _entry(batch, index)
                yield _rest(batch)


def _entry(batch: Batch, index: int) -> Batch:
    """One entry of a batch, by itself; its place in the results is not known."""
    sort_keys = None if batch.sort_keys is None else batch.sort_keys[index : index + 1]
    return Batch(batch.keys[index : index + 1], batch.values[index : index + 1], sort_keys=sort_keys)


def _rest(batch: Batch) -> Batch:
    """The position and counts of a batch."""
    return Batch([], [], position=batch.position, skipped=batch.skipped, scanned=batch.scanned)


class _Fault:
    """A fault, and the calls that it applies to."""

    def __init__(
        self,
        calls: tuple[str, ...],
        after: int,
        times: int | None,
        *,
        error: Exception | None = None,
        seconds: float = 0.0,
        hangs: bool = False,
        afterwards: bool = False,
    ) -> None:
        self._calls = calls
        self._passes = after
        self._times = times
        self.error = error
        self.seconds = seconds
        self.hangs = hangs
        self.afterwards = afterwards

    def strikes(self, call: str) -> bool:
        """Whether it applies to this call; counts the call."""
        if self._calls and call not in self._calls:
            return False
        if self._passes:
            self._passes -= 1
            return False
        if self._times is None:
            return True
        self._times -= 1
        return self._times >= 0
