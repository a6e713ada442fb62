"""Several stores as one: tiers of caches over a complete store, and shards that each hold a part.

Decides with `datastore.core.merging`; here are only the calls. Knows the Datastore contract alone.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from datastore.aio._concurrency import KeyLocks, Lock, fan_out
from datastore.aio.base import Datastore, check_key, check_query, exact_query
from datastore.aio.cursor import Cursor
from datastore.aio.shims import ShimDatastore
from datastore.core.batch import Batch, Outcome, ShardReport, Write
from datastore.core.composition import Description, weakest
from datastore.core.errors import (
    DatastoreError,
    InvalidError,
    NoStoresError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.core.key import Key
from datastore.core.merging import BlockMerge
from datastore.core.query import Query

__all__ = ["DatastoreCollection", "ShardedDatastore", "TieredDatastore"]

_log = logging.getLogger("datastore")


class DatastoreCollection(ShimDatastore):
    """A list of stores, without a rule yet of what goes where: subclasses give it.

    Calls under way keep the list they began with. Closing closes every store, then raises the first error.
    Raises UnsupportedTypeError (a TypeError) for what is no Datastore.
    """

    def __init__(self, stores: Iterable[Datastore] = ()) -> None:
        self._stores: list[Datastore] = []
        for store in stores:
            self.append_datastore(store)

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """False, until a subclass answers queries."""
        return False

    def datastore(self, index: int) -> Datastore:
        """The store at `index`."""
        return self._stores[index]

    def append_datastore(self, store: Datastore) -> None:
        """Add `store` as the last."""
        self.insert_datastore(len(self._stores), store)

    def insert_datastore(self, index: int, store: Datastore) -> None:
        """Add `store` before the one at `index`."""
        if not isinstance(store, Datastore):
            raise UnsupportedTypeError(f"a collection holds Datastores, got {type(store).__name__}")
        stores = list(self._stores)
        stores.insert(index, store)
        self._stores = stores

    def remove_datastore(self, store: Datastore) -> None:
        """Take out `store` itself; ValueError if it is not here. It is not closed."""
        stores = [held for held in self._stores if held is not store]
        if len(stores) == len(self._stores):
            raise InvalidError("this store is not in the collection")
        self._stores = stores

    def appendDatastore(self, store: Datastore) -> None:  # noqa: N802 - the documented name
        """As `append_datastore`."""
        self.append_datastore(store)

    def insertDatastore(self, index: int, store: Datastore) -> None:  # noqa: N802 - the documented name
        """As `insert_datastore`."""
        self.insert_datastore(index, store)

    def removeDatastore(self, store: Datastore) -> None:  # noqa: N802 - the documented name
        """As `remove_datastore`."""
        self.remove_datastore(store)

    async def get(self, key: Key) -> Any:
        """Not without a rule: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement get")

    async def put(self, key: Key, value: Any) -> None:
        """Not without a rule: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement put")

    async def delete(self, key: Key) -> None:
        """Not without a rule: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement delete")

    def query(self, query: Query) -> Cursor:
        """Not without a rule: NotImplementedError."""
        return Datastore.query(self, query)

    async def aclose(self) -> None:
        """Close every store, then raise the first error if one failed."""
        first: Exception | None = None
        for store in self._stores:
            try:
                await store.aclose()
            except Exception as error:  # noqa: BLE001 - the others must be closed whatever it is
                first = first or error
        if first is not None:
            raise first

    def _held(self) -> list[Datastore]:
        stores = self._stores
        if not stores:
            raise NoStoresError(f"{type(self).__name__} has no stores; append one first")
        return stores

    def _described(self, kind: str, text: str) -> Description:
        children = tuple(store.describe() for store in self._stores)
        pushed = [child.push_down for child in children]
        return Description(
            kind,
            text,
            weakest(child.durability for child in children),
            frozenset.intersection(*pushed) if pushed else frozenset(),
            children,
        )


