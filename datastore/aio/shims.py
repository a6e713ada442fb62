"""Stores that wrap one other store and change what passes through them.

Knows only the Datastore contract.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from datastore.aio.base import Datastore, check_query, exact_query, require_datastore
from datastore.aio.cursor import Cursor
from datastore.model.description import Description
from datastore.model.entries import Outcome, Write
from datastore.model.errors import UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["LoggingDatastore", "ShimDatastore"]


class ShimDatastore(Datastore):
    """Passes every call on to `child_datastore`; subclasses override what they change.

    If a subclass overrides `get` but not `contains`, `contains` calls its `get`; batches call
    `get`, `put` and `delete` if a subclass overrides these. A subclass that overrides `query` must declare
    `ordered_queries` again if its results are exact. Closing closes the child.
    Raises UnsupportedTypeError (a TypeError) unless `datastore` is a Datastore.
    """

    ordered_queries = True

    def __init__(self, datastore: Datastore) -> None:
        self.child_datastore = require_datastore(datastore, "a shim needs a Datastore below it")

    async def get(self, key: Key) -> Any:
        """The child's value of `key`."""
        return await self.child_datastore.get(key)

    async def put(self, key: Key, value: Any) -> None:
        """Put into the child. None is a `delete`."""
        if value is None:
            await self.delete(key)
        else:
            await self.child_datastore.put(key, value)

    async def delete(self, key: Key) -> None:
        """Delete from the child."""
        await self.child_datastore.delete(key)

    async def contains(self, key: Key) -> bool:
        """Whether the child has `key`."""
        return await self.child_datastore.contains(key)

    def query(self, query: Query) -> Cursor:
        """The child's answer."""
        return exact_query(self.child_datastore, query)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries of the child's."""
        return await self.child_datastore.batch_get(keys)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes to the child."""
        return await self.child_datastore.batch_write(writes)

    def listed_key(self, key: Key) -> Key:
        """The child's listed key."""
        return self.child_datastore.listed_key(key)

    def describe(self) -> Description:
        """Kind `shim`, named after the class, over the child's description."""
        child = self.child_datastore.describe()
        return Description("shim", type(self).__name__, child.durability, child.push_down, (child,))

    async def aclose(self) -> None:
        """Close the child."""
        await self.child_datastore.aclose()


class LoggingDatastore(ShimDatastore):
    """Logs every call, at level info, before it passes it on to the child.

    `logger` is that named `datastore` unless another is given. Values, those of filters too, are logged only with
    `log_values`. Raises UnsupportedTypeError (a TypeError) if `logger` has no `info`.
    """

    ordered_queries = True

    def __init__(
        self, child_datastore: Datastore, logger: logging.Logger | None = None, *, log_values: bool = False
    ) -> None:
        super().__init__(child_datastore)
        if logger is not None and not callable(getattr(logger, "info", None)):
            raise UnsupportedTypeError(
                f"logger must be a logging.Logger, as logging.getLogger('name'), got {type(logger).__name__}",
                path="logger",
            )
        self.logger = logging.getLogger("datastore") if logger is None else logger
        self._log_values = log_values

    async def get(self, key: Key) -> Any:
        """The child's value of `key`."""
        self.logger.info("get %s", key)
        value = await self.child_datastore.get(key)
        if self._log_values:
            self.logger.info("got %s: %r", key, value)
        return value

    async def put(self, key: Key, value: Any) -> None:
        """Put into the child. None is a `delete`."""
        if value is None:
            await self.delete(key)
            return
        if self._log_values:
            self.logger.info("put %s: %r", key, value)
        else:
            self.logger.info("put %s", key)
        await self.child_datastore.put(key, value)

    async def delete(self, key: Key) -> None:
        """Delete from the child."""
        self.logger.info("delete %s", key)
        await self.child_datastore.delete(key)

    async def contains(self, key: Key) -> bool:
        """Whether the child has `key`."""
        self.logger.info("contains %s", key)
        return await self.child_datastore.contains(key)

    def query(self, query: Query) -> Cursor:
        """The child's answer."""
        check_query(query)
        if self._log_values or not query.filters:
            self.logger.info("query %r", query)
        else:
            bare = query.copy()
            bare.filters.clear()
            fields = [f"{part.field} {part.op}" for part in query.filters]
            self.logger.info("query %r, filters %s", bare, ", ".join(fields))
        return exact_query(self.child_datastore, query)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries of the child's; each is logged."""
        for key in keys:
            self.logger.info("get %s", key)
        outcomes = await self.child_datastore.batch_get(keys)
        if self._log_values:
            for key, outcome in zip(keys, outcomes, strict=True):
                self.logger.info("got %s: %r", key, outcome.value)
        return outcomes

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes to the child; each is logged."""
        for key, value in writes:
            if value is None:
                self.logger.info("delete %s", key)
            elif self._log_values:
                self.logger.info("put %s: %r", key, value)
            else:
                self.logger.info("put %s", key)
        return await self.child_datastore.batch_write(writes)

    def describe(self) -> Description:
        """Kind `logging`, with the logger's name."""
        child = self.child_datastore.describe()
        return Description("logging", self.logger.name, child.durability, child.push_down, (child,))
