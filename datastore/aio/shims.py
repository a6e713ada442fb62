"""Stores that wrap one other store and change what passes through them.

Knows only the Datastore contract.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from datastore.aio import verbs
from datastore.aio.atomic import atomic_of
from datastore.aio.base import Datastore, require_datastore
from datastore.aio.feeds import Feed, feed_of
from datastore.aio.scan import Scan, ask
from datastore.model.arguments import check_key
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.errors import UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, Put, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query

if TYPE_CHECKING:
    import logging

    from datastore.model.changes import Watch

__all__ = ["LoggingDatastore", "ShimDatastore"]


class ShimDatastore(Datastore):
    """Passes every call on to `child_datastore`; subclasses override what they change.

    A subclass may override verbs (`get`, `put`, `delete`, `query`) or the waist (`read`, `write`, `scan`); all other
    calls go through its overrides. If it overrides `query` and applies the whole query, it must declare
    `ordered_queries`. Closing closes the child. Raises UnsupportedTypeError (a TypeError) unless `datastore` is a
    Datastore.
    """

    def __init__(self, datastore: Datastore) -> None:
        self.child_datastore = require_datastore(datastore, "a shim needs a Datastore below it")

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return await self.child_datastore.read(keys, options)

    async def get(self, key: Key) -> Any:
        """The child's value. Like `read`, but without its lists."""
        return await self.child_datastore.get(check_key(key))

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self.child_datastore.write(operations)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await atomic_of(self.child_datastore)(operations)

    async def _write_one(self, operation: Operation) -> WriteResult:
        """The child's result of one write."""
        [result] = await self.child_datastore.write([operation])
        return result

    def scan(self, query: Query) -> Scan:
        return ask(self.child_datastore, query)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        return feed_of(self.child_datastore, watch, wake)

    def listed_key(self, key: Key) -> Key:
        return self.child_datastore.listed_key(key)

    @property
    def capability(self) -> Capability:
        """What the child can do. Verbs of a subclass know no versions, expiries or attempts; see also `passed_on`."""
        below = Capability.common([self.child_datastore.capability])
        if verbs.are_overridden(type(self)):
            below = below._replace(versions=False, expiry=False, retries=False)
        return verbs.passed_on(self, below)

    def describe(self) -> Description:
        return self._described("shim", type(self).__name__)

    def _described(self, kind: str, text: str = "") -> Description:
        return Description(kind, text, self.capability, (self.child_datastore.describe(),))

    async def aclose(self) -> None:
        await self.child_datastore.aclose()


class LoggingDatastore(ShimDatastore):
    """Logs every call, at level info, before passing it to the child.

    The default `logger` is the one named `datastore`. Values, including those in filters, are logged only with
    `log_values`. Raises UnsupportedTypeError (a TypeError) if `logger` has no `info`.
    """

    def __init__(
        self, child_datastore: Datastore, logger: logging.Logger | None = None, *, log_values: bool = False
    ) -> None:
        # Loaded only where something is logged: loading takes noticeable time.
        import logging

        super().__init__(child_datastore)
        if logger is not None and not callable(getattr(logger, "info", None)):
            raise UnsupportedTypeError(
                f"logger must be a logging.Logger, e.g. logging.getLogger('name'), got {type(logger).__name__}",
                path="logger",
            )
        self.logger = logging.getLogger("datastore") if logger is None else logger
        self._log_values = log_values

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        for key in keys:
            self.logger.info("get %s" if options.values else "contains %s", key)
        results = await self.child_datastore.read(keys, options)
        if self._log_values and options.values:
            for key, result in zip(keys, results, strict=True):
                self.logger.info("got %s: %r", key, result.value)
        return results

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        self._log_writes(operations)
        return await self.child_datastore.write(operations)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        self._log_writes(operations)
        return await super().write_atomic(operations)

    def _log_writes(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if not isinstance(operation, Put):
                self.logger.info("delete %s" if isinstance(operation, Delete) else "patch %s", operation.key)
            elif self._log_values:
                self.logger.info("put %s: %r", operation.key, operation.value)
            else:
                self.logger.info("put %s", operation.key)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        self.logger.info("watch %s", watch.query.key)
        return super().changes(watch, wake)

    def scan(self, query: Query) -> Scan:
        if self._log_values or not query.filters:
            self.logger.info("query %r", query)
        else:
            bare = query.replaced(filters=())
            fields = [f"{part.field} {part.op}" for part in query.comparisons]
            self.logger.info("query %r, filters %s", bare, ", ".join(fields))
        return ask(self.child_datastore, query)

    def describe(self) -> Description:
        return self._described("logging", self.logger.name)