class TieredDatastore(DatastoreCollection):
    """Stores in tiers, the most complete last: those above are its caches.

    get: the first hit, which is then written to all tiers above it. contains: any tier. query: the last tier.
    put, delete: the last tier first, whose failure fails the call with nothing above touched; then upwards.
    A failing upper tier is logged and skipped, and never fails a call; after a failed put the key is deleted
    there, and where that fails too the tier may be stale until the next write. Within one object no back-fill
    overwrites a newer put or delete. Without stores: NoStoresError.
    """

    def __init__(self, stores: Iterable[Datastore] = ()) -> None:
        super().__init__(stores)
        self._guard = Lock()
        self._locks = KeyLocks()
        #: For each key some `get` is about to back-fill: how many do so, and how many writes ended meanwhile.
        self._filling: dict[Key, _Filling] = {}

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """As the last tier's."""
        return bool(self._stores) and self._stores[-1].ordered_queries

    async def get(self, key: Key) -> Any:
        """The value in the first tier that has one."""
        check_key(key)
        tiers = self._held()
        if len(tiers) > 1:
            value = await self._quietly(tiers[0].get, key)
            if value is not None:
                return value
        filling = self._begin_filling(key)
        try:
            return await self._get_below(tiers, key, filling)
        finally:
            self._end_filling(key, filling)

    async def _get_below(self, tiers: Sequence[Datastore], key: Key, filling: _Filling) -> Any:
        writes = filling.writes
        missed = list(tiers[:1])
        for tier in tiers[1:-1]:
            value = await self._quietly(tier.get, key)
            if value is not None:
                break
            missed.append(tier)
        else:
            value = await tiers[-1].get(key)
        if value is not None and len(tiers) > 1:
            async with self._locks.hold(key):
                # A write that ended since the value was read put a newer one in these tiers.
                if filling.writes == writes:
                    for tier in reversed(missed):
                        await self._store_above(tier, key, value)
        return value

    async def contains(self, key: Key) -> bool:
        """Whether any tier has `key`; nothing is back-filled."""
        check_key(key)
        tiers = self._held()
        for tier in tiers[:-1]:
            if await self._quietly(tier.contains, key):
                return True
        return await tiers[-1].contains(key)

    async def put(self, key: Key, value: Any) -> None:
        """Store in the last tier, then in those above it."""
        if value is None:
            await self.delete(key)
            return
        check_key(key)
        tiers = self._held()
        async with self._locks.hold(key):
            try:
                await tiers[-1].put(key, value)
                for tier in reversed(tiers[:-1]):
                    await self._store_above(tier, key, value)
            finally:
                self._end_write(key)

    async def delete(self, key: Key) -> None:
        """Delete from the last tier, then from those above it."""
        check_key(key)
        tiers = self._held()
        async with self._locks.hold(key):
            try:
                await tiers[-1].delete(key)
                for tier in reversed(tiers[:-1]):
                    await self._quietly(tier.delete, key)
            finally:
                self._end_write(key)

    def query(self, query: Query) -> Cursor:
        """What the last tier answers."""
        check_query(query)
        return self._held()[-1].query(query)

    def describe(self) -> Description:
        """Kind `tiered`; what it promises and pushes down is the last tier's part."""
        children = tuple(store.describe() for store in self._stores)
        last = children[-1] if children else Description("null")
        return Description("tiered", "the most complete last", last.durability, last.push_down, children)

    async def _store_above(self, tier: Datastore, key: Key, value: Any) -> None:
        try:
            await tier.put(key, value)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            _log.warning("an upper tier, %s, did not store %s: %s", type(tier).__name__, key, error)
            await self._quietly(tier.delete, key)

    async def _quietly(self, call: Callable[[Key], Awaitable[Any]], key: Key) -> Any:
        """Call an upper tier; its failure is logged and counts as no answer."""
        try:
            return await call(key)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            _log.warning("an upper tier failed and was skipped for %s: %s", key, error)
            return None

    def _begin_filling(self, key: Key) -> _Filling:
        with self._guard:
            filling = self._filling.setdefault(key, _Filling())
            filling.readers += 1
            return filling

    def _end_filling(self, key: Key, filling: _Filling) -> None:
        with self._guard:
            filling.readers -= 1
            if not filling.readers:
                del self._filling[key]

    def _end_write(self, key: Key) -> None:
        with self._guard:
            filling = self._filling.get(key)
            if filling is not None:
                filling.writes += 1


