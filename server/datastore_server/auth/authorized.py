"""The one place that every key and every scope passes: the rights of the caller, below every RPC.

Whatever a request says, and however its keys or tokens were made, the store is asked for keys and queries; they are
checked here, as the store gets them. Knows the Datastore contract and the caller, but no requests or messages.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any

from datastore.aio.aggregating import tally_of
from datastore.aio.atomic import all_made, atomic_of
from datastore.aio.feeds import Feed, feed_of
from datastore.aio.matching import matching_of
from datastore.aio.scan import Scan, ask
from datastore.aio.shims import ShimDatastore
from datastore.aio.verbs import on_made, passed_on
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.capability import Capability
from datastore.model.changes import Watch
from datastore.model.description import Description
from datastore.model.key import Key
from datastore.model.matching import MatchingStep, MatchingWrite
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore_server.auth.callers import Caller, caller
from datastore_server.auth.rights import ROOT, Right, rights_for

__all__ = ["AuthorizedDatastore", "require_matching"]


class AuthorizedDatastore(ShimDatastore):
    """A store that enforces the rights of the current caller, see `callers`.

    A key for which the caller lacks a right raises PermissionDeniedError, per item in batches, and so does a scope of
    which it may not read all: the store below is not asked. Nothing is left out silently.
    """

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read from the child; a key that the caller may not read fails alone."""
        readable = partial(_readable, caller())
        return await on_made(
            readable, keys, lambda allowed: self.child_datastore.read(allowed, options), ReadResult.failed
        )

    async def get(self, key: Key) -> Any:
        """Read from the child. Like `read`, but without its lists."""
        caller().require(Right.READ, key)
        return await self.child_datastore.get(key)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child; what the caller may not write fails alone."""
        return await on_made(partial(_allowed, caller()), operations, self.child_datastore.write, WriteResult)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child; what the caller may not write fails all."""
        return await all_made(partial(_allowed, caller()), operations, atomic_of(self.child_datastore))

    def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        """The child's steps. The caller needs `read`, too, because they tell how many entries match."""
        require_matching(asked)
        return matching_of(self.child_datastore, asked)

    def scan(self, query: Query) -> Scan:
        """The child's results, if the caller may read the whole scope."""
        # An explanation shows the composition of the store.
        caller().require_scope(Right.READ, ROOT if query.explain else query.key)
        return ask(self.child_datastore, query)

    async def tally(self, asked: Aggregate) -> Tally:
        """The child's tally, if the caller may read the whole scope."""
        caller().require_scope(Right.READ, asked.query.key)
        return await tally_of(self.child_datastore, asked)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The child's changes, if the caller may read the whole scope."""
        caller().require_scope(Right.READ, watch.query.key)
        return feed_of(self.child_datastore, watch, wake)

    @property
    def capability(self) -> Capability:
        return passed_on(self, self.child_datastore.capability)

    def describe(self) -> Description:
        """The child's: the rights of callers are not a part of the composition."""
        return self.child_datastore.describe()


def require_matching(asked: MatchingWrite) -> None:
    """Raise PermissionDeniedError unless the current caller may change these entries, and read them."""
    scope = asked.query.key
    caller().require_scope(Right.DELETE if asked.changes is None else Right.WRITE, scope)
    caller().require_scope(Right.READ, scope)


def _readable(who: Caller, key: Key) -> Key:
    who.require(Right.READ, key)
    return key


def _allowed(who: Caller, operation: Operation) -> Operation:
    for right in rights_for(operation):
        who.require(right, operation.key)
    return operation
