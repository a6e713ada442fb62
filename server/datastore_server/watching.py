"""The watches of clients: changes as messages, at each client's pace, read and encoded once for all equal watches.

Knows watchers and messages, but no stores.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from typing import NamedTuple

from datastore import wire
from datastore.aio._concurrency import run_to_completion
from datastore.aio.watching import Watcher
from datastore.model.changes import ChangeBatch
from datastore.model.deadline import set_time_left
from datastore.model.errors import DatastoreError
from datastore.model.limits import BATCH_BYTES
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.limits import Limits

__all__ = ["SHARED_BYTES", "WatchStream", "Watches", "responses"]

#: How long to wait for more changes after a small batch, in seconds for each open watch: many watches then see many
#: writes in few messages, which leaves most of the time to the writers. A single watch hardly waits.
LINGER_S = 0.001
MOST_LINGER_S = 0.1
#: A batch of this many changes or bytes is not small: the next one is read without waiting.
LINGER_CHANGES = 500
LINGER_BYTES = 32 * 1024
#: How many bytes of messages are kept for watches that are slower than others equal to them. One that falls further
#: behind reads for itself from then on.
SHARED_BYTES = 4 * 1024 * 1024


def responses(batch: ChangeBatch, limits: Limits) -> Iterator[bytes]:
    """The messages of a batch; the last has its token. Raises LimitExceededError for a change larger than a message."""
    end = service_pb2.WatchResponse(resume_token=batch.token, caught_up=batch.caught_up).SerializeToString()
    for message in wire.encode_changes(batch.changes, BATCH_BYTES, end):
        checks.check_fits(len(message), limits, "a message of the changes")
        yield message


class _Step(NamedTuple):
    """A batch as messages, and the token after it."""

    messages: list[bytes]
    token: bytes
    changes: int

    @property
    def size(self) -> int:
        return sum(map(len, self.messages))


class _Shared:
    """A watcher, and what was read from it that not all of its streams have sent yet.

    It is read when a stream needs more, so at the pace of the fastest, in a task that outlives that stream. A stream
    that is behind by more than SHARED_BYTES has to leave.
    """

    def __init__(self, watches: Watches, identity: bytes, watcher: Watcher) -> None:
        self._watches = watches
        self.identity = identity
        self._watcher = watcher
        self._batches = watcher.batches()
        self._steps: deque[_Step] = deque()
        self._kept_bytes = 0
        #: The number of the first step that is kept.
        self._first = 0
        self._is_begun = False
        self._reading: asyncio.Task[None] | None = None
        self._may_read_at = 0.0
        self._error: Exception | None = None
        #: The streams, each at the number of the step that it needs next.
        self.places: dict[WatchStream, int] = {}

    @property
    def _end(self) -> int:
        """The number of the next step to be read."""
        return self._first + len(self._steps)

    def next(self, stream: WatchStream) -> _Step | None:
        """The next step of a stream. If it must be read first, None, and the stream will be woken.

        Raises the error of the watcher.
        """
        place = self.places[stream]
        if place < self._end:
            self.places[stream] = place + 1
            step = self._steps[place - self._first]
            if place + 1 == self._end and step.messages:
                # The next one is read while this one is sent.
                self._begin_to_read()
            return step
        if self._error is not None:
            raise copy(self._error) if isinstance(self._error, DatastoreError) else self._error
        self._begin_to_read()
        return None

    def _begin_to_read(self) -> None:
        if self._reading is None and self._error is None:
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Read one step, and wake the streams."""
        # The deadline of the stream that needs it is not that of the others.
        set_time_left(None)
        try:
            batch = await (self._continued() if self._is_begun else self._begun())
            self._is_begun = True
            step = _Step(list(responses(batch, self._watches.limits)), batch.token, len(batch.changes))
            self._add(step)
            if len(batch.changes) < LINGER_CHANGES and step.size < LINGER_BYTES:
                linger_s = min(LINGER_S * self._watches.count, MOST_LINGER_S)
                self._may_read_at = asyncio.get_running_loop().time() + linger_s
        except Exception as error:  # noqa: BLE001 - it is raised to the streams
            self._error = error.with_traceback(None)
        finally:
            self._reading = None
            for stream in self.places:
                stream.wake()

    async def _begun(self) -> ChangeBatch:
        """The token of the beginning."""
        await self._watcher.__aenter__()
        return ChangeBatch((), self._watcher.token or b"")

    async def _continued(self) -> ChangeBatch:
        """The next batch. Waits for more changes, and for what the oldest equal watch is reading, to meet it there."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(self._may_read_at - loop.time(), 0))
        oldest = self._watches.oldest(self.identity)
        if oldest is not self and oldest._reading is not None:
            await asyncio.wait([oldest._reading], timeout=MOST_LINGER_S)
        return await anext(self._batches)

    def _add(self, step: _Step) -> None:
        needed = min(self.places.values(), default=self._end)
        self._steps.append(step)
        self._kept_bytes += step.size
        while len(self._steps) > 1 and (self._first < needed or self._kept_bytes > SHARED_BYTES):
            self._kept_bytes -= self._steps.popleft().size
            self._first += 1

    def keeps(self, stream: WatchStream) -> bool:
        """Whether the next step of a stream is kept, if it has been read."""
        return self.places[stream] >= self._first

    def meets(self, token: bytes) -> int | None:
        """The number of the step after this token, if the step before it is kept."""
        if self._error is None:
            for place, step in enumerate(self._steps, self._first + 1):
                if step.token == token:
                    return place
        return None

    async def aclose(self) -> None:
        """Close the watcher."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._batches.aclose()
        await self._watcher.aclose()


