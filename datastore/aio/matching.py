"""Changing all entries that a query selects: how callers see it, and the way that works over any store.

Knows scans and the waist, and no stores.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any

from datastore.aio._concurrency import give_way
from datastore.aio.aggregating import tally_of
from datastore.aio.scan import ask, exact
from datastore.aio.verbs import DERIVED
from datastore.engine.matching import Selection, WorkState, outcome, selecting, sized, taken, work_query
from datastore.engine.parts import sealed, unsealed
from datastore.model.entries import Batch
from datastore.model.errors import OverloadedError, UnsupportedError
from datastore.model.key import Key
from datastore.model.matching import MatchingProgress, MatchingStep, MatchingWrite
from datastore.model.operations import WriteResult
from datastore.model.patches import PatchRoom
from datastore.model.spellings import replaces

__all__ = ["MATCHING_BATCH", "MatchingRun", "matching_of", "scanned_matching"]

#: How many entries are changed at once.
MATCHING_BATCH = 500
#: The maximum time between two steps while few entries are found, in seconds.
_STEP_S = 1.0


class MatchingRun:
    """A change of many entries, which is made while this is read.

    An iterator of MatchingProgress; `finish` reads it to the end and returns the last one. Nothing is done before it is
    read, nor after it is closed. For one task or thread.
    """

    #: A store over this one, or a cursor, may close it.
    closes_with_cursor = True

    def __init__(self, store: Any, asked: MatchingWrite, resume_token: bytes | None = None) -> None:
        self._asked = asked
        self._identity = asked.identity()
        if resume_token is not None:
            position = unsealed(self._identity, resume_token, "a change of other entries, or another change")
            self._asked = asked._replace(position=position)
        self._steps = matching_of(store, self._asked)
        #: The progress so far. Its `token` is None before the operation has begun: nothing has been done then.
        self.progress = MatchingProgress(token=resume_token)

    def __aiter__(self) -> MatchingRun:
        return self

    async def __anext__(self) -> MatchingProgress:
        """Work on, and return the progress."""
        if await self.next_step() is None:
            raise StopAsyncIteration
        return self.progress

    async def next_step(self) -> MatchingStep | None:
        """Work on, and return what has been done since, with a resume token as its position; None at the end."""
        step = await anext(self._steps, None)
        if step is None:
            return None
        step = step._replace(position=sealed(self._identity, step.position))
        self.progress = self.progress.after(step)
        return step

    async def finish(self) -> MatchingProgress:
        """Work to the end, and return the progress."""
        async for _ in self:
            pass
        return self.progress

    async def __aenter__(self) -> MatchingRun:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop. What has been done stays; `progress.token` continues it. May be repeated."""
        await self._steps.aclose()


