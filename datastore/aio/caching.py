"""A read-through cache in front of one store: two tiers, as a shim.

Knows the Datastore contract and the tiers, which make these promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from datastore.aio.base import Datastore, require_datastore
from datastore.aio.cursor import close_all
from datastore.aio.feeds import Feed
from datastore.aio.shims import ShimDatastore
from datastore.aio.tiered import SKIP_FAILED_S, TieredDatastore
from datastore.model.description import Description
from datastore.model.key import Key
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult

if TYPE_CHECKING:
    from datastore.model.changes import Watch

__all__ = ["CacheShimDatastore"]


class CacheShimDatastore(ShimDatastore):
    """Asks `cache_datastore` before the child, and caches the child's values there.

    These are two tiers, with all promises of TieredDatastore: concurrent misses are one call, writes go to the child
    first, and a cache that fails is skipped for `skip_failed_s` seconds and never fails a call. Queries go only to the
    child. Closing closes both.
    Raises UnsupportedTypeError (a TypeError) unless both are Datastores.
    """

    def __init__(self, datastore: Datastore, *, cache: Datastore, skip_failed_s: float = SKIP_FAILED_S) -> None:
        super().__init__(datastore)
        self.cache_datastore = require_datastore(cache, "cache must be a Datastore")
        self._tiers = _Tiers(self, skip_failed_s)

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The cached values, or the child's, which are then cached."""
        return await self._tiers.read(keys, options)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child, then to the cache."""
        return await self._tiers.write(operations)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the child, then to the cache."""
        return await self._tiers.write_atomic(operations)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        return super().changes(watch, wake)

    def describe(self) -> Description:
        """Kind `cache`; it can do what the child can."""
        cache, child = self._tiers.described()
        return Description("cache", f"{cache.kind} before {child.kind}", self.capability, (cache, child))

    async def aclose(self) -> None:
        """Close the cache and the child, then raise the first error if one failed."""
        await close_all([store.aclose for store in self._tiers._held()])


class _Tiers(TieredDatastore):
    """The stores that a shim has now."""

    def __init__(self, shim: CacheShimDatastore, skip_failed_s: float) -> None:
        super().__init__(skip_failed_s=skip_failed_s)
        self._shim = shim

    def _held(self) -> list[Datastore]:
        return [self._shim.cache_datastore, self._shim.child_datastore]