class _Filling:
    __slots__ = ("readers", "writes")

    def __init__(self) -> None:
        self.readers = 0
        self.writes = 0


class ShardedDatastore(DatastoreCollection):
    """Stores that each hold a part of the keys: `shardingfn(key) % len(stores)` says which.

    The default, `hash`, is that of Key: stable in every process and release. Adding, removing or reordering
    stores moves keys. get, put, delete and contains go to the key's shard, whose error is the caller's, with
    the shard's name if `names` were given (one a store, in their order).
    A query asks every shard, and merges what they stream exactly: by its orders, then by key, with offset and
    limit applied here. At most two batches of each shard are in memory. A failing shard raises and closes the
    others; with `allow_partial` an unreachable one is left out, and listed in the cursor's summary.
    Raises UnsupportedTypeError (a TypeError) if `shardingfn` cannot be called or answers no int; without
    stores NoStoresError.
    """

    def __init__(
        self,
        stores: Iterable[Datastore] = (),
        shardingfn: Callable[[Key], int] = hash,
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(stores)
        if not callable(shardingfn):
            raise UnsupportedTypeError(f"shardingfn must be callable, got {type(shardingfn).__name__}")
        if names is not None and len(names) != len(self._stores):
            raise InvalidError(f"{len(names)} names for {len(self._stores)} stores; give one name for each store")
        self._shardingfn = shardingfn
        self._names = names

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """True: what shards do not order is ordered here."""
        return True

    def shard(self, key: Key) -> int:
        """The index of the store that holds `key`."""
        return self._place(key)[0]

    def shard_datastore(self, key: Key) -> Datastore:
        """The store that holds `key`."""
        return self._place(key)[1]

    def shardDatastore(self, key: Key) -> Datastore:  # noqa: N802 - the documented name
        """As `shard_datastore`."""
        return self.shard_datastore(key)

    def _place(self, key: Key) -> tuple[int, Datastore]:
        stores = self._held()
        check_key(key)
        number = self._shardingfn(key)
        if not isinstance(number, int):
            raise UnsupportedTypeError(f"shardingfn must answer an int, got {type(number).__name__}")
        index = number % len(stores)
        return index, stores[index]

    async def get(self, key: Key) -> Any:
        """The value of `key` on its shard."""
        index, store = self._place(key)
        return await self._on_shard(index, store.get, key)

    async def put(self, key: Key, value: Any) -> None:
        """Store on the key's shard."""
        index, store = self._place(key)
        await self._on_shard(index, store.put, key, value)

    async def delete(self, key: Key) -> None:
        """Delete on the key's shard."""
        index, store = self._place(key)
        await self._on_shard(index, store.delete, key)

    async def contains(self, key: Key) -> bool:
        """Whether the key's shard has it."""
        index, store = self._place(key)
        return bool(await self._on_shard(index, store.contains, key))

    async def _on_shard(self, index: int, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        try:
            return await call(*arguments)
        except DatastoreError as error:
            self._name_shard(index, error)
            raise

    def _name_shard(self, index: int, error: DatastoreError) -> None:
        if error.shard is None and self._names is not None and index < len(self._names):
            error.shard = self._names[index]

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries, with one batch for each shard, all at once."""
        return await self._batch(list(keys), lambda store: store.batch_get, lambda key: key)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes, with one batch for each shard, all at once; writes to one key keep their order."""
        return await self._batch(list(writes), lambda store: store.batch_write, lambda write: write.key)

    async def _batch(
        self,
        items: list[Any],
        batch_call: Callable[[Datastore], Callable[[list[Any]], Awaitable[list[Outcome]]]],
        key_of: Callable[[Any], Key],
    ) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        places: dict[int, list[int]] = {}
        stores: dict[int, Datastore] = {}
        for position, item in enumerate(items):
            try:
                index, stores_index = self._place(key_of(item))
            except UnsupportedTypeError as error:
                outcomes[position] = Outcome(error=error)
                continue
            stores[index] = stores_index
            places.setdefault(index, []).append(position)
        calls = [
            partial(self._batch_on_shard, index, batch_call(stores[index]), [items[at] for at in positions])
            for index, positions in places.items()
        ]
        for positions, answers in zip(places.values(), await fan_out(calls), strict=True):
            outcomes.update(zip(positions, answers, strict=True))
        return [outcomes[position] for position in range(len(items))]

    async def _batch_on_shard(
        self, index: int, call: Callable[[list[Any]], Awaitable[list[Outcome]]], items: list[Any]
    ) -> list[Outcome]:
        """One shard's part of a batch; the failure of the whole part is each item's."""
        try:
            outcomes = await call(items)
        except DatastoreError as error:
            outcomes = [Outcome(error=error)] * len(items)
        for outcome in outcomes:
            if outcome.error is not None:
                self._name_shard(index, outcome.error)
        return outcomes

    def query(self, query: Query) -> Cursor:
        """What all shards together hold, as one store would answer."""
        check_query(query)
        stores = self._held()
        if query.limit == 0:
            return Cursor(query, ())
        only = self._only_shard(query)
        asked = {
            index: exact_query(store, _shard_query(query))
            for index, store in enumerate(stores)
            if only is None or index == only
        }
        reports: list[ShardReport] = []
        return Cursor.from_batches(query, self._merge(query, asked, reports), shards=reports)

    def _only_shard(self, query: Query) -> int | None:
        """The one shard that can hold what the query selects, where the sharding function knows of one."""
        only_shard = getattr(self._shardingfn, "only_shard", None)
        return None if only_shard is None else only_shard(query)

    async def _merge(self, query: Query, asked: dict[int, Cursor], reports: list[ShardReport]) -> AsyncGenerator[Batch]:
        shards = list(asked)
        cursors = list(asked.values())
        streams = [cursor.batches() for cursor in cursors]
        merge = BlockMerge(query, len(cursors))
        failed: dict[int, DatastoreError] = {}
        try:
            while not merge.done:
                wanted = merge.wanted()
                pulls = [partial(self._pull, shards[i], streams[i], query, failed) for i in wanted]
                for i, batch in zip(wanted, await fan_out(pulls), strict=True):
                    if batch is not None:
                        merge.feed(i, batch)
                        continue
                    merge.end(i)
                    if shards[i] in failed:
                        # Told at once: whoever continues these results elsewhere must know that they lack a shard.
                        reports.extend(self._reports(shards[i], cursors[i], failed[shards[i]]))
                yield merge.take()
        finally:
            for cursor in cursors:
                await cursor.aclose()
        for shard, cursor in asked.items():
            if shard not in failed:
                reports.extend(self._reports(shard, cursor, None))

    async def _pull(
        self,
        index: int,
        stream: AsyncGenerator[Batch],
        query: Query,
        failed: dict[int, DatastoreError],
    ) -> Batch | None:
        """The next batch of a shard; None at its end, or where the query may do without an unreachable shard."""
        try:
            return await anext(stream, None)
        except DatastoreError as error:
            self._name_shard(index, error)
            if not query.allow_partial or not isinstance(error, UnavailableError):
                raise
            failed[index] = error
            return None

    def _reports(self, index: int, cursor: Cursor, error: DatastoreError | None) -> list[ShardReport]:
        """One shard's report, or those of the shards it is made of, under its name."""
        name = str(index) if self._names is None or index >= len(self._names) else self._names[index]
        if cursor.shards and error is None:
            return [replace(report, shard=f"{name}/{report.shard}") for report in cursor.shards]
        return [ShardReport(name, cursor.returned, cursor.scanned, error)]

    async def shard_query_generator(self, query: Query) -> AsyncGenerator[Any]:
        """The values of each shard's own answer, shard after shard, not merged."""
        for store in self._held():
            async for value in store.query(query):
                yield value

    def describe(self) -> Description:
        """Kind `sharded`, over its shards."""
        return self._described("sharded", f"{len(self._stores)} shards")


def _shard_query(query: Query) -> Query:
    """What each shard is asked: all that could be among the first offset + limit entries."""
    asked = query.copy()
    asked.offset = 0
    asked.limit = None if query.limit is None else query.offset + query.limit
    asked.sort_keys = bool(query.orders)
    # Where shards cannot give sort keys, the merge reads the order's fields from the values.
    asked.keys_only = query.keys_only and not query.orders
    return asked
