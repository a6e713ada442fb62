"""The nodes of a proxy: verified before use, and placed if they are new.

The nodes report who owns which slots. If the configuration differs from that, or a node is not the expected one,
nothing is served, because entries would seem lost or be stored twice. The decision is in `coordination.comparison`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy

from datastore.engine.placement import Placement, slot_of, slots_of
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
from datastore_client.tls import Credentials
from datastore_server.config import Config
from datastore_server.coordination.comparison import Answer, Verdict, agree, compare, first_of, is_of
from datastore_server.coordination.differences import Difference
from datastore_server.coordination.nodes import NodeClient
from datastore_server.describe import ClusterInfo

__all__ = ["LOOK_AGAIN_S", "Membership"]

_log = logging.getLogger("datastore.server")

#: Timeout in seconds for asking a node for its placement.
ASK_TIMEOUT_S = 5.0
#: How long a proxy waits before it asks unusable nodes again, in seconds.
LOOK_AGAIN_S = 1.0


class Membership:
    """What a proxy knows about its nodes. Await `ready` before any call, and `member_ready` before calling a node.

    As a `shardingfn`, it maps a key to the index of its shard among the sorted names. It keeps `info`, which
    DescribeStore reports, up to date. `source` is the path of the configuration, quoted in commands, and `reread`
    returns the file's current contents. `credentials` are for the nodes.
    """

    def __init__(
        self,
        config: Config,
        remotes: Mapping[str, RemoteDatastore],
        info: ClusterInfo,
        source: str = "CONFIG",
        reread: Callable[[], Config] | None = None,
        *,
        credentials: Credentials | None = None,
    ) -> None:
        self._credentials = credentials
        self._config = config
        self._remotes = remotes
        self._info = info
        self._source = source
        self._reread = reread
        #: Until the nodes have been asked, this only determines whom to ask for a key.
        self._placement: Placement = first_of(config, {})
        self._answers: dict[str, Answer | DatastoreError] = {}
        self._differences: tuple[Difference, ...] = ()
        #: The differences found, whatever the file says now.
        self._found: tuple[Difference, ...] = ()
        self._move: Difference | None = None
        self._fitting: frozenset[str] = frozenset()
        self._awaited: tuple[str, ...] = ()
        self._is_begun = False
        #: Whether the nodes have ever matched the configuration, so that `placement` is or was theirs.
        self.has_served = False
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._judging = asyncio.Lock()

    # Where keys live

    def __call__(self, key: Key) -> int:
        """The index, among the sorted names, of the shard that owns `key`."""
        return self._placement.owners[slot_of(key, self._placement.shard_by)]

    def shards_of(self, keys: Sequence[Key]) -> list[int]:
        """The same for many keys."""
        owners = self._placement.owners
        return [owners[slot] for slot in slots_of(keys, self._placement.shard_by)]

    def only_shard(self, query: Query) -> int | None:
        """The index of the only shard that can hold results of the query; None if several can."""
        if self._placement.shard_by == "collection" and not query.recursive:
            return self._placement.owners[slot_of(query.key)]
        return None

    # Whether they may be used

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Why nothing is served; empty if the proxy serves."""
        return self._differences

    async def ready(self) -> None:
        """Wait until the nodes have been asked. Raises WrongShardError if they do not match the configuration.

        Raises UnavailableError while the difference is a move that is being finished. A node that does not answer is
        not a difference.
        """
        if not self._is_begun:
            await self._within(self.check(), "the nodes")
        self._refuse_differences()

    async def member_ready(self, shard: str) -> None:
        """Wait until this shard's node may be used. Raises its UnavailableError, or the errors of `ready`."""
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
        """The placement used to route keys."""
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
        """Ask all nodes again, after one refused an expectation. Raises the errors of `ready`."""
        await self._within(self.check(), "the nodes")
        self._refuse_differences()

    def suspect(self) -> None:
        """Like `verify_again`, but before the next call."""
        self._is_begun = False

    def lost(self, shard: str) -> None:
        """Note that a call did not reach this shard's node: a different one may answer there next."""
        self._fitting -= {shard}

    async def check(self) -> None:
        """Ask all nodes for their placement."""
        await asyncio.gather(*map(self._ask, self._remotes))
        self._is_begun = True

    async def follow(self, report: Callable[[bool], Awaitable[None]]) -> None:
        """Poll unusable nodes, and report whether the proxy serves whenever that changes. Runs until cancelled."""
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
        """Stop asking."""
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
        """Wait for an answer within the caller's deadline. The question itself continues for other callers."""
        seconds = time_left(2 * ASK_TIMEOUT_S)
        try:
            async with asyncio.timeout(seconds):
                await asking
        except TimeoutError as error:
            raise DeadlineExceededError(f"no answer from {whom} within {seconds:.3g} s", shard=shard) from error

    def _refusal(self, failure: DatastoreError, shard: str) -> DatastoreError:
        """The error for a call that was not made because asking its node failed; retryable if the node may return."""
        # A copy, because each caller's error gets its own traceback.
        refusal = copy(failure)
        refusal.shard = failure.shard or shard
        if isinstance(refusal, UnavailableError) and self._remotes[shard].is_expected_back:
            refusal.retry_after_s = LOOK_AGAIN_S
        return refusal

    def _not_placed(self, shard: str) -> DatastoreError:
        """Why a node that answers is not used: it may be an empty replacement."""
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
        """Ask one node. Concurrent callers share the question."""
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

    def _client(self, shard: str) -> NodeClient:
        return NodeClient(self._remotes[shard].url, timeout_s=ASK_TIMEOUT_S, credentials=self._credentials)

    async def _answered(self, shard: str) -> None:
        async with self._client(shard) as node:
            try:
                self._answers[shard] = await node.get_placement()
            except DatastoreError as error:
                self._answers[shard] = error
            else:
                # Calls use another connection, which may not have been used before the node is lost.
                self._remotes[shard].note_answer()

    async def _compared(self) -> Verdict:
        """The verdict on the answers. Differences must be found twice, the second time with fresh answers.

        An answer from before a move, beside one from after it, looks like an old copy.
        """
        seen = self._found
        verdict = compare(self._config, self._answers, self._source)
        while verdict.differences not in ((), seen):
            seen = verdict.differences
            await asyncio.gather(*map(self._answered, self._remotes))
            verdict = compare(self._config, self._answers, self._source)
        return verdict

    async def _judge(self) -> None:
        """Compare, place the nodes that need it, and put the verdict in force."""
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
        async with self._client(shard) as node:
            try:
                try:
                    await node.place(shard, placement)
                except PlacementError as error:
                    # Another proxy was faster; its result is read next.
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
            _log.warning("serving only reads: %s", verdict.move)
        self._move = verdict.move
        if self._differences and not verdict.differences:
            _log.warning("the nodes match the configuration: serving")
        self._differences = differences
        self._fitting = verdict.fitting - set(verdict.unplaced) if not differences else frozenset()
        self._info.place(placement)
        if not differences:
            self._placement = placement
            self.has_served = True
            for shard in self._fitting:
                self._remotes[shard].expects = placement.expectation(shard)

    def _outdated(self, verdict: Verdict) -> tuple[Difference, ...]:
        """One difference if the file was changed and now matches the nodes: advice about the old one would be wrong."""
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
