"""The Datastore contract.

Every store, shim, collection and remote store is a Datastore. Knows keys and queries; knows no backend,
no wire and no other store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from datastore.aio import verbs
from datastore.aio.aggregating import scanned_tally, tally_of
from datastore.aio.atomic import not_atomic
from datastore.aio.cursor import Cursor
from datastore.aio.exchange import exchange
from datastore.aio.scan import Scan, ask
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate, Aggregation
from datastore.model.arguments import check_key, check_query
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.entries import StoredEntry, Write
from datastore.model.errors import ConditionFailedError, QueryNotSupportedError, UnsupportedTypeError
from datastore.model.expiry import NEVER, expiry_of
from datastore.model.fields import Order
from datastore.model.key import Key
from datastore.model.matching import MatchingWrite
from datastore.model.metadata import PutOptions, WriteOptions, condition_of
from datastore.model.operations import (
    ENTRIES,
    Operation,
    Patch,
    ReadOptions,
    ReadResult,
    WriteResult,
    raise_error,
    value_of,
)
from datastore.model.patches import changes_of
from datastore.model.query import Query
from datastore.model.spellings import TwoNames, is_overridden

if TYPE_CHECKING:
    from datetime import datetime

    from datastore.aio.feeds import Feed
    from datastore.aio.matching import MatchingRun
    from datastore.aio.watching import Watcher
    from datastore.model.changes import Watch
    from datastore.model.explanation import Explanation
    from datastore.model.matching import MatchingStep

__all__ = ["Datastore", "exact_query", "require_datastore"]


class Datastore(TwoNames):
    """One small interface in front of any storage.

    Absent keys: `get` returns None, `contains` returns False, and `delete` does nothing; none of them raises.
    Atomicity: `put` replaces one entry whole or not at all; if a value is refused, the old one stays.
    None: `put(key, None)` is `delete(key)`; every other value is stored, including falsy ones.
    Order: every query returns its results in a total order: by its orders, then by key.
    Safety: threads (under asyncio, tasks) may call concurrently; calls for the same key take effect one after another.
    A cursor belongs to one thread or task.
    Closing: the caller that created the store must close it, e.g. by `with`; that also closes what it is built on.
    Errors: TypeError for an argument that is not a Key or Query, otherwise classes of `datastore.core.errors`.

    A custom store overrides `get`, `put`, `delete` and `query`; everything else has defaults. Alternatively it
    overrides the waist, the methods underneath: `read`, `write` and `scan`. Whichever a class overrides, the library
    calls. A method that also has a documented camelCase name can be overridden under either name.
    """

    #: Whether a class's own `query` applies the whole query. If not, it is asked only for the scope, and the rest is
    #: applied to its answer. A class that overrides `query` must declare this again.
    ordered_queries: bool = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Derive the verbs and waist methods that the class lacks."""
        super().__init_subclass__(**arguments)
        verbs.derive(cls)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name in verbs.DERIVED:
                verbs.derive_again(self, name)

    # The waist

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read several entries: a ReadResult for each key, in their order. One failure does not fail the others.

        A `get` of one key raises the error of its result.
        """
        results: list[ReadResult] = await verbs.read_by_get(self, keys, options)
        return results

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes: a WriteResult for each, in their order. They also take effect in this order.

        Not atomic: each write succeeds or fails by itself.
        """
        results: list[WriteResult] = await verbs.write_by_verbs(self, operations)
        return results

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes in their order, each after those before it: all of them, or none if one fails.

        That one has its error, and the others have a BatchAbortedError. What fails all of them alike, e.g. a full
        store, is raised: nothing was made, unless the outcome is unknown. Nobody sees a part of them.
        Raises UnsupportedError if the store cannot do that, at all or for these keys. The library calls it only if no
        method that writes is overridden further down.
        """
        raise not_atomic(self)

    def scan(self, query: Query) -> Scan:
        """The batches that `query`, which is frozen, selects, with the parts of the query already applied to them.

        Nothing is read before the first batch. Raises QueryNotSupportedError (a NotImplementedError), with the reason,
        if the store cannot answer it.
        """
        scan: Scan = verbs.scan_by_query(self, query)
        return scan

    async def tally(self, asked: Aggregate) -> Tally:
        """The groups of an aggregate and their partial states, which combine with those of other stores.

        The default reads the scan. Override it only where a store can do better than that; the library calls it only
        if `scan` and `query` are not overridden further down.
        """
        return await scanned_tally(self, asked)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feed of what `watch` asks for. It calls `wake`, from any thread, when there may be more; see Feed.

        Raises UnsupportedError if the store cannot be watched. The library calls it only if no verb and no other method
        of the waist is overridden further down.
        """
        from datastore.aio.feeds import unlogged

        raise unlogged(self)

    def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        """Change all entries that a query selects, in steps; see `delete_matching`.

        The first step has the position before anything is changed. The default works over `scan` and `write`. Override
        it only where a store can do better than that; the library calls it only if no verb and no other method of the
        waist is overridden further down.
        """
        from datastore.aio.matching import scanned_matching

        return scanned_matching(self, asked)

    # The verbs

    async def get(self, key: Key) -> Any:
        """The value of `key`, or None if it has none."""
        raise NotImplementedError(f"{type(self).__name__} does not implement get")

    async def put(self, key: Key, value: Any, **options: Unpack[PutOptions]) -> None:
        """Store `value` under `key`, replacing any old value. None deletes.

        With `expires_in_s` the entry expires so many seconds after the write, by the clock of the store, with
        `expire_time`, a datetime with a time zone, at that instant; without them it never expires, even if the old one
        would have. From that instant on it is absent to every call. An instant that has passed deletes the entry.

        With `if_absent`, `if_exists` or `if_version`, only if the key has no entry, has one, or has one of this
        version, decided atomically with the write; otherwise raises ConditionFailedError with the current version.
        Raises UnsupportedError for a condition if the store keeps no versions, or for an expiry if its entries cannot
        expire; InvalidError (a ValueError) for two conditions, or an expiry that is not above 0, has no time zone or is
        after the year 9999.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement put")

    async def delete(self, key: Key, **options: Unpack[WriteOptions]) -> None:
        """Remove the entry of `key`, if there is one. Conditions as in `put`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement delete")

    async def entry(self, key: Key) -> StoredEntry | None:
        """The entry of `key` with its version and times, or None if it has none.

        Raises UnsupportedError if the store keeps no versions.
        """
        key = check_key(key)
        if not self.capability.versions:
            raise verbs.no_versions(self)
        (result,) = await self.read((key,), ENTRIES)
        value = value_of(result)
        if result.metadata is None and value is not None:
            raise verbs.no_versions(self)
        return None if result.metadata is None else StoredEntry.read(key, value, result.metadata)

    async def update(self, key: Key, function: Callable[[Any], Any]) -> Any:
        """Replace the value of `key` by `function(value)`, atomically; returns the new value.

        The entry expires as before. The function gets the current value, None if there is none, and must not modify
        it; None deletes the entry. If another write comes between, it is called again with the new value, at most
        UPDATE_ATTEMPTS times; then raises ConditionFailedError. Raises what the function raises, and UnsupportedError
        if the store keeps no versions.
        """
        key = check_key(key)
        if not self.capability.versions:
            raise verbs.no_versions(self)
        result = await exchange(self, key, function)
        raise_error(result)
        return result.value

    async def patch(
        self,
        key: Key,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - what it does
        *,
        increment: Mapping[str, float] | None = None,
        append: Mapping[str, Sequence[Any]] | None = None,
        remove: Sequence[str] = (),
        create: bool = False,
        if_version: int | None = None,
    ) -> Any:
        """Change parts of the value of `key`, which is a map, in one atomic step; returns the new value.

        `set` stores values, `increment` adds to numbers, `append` adds elements to lists, `remove` removes, each by
        path: `geo.lat` is the member of that name or, without one, the member `lat` of the map `geo`. A missing number
        is 0, a missing list is empty, and missing maps are made. The entry expires as before. With `create` an absent
        entry is an empty map; otherwise, and with `if_version` for any other version, raises ConditionFailedError.
        Raises InvalidValueError (a ValueError), and changes nothing, if a change does not fit the value; InvalidError
        or UnsupportedTypeError for bad arguments; UnsupportedError if the store keeps no versions.
        """
        changes = changes_of(set, increment, append, remove)
        condition = condition_of(if_version=if_version)
        [result] = await self.batch_write([Patch(check_key(key), changes, condition, create=create)])
        raise_error(result)
        return result.value

    async def touch(self, key: Key, *, expires_in_s: float | None = None, expire_time: datetime | None = None) -> bool:
        """Change only when the entry of `key` expires, as in `put`; without arguments it never does.

        Returns whether the key has an entry. This is a write: the entry gets a new version and update time.
        Raises UnsupportedError if the store's entries cannot expire, and for bad arguments what `put` does.
        """
        expiry = expiry_of(expires_in_s=expires_in_s, expire_time=expire_time)
        [result] = await self.batch_write([Patch(check_key(key), (), expiry=expiry or NEVER)])
        if isinstance(result.error, ConditionFailedError):
            return False
        raise_error(result)
        return True

    async def contains(self, key: Key) -> bool:
        """Whether `key` has a value, i.e. `get(key)` is not None."""
        return await self.get(key) is not None

    def query(self, query: Query) -> Cursor:
        """A cursor over what `query` selects. Nothing is read before its first item.

        Raises QueryNotSupportedError (a NotImplementedError), with the reason, if the store cannot answer it.
        """
        check_query(query)
        raise QueryNotSupportedError(f"{type(self).__name__} does not support queries")

    async def aggregate(
        self,
        query: Query,
        aggregations: Mapping[str, Aggregation],
        *,
        group_by: Sequence[str] = (),
        orders: Sequence[str | Order] = (),
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Compute `aggregations`, e.g. `{"n": Count(), "mean": Avg("elevation")}`, over what `query` selects.

        Returns a row for each group of entries with equal values in the fields of `group_by`, and exactly one row
        without: a dict of those fields and the names. Rows are sorted by `orders` and then by their groups; `limit` is
        how many are returned. The query's own limit and offset count entries. Results are exact, and do not depend on
        the order of the entries or on how they are sharded.
        Raises InvalidQueryError or UnsupportedTypeError for bad arguments, LimitExceededError for more than GROUPS
        groups (at a server, its limit `groups`), and what the query raises.
        """
        asked = Aggregate.checked(query, aggregations, group_by=group_by, orders=orders, limit=limit)
        return (await tally_of(self, asked)).rows()

    def watch(
        self, query: Query | Key, *, values: bool = True, initial: bool = False, resume_token: bytes | None = None
    ) -> Watcher:
        """The changes, from now on, of the entries that `query` selects, or of the one entry of a Key.

            with store.watch(Query(Key("/users"))) as changes:
                for change in changes:
                    print(change.kind, change.key, change.value)

        The query has a key, `recursive` and filters, and nothing else. It begins when it is entered by `with`, or first
        read. Every change comes once; those of one key in their order, those of one store in the order of its commits;
        between shards there is no order. A put comes if the new value passes the filters, so an entry that no longer
        passes is not mentioned; deletions and expiries come whatever the value was. With `initial` the entries that
        exist come first, as puts in no particular order; when the Watcher's `caught_up` is set, all have come. With the
        `token` of an earlier Watcher of the same query as `resume_token` it continues there, without a gap.
        Writers never wait for a watcher: one that falls too far behind gets ChangesExpiredError, as does a token that
        is too old. Raises UnsupportedError if the store cannot be watched, InvalidTokenError for a token that is
        damaged or that of another watch, InvalidQueryError or UnsupportedTypeError for a query with other parts.
        """
        # Loaded only by those who watch: loading takes noticeable time.
        from datastore.aio.feeds import check_watched
        from datastore.aio.watching import Watcher
        from datastore.engine.feeds import opened
        from datastore.model.changes import Watch

        watch = Watch.checked(query, values=values, initial=initial)
        check_watched(self)
        if resume_token is not None:
            watch = watch._replace(position=opened(watch, resume_token))
        return Watcher(partial(self.changes, watch), watch)

    def delete_matching(self, query: Query, *, resume_token: bytes | None = None) -> MatchingRun:
        """Delete the entries that `query` selects, while the returned MatchingRun is read.

            for progress in store.delete_matching(Query(Key("/sessions")).filter("user", "=", "ada")):
                print(progress.changed, "of", progress.total)

        Or at once: `store.delete_matching(query).finish()`, which returns the last MatchingProgress.
        Entries are deleted in batches, each on condition that it has not been written since the operation began; those
        that have are passed over, so that no entry is deleted that did not match. It is not atomic: others see some
        entries deleted before the rest, and if it ends early, what was deleted stays deleted. To continue it, pass the
        `token` of the progress as `resume_token`; a limit and an offset are not applied anew. A store that keeps no
        versions deletes unconditionally, so it may delete an entry that has just been changed.
        Raises InvalidQueryError or UnsupportedTypeError for bad arguments, InvalidTokenError for a token that is
        damaged or of another operation, and, while it is read, what the query and the writes raise. Failures of single
        entries are in the progress.
        """
        return self._matching(MatchingWrite.checked(query), resume_token)

    def patch_matching(
        self,
        query: Query,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - what it does
        *,
        increment: Mapping[str, float] | None = None,
        append: Mapping[str, Sequence[Any]] | None = None,
        remove: Sequence[str] = (),
        resume_token: bytes | None = None,
    ) -> MatchingRun:
        """Patch the entries that `query` selects, as `patch` does one, while the returned MatchingRun is read.

        Like `delete_matching`. No entry is patched twice, even if it matches again afterwards, or the operation is
        continued by a token after an answer was lost. Raises also UnsupportedError if the store keeps no versions.
        """
        changes = changes_of(set, increment, append, remove)
        if not self.capability.versions:
            raise verbs.no_versions(self)
        return self._matching(MatchingWrite.checked(query, changes), resume_token)

    def _matching(self, asked: MatchingWrite, resume_token: bytes | None) -> MatchingRun:
        from datastore.aio.matching import MatchingRun

        if not self.capability.queries:
            raise QueryNotSupportedError(f"{type(self).__name__} does not support queries")
        return MatchingRun(self, asked, resume_token)

    async def explain(self, query: Query) -> Explanation:
        """Run `query`, drop its results, and report what each store applied, examined and returned.

        Raises what the query raises.
        """
        check_query(query)
        async with exact_query(self, query.replaced(explain=True)) as cursor:
            async for _ in cursor.batches():
                pass
            return cursor.explained[0]

    async def batch_get(self, keys: Sequence[Key]) -> list[ReadResult]:
        """Read several entries: a ReadResult for each key, in their order. One failure does not fail the others."""
        results: list[ReadResult] = await verbs.batch_get_by_get(self, keys)
        return results

    async def batch_write(self, writes: Sequence[Write | Operation], *, atomic: bool = False) -> list[WriteResult]:
        """Make several writes: a WriteResult for each, in their order. They also take effect in this order.

        A write with a condition or an expiry is an operation, e.g. `Put(key, value, ABSENT)` or
        `Put(key, value, expiry=Expiry.after(seconds=60))`.
        Each write succeeds or fails by itself. With `atomic` they are all made, or none if one fails: that one has its
        error, the others have a BatchAbortedError, which says which one failed. Readers see all of them or none.
        What fails them all alike, e.g. a full store, is then raised. Raises UnsupportedError, and makes none, if the
        store cannot do that (`capability.atomic`), or, in a collection, if the keys do not lie in one of its stores.
        """
        results: list[WriteResult] = await verbs.batch_write_by_verbs(self, writes, atomic=atomic)
        return results

    # The store itself

    def listed_key(self, key: Key) -> Key:
        """The key under which queries return the entry of `key`: itself, unless the store uses other keys."""
        return key

    @property
    def capability(self) -> Capability:
        """What this store can do. A class that declares nothing answers queries if it defines `query` or `scan`."""
        return Capability(queries=is_overridden(self, Datastore, "query") or is_overridden(self, Datastore, "scan"))

    def describe(self) -> Description:
        """What this store is composed of, and what it can do."""
        return Description(type(self).__name__, capability=self.capability)

    async def aclose(self) -> None:
        """Release what the store holds. May be repeated; later calls raise DatastoreClosedError."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def require_datastore(store: object, what: str) -> Datastore:
    """`store` itself; UnsupportedTypeError (a TypeError), beginning with `what`, if it is not a Datastore here."""
    if isinstance(store, Datastore):
        return store
    kind = type(store)
    if any(base.__name__ == "Datastore" for base in kind.__mro__):
        raise UnsupportedTypeError(
            f"{what}, got {kind.__module__}.{kind.__name__}: async and blocking stores do not mix;"
            " `datastore.aio.lift.lift` makes an async store of a blocking one"
        )
    raise UnsupportedTypeError(f"{what}, got {kind.__name__}")


def exact_query(store: Datastore, query: Query) -> Cursor:
    """Query a store exactly, even if its own `query` does not apply the whole query.

    Such a store is asked only for the scope, and may return any iterable; the result is sorted by key in memory.
    Raises QueryNotSupportedError immediately if the store does.
    """
    check_query(query)
    asked = query.frozen()
    return verbs.cursor_of(query, asked, ask(store, asked))