class Watches:
    """The active watches of a server. Equal ones share what is read, once they meet at one token."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: How many streams there are.
        self.count = 0
        #: By what they ask for; the oldest first.
        self._equal: dict[bytes, list[_Shared]] = {}

    def begin(self, stream: WatchStream, identity: bytes, watcher: Watcher) -> _Shared:
        """Read a watcher for a stream, and others with this identity that meet it."""
        shared = _Shared(self, identity, watcher)
        shared.places[stream] = 0
        self._equal.setdefault(identity, []).append(shared)
        return shared

    def oldest(self, identity: bytes) -> _Shared:
        """The one that others with this identity move to."""
        return self._equal[identity][0]

    async def leave(self, stream: WatchStream, shared: _Shared) -> None:
        """Remove a stream, and what it alone read."""
        del shared.places[stream]
        if not shared.places:
            equal = self._equal[shared.identity]
            equal.remove(shared)
            if not equal:
                del self._equal[shared.identity]
            # Nobody else closes it, even if the client disconnects meanwhile.
            await run_to_completion(shared.aclose)


class WatchStream:
    """One active watch. It ends when it is interrupted, its client leaves, or reading fails.

    `open_watcher` opens a watcher at a token, or with None where the client asks to begin; `identity` is the same for
    all streams that ask for the same changes. `count` is called with the number of changes that are sent.
    """

    def __init__(
        self,
        watches: Watches,
        identity: bytes,
        open_watcher: Callable[[bytes | None], Watcher],
        send: Callable[[bytes], Awaitable[None]],
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._watches = watches
        self._identity = identity
        self._open_watcher = open_watcher
        self._send = send
        self._count = count
        self._woken = asyncio.Event()
        self._token: bytes | None = None
        self._error: DatastoreError | None = None

    async def run(self) -> None:
        """Send the token of the beginning, then all changes."""
        self._shared = self._watches.begin(self, self._identity, self._open_watcher(None))
        self._watches.count += 1
        try:
            while True:
                step = await self._next_step()
                self._count(step.changes)
                for message in step.messages:
                    await self._send(message)
                    self._check_continues()
                self._token = step.token
        finally:
            self._watches.count -= 1
            # Once raised, the error references this stream, which would be a cycle.
            self._error = None
            await self._watches.leave(self, self._shared)

    async def _next_step(self) -> _Step:
        while True:
            self._woken.clear()
            self._check_continues()
            if self._token is not None:
                await self._move(self._token)
            step = self._shared.next(self)
            if step is not None:
                return step
            await self._woken.wait()

    async def _move(self, token: bytes) -> None:
        """Continue after a token: in the oldest equal watch, if it is there, or alone, if this one has gone ahead."""
        before, oldest = self._shared, self._watches.oldest(self._identity)
        place = None if oldest is before else oldest.meets(token)
        if place is not None:
            self._shared = oldest
            oldest.places[self] = place
        elif before.keeps(self):
            return
        else:
            self._shared = self._watches.begin(self, self._identity, self._open_watcher(token))
        await self._watches.leave(self, before)

    def _check_continues(self) -> None:
        if self._error is not None:
            raise self._error

    def wake(self) -> None:
        """Look again for the next step."""
        self._woken.set()

    def interrupt(self, error: DatastoreError) -> None:
        """End the watch with this error."""
        if self._error is None:
            self._error = error
            self._woken.set()
