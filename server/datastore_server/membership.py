"""The nodes of a proxy: verified before they are used, and given their placement if they have none.

The nodes say which slots are whose; the configuration is compared with that, and where the two differ, or a node is not
the one that is expected, nothing is served: entries would seem lost, or be stored twice. What to do is decided in
`coordination.comparison`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from copy import copy

from datastore.engine.placement import Placement, slot_of
from datastore.model.deadline import time_left
from datastore.model.errors import (
    ConfigError,
    DatastoreError,
    DeadlineExceededError,
    PlacementError,
    UnavailableError,
    WrongShardError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio.remote import RemoteDatastore
from datastore_server.config import Config
from datastore_server.coordination.comparison import Answer, Verdict, agree, compare, first_of, is_of
from datastore_server.coordination.differences import Difference
from datastore_server.coordination.nodes import NodeClient
from datastore_server.describe import ClusterInfo

__all__ = ["LOOK_AGAIN_S", "Membership"]

_log = logging.getLogger("datastore.server")

#: How long a node may take to say what it is.
ASK_TIMEOUT_S = 5.0
#: How long a proxy waits before it asks again nodes that it cannot use.
LOOK_AGAIN_S = 1.0


class Membership:
    """What a proxy knows of its nodes, by shard. Ask `ready` before any call, and `member_ready` before one to a node.

    Called with a key it gives the index of the key's shard among the sorted names, as a `shardingfn`. `info`, which
    DescribeStore answers from, is kept up to date. `source` is the path of the configuration, for commands in texts,
    and `reread` gives what the file says by now.
    """

    def __init__(
        self,
        config: Config,
        remotes: Mapping[str, RemoteDatastore],
        info: ClusterInfo,
        source: str = "CONFIG",
        reread: Callable[[], Config] | None = None,
    ) -> None:
        self._config = config
        self._remotes = remotes
        self._info = info
        self._source = source
        self._reread = reread
        #: Until nodes were asked, this says no more than whom to ask for a key.
        self._placement: Placement = first_of(config, {})
        self._answers: dict[str, Answer | DatastoreError] = {}
        self._differences: tuple[Difference, ...] = ()
        #: As they were found, whatever the file says by now.
        self._found: tuple[Difference, ...] = ()
        self._move: Difference | None = None
        self._fitting: frozenset[str] = frozenset()
        self._awaited: tuple[str, ...] = ()
        self._is_begun = False
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._judging = asyncio.Lock()

    # Where keys live

    def __call__(self, key: Key) -> int:
        """The index, among the sorted names, of the shard that owns `key`."""
        return self._placement.owners[slot_of(key, self._placement.shard_by)]

    def only_shard(self, query: Query) -> int | None:
        """The index of the one shard that can hold what the query selects; None if several can."""
        if self._placement.shard_by == "collection" and not query.recursive:
            return self._placement.owners[slot_of(query.key)]
        return None

    # Whether they may be used

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Why nothing is served; empty if it is."""
        return self._differences

    async def ready(self) -> None:
        """Return once the nodes were asked what they are. Raises WrongShardError if that differs.

        UnavailableError while the difference is a move that is being finished. A node that could not be asked is not a
        difference.
        """
        if not self._is_begun:
            await self._within(self.check(), "the nodes")
        self._refuse_differences()

    async def member_ready(self, shard: str) -> None:
        """Return if the node of this shard may be used. Raises its UnavailableError, or as `ready`."""
        if shard in self._fitting:
            return
        await self._within(self._ask(shard), f"shard {shard} at {self._remotes[shard].url}", shard)
        self._refuse_differences(shard)
        if shard not in self._fitting:
            failure = self._answers[shard]
            if isinstance(failure, DatastoreError):
                raise self._refusal(failure, shard)
            raise self._not_placed(shard)

    @property
    def placement(self) -> Placement:
        """The placement by which keys are looked for."""
        return self._placement

    def require_same_map(self, before: Placement) -> None:
        """Raise WrongShardError if entries may have moved between shards since `before` was the placement."""
        if not agree(before, self._placement):
            raise WrongShardError(
                f"the placement of {before.cluster} changed from epoch {before.epoch} to {self._placement.epoch}"
                " during the query: run it again",
                epoch=self._placement.epoch,
            )

    async def verify_again(self) -> None:
        """A node refused a call as it is not what was expected: ask all what they are, and raise as `ready`."""
        await self._within(self.check(), "the nodes")
        self._refuse_differences()

    def suspect(self) -> None:
        """As `verify_again`, before the next call."""
        self._is_begun = False

    def lost(self, shard: str) -> None:
        """A call did not reach the node of this shard: what answers there next may be another."""
        self._fitting -= {shard}

    async def check(self) -> None:
        """Ask all nodes what they are."""
        await asyncio.gather(*map(self._ask, self._remotes))
        self._is_begun = True

    async def follow(self, report: Callable[[bool], Awaitable[None]]) -> None:
        """Ask again and again what cannot be used; report whether the proxy serves whenever that changes. Endless."""
        reported: bool | None = None
        while True:
            if reported is not (serving := not self._differences):
                await report(serving)
                reported = serving
            await asyncio.sleep(LOOK_AGAIN_S)
            if self._differences:
                await self.check()
            else:
                await asyncio.gather(*(self._ask(shard) for shard in self._remotes if shard not in self._fitting))

    async def aclose(self) -> None:
        """Ask no more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _refuse_differences(self, shard: str | None = None) -> None:
        reported = "\n".join(map(str, self._differences))
        if any(difference.passes for difference in self._differences):
            raise UnavailableError(reported, retry_after_s=LOOK_AGAIN_S, shard=shard)
        if reported:
            raise WrongShardError(
                f"the nodes do not match the configuration, so nothing is served:\n{reported}",
                epoch=self._placement.epoch,
                shard=shard,
            )

    async def _within(self, asking: Awaitable[None], whom: str, shard: str | None = None) -> None:
        """Wait for an answer as long as the caller does. Asking goes on, for others."""
        seconds = time_left(2 * ASK_TIMEOUT_S)
        try:
            async with asyncio.timeout(seconds):
                await asking
        except TimeoutError as error:
            raise DeadlineExceededError(f"no answer from {whom} within {seconds:.3g} s", shard=shard) from error

    def _refusal(self, failure: DatastoreError, shard: str) -> DatastoreError:
        """The failure of asking a node, as that of a call which was not made: it may be, once the node is back."""
        refusal = _copied(failure, shard)
        if isinstance(refusal, UnavailableError) and self._remotes[shard].is_expected_back:
            refusal.retry_after_s = LOOK_AGAIN_S
        return refusal

    def _not_placed(self, shard: str) -> DatastoreError:
        """Why a node that answers is not used: it may be an empty one in the place of another."""
        if not self._awaited:
            return UnavailableError(
                f"shard {shard} is not placed yet; nothing was done", shard=shard, retry_after_s=LOOK_AGAIN_S
            )
        nodes = ", ".join(f"{name} at {self._remotes[name].url}" for name in self._awaited)
        return UnavailableError(
            f"shard {shard} cannot be used until all nodes of the cluster have answered, because it does not know them"
            f" yet: waiting for {nodes}",
            shard=self._awaited[0],
            retry_after_s=LOOK_AGAIN_S if all(self._remotes[name].is_expected_back for name in self._awaited) else None,
        )

    # Asking

    async def _ask(self, shard: str) -> None:
        """Ask one node, once for all who want to know now."""
        task = self._asking.get(shard)
        if task is None:
            task = self._asking[shard] = asyncio.create_task(self._asked(shard))
            task.add_done_callback(lambda _: self._asking.pop(shard, None))
        await asyncio.shield(task)

    async def _asked(self, shard: str) -> None:
        await self._answered(shard)
        if len(self._answers) == len(self._remotes):
            async with self._judging:
                await self._judge()

    async def _answered(self, shard: str) -> None:
        async with NodeClient(self._remotes[shard].url, timeout_s=ASK_TIMEOUT_S) as node:
            try:
                self._answers[shard] = await node.get_placement()
            except DatastoreError as error:
                self._answers[shard] = error
            else:
                # Calls go over another connection, which may not have been used before the node is lost.
                self._remotes[shard].note_answer()

    async def _compared(self) -> Verdict:
        """What the answers come to. Differences count if they are found twice, by answers given after the first time.

        A node's answer of before a move, beside another's of after it, looks like an old copy.
        """
        seen = self._found
        verdict = compare(self._config, self._answers, self._source)
        while verdict.differences not in ((), seen):
            seen = verdict.differences
            await asyncio.gather(*map(self._answered, self._remotes))
            verdict = compare(self._config, self._answers, self._source)
        return verdict

    async def _judge(self) -> None:
        """Compare, give placements to nodes that are due one, and have in force what comes of it."""
        verdict = await self._compared()
        self._awaited = verdict.awaited
        if verdict.placement is None:
            self._fitting = frozenset()
            return
        for shard in verdict.unplaced:
            await self._place(shard, verdict.placement)
        if verdict.unplaced:
            verdict = compare(self._config, self._answers, self._source)
        self._take(verdict, verdict.placement or self._placement)

    async def _place(self, shard: str, placement: Placement) -> None:
        async with NodeClient(self._remotes[shard].url, timeout_s=ASK_TIMEOUT_S) as node:
            try:
                try:
                    await node.place(shard, placement)
                except PlacementError as error:
                    # Another proxy was faster; what it did is seen next.
                    _log.info("shard %s was not placed: %s", shard, error)
                self._answers[shard] = await node.get_placement()
            except DatastoreError as error:
                self._answers[shard] = error

    def _take(self, verdict: Verdict, placement: Placement) -> None:
        self._found = verdict.differences
        differences = self._outdated(verdict) or verdict.differences
        if differences and differences != self._differences:
            _log.warning("not serving: %s", "\n".join(map(str, differences)))
        if verdict.move is not None and verdict.move != self._move:
            _log.warning("serving reads alone: %s", verdict.move)
        self._move = verdict.move
        if self._differences and not verdict.differences:
            _log.warning("the nodes match the configuration: serving")
        self._differences = differences
        self._fitting = verdict.fitting - set(verdict.unplaced) if not differences else frozenset()
        self._info.place(placement)
        if not differences:
            self._placement = placement
            for shard in self._fitting:
                self._remotes[shard].expects = placement.expectation(shard)

    def _outdated(self, verdict: Verdict) -> tuple[Difference, ...]:
        """That the file was changed and is what the nodes are, if so: what to do about the former one is then wrong."""
        if self._reread is None or not verdict.differences or any(one.passes for one in verdict.differences):
            return ()
        try:
            now = self._reread()
        except ConfigError:
            return ()
        if now == self._config or verdict.placement is None or not is_of(now, verdict.placement):
            return ()
        return (
            Difference(
                f"{self._source} was changed after this proxy had read it",
                "restart the proxy; if `datastore cluster` runs it, restart the cluster",
            ),
        )


def _copied(error: DatastoreError, shard: str) -> DatastoreError:
    """An error to raise once more: each caller has its own, which gets a traceback."""
    again = copy(error)
    again.shard = error.shard or shard
    return again
