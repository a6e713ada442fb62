"""Shims that store entries under different keys than their callers use.

Knows only the Datastore contract.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import cached_property
from typing import Any, ClassVar

from datastore.aio.atomic import all_made, atomic_of
from datastore.aio.base import Datastore
from datastore.aio.feeds import Feed, MappedFeed, feed_of, unwatched
from datastore.aio.scan import Scan, ask, exact
from datastore.aio.shims import ShimDatastore
from datastore.aio.verbs import batch_of_one, on_made, passed_on, scope_of
from datastore.engine.feeds import selected
from datastore.engine.plan import COMPLETE
from datastore.model.arguments import check_count, check_key
from datastore.model.capability import Capability
from datastore.model.changes import Change, Watch
from datastore.model.description import Description
from datastore.model.entries import Batch, Position
from datastore.model.errors import (
    InvalidKeyError,
    QueryNotSupportedError,
    UnsupportedTypeError,
)
from datastore.model.fields import Filter
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.operators import OPERATORS
from datastore.model.query import Query
from datastore.model.spellings import is_overridden

__all__ = [
    "KeyTransformDatastore",
    "LowercaseKeyDatastore",
    "NamespaceDatastore",
    "NestedPathDatastore",
    "key_below",
    "prefix_text",
]

_ROOT = Key("/")


class KeyTransformDatastore(ShimDatastore):
    """Stores the entry of `key` under `keytransform(key)` in the child. Without a transform it changes nothing.

    Queries need `prefix_preserving`, which declares that the transform t satisfies `t(k).path == t(k.path)` for every k
    except the root, keeps everything below a key below it, and preserves the order of keys. Otherwise queries raise
    QueryNotSupportedError. Entries are returned under `inverse(child_key)` or, without an inverse, under the child's
    keys. If the inverse returns None, the entry is foreign and is excluded before offset and limit. Keys that become
    too long raise InvalidKeyError, and the child is not touched. Raises UnsupportedTypeError (a TypeError) if the
    transform or its inverse is not callable, or does not return a Key.
    """

    #: A subclass may define these instead of passing the arguments of the same name.
    keytransform: Callable[[Key], Key] | None = None
    prefix_preserving = False
    inverse: Callable[[Key], Key | None] | None = None

    def __init__(
        self,
        datastore: Datastore,
        keytransform: Callable[[Key], Key] | None = None,
        *,
        prefix_preserving: bool = False,
        inverse: Callable[[Key], Key | None] | None = None,
    ) -> None:
        super().__init__(datastore)
        for name, function in (("keytransform", keytransform), ("inverse", inverse)):
            if function is not None and not callable(function):
                raise UnsupportedTypeError(f"{name} must be callable, got {type(function).__name__}", path=name)
        if keytransform is not None:
            self.keytransform = keytransform
        if inverse is not None:
            self.inverse = inverse
        self.prefix_preserving = prefix_preserving or self.prefix_preserving or self.keytransform is None

    def _inner_key(self, key: Key) -> Key:
        """The child's key for the caller's."""
        if self.keytransform is None:
            return key
        inner = self.keytransform(key)
        if not isinstance(inner, Key):
            raise UnsupportedTypeError(f"keytransform must return a Key, got {type(inner).__name__} for {key}")
        return inner

    def _outer_key(self, inner: Key) -> Key | None:
        """The caller's key for the child's; None for a foreign one."""
        if self.inverse is None:
            return inner
        outer = self.inverse(inner)
        if outer is not None and not isinstance(outer, Key):
            raise UnsupportedTypeError(f"inverse must return a Key or None, got {type(outer).__name__} for {inner}")
        return outer

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return await on_made(
            self._inner_key, keys, lambda inner: self.child_datastore.read(inner, options), ReadResult.failed
        )

    async def get(self, key: Key) -> Any:
        """The value of the transformed key. Like `read`, but without its lists, which take as long as the transform."""
        return await self.child_datastore.get(self._inner_key(check_key(key)))

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await on_made(self._inner_operation, operations, self.child_datastore.write, WriteResult)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await all_made(self._inner_operation, operations, atomic_of(self.child_datastore))

    def _inner_operation(self, operation: Operation) -> Operation:
        return operation.at(self._inner_key(operation.key))

    def scan(self, query: Query) -> Scan:
        """The child's answer for the transformed key, under the caller's keys."""
        if not self.prefix_preserving:
            raise QueryNotSupportedError(
                f"{type(self).__name__} has no queries: its key transform is not declared prefix_preserving"
            )
        if self.keytransform is None and self.inverse is None:
            return ask(self.child_datastore, query)
        return self._scan_by_key(query)

    def _scan_by_key(self, query: Query) -> Scan:
        """The child's scope under the caller's keys."""
        inner = scope_of(query).replaced(key=self._inner_key(query.key))
        if query.start_after is not None and not query.orders:
            inner = inner.replaced(start_after=self._inner_place(query.start_after.key))
        child = exact(inner, ask(self.child_datastore, inner))
        return Scan(self._outer(query, child), source=child)

    def _inner_place(self, after: Key) -> Position | None:
        """Where the child's results may begin, for entries after this key; None if unknown."""
        if self.inverse is None:
            # The key was returned by an earlier query, so it is the child's own.
            return Position(b"", after)
        with suppress(InvalidKeyError):
            inner = self._inner_key(after)
            return Position(b"", inner) if self._outer_key(inner) == after else None
        return None

    async def _root_entry(self, query: Query) -> Batch | None:
        """The entry at the caller's root, if it is outside the child's collection for the root."""
        if query.key != _ROOT:
            return None
        inner = self._inner_key(_ROOT)
        if inner == _ROOT:
            return None
        return await batch_of_one(self.child_datastore, inner, query, inner if self.inverse is None else _ROOT)

    async def _outer(self, query: Query, child: Scan) -> AsyncGenerator[Batch]:
        """The child's batches under the caller's keys, without foreign entries; the root's entry first."""
        async with aclosing(child):
            root = await self._root_entry(query)
            if root is not None:
                yield root
            async for batch in child.batches:
                keys = [None if key is None else self._outer_key(key) for key in batch.keys]
                yield batch.renamed(keys, None if batch.position is None else self._outer_key(batch.position.key))

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The child's feed under the caller's keys, without foreign entries."""
        if self.keytransform is None and self.inverse is None:
            return feed_of(self.child_datastore, watch, wake)
        if not self._shows_changes:
            raise unwatched(self, "its key transform is not declared prefix_preserving, or has no inverse")
        query = watch.query
        inner = Query(self._inner_key(query.key), recursive=query.recursive)
        if query.key == _ROOT and inner.key != _ROOT:
            # The child's collection lacks the entry at the caller's root; all keys from there on have it.
            inner = Query(inner.key.path, recursive=True).filter("__key__", ">=", inner.key)
        asked = watch.within(inner.frozen(), values=watch.reads_values)
        return MappedFeed(feed_of(self.child_datastore, asked, wake), lambda changes: self._own(watch, changes))

    def _own(self, watch: Watch, changes: Sequence[Change]) -> list[Change]:
        """Of the child's changes those that are asked for, under the caller's keys."""
        named = [(change, self._outer_key(change.key)) for change in changes]
        return selected(watch, [change._replace(key=key) for change, key in named if key is not None])

    @property
    def _shows_changes(self) -> bool:
        return self.prefix_preserving and self.inverse is not None

    def listed_key(self, key: Key) -> Key:
        """The caller's key for what the child lists; without an inverse the child's."""
        listed = self.child_datastore.listed_key(self._inner_key(key))
        return self._outer_key(listed) or key

    @property
    def capability(self) -> Capability:
        """Queries need `prefix_preserving`; the child is asked only for the scope."""
        below = self.child_datastore.capability
        if self.keytransform is None and self.inverse is None:
            return passed_on(self, Capability.common([below]))
        own = below.scope_only()._replace(
            queries=below.queries and self.prefix_preserving, changes=below.changes and self._shows_changes
        )
        return passed_on(self, own)

    def describe(self) -> Description:
        name = "identity" if self.keytransform is None else getattr(self.keytransform, "__name__", "")
        return self._described("key_transform", name)


class LowercaseKeyDatastore(KeyTransformDatastore):
    """Stores every entry under its key in lower case; the child's entries under other keys are not visible.

    A subclass that overrides `lowercase_key` must meet KeyTransformDatastore's conditions for `prefix_preserving`, or
    set it to False, which disables queries.
    """

    two_names: ClassVar = {"lowercaseKey": "lowercase_key"}
    prefix_preserving = True

    def __init__(self, datastore: Datastore) -> None:
        # Looked up at each call, because an instance may have its own.
        super().__init__(datastore, lambda key: self.lowercase_key(key), inverse=self._if_lowercase)  # noqa: PLW0108

    @classmethod
    def lowercase_key(cls, key: Key) -> Key:
        """The key in lower case, each part between `/` and `:` separately: a final sigma depends on where it ends."""
        return Key(_lowercase(str(check_key(key))))

    lowercaseKey = lowercase_key  # noqa: N815 - the documented name

    def _if_lowercase(self, inner: Key) -> Key | None:
        lower = self.lowercase_key(inner)
        # A key that differs from its lower case is foreign, unless an override is not idempotent.
        return inner if lower == inner or self.lowercase_key(lower) != lower else None

    def describe(self) -> Description:
        return self._described("lowercase")


_RUN = re.compile(r"[^/:]+")


def _lowercase(text: str) -> str:
    return text.lower() if text.isascii() else _RUN.sub(lambda run: run[0].lower(), text)


class NamespaceDatastore(KeyTransformDatastore):
    """Stores the caller's entries below one key of the child: `/a` at `/namespace/a`.

    The caller sees nothing outside the namespace. Keys that become too long raise InvalidKeyError, and
    the child is not touched. A subclass that overrides `namespace_key` must meet KeyTransformDatastore's conditions
    for `prefix_preserving`, or set it to False, which disables queries.
    """

    two_names: ClassVar = {"namespaceKey": "namespace_key"}
    prefix_preserving = True

    def __init__(self, namespace: str | Key, datastore: Datastore) -> None:
        # Looked up at each call, because an instance may have its own.
        super().__init__(datastore, lambda key: self.namespace_key(key), inverse=self._below_namespace)  # noqa: PLW0108
        try:
            self.namespace = Key(namespace)
        except UnsupportedTypeError:
            raise UnsupportedTypeError(
                f"namespace must be a str or a Key, e.g. '/users', got {type(namespace).__name__}; it comes first",
                path="namespace",
            ) from None

    @cached_property
    def _prefix(self) -> str:
        """The text with which the child's keys below the namespace begin; the text of the caller's key follows."""
        return prefix_text(self.child_datastore.listed_key(self.namespace_key(_ROOT)))

    def namespace_key(self, key: Key) -> Key:
        """The child's key for the caller's."""
        return self.namespace.child(check_key(key))

    namespaceKey = namespace_key  # noqa: N815 - the documented name

    @property
    def _is_own(self) -> bool:
        """Whether the class overrides how the child's keys are made."""
        return is_overridden(self, NamespaceDatastore, "namespace_key")

    def _below_namespace(self, inner: Key) -> Key | None:
        text, prefix = str(inner), self._prefix
        if text != prefix and not text.startswith(f"{prefix}/"):
            return None
        outer = key_below(text, len(prefix))
        # An override may place keys otherwise; such an entry is known only by the child's key.
        return inner if self._is_own and self.child_datastore.listed_key(self.namespace_key(outer)) != inner else outer

    def scan(self, query: Query) -> Scan:
        """The child's answer for the namespace, under the caller's keys."""
        inner = None if self._is_own else self._inner_query(query)
        if inner is None:
            return super().scan(query)
        child = ask(self.child_datastore, inner)
        if query.key == _ROOT and str(self.namespace) != "/":
            # The foreign entries there have yet to be excluded.
            child = exact(inner, child)
            return Scan(self._from_the_root(query, child), COMPLETE, source=child)
        return Scan(self._renamed(child), child.applied, source=child)

    async def _from_the_root(self, query: Query, child: Scan) -> AsyncGenerator[Batch]:
        """The child's results, unless the root has an entry, which the child's query does not cover."""
        if await self.child_datastore.contains(self.namespace):
            await child.aclose()
            answer = exact(query, super().scan(query))
        else:
            answer = Scan(self._renamed(child), COMPLETE, source=child)
        async with aclosing(answer):
            async for batch in answer.batches:
                yield batch
        child.shards[:] = answer.shards

    def _inner_query(self, query: Query) -> Query | None:
        """The whole query in the child's keys; None if that is impossible, or the child's queries are not exact."""
        key = self.namespace.child(query.key)
        if self._prefix != prefix_text(self.namespace) or _reads_own_keys(query):
            return None
        after = query.start_after
        try:
            filters = [part.mapped(self._inner_filter) for part in query.filters]
            if after is not None:
                after = Position(after.sort_key, self.namespace.child(after.key), after.value, after.metadata)
        except InvalidKeyError:
            # The query's keys may be longer than any entry's key here can be.
            return None
        if query.key == _ROOT and str(self.namespace) != "/" and len(str(self.namespace).encode()) < KEY_BYTES:
            # The child's collection holds the namespace's own instances too, `/namespace:x`, which are foreign.
            filters.append(Filter("__key__", "<", self.namespace.instance("")))
        return query.replaced(key=key, filters=filters, start_after=after)

    def _inner_filter(self, filter_: Filter) -> Filter:
        if filter_.field != "__key__":
            return filter_
        return Filter("__key__", filter_.op, OPERATORS[filter_.op].with_keys(filter_.value, self.namespace.child))

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The child's feed for the namespace, under the caller's keys."""
        return super().changes(watch, wake)

    async def _renamed(self, child: Scan) -> AsyncGenerator[Batch]:
        """The child's batches under the caller's keys; all are below the namespace."""
        async with aclosing(child):
            async for batch in child.batches:
                batch.strip_prefix(self._prefix)
                yield batch

    @property
    def capability(self) -> Capability:
        """What the child can do, unless the class overrides how its keys are made."""
        below = self.child_datastore.capability
        return super().capability if self._is_own else passed_on(self, Capability.common([below]))

    def describe(self) -> Description:
        return self._described("namespace", str(self.namespace))


def prefix_text(namespace: Key) -> str:
    """The text with which the keys below a namespace begin."""
    return "" if namespace == _ROOT else str(namespace)


def key_below(text: str, start: int) -> Key:
    """The key that remains of `text` without its first `start` characters, which are a prefix."""
    return Key._trusted(text[start:] or "/")


def _reads_own_keys(query: Query) -> bool:
    """Whether the query uses keys in a way that cannot be expressed in another store's keys."""
    return any(order.field == "__key__" for order in query.orders) or any(
        part.field == "__key__" and not part.is_plain for part in query.comparisons
    )


