"""Writers and watchers of a server that compare what was written with what was seen, whatever happens to the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from datastore.aio import Datastore
from datastore.aio.watching import Watcher
from datastore.model.changes import Change, ChangeKind
from datastore.model.errors import DatastoreError
from datastore.model.key import Key
from datastore.model.operations import Put
from datastore.model.query import Query
from datastore_client import aio as client
from tests.support.waiting import PATIENCE_S

QUERY = Query(Key("/w"))
KEYS = [Key(f"/w:{number}") for number in range(24)]


class Writer:
    """Puts numbers, and notes the versions of those that were acknowledged, and the others."""

    def __init__(self, store: Datastore) -> None:
        self._store = store
        self.acknowledged: dict[Key, dict[int, int]] = {key: {} for key in KEYS}
        self.unknown: set[int] = set()
        self._is_ending = False

    async def run(self) -> None:
        for number in count():
            if self._is_ending:
                return
            key = KEYS[number % len(KEYS)]
            try:
                (result,) = await self._store.write([Put(key, number)])
            except DatastoreError:
                self.unknown.add(number)
            else:
                if result.metadata is None:
                    self.unknown.add(number)
                else:
                    self.acknowledged[key][result.metadata.version] = number
            await asyncio.sleep(0.001)

    async def more(self) -> None:
        """Wait until some more have been acknowledged."""
        wanted = self.total + 100
        while self.total < wanted:
            await asyncio.sleep(0)

    @property
    def total(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def end(self) -> None:
        self._is_ending = True

    def has_been_seen(self, changes: list[Change]) -> bool:
        """Whether all acknowledged puts are among these changes."""
        versions = {change.version for change in changes}
        return all(acknowledged.keys() <= versions for acknowledged in self.acknowledged.values())

    def check(self, changes: list[Change]) -> None:
        """Check that these changes are what was written."""
        assert {change.kind for change in changes} == {ChangeKind.PUT}
        for key, acknowledged in self.acknowledged.items():
            found = [(change.version, change.value) for change in changes if change.key == key]
            versions = [version for version, _ in found]
            assert versions == sorted(set(versions))
            assert acknowledged.items() <= set(found)
            assert {number for version, number in found if version not in acknowledged} <= self.unknown


class Follower:
    """Reads all changes. Where `leaves_at` says so, it leaves the watch and continues by its token."""

    def __init__(self, store: Datastore, leaves_at: Callable[[int], bool]) -> None:
        self._store = store
        self._leaves_at = leaves_at
        self.found: list[Change] = []
        self._watcher: Watcher | None = None

    async def run(self) -> None:
        while True:
            async with self._store.watch(QUERY, resume_token=self.token) as self._watcher:
                async for batch in self._watcher.batches():
                    self.found += batch.changes
                    if batch.changes and self._leaves_at(len(self.found)):
                        break

    @property
    def token(self) -> bytes | None:
        """Where it has come to."""
        return None if self._watcher is None else self._watcher.token

    async def reaches(self, name: bytes) -> None:
        """Wait until a name is in the token."""
        while self.token is None or name not in self.token:
            await asyncio.sleep(0)


@asynccontextmanager
async def watched_writes(url: str) -> AsyncIterator[tuple[Writer, list[Follower]]]:
    """A writer and two watchers; at the end, what they saw is compared."""
    async with client.connect(url) as store:
        followers = [Follower(store, lambda _: False), Follower(store, lambda seen: seen % 3 == 0)]
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(follower.run()) for follower in followers]
            async with asyncio.timeout(PATIENCE_S):
                for follower in followers:
                    await follower.reaches(b"")
            writer = Writer(store)
            writing = tasks.create_task(writer.run())
            yield writer, followers
            writer.end()
            async with asyncio.timeout(PATIENCE_S):
                await writing
                for follower, task in zip(followers, following, strict=True):
                    while not writer.has_been_seen(follower.found):
                        await asyncio.sleep(0)
                    task.cancel()
    for follower in followers:
        writer.check(follower.found)
