"""Stores at key prefixes, as one store. Knows the Datastore contract and how shards are merged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from datastore.aio.atomic import atomic_of
from datastore.aio.base import Datastore, require_datastore
from datastore.aio.feeds import Feed, MappedFeed, MergedFeed, feed_of
from datastore.aio.memory import NullDatastore
from datastore.aio.scan import Scan, ask, exact
from datastore.aio.sharded import ShardedDatastore
from datastore.aio.shims import ShimDatastore
from datastore.aio.transforms import key_below, prefix_text
from datastore.aio.verbs import batch_of_one, passed_on, scope_of
from datastore.engine.feeds import selected
from datastore.model.arguments import check_key
from datastore.model.capability import Capability
from datastore.model.changes import Change, Watch
from datastore.model.description import Description
from datastore.model.entries import Batch, Position
from datastore.model.errors import DatastoreError, InvalidError, InvalidKeyError, NoStoresError, UnsupportedTypeError
from datastore.model.fields import KEY_FIELD
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore.model.trees import Condition

__all__ = ["MountDatastore"]

_ROOT = Key("/")


class MountDatastore(ShimDatastore):
    """A store for each key prefix: `MountDatastore({"/archive": files, "/": main})`.

    A key belongs to the longest prefix that matches it, part by part, and its store gets the key without the prefix.
    With stores at `/archive`, `/archive/2026` and `/`:

        /archive/a         /a            in the store at /archive
        /archive/2026/a:b  /a:b          in the store at /archive/2026
        /archive/2026      /             in the store at /archive/2026
        /archives/a        /archives/a   in the store at /
        /archive:a         /archive:a    in the store at /: an instance is not below its key

    Entries of a store under keys that belong to a deeper one are not visible. Without a store at `/`, a key may belong
    to none: reads find it absent, and writes raise InvalidKeyError, which names the prefixes.
    Queries merge the results of the stores exactly, as one store would return them: order, offset, limit and
    start_after. Each store evaluates the filters that do not read keys; a query that concerns a store without queries
    fails. Entries whose keys become longer than KEY_BYTES with the prefix are left out. An error names the prefix as
    its `shard`. Closing closes every store, then raises the first error.
    Raises NoStoresError without stores, UnsupportedTypeError (a TypeError) unless the mounts map keys to Datastores,
    and InvalidError (a ValueError) for a prefix that is given twice.
    """

    def __init__(self, mounts: Mapping[Key | str, Datastore]) -> None:
        if not isinstance(mounts, Mapping):
            raise UnsupportedTypeError(f"mounts must map prefixes to Datastores, got {type(mounts).__name__}")
        if not mounts:
            raise NoStoresError("MountDatastore has no stores; mount at least one")
        stores: dict[Key, Datastore] = {}
        for given, store in mounts.items():
            prefix = Key(given)
            if prefix in stores:
                raise InvalidError(f"{prefix} is given twice; mount only one store there", field="mounts")
            stores[prefix] = require_datastore(store, f"{prefix} mounts a Datastore")
        #: The longest prefixes first.
        self._prefixes = sorted(stores, key=str, reverse=True)
        self._parts = [
            _Mounted(prefix, stores[prefix], [other for other in self._prefixes if prefix.is_ancestor_of(other)])
            for prefix in self._prefixes
        ]
        names = [*map(str, self._prefixes), "unmounted"]
        super().__init__(ShardedDatastore([*self._parts, _Unmounted(self._prefixes)], self._index, names=names))

    def _index(self, key: Key) -> int:
        """The index of the store to which a key belongs; the last index for none."""
        found = (place for place, part in enumerate(self._parts) if part.is_above(key))
        return next(found, len(self._parts))

    def scan(self, query: Query) -> Scan:
        """The merged results of the stores that can have any."""
        parts = [part for part in self._parts if part.concerns(query)]
        if len(parts) == 1:
            return ask(parts[0], query)
        names = [str(part.prefix) for part in parts]
        return ShardedDatastore(parts, names=names).scan(query) if parts else NullDatastore().scan(query)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feeds of the stores that can have any entries in one, in no order between stores."""
        parts = [part for part in self._parts if part.concerns(watch.query)]
        names = [str(part.prefix) for part in parts]

        def failed(place: int, error: DatastoreError) -> None:
            error.shard = error.shard or names[place]

        return MergedFeed(names, watch, lambda place, asked: feed_of(parts[place], asked, wake), failed)

    def listed_key(self, key: Key) -> Key:
        """The listed key of the store that the key belongs to, with its prefix."""
        place = self._index(check_key(key))
        return self._parts[place].listed_key(key) if place < len(self._parts) else key

    @property
    def capability(self) -> Capability:
        """The parts of a query that all stores can evaluate, among those that they are asked for."""
        return passed_on(self, Capability.common(part.capability for part in self._parts))

    def describe(self) -> Description:
        children = tuple(part.child_datastore.describe() for part in self._parts)
        return Description("mount", ", ".join(map(str, self._prefixes)), self.capability, children)