class NestedPathDatastore(KeyTransformDatastore):
    """Spreads entries over nested namespaces built from their keys' names: `/abcdef` at `/ab/cd/ef/abcdef`.

    There are `depth` namespaces of `length` characters each. They are cut from the text that `keyfn` returns, by
    default the key's name; `_` replaces an empty text. This scatters every collection, so queries are not supported.
    Raises UnsupportedTypeError or InvalidError unless `depth` and `length` are ints of at least 1, and InvalidKeyError
    (a ValueError) for a text that contains `/`.
    """

    two_names: ClassVar = {"nestKey": "nest_key", "nestedPath": "nested_path"}

    def __init__(
        self, datastore: Datastore, depth: int = 3, length: int = 2, keyfn: Callable[[Key], str] | None = None
    ) -> None:
        # Looked up at each call, because an instance may have its own.
        super().__init__(datastore, lambda key: self.nest_key(key))  # noqa: PLW0108
        for name, number in (("depth", depth), ("length", length)):
            check_count(name, number)
        if keyfn is not None and not callable(keyfn):
            raise UnsupportedTypeError(f"keyfn must be callable, got {type(keyfn).__name__}", path="keyfn")
        self.depth = depth
        self.length = length
        self.keyfn = keyfn

    @property
    def capability(self) -> Capability:
        """The child's, without queries."""
        own = self.child_datastore.capability.scope_only()._replace(queries=False, changes=False)
        return passed_on(self, own)

    def scan(self, query: Query) -> Scan:
        raise QueryNotSupportedError(
            "NestedPathDatastore does not support queries: it spreads every collection over many of its child's"
        )

    def nest_key(self, key: Key) -> Key:
        """The child's key for the caller's: the nested namespaces, then the whole key."""
        key = check_key(key)
        text = key.name if self.keyfn is None else self.keyfn(key)
        if not isinstance(text, str):
            raise UnsupportedTypeError(f"keyfn must return a str, got {type(text).__name__} for {key}", path="keyfn")
        if "/" in text:
            raise InvalidKeyError(f"a nested path cannot be cut from text with '/': keyfn returned {text!r} for {key}")
        repeated = (text or "_") * (self.depth * self.length)
        return Key(self.nested_path(repeated, self.depth, self.length)).child(key)

    nestKey = nest_key  # noqa: N815 - the documented name

    @staticmethod
    def nested_path(path: str, depth: int, length: int) -> str:
        """The first `depth` slices of `path`, each `length` characters long, joined by `/`."""
        return "/".join(path[start : start + length] for start in range(0, min(len(path), depth * length), length))

    nestedPath = nested_path  # noqa: N815 - the documented name

    def describe(self) -> Description:
        return self._described("nested_path", f"depth {self.depth}, length {self.length}")
