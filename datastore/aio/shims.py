"""Stores that change what passes through them to one other store.

Knows the Datastore contract alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from datastore.aio.base import Datastore, check_key, check_query, exact_query, outcome_of, scope_of
from datastore.aio.cursor import Cursor, refine
from datastore.core.batch import Batch, Outcome, Position, ShardReport, Write
from datastore.core.composition import Description
from datastore.core.description import QueryDescription
from datastore.core.errors import InvalidKeyError, UnsupportedTypeError
from datastore.core.fields import Filter
from datastore.core.key import Key
from datastore.core.limits import KEY_BYTES

__all__ = ["NamespaceDatastore", "ShimDatastore"]


class ShimDatastore(Datastore):
    """Passes every call on to `child_datastore`; subclasses change what they want to.

    A subclass that overrides `get` but not `contains` has the get-based `contains`; batches go through
    `get`, `put` and `delete` where a subclass overrides these. A subclass with a `query` of its own declares
    `ordered_queries` anew if its answers are exact. Closing closes the child.
    Raises UnsupportedTypeError (a TypeError) unless `datastore` is a Datastore.
    """

    def __init__(self, datastore: Datastore) -> None:
        if not isinstance(datastore, Datastore):
            raise UnsupportedTypeError(f"a shim needs a Datastore below it, got {type(datastore).__name__}")
        self.child_datastore = datastore

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """As the child's, unless a subclass with a `query` of its own says otherwise."""
        return not self._overrides("query") and self.child_datastore.ordered_queries

    async def get(self, key: Key) -> Any:
        """The child's value of `key`."""
        return await self.child_datastore.get(key)

    async def put(self, key: Key, value: Any) -> None:
        """Put into the child."""
        await self.child_datastore.put(key, value)

    async def delete(self, key: Key) -> None:
        """Delete from the child."""
        await self.child_datastore.delete(key)

    async def contains(self, key: Key) -> bool:
        """As the child, or by `get` where a subclass changes that."""
        if self._overrides("get"):
            return await self.get(key) is not None
        return await self.child_datastore.contains(key)

    def query(self, query: QueryDescription) -> Cursor:
        """The child's cursor."""
        return self.child_datastore.query(query)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """As the child, or by `get` where a subclass changes that."""
        if self._overrides("get"):
            return [await outcome_of(self.get, key) for key in keys]
        return await self.child_datastore.batch_get(keys)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """As the child, or by `put` and `delete` where a subclass changes those."""
        if self._overrides("put") or self._overrides("delete"):
            return await super().batch_write(writes)
        return await self.child_datastore.batch_write(writes)

    def describe(self) -> Description:
        """Kind `shim`, named after the class, over the child's description."""
        child = self.child_datastore.describe()
        return Description("shim", type(self).__name__, child.durability, child.push_down, (child,))

    async def aclose(self) -> None:
        """Close the child."""
        await self.child_datastore.aclose()

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(ShimDatastore, method)