class _Unmounted(NullDatastore):
    """The keys that belong to no store: all are absent, and writes fail."""

    def __init__(self, prefixes: Sequence[Key]) -> None:
        self._prefixes = ", ".join(map(str, prefixes))

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return [
            WriteResult(InvalidKeyError(f"no store is mounted for {operation.key}; the prefixes are {self._prefixes}"))
            for operation in operations
        ]

    write_atomic = write


class _Mounted(ShimDatastore):
    """A store under the keys of the mount: those below its prefix that are not below a deeper one."""

    def __init__(self, prefix: Key, datastore: Datastore, deeper: Sequence[Key]) -> None:
        super().__init__(datastore)
        self.prefix = prefix
        self._deeper = deeper
        self._text = prefix_text(prefix)

    def is_above(self, key: Key) -> bool:
        """Whether a key is the prefix, or below it."""
        return key == self.prefix or self.prefix.is_ancestor_of(key)

    def _inner(self, key: Key) -> Key:
        return key_below(str(key), len(self._text))

    def _outer(self, inner: Key) -> Key:
        return Key._trusted((self._text + str(inner)).rstrip("/") or "/")

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return await self.child_datastore.read(list(map(self._inner, keys)), options)

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self.child_datastore.write(self._inner_operations(operations))

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await atomic_of(self.child_datastore)(self._inner_operations(operations))

    def _inner_operations(self, operations: Sequence[Operation]) -> list[Operation]:
        return [operation.at(self._inner(operation.key)) for operation in operations]

    def describe(self) -> Description:
        return self._described("mounted", str(self.prefix))

    @property
    def capability(self) -> Capability:
        below = passed_on(self, self.child_datastore.capability)
        return below.scope_only()._replace(field_filters=below.field_filters)

    def listed_key(self, key: Key) -> Key:
        return self._outer(self.child_datastore.listed_key(self._inner(key)))

    def concerns(self, query: Query) -> bool:
        """Whether a query can have results here."""
        if self.is_above(query.key):
            # The scope of a deeper prefix also has its instances, which are not below it.
            return not any(deeper.is_ancestor_of(query.key) for deeper in self._deeper)
        return query.covers(self.prefix)

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        query = watch.query
        is_above = self.is_above(query.key)
        # At or above the prefix, the entry at the store's root may be in the scope too.
        inner = Query(self._inner(query.key) if is_above else _ROOT, recursive=query.recursive)
        asked = watch.within(inner.frozen(), values=watch.reads_values)
        return MappedFeed(feed_of(self.child_datastore, asked, wake), lambda changes: self._own_changes(watch, changes))

    def _own_changes(self, watch: Watch, changes: Sequence[Change]) -> list[Change]:
        named = [change._replace(key=self._outer(change.key)) for change in changes]
        return selected(watch, [change for change in named if self._is_own(change.key, watch.query)])

    def scan(self, query: Query) -> Scan:
        if not self.is_above(query.key) and not query.recursive:
            # Of this store, only the entry at the prefix is in the scope.
            return Scan(self._prefix_entry(query))
        inner = self._inner_query(query)
        child = exact(inner, ask(self.child_datastore, inner))
        return Scan(self._own(query, child), source=child)

    async def _prefix_entry(self, query: Query) -> AsyncGenerator[Batch]:
        found = await batch_of_one(self.child_datastore, _ROOT, query, self.prefix)
        if found is not None:
            yield found

    def _inner_query(self, query: Query) -> Query:
        """The scope in the store's keys, with the filters that read no key."""
        inner = scope_of(query).replaced(
            key=self._inner(query.key) if self.is_above(query.key) else _ROOT,
            keys_only=not query.reads_values,
            filters=[] if query.has_custom_code else [part for part in query.filters if _reads_no_key(part)],
        )
        after = query.start_after
        if after is not None and not query.orders and self.is_above(after.key):
            inner = inner.replaced(start_after=Position(b"", self._inner(after.key)))
        return inner

    async def _own(self, query: Query, child: Scan) -> AsyncGenerator[Batch]:
        """The store's batches under the mount's keys, without entries of deeper stores or outside the scope."""
        async with aclosing(child):
            async for batch in child.batches:
                keys = [None if key is None else self._outer(key) for key in batch.keys]
                own = [None if key is None or not self._is_own(key, query) else key for key in keys]
                yield batch.renamed(own, None if batch.position is None else self._outer(batch.position.key))

    def _is_own(self, key: Key, query: Query) -> bool:
        text = str(key)
        return (
            not any(deeper == key or deeper.is_ancestor_of(key) for deeper in self._deeper)
            and query.covers(key)
            and (len(text) * 4 <= KEY_BYTES or len(text.encode()) <= KEY_BYTES)
        )


def _reads_no_key(condition: Condition) -> bool:
    """Whether a condition is the same in every store's keys."""
    return all(part.field != KEY_FIELD for part in condition.comparisons())