def matching_of(store: Any, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
    """The steps of a store. Stores ask their children with this.

    A class that overrides a verb or a method of the waist below the `write_matching` that it inherits gets the default.
    """
    if not replaces(store, "write_matching", DERIVED):
        return scanned_matching(store, asked)
    steps: AsyncGenerator[MatchingStep] = store.write_matching(asked)
    return steps


def _one_group(keys: Sequence[Key]) -> Sequence[int]:
    return [0] * len(keys)


async def scanned_matching(
    store: Any, asked: MatchingWrite, groups_of: Callable[[Sequence[Key]], Sequence[int]] = _one_group
) -> AsyncGenerator[MatchingStep]:
    """The steps over a store's scan and conditional writes.

    `groups_of` returns the shards of keys, if the store has several whose versions do not compare.
    """
    if asked.position is None:
        state, total = await _begun(store, asked, groups_of)
    else:
        state, total = WorkState.unpacked(asked.position), None
    yield MatchingStep(state.packed(), total)
    if state.is_done:
        return
    work = _Work(store, asked, state, groups_of)
    query = work_query(asked, state)
    async with aclosing(exact(query, ask(store, query))) as scan:
        async for batch in scan.batches:
            for part in batch.parts(MATCHING_BATCH):
                work.take(part)
                if work.is_due:
                    yield await work.step()
                    work.check()
            await give_way()
        yield await work.step(is_done=True)
        work.check()


async def _begun(
    store: Any, asked: MatchingWrite, groups_of: Callable[[Sequence[Key]], Sequence[int]]
) -> tuple[WorkState, int]:
    """The state in which an operation begins, and how many entries it selects."""
    if store.capability.versions:
        try:
            return await _sized(store, asked, groups_of, versions=True)
        except UnsupportedError:
            # Only the answer of a server says that its store keeps no versions.
            if asked.changes is not None:
                raise
    return await _sized(store, asked, groups_of, versions=False)


async def _sized(
    store: Any, asked: MatchingWrite, groups_of: Callable[[Sequence[Key]], Sequence[int]], *, versions: bool
) -> tuple[WorkState, int]:
    if asked.is_divisible:
        [row] = (await tally_of(store, sized(asked.query.replaced(orders=()), versions=versions))).rows()
        total = row["total"]
        return WorkState(is_done=not total, horizons={0: row["latest"] or 0} if versions else None), total
    selection, query = Selection(asked.query), selecting(asked.query, versions=versions)
    async with aclosing(exact(query, ask(store, query))) as scan:
        async for batch in scan.batches:
            selection.add(batch, groups_of(batch.keys), versions=versions)
            await give_way()
    return selection.state(versions=versions), selection.total


class _Work:
    """The entries that were found but not yet written, and the position."""

    def __init__(
        self, store: Any, asked: MatchingWrite, state: WorkState, groups_of: Callable[[Sequence[Key]], Sequence[int]]
    ) -> None:
        self._store = store
        self._asked = asked
        self._state = state
        self._groups_of = groups_of
        self._keys: list[Key] = []
        self._versions: list[int | None] = []
        self._passed_over = 0
        #: The last key that was looked at.
        self._seen = state.after
        self._stepped_at = monotonic()
        self._fatal: Exception | None = None

    def take(self, batch: Batch) -> None:
        """Take the entries to change from a batch of at most MATCHING_BATCH."""
        held = taken(self._asked.query, self._state, batch)
        position = batch.position
        last = batch.texts[-1] if len(batch) else self._seen
        self._seen = str(position.key).encode() if position is not None and not position.sort_key else last
        if held is not None:
            batch = batch.selected(held)
        keys = batch.keys
        if None in keys:
            raise UnsupportedError(
                "the entries of this store cannot be changed: its queries return values without keys"
            )
        if self._state.horizons is None:
            self._keys += keys
            self._versions += [None] * len(keys)
            return
        stamps = batch.required_metadata()
        for key, group, stamp in zip(keys, self._groups_of(keys), stamps, strict=True):
            if self._state.is_old(group, stamp[0]):
                self._keys.append(key)
                self._versions.append(stamp[0])
            else:
                self._passed_over += 1

    @property
    def is_due(self) -> bool:
        """Whether it is time for a step."""
        return len(self._keys) >= MATCHING_BATCH or monotonic() - self._stepped_at >= _STEP_S

    async def step(self, *, is_done: bool = False) -> MatchingStep:
        """Write what was found. If the store fails, the position stays where it is, and `check` raises the error."""
        results = await self._written()
        done = outcome(results, self._keys)
        passed_over = done.passed_over
        if done.fatal is None:
            passed_over += self._passed_over
            self._state = self._state._replace(after=self._seen, is_done=is_done)
        self._keys, self._versions, self._passed_over, self._fatal = [], [], 0, done.fatal
        self._stepped_at = monotonic()
        failed = len(done.failures)
        return MatchingStep(self._state.packed(), None, done.changed, passed_over, failed, done.failures)

    def check(self) -> None:
        """Raise the error with which the last step ended, if there is one."""
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            raise fatal

    async def _written(self) -> list[WriteResult]:
        """The results of all writes. Patches of large values are made some at a time, so that other writes can run."""
        results: dict[int, WriteResult] = {}
        left = list(range(len(self._keys)))
        while left:
            room = PatchRoom()
            asked = [self._asked.operation(self._keys[place], self._versions[place], room) for place in left]
            results.update(zip(left, await self._store.write(asked), strict=True))
            # Of each batch at least the first has room.
            left = [place for place in left[1:] if _had_no_room(results[place])]
        return [results[place] for place in range(len(self._keys))]


def _had_no_room(result: WriteResult) -> bool:
    return isinstance(result.error, OverloadedError) and result.error.retry_after_s == 0.0
