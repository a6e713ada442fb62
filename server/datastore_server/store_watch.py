"""Watches whether a node's store answers: probes it at the start until it does, and every second from then on.

Calls are refused while it does not, so that none hangs and all may be repeated. Knows a probe, and what to do when its
result changes, but not which store it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from datastore.aio import Datastore, ShimDatastore
from datastore.aio.atomic import atomic_of
from datastore.aio.feeds import Feed
from datastore.aio.scan import Scan
from datastore.aio.verbs import passed_on
from datastore.model.capability import Capability
from datastore.model.changes import Watch
from datastore.model.description import Description
from datastore.model.entries import Batch
from datastore.model.errors import DatastoreError, DeadlineExceededError, OverloadedError, UnavailableError
from datastore.model.key import Key
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult, refusal_of
from datastore.model.query import Query

__all__ = ["PROBE_S", "PROBE_TIMEOUT_S", "StoreWatch", "WatchedDatastore"]

_Result = TypeVar("_Result", ReadResult, WriteResult)

_log = logging.getLogger("datastore.server")

#: The time between probes, in seconds, and so how long calls may reach a dead store. A probe is one or two small reads.
PROBE_S = 1.0
#: The time limit of a probe, in seconds: a busy store may take a few.
PROBE_TIMEOUT_S = 5.0
#: The time between attempts to reach a store at the start, in seconds.
RETRY_S = 0.25


class StoreWatch:
    """The health of the store called `name`. `probe` raises if the store does not answer.

    `changed` is called with the error with which calls must fail, and with None once the store answers again.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], Awaitable[None]],
        changed: Callable[[DatastoreError | None], Awaitable[None]],
    ) -> None:
        self._name = name
        self._probe = probe
        self._changed = changed
        self._asking: asyncio.Task[None] | None = None
        self._since = 0.0
        self._suspected = asyncio.Event()
        self.failure: UnavailableError | None = None

    async def wait(self, wait_s: float, begin: Callable[[], Awaitable[None]]) -> None:
        """Call `begin` until it succeeds; after `wait_s`, raise UnavailableError, which names the store."""
        ends_at = time.monotonic() + wait_s
        logged = ""
        while True:
            try:
                async with asyncio.timeout(max(RETRY_S, ends_at - time.monotonic())):
                    await begin()
            except (UnavailableError, DeadlineExceededError, TimeoutError) as error:
                why = str(error) or "no answer"
                if time.monotonic() + RETRY_S >= ends_at:
                    raise UnavailableError(f"{self._name} did not answer within {wait_s:g} s: {why}") from error
                if why != logged:
                    _log.warning("%s does not answer yet: %s", self._name, why)
                logged = why
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def follow(self) -> None:
        """Probe every PROBE_S seconds, and immediately after `suspect`. Runs until cancelled."""
        while True:
            self._suspected.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_S):
                    await self._suspected.wait()
            await self.check()

    def suspect(self) -> None:
        """Note that a call could not reach the store."""
        if self.failure is None:
            self._suspected.set()

    async def check(self) -> None:
        """Probe once. A probe that times out is not repeated before it ends, because it may hold a thread."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait([self._asking], timeout=PROBE_TIMEOUT_S)
        if not done:
            await self._settle(f"no answer within {PROBE_TIMEOUT_S:g} s")
            return
        asked, self._asking = self._asking, None
        error = asked.exception()
        if isinstance(error, OverloadedError):
            error = None
        if error is not None and not isinstance(error, DatastoreError):
            _log.error("%s: unexpected error", self._name, exc_info=error)
        await self._settle(None if error is None else (str(error) or type(error).__name__))

    async def _ask(self) -> None:
        await self._probe()

    async def _settle(self, why: str | None) -> None:
        if why is None:
            if self.failure is not None:
                _log.info("%s answers again after %.0f s", self._name, time.monotonic() - self._since)
                self.failure = None
                await self._changed(None)
            return
        text = f"{self._name} does not answer: {why}"
        if self.failure is None:
            self._since = time.monotonic()
            _log.warning("%s; calls are refused until it does", text)
        elif str(self.failure) == text:
            return
        self.failure = UnavailableError(text, retry_after_s=PROBE_S)
        await self._changed(self.failure)

    async def aclose(self) -> None:
        """Stop probing."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)


class WatchedDatastore(ShimDatastore):
    """A store that reports when a call cannot reach it.

    Such a call raises the store's UnavailableError, for a read with a time after which to repeat it. A write may have
    happened.
    """

    def __init__(self, datastore: Datastore, suspect: Callable[[], None]) -> None:
        super().__init__(datastore)
        self._suspect = suspect

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return await self._noticed(self.child_datastore.read(keys, options), is_read=True)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child. If a store of another package refuses a value, clients get the error."""
        return await self._written(self.child_datastore.write(operations))

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self._written(atomic_of(self.child_datastore)(operations))

    async def _written(self, write: Awaitable[list[WriteResult]]) -> list[WriteResult]:
        results = await self._noticed(write, is_read=False)
        for result in results:
            if isinstance(result.error, TypeError | ValueError):
                result.error = refusal_of(result.error)
        return results

    async def _noticed(self, call: Awaitable[list[_Result]], *, is_read: bool) -> list[_Result]:
        try:
            results = await call
        except (UnavailableError, DeadlineExceededError) as error:
            self._notice(error, is_read=is_read)
            raise
        for result in results:
            if isinstance(result.error, UnavailableError | DeadlineExceededError):
                self._notice(result.error, is_read=is_read)
        return results

    def scan(self, query: Query) -> Scan:
        child = self.child_datastore.scan(query)
        return Scan(self._batches(child), child.applied, source=child)

    async def _batches(self, child: Scan) -> AsyncGenerator[Batch]:
        try:
            async for batch in child.batches:
                yield batch
        except (UnavailableError, DeadlineExceededError) as error:
            self._notice(error, is_read=True)
            raise
        finally:
            await child.aclose()

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The child's feed. It does not notice outages: it continues when the store is back."""
        return super().changes(watch, wake)

    def _notice(self, error: DatastoreError, *, is_read: bool) -> None:
        self._suspect()
        if is_read and isinstance(error, UnavailableError) and error.retry_after_s is None:
            error.retry_after_s = PROBE_S

    @property
    def capability(self) -> Capability:
        return passed_on(self, self.child_datastore.capability)

    def describe(self) -> Description:
        return self.child_datastore.describe()
