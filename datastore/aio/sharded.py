"""Stores that each hold some of the keys, combined into one store.

`datastore.engine.merge` decides; this module only makes the calls. Knows only the Datastore contract.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from datastore.aio._concurrency import close_iterator, fan_out, iterate
from datastore.aio.aggregating import scanned_tally, tally_of
from datastore.aio.atomic import atomic_of, none_made
from datastore.aio.base import Datastore, exact_query, require_datastore
from datastore.aio.collections import DatastoreCollection
from datastore.aio.cursor import Cursor, close_all
from datastore.aio.feeds import Feed, MergedFeed, feed_of, unwatched
from datastore.aio.scan import Scan
from datastore.engine.merge import BlockMerge
from datastore.engine.plan import COMPLETE
from datastore.engine.room import sort_room
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.arguments import check_key
from datastore.model.description import Description
from datastore.model.entries import Batch, ShardReport
from datastore.model.errors import (
    DatastoreError,
    InvalidError,
    UnavailableError,
    UnsupportedError,
    UnsupportedTypeError,
)
from datastore.model.fields import BESIDE_VALUES, VALUE_FIELD
from datastore.model.key import Key
from datastore.model.operations import REFUSALS, Operation, ReadOptions, ReadResult, WriteResult, attempt
from datastore.model.query import Query
from datastore.model.spellings import is_overridden

if TYPE_CHECKING:
    from datastore.model.changes import Watch
    from datastore.model.explanation import Explanation
    from datastore.model.matching import MatchingStep, MatchingWrite

__all__ = ["ShardedDatastore"]

#: How many shards the error for an atomic batch names.
_NAMED_SHARDS = 3

#: A shard's part of a call: its index (None if it is not one of the stores), its store, the positions of its items.
_Part: TypeAlias = "tuple[int | None, Datastore, list[int]]"

_Result = TypeVar("_Result", ReadResult, WriteResult)


class ShardedDatastore(DatastoreCollection):
    """Shards the keys over several stores: a key's store is `shardingfn(key) % len(stores)`.

    The default, `hash`, is that of Key: stable in every process and release. Adding, removing or reordering
    stores assigns keys to other shards. get, put, delete and contains go to the key's shard, whose errors reach the
    caller, with the shard's name if `names` were given (one per store, in the same order).
    A query asks every shard and merges the sorted streams exactly: by its orders, then by key, with offset and limit
    applied to the merged results. At most two batches of each shard are in memory. If a shard fails, the query raises
    and closes the others; with `allow_partial` an unreachable shard is left out, and listed in the cursor's summary.
    An atomic batch needs all its keys on one shard; otherwise it raises UnsupportedError, which names the shards.
    A subclass may override `shard` or `shard_datastore` to route all calls for a key. If it overrides
    `shard_query_generator`, queries are answered from the values that this yields, sorted and limited here; their keys
    are unknown, so without orders they stay in the order in which it yields them.
    Raises UnsupportedTypeError (a TypeError) if `shardingfn` is not callable or does not return an int, and
    NoStoresError without stores.
    """

    two_names: ClassVar = {"shardDatastore": "shard_datastore"}
    #: Whether entries may move between the stores, each of which says in its feed when they have: see `ChangeBatch`.
    entries_move: ClassVar[bool] = False

    def __init__(
        self,
        stores: Iterable[Datastore] = (),
        shardingfn: Callable[[Key], int] = hash,
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(stores)
        if not callable(shardingfn):
            raise UnsupportedTypeError(
                f"shardingfn must be callable with a Key and return an int, got {type(shardingfn).__name__}",
                path="shardingfn",
            )
        if names is not None and len(names) != len(self._stores):
            raise InvalidError(f"{len(names)} names for {len(self._stores)} stores; give one name for each store")
        self._shardingfn = shardingfn
        self._names = names

    def shard(self, key: Key) -> int:
        """The index of the store that holds `key`."""
        return self._index(key, self._held())

    def shard_datastore(self, key: Key) -> Datastore:
        """The store that holds `key`."""
        return self._indexed(key, self._held())[1]

    shardDatastore = shard_datastore  # noqa: N815 - the documented name

    def _index(self, key: Key, stores: Sequence[Datastore]) -> int:
        key = check_key(key)
        number = self._shardingfn(key)
        if not isinstance(number, int) or isinstance(number, bool):
            raise UnsupportedTypeError(f"shardingfn must return an int, got {type(number).__name__} for {key}")
        return number % len(stores)

    def _indexed(self, key: Key, stores: Sequence[Datastore]) -> tuple[int, Datastore]:
        """The store that `shard` selects, with its index."""
        if not is_overridden(self, ShardedDatastore, "shard"):
            index = self._index(key, stores)
            return index, stores[index]
        index = self.shard(check_key(key))
        if not isinstance(index, int) or isinstance(index, bool):
            raise UnsupportedTypeError(f"shard must return an int, got {type(index).__name__} for {key}")
        if not -len(stores) <= index < len(stores):
            raise InvalidError(f"shard returned {index} for {key}; the {len(stores)} stores are numbered from 0")
        return index % len(stores), stores[index]

    def _place(self, key: Key) -> tuple[int | None, Datastore]:
        """The store for a key, with its index, or None if it is not one of `stores`."""
        stores = self._held()
        if not is_overridden(self, ShardedDatastore, "shard_datastore"):
            return self._indexed(key, stores)
        store = require_datastore(self.shard_datastore(check_key(key)), "shard_datastore must return a Datastore")
        return next((index for index, held in enumerate(stores) if held is store), None), store

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read with one call per shard, concurrently."""
        return await self._spread(keys, keys, lambda store: lambda part: store.read(part, options), ReadResult.failed)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write with one call per shard, concurrently; writes to the same key keep their order."""
        keys = [operation.key for operation in operations]
        return await self._spread(keys, operations, lambda store: store.write, WriteResult)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write to the shard that holds all keys. Raises UnsupportedError, naming the shards, if there are several."""
        self._held()
        if not operations:
            return []
        places = [attempt(self._place, operation.key) for operation in operations]
        failed = {at: place.error for at, place in enumerate(places) if place.error is not None}
        if failed:
            return none_made(failed, len(places))
        #: By the stores' identities: the index, and the first of the keys.
        parts: dict[int, tuple[int | None, Key]] = {}
        for operation, place in zip(operations, places, strict=True):
            index, store = place.value
            parts.setdefault(id(store), (index, operation.key))
        if len(parts) > 1:
            raise self._on_several(list(parts.values()))
        try:
            results = await atomic_of(store)(operations)
        except DatastoreError as error:
            self._name_shard(index, error)
            raise
        return self._named(index, results)

    def _on_several(self, parts: list[tuple[int | None, Key]]) -> UnsupportedError:
        """The error for an atomic batch with keys on these shards."""
        named = [f"{key} on {'another' if index is None else self._name_of(index)}" for index, key in parts]
        more = [f"and {len(named) - _NAMED_SHARDS} more"] if len(named) > _NAMED_SHARDS else []
        return UnsupportedError(
            "an atomic batch needs all its keys on one shard, and these are on"
            f" {len(named)}: {', '.join([*named[:_NAMED_SHARDS], *more])}"
        )

    async def _spread(
        self,
        keys: Sequence[Key],
        items: Sequence[Any],
        call_of: Callable[[Datastore], Callable[[Sequence[Any]], Awaitable[list[_Result]]]],
        failed: Callable[[Exception], _Result],
    ) -> list[_Result]:
        """Call each shard with the items whose keys it holds. The results are in the order of the items."""
        self._held()
        if len(keys) == 1:
            # By far the most calls: without the books of which shard has which of several items.
            found = attempt(self._place, keys[0])
            if found.error is not None:
                return [failed(found.error)]
            index, store = found.value
            return await self._on_shard(index, call_of(store), items, failed)
        parts, errors = self._parts_of(keys)
        calls = [
            partial(self._on_shard, index, call_of(store), [items[at] for at in positions], failed)
            for index, store, positions in parts
        ]
        answers = [await calls[0]()] if len(calls) == 1 else await fan_out(calls)
        results = {position: failed(error) for position, error in errors.items()}
        for (*_, positions), answer in zip(parts, answers, strict=True):
            results.update(zip(positions, answer, strict=True))
        return [results[position] for position in range(len(keys))]

    def _parts_of(self, keys: Sequence[Key]) -> tuple[list[_Part], dict[int, Exception]]:
        """The shards that hold some keys, each once, and the errors of keys that have no shard, by position."""
        stores, indexes = self._held(), self._indexes_of(keys)
        if indexes is not None:
            positions: dict[int, list[int]] = {}
            for position, index in enumerate(indexes):
                positions.setdefault(index, []).append(position)
            return [(index, stores[index], places) for index, places in positions.items()], {}
        errors: dict[int, Exception] = {}
        #: By the stores' identities.
        parts: dict[int, _Part] = {}
        for position, key in enumerate(keys):
            found = attempt(self._place, key)
            if found.error is not None:
                errors[position] = found.error
            else:
                index, store = found.value
                parts.setdefault(id(store), (index, store, []))[2].append(position)
        return list(parts.values()), errors

    def _indexes_of(self, keys: Sequence[Key]) -> list[int] | None:
        """The indexes of the stores that hold some keys; None if each key needs a closer look.

        Finding them together takes a fraction of the time.
        """
        if any(is_overridden(self, ShardedDatastore, name) for name in ("shard", "shard_datastore")):
            return None
        if not all(isinstance(key, Key) for key in keys):
            return None
        shards_of = getattr(self._shardingfn, "shards_of", None)
        try:
            numbers = list(map(self._shardingfn, keys)) if shards_of is None else shards_of(keys)
        except REFUSALS:
            return None
        return [number % len(self._stores) for number in numbers] if set(map(type, numbers)) == {int} else None

    async def _on_shard(
        self,
        index: int | None,
        call: Callable[[Sequence[Any]], Awaitable[list[_Result]]],
        items: Sequence[Any],
        failed: Callable[[Exception], _Result],
    ) -> list[_Result]:
        """One shard's part of a call; if the whole part fails, each of its items fails."""
        try:
            results = await call(items)
        except DatastoreError as error:
            self._name_shard(index, error)
            return [failed(error) for _ in items]
        return self._named(index, results)

    def _named(self, index: int | None, results: list[_Result]) -> list[_Result]:
        for result in [result for result in results if result.error is not None]:
            if isinstance(result.error, DatastoreError):
                self._name_shard(index, result.error)
        return results

    def _name_shard(self, index: int | None, error: DatastoreError) -> None:
        if error.shard is None and self._names is not None and index is not None and index < len(self._names):
            error.shard = self._names[index]

    def scan(self, query: Query) -> Scan:
        """The merged results of all shards, as one store would return them."""
        stores = self._held()
        if query.limit == 0:
            cursor = Cursor(query, ())
            return Scan(cursor.batches(), COMPLETE, source=cursor)
        if is_overridden(self, ShardedDatastore, "shard_query_generator"):
            cursor = Cursor(query, self.shard_query_generator(_shard_query(query).copy()))
            cursor._apply("orders", "offset", "limit", "keys_only", "fields")
            return Scan(cursor.batches(), COMPLETE, source=cursor)
        only = self._only_shard(query)
        asked = {
            index: exact_query(store, _shard_query(query))
            for index, store in enumerate(stores)
            if only is None or index == only
        }
        reports: list[ShardReport] = []
        return Scan(self._merge(query, asked, reports), COMPLETE, shards=reports, explained=self._explained(asked))

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feeds of all shards in one, in no order between shards. Positions have one for each shard."""
        if is_overridden(self, ShardedDatastore, "shard_query_generator"):
            raise unwatched(self, "it has its own shard_query_generator")
        stores = self._held()
        only = None if self.entries_move else self._only_shard(watch.query)
        indexes = [index for index in range(len(stores)) if only is None or index == only]
        return MergedFeed(
            list(map(self._name_of, indexes)),
            watch,
            lambda place, asked: feed_of(stores[indexes[place]], asked, wake),
            lambda place, error: self._name_shard(indexes[place], error),
            can_move=self.entries_move,
        )

    async def tally(self, asked: Aggregate) -> Tally:
        """The combined tallies of all shards, which work concurrently. If one fails, all of it does."""
        if not asked.is_divisible or is_overridden(self, ShardedDatastore, "shard_query_generator"):
            return await scanned_tally(self, asked)
        only = self._only_shard(asked.query)
        calls = [
            partial(self._tally_on, index, store, asked)
            for index, store in enumerate(self._held())
            if only is None or index == only
        ]
        combined, room = Tally(asked), sort_room()
        try:
            for part in await fan_out(calls):
                combined.merge(part)
                room.hold(combined.held_bytes)
        finally:
            room.close()
        return combined

    async def _tally_on(self, index: int, store: Datastore, asked: Aggregate) -> Tally:
        try:
            return await tally_of(store, asked)
        except DatastoreError as error:
            self._name_shard(index, error)
            raise

    def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        """The steps of all shards, which work concurrently; with a limit or an offset, what the merged query selects.

        If a shard fails, all stop.
        """
        # Loaded only by those who use it: loading takes noticeable time.
        from datastore.aio.matching import scanned_matching

        overridden = ("shard_query_generator", "shard_datastore")
        if any(is_overridden(self, ShardedDatastore, name) for name in overridden):
            return scanned_matching(self, asked)
        if not asked.is_divisible:
            return scanned_matching(self, asked, lambda keys: list(map(self.shard, keys)))
        return self._matching_on_shards(asked)

    async def _matching_on_shards(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        from datastore.aio.matching import matching_of
        from datastore.engine.matching import combined, joined, parted

        stores, only = self._held(), self._only_shard(asked.query)
        indexes = {self._name_of(index): index for index in range(len(stores)) if only is None or index == only}
        places: dict[str, bytes | None] = dict.fromkeys(indexes)
        if asked.position is not None:
            places = parted(asked.position, list(indexes))
        streams = {
            name: matching_of(stores[index], asked._replace(position=places[name])) for name, index in indexes.items()
        }
        left, error = list(streams), None
        try:
            while left and error is None:
                pulls = [partial(self._next_step, indexes[name], streams[name]) for name in left]
                steps: list[MatchingStep] = []
                for name, (step, failure) in zip(list(left), await fan_out(pulls), strict=True):
                    error = error or failure
                    if step is not None:
                        places[name] = step.position
                        steps.append(step)
                    elif failure is None:
                        left.remove(name)
                if steps:
                    yield combined(steps, joined(places))
            if error is not None:
                raise error
        finally:
            # The error holds this frame; if the frame kept the error too, that would be a cycle.
            error = None
            await close_all([stream.aclose for stream in streams.values()])

    async def _next_step(
        self, index: int, stream: AsyncGenerator[MatchingStep]
    ) -> tuple[MatchingStep | None, DatastoreError | None]:
        """The next step of a shard, None at its end, or the error with which it failed."""
        try:
            return await anext(stream, None), None
        except DatastoreError as error:
            self._name_shard(index, error)
            return None, error

    def _explained(self, asked: dict[int, Cursor]) -> list[Explanation]:
        """How each shard evaluates its part, under its name; empty unless the query is to be explained."""
        for index, cursor in asked.items():
            for explanation in cursor.explained:
                explanation.shard = self._name_of(index)
        return [explanation for cursor in asked.values() for explanation in cursor.explained]

    def _only_shard(self, query: Query) -> int | None:
        """The only shard that can hold what the query selects, if the sharding function can tell."""
        if any(is_overridden(self, ShardedDatastore, name) for name in ("shard", "shard_datastore")):
            return None
        only_shard = getattr(self._shardingfn, "only_shard", None)
        return None if only_shard is None else only_shard(query)

    async def _merge(self, query: Query, asked: dict[int, Cursor], reports: list[ShardReport]) -> AsyncGenerator[Batch]:
        shards = list(asked)
        cursors = list(asked.values())
        streams = [cursor.batches() for cursor in cursors]
        # Without orders, the shards themselves cut values to the fields.
        merge = BlockMerge(query if query.orders else query.replaced(fields=None), len(cursors))
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
                        # Reported immediately: a caller that continues these results must know which shard is missing.
                        reports.extend(self._reports(shards[i], cursors[i], failed[shards[i]]))
                yield merge.take()
        finally:
            await close_all([cursor.aclose for cursor in cursors])
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
        """The next batch of a shard; None at its end, or if it is unreachable and the query allows partial results."""
        try:
            return await anext(stream, None)
        except DatastoreError as error:
            self._name_shard(index, error)
            if not query.allow_partial or not isinstance(error, UnavailableError):
                raise
            failed[index] = error
            return None

    def _name_of(self, index: int) -> str:
        return str(index) if self._names is None or index >= len(self._names) else self._names[index]

    def _reports(self, index: int, cursor: Cursor, error: DatastoreError | None) -> list[ShardReport]:
        """One shard's report, or those of the shards that it is composed of, under its name."""
        name = self._name_of(index)
        if cursor.shards and error is None:
            return [report._replace(shard=f"{name}/{report.shard}") for report in cursor.shards]
        return [ShardReport(name, cursor.returned, cursor.scanned, error)]

    async def shard_query_generator(self, query: Query) -> AsyncGenerator[Any]:
        """The values of each shard's own results, shard after shard, not merged."""
        for store in self._held():
            cursor = store.query(query)
            try:
                async for value in iterate(cursor):
                    yield value
            finally:
                await close_iterator(cursor)

    def describe(self) -> Description:
        return self._described("sharded", f"{len(self._stores)} shards")


def _shard_query(query: Query) -> Query:
    """The query for each shard: everything that could be among the first offset + limit entries."""
    return query.replaced(
        offset=0,
        limit=None if query.limit is None else query.offset + query.limit,
        sort_keys=bool(query.orders),
        # If shards cannot return sort keys, the merge reads the order's fields from the values.
        keys_only=query.keys_only and not query.orders,
        fields=_merged_fields(query),
        metadata=query.metadata or query.sorts_by_metadata,
    )


def _merged_fields(query: Query) -> Sequence[str] | None:
    """The requested fields and those that the merge may compare; None if it may compare whole values."""
    ordered = [order.field for order in query.orders if order.field not in BESIDE_VALUES]
    if query.fields is None or (ordered and (query.has_custom_code or VALUE_FIELD in ordered)):
        return None
    return [*query.fields, *ordered]