class NamespaceDatastore(ShimDatastore):
    """Keeps the entries of its caller below one key of the child: `/a` at `/namespace/a`.

    The caller sees nothing outside the namespace. Keys that grow past the limit raise InvalidKeyError, and
    the child is not touched.
    """

    def __init__(self, namespace: str | Key, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.namespace = Key(namespace)
        # Below the root a child's key is `prefix` and then the caller's whole text.
        self._prefix = "" if str(self.namespace) == "/" else str(self.namespace)

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """As the child's."""
        return self.child_datastore.ordered_queries

    def namespace_key(self, key: Key) -> Key:
        """The child's key for the caller's."""
        check_key(key)
        return self.namespace.child(key)

    def namespaceKey(self, key: Key) -> Key:  # noqa: N802 - the documented name
        """As `namespace_key`."""
        return self.namespace_key(key)

    async def get(self, key: Key) -> Any:
        """The value of `key` within the namespace."""
        return await self.child_datastore.get(self.namespace_key(key))

    async def put(self, key: Key, value: Any) -> None:
        """Store within the namespace."""
        await self.child_datastore.put(self.namespace_key(key), value)

    async def delete(self, key: Key) -> None:
        """Delete within the namespace."""
        await self.child_datastore.delete(self.namespace_key(key))

    async def contains(self, key: Key) -> bool:
        """Whether the namespace has `key`."""
        return await self.child_datastore.contains(self.namespace_key(key))

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read within the namespace, in one batch of the child's."""
        return await self._batch(keys, [Write(key, None) for key in keys], reading=True)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Write within the namespace, in one batch of the child's."""
        return await self._batch([key for key, _ in writes], writes, reading=False)

    async def _batch(self, keys: Sequence[Key], writes: Sequence[Write], *, reading: bool) -> list[Outcome]:
        """One batch of the child's over the keys that fit; the others' outcomes are their errors."""
        outcomes: list[Outcome | None] = [None] * len(keys)
        inner: list[Write] = []
        for index, key in enumerate(keys):
            try:
                inner.append(Write(self.namespace_key(key), writes[index].value))
            except (InvalidKeyError, UnsupportedTypeError) as error:
                outcomes[index] = Outcome(error=error)
        if reading:
            done = await self.child_datastore.batch_get([key for key, _ in inner])
        else:
            done = await self.child_datastore.batch_write(inner)
        rest = iter(done)
        return [next(rest) if outcome is None else outcome for outcome in outcomes]

    def query(self, query: QueryDescription) -> Cursor:
        """The child's answer for the namespace, under the caller's keys."""
        check_query(query)
        asked = scope_of(query) if _reads_own_keys(query) else query
        child = exact_query(self.child_datastore, self._inner(asked))
        shards: list[ShardReport] = []
        return Cursor.from_batches(query, self._answer(query, child, shards), shards=shards)

    async def _answer(self, query: QueryDescription, child: Cursor, shards: list[ShardReport]) -> AsyncGenerator[Batch]:
        # In the namespace `/` itself the root's entry is in the child's collection, as any other.
        at_root = str(query.key) == "/" and self._prefix
        root = await self.child_datastore.get(self.namespace) if at_root else None
        if root is None and not _reads_own_keys(query):
            batches = self._outer(child.batches())
        else:
            # The entry at the root lies outside the child's collection: put it first, and work it all off here.
            await child.aclose()
            child = exact_query(self.child_datastore, self._inner(scope_of(query)))
            batches = refine(query, _after_root(root, self._outer(child.batches())))
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()
            await child.aclose()
        shards.extend(child.shards)

    def _inner(self, query: QueryDescription) -> QueryDescription:
        """The child's query for the caller's."""
        inner = query.copy()
        inner.key = self.namespace.child(query.key)
        inner.filters = [self._inner_filter(filter_) for filter_ in query.filters]
        if query.start_after is not None:
            after = query.start_after
            inner.start_after = Position(after.sort_key, self.namespace.child(after.key))
        if str(query.key) == "/" and self._prefix and len(self._prefix.encode()) < KEY_BYTES:
            # The child's collection holds the namespace's own instances too, `/namespace:x`, which are foreign.
            inner.filters.append(Filter("__key__", "<", self.namespace.instance("")))
        return inner

    def _inner_filter(self, filter_: Filter) -> Filter:
        if filter_.field == "__key__" and isinstance(filter_.value, Key):
            return Filter("__key__", filter_.op, self.namespace.child(filter_.value))
        return filter_

    async def _outer(self, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
        """The child's batches under the caller's keys."""
        start = len(self._prefix)
        try:
            async for batch in batches:
                batch.keys = [None if key is None else _below(str(key), start) for key in batch.keys]
                if batch.position is not None:
                    after = batch.position
                    batch.position = Position(after.sort_key, _below(str(after.key), start))
                yield batch
        finally:
            await batches.aclose()

    def describe(self) -> Description:
        """Kind `namespace`, with its key."""
        child = self.child_datastore.describe()
        return Description("namespace", str(self.namespace), child.durability, child.push_down, (child,))


def _below(text: str, start: int) -> Key:
    return Key._trusted(text[start:] or "/")


def _reads_own_keys(query: QueryDescription) -> bool:
    """Whether the query looks at keys in a way that cannot be said in another store's keys."""
    return any(order.field == "__key__" for order in query.orders) or any(
        filter_.field == "__key__" and type(filter_) is not Filter for filter_ in query.filters
    )


async def _after_root(root: Any, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    try:
        if root is not None:
            key = Key("/")
            yield Batch([key], [root], scanned=1, position=Position(b"", key))
        async for batch in batches:
            yield batch
    finally:
        await batches.aclose()
