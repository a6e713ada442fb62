"""A shim that stores values in serialized form.

Knows only the two methods of serializers, `dumps` and `loads`, and the Datastore contract.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from datastore.aio.atomic import all_made, atomic_of
from datastore.aio.base import Datastore
from datastore.aio.feeds import Feed, MappedFeed, feed_of
from datastore.aio.scan import Scan, ask, exact
from datastore.aio.shims import ShimDatastore
from datastore.aio.verbs import on_made, passed_on, scope_of
from datastore.engine.feeds import selected
from datastore.engine.plan import WHOLE_VALUES, Applied
from datastore.engine.serializers import (
    NonSerializer,
    Serializer,
    SerializerLike,
    Stack,
    default_serializer,
    deserialized_gen,
    implements_serializer_interface,
    keeps_mappings,
    loads_encoded,
    map_serializer,
    monkey_patch_bson,
    never_loads_none,
    prettyjson,
    require_serializer,
    sentinels,
    serialized_gen,
)
from datastore.model.arguments import check_key
from datastore.model.capability import Capability, Support
from datastore.model.changes import Change, ChangeKind, Watch
from datastore.model.description import Description
from datastore.model.entries import Batch
from datastore.model.errors import CorruptDataError
from datastore.model.fields import BESIDE_VALUES, VALUE_FIELD, Filter, Order
from datastore.model.key import Key
from datastore.model.operations import (
    ENTRIES,
    VALUES,
    Form,
    Operation,
    Patch,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
)
from datastore.model.operators import all_of
from datastore.model.query import Query
from datastore.model.spellings import is_overridden

__all__ = [
    "NonSerializer",
    "Serializer",
    "SerializerLike",
    "SerializerShimDatastore",
    "Stack",
    "default_serializer",
    "deserialized_gen",
    "implements_serializer_interface",
    "map_serializer",
    "monkey_patch_bson",
    "prettyjson",
    "serialized_gen",
    "shim",
]


class SerializerShimDatastore(ShimDatastore):
    """Stores values in the child as `serializer.dumps` returns them, and returns them as `loads` does.

    `serializer` is anything with callable `dumps` and `loads`, otherwise UnsupportedTypeError (a TypeError); None
    selects the class's default, json. None is never serialized; what deserializes to None counts as absent.
    A query's filters and orders see deserialized values. If the serializer keeps mappings, filters are pushed down to
    the child, otherwise only the scope and bounds on keys. Whole queries are pushed down only if it also declares
    `never_loads_none`. If a subclass overrides `serialized_value` or `deserialized_value`, every value goes through it,
    and filters on fields are evaluated here. A value that cannot be deserialized raises, with the key as a note.
    """

    serializer: SerializerLike = default_serializer
    two_names: ClassVar = {"serializedValue": "serialized_value", "deserializedValue": "deserialized_value"}

    def __init__(self, datastore: Datastore, serializer: SerializerLike | None = None) -> None:
        super().__init__(datastore)
        self.serializer = require_serializer(self.serializer if serializer is None else serializer)

    def serialized_value(self, value: Any) -> Any:
        """The stored form of `value`; None stays None."""
        return None if value is None else self.serializer.dumps(value)

    def deserialized_value(self, value: Any) -> Any:
        """The value of a stored form; None stays None."""
        return None if value is None else self.serializer.loads(value)

    # The documented names.
    serializedValue = serialized_value  # noqa: N815
    deserializedValue = deserialized_value  # noqa: N815

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The deserialized values. A value that cannot be deserialized fails by itself."""
        if not options.values and self._declares(never_loads_none):
            return await self.child_datastore.read(keys, options)
        results = await self.child_datastore.read(keys, ENTRIES if options.metadata else VALUES)
        return [
            result if result.value is None else self._load(key, result)
            for key, result in zip(keys, results, strict=True)
        ]

    def _load(self, key: Key, stored: ReadResult) -> ReadResult:
        result = attempt(self._loaded, key, stored.value, catching=Exception)
        result.metadata = None if result.value is None else stored.metadata
        return result

    async def get(self, key: Key) -> Any:
        """The deserialized value. Like `read`, but without its lists."""
        key = check_key(key)
        stored = await self.child_datastore.get(key)
        return None if stored is None else self._loaded(key, stored)

    async def contains(self, key: Key) -> bool:
        """Whether the deserialized value is not None."""
        if self._declares(never_loads_none):
            return await self.child_datastore.contains(check_key(key))
        return await self.get(key) is not None

    def _loaded(self, key: Key, stored: Any) -> Any:
        try:
            return self.deserialized_value(stored)
        except Exception as error:
            _name(error, key)
            raise

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Store the serialized values. A value that cannot be serialized fails by itself, and the old value stays."""
        # A serializer may raise anything.
        return await on_made(self._serialized, operations, self._write_serialized, WriteResult, catching=Exception)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Store the serialized values. If one cannot be serialized, none is stored."""
        write = atomic_of(self.child_datastore)
        results = await all_made(self._serialized, operations, write, catching=Exception)
        return self._with_loaded(results)

    async def _write_serialized(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return self._with_loaded(await self.child_datastore.write(operations))

    def _with_loaded(self, results: list[WriteResult]) -> list[WriteResult]:
        for result in results:
            if result.value is not None:
                result.value = self.deserialized_value(result.value)
        return results

    def _serialized(self, operation: Operation) -> Operation:
        if isinstance(operation, Patch):
            return operation.through(Form(self.deserialized_value, self.serialized_value))
        if not isinstance(operation, Put):
            return operation
        try:
            stored = self.serialized_value(operation.value)
        except Exception as error:
            _name(error, operation.key)
            raise
        return operation.of(stored)

    def scan(self, query: Query) -> Scan:
        """The results of the query over the deserialized values."""
        goes_down = self._goes_down(query)
        # A serialized value is loaded whole and cut afterwards.
        asked = query.replaced(fields=None) if goes_down else self._asked(query)
        child = ask(self.child_datastore, asked)
        if goes_down and _by_fields(query):
            # The child's form has the fields too, so only selected values have to be loaded.
            child = exact(asked, child)
        if goes_down and child.applied.is_complete:
            counted = query.limit is not None or query.offset > 0
            batches = child.batches if query.keys_only else self._deserialized(child, counted=counted)
            return Scan(batches, WHOLE_VALUES, source=child)
        applied = _applied(query, asked, child.applied)
        if goes_down and query.keys_only and not query.reads_values:
            return Scan(child.batches, applied, source=child)
        needed = query.entries_needed(applied.residual_filters(query.filters)) if applied.by_key else sys.maxsize
        return Scan(self._deserialized(child, needed), applied, source=child)

    def _asked(self, query: Query) -> Query:
        """The part of the query that the child can evaluate: scope, bounds on keys, and filters if it sees fields."""
        filters = query.filters
        if query.has_custom_code or not self._keeps_fields(query):
            filters = [part for part in query.filters if part.is_plain and not _looks_inside(part.comparisons())]
        return scope_of(query).replaced(filters=filters, start_after=None if query.orders else query.start_after)

    def _goes_down(self, query: Query) -> bool:
        # Entries whose value turns out to be None are absent, so a store that may drop them has to count by itself.
        counts = self._declares(never_loads_none) and not query.has_custom_code
        return counts and (not _by_fields(query) or self._keeps_fields(query))

    def _keeps_fields(self, query: Query) -> bool:
        """Whether the query finds the same fields in serialized values as in the caller's."""
        marks = tuple(sentinels(self.serializer))
        parts = (*query.comparisons, *query.orders)
        # A whole value may be serialized in any form, if it is not a map.
        return self._declares(keeps_mappings) and not any(
            part.field == VALUE_FIELD or part.field.startswith(marks) for part in parts
        )

    def _declares(self, property_of: Callable[[SerializerLike], bool]) -> bool:
        """Whether the serializer declares a property, and no subclass overrides how values are formed."""
        forms = ("serialized_value", "deserialized_value")
        own = any(is_overridden(self, SerializerShimDatastore, form) for form in forms)
        return not own and property_of(self.serializer)

    async def _deserialized(
        self, child: Scan, needed: int = sys.maxsize, *, counted: bool = False
    ) -> AsyncGenerator[Batch]:
        """The child's batches with up to `needed` values loaded; a value that cannot be loaded raises in its turn.

        If the child has already `counted` the entries, for a limit or an offset, none of them may be dropped.
        """
        async with aclosing(child):
            async for batch in child.batches:
                failure = self._load_values(batch, needed, counted=counted)
                needed -= len(batch)
                yield batch
                if failure is not None:
                    raise failure
                if needed <= 0:
                    return

    def _load_values(self, batch: Batch, needed: int, *, counted: bool) -> Exception | None:
        """Load up to `needed` values, and cut the batch to them. Returns the error of a value that failed, if any."""
        load: Any = self.serializer.loads
        if self._declares(loads_encoded) and all_of(bytes, batch.values):
            if needed < len(batch):
                batch.cut(0, needed)
                batch.position = None
            batch.encode_as(load)
            return None
        load = self.deserialized_value
        values: list[Any] = []
        held: list[int] = []
        place, failure = -1, None
        try:
            for place, stored in enumerate(batch.values):
                value = load(stored)
                if value is not None:
                    values.append(value)
                    held.append(place)
                    if len(values) == needed:
                        break
                elif counted:
                    raise CorruptDataError("None was stored, which its serializer declares never to load")
        except Exception as error:  # noqa: BLE001 - a serializer may raise anything; the caller raises it in its turn
            _name(error, batch.keys[place])
            failure = error
        if len(values) < len(batch):
            if failure is not None or place + 1 < len(batch):
                batch.position = None
            batch.keys = [batch.keys[place] for place in held]
            if batch.metadata is not None:
                batch.metadata = [batch.metadata[place] for place in held]
            if batch.sort_keys is not None:
                batch.sort_keys = [batch.sort_keys[place] for place in held]
        batch.values = values
        return failure

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The child's feed with deserialized values. What deserializes to None is a deletion."""
        needed = watch.reads_values or not self._declares(never_loads_none)
        asked = watch.within(watch.query.replaced(filters=[]), values=needed)
        child = feed_of(self.child_datastore, asked, wake)
        return MappedFeed(
            child, lambda changes: selected(watch, list(map(self._loaded_change, changes)) if needed else changes)
        )

    def _loaded_change(self, change: Change) -> Change:
        if change.kind is not ChangeKind.PUT:
            return change
        value = self._loaded(change.key, change.value)
        return change._replace(value=value, kind=ChangeKind.DELETE if value is None else ChangeKind.PUT)

    @property
    def capability(self) -> Capability:
        """What the child can do with serialized values."""
        below = passed_on(self, self.child_datastore.capability)
        if not self._declares(keeps_mappings):
            below = below._replace(field_filters=Support.NONE)
        return below if self._declares(never_loads_none) else below._replace(orders=Support.NONE, limit=Support.NONE)

    def describe(self) -> Description:
        return self._described("serializer", getattr(self.serializer, "__name__", type(self.serializer).__name__))


def _name(error: Exception, key: Key) -> None:
    """Add the key of the value to the error."""
    error.add_note(f"this is the value of {key}")


def _by_fields(query: Query) -> bool:
    """Whether the query looks inside values."""
    return _looks_inside((*query.comparisons, *query.orders))


def _looks_inside(parts: Iterable[Filter | Order]) -> bool:
    return any(part.field not in BESIDE_VALUES for part in parts)


def _applied(query: Query, asked: Query, applied: Applied) -> Applied:
    """The parts of `query` that the child's scan has applied, given what it applied of the query `asked`."""
    support = {id(part): applied.filter_support(place) for place, part in enumerate(asked.filters)}
    filters = tuple(support.get(id(part), Support.NONE) for part in query.filters)
    return Applied(
        filters,
        start_after=Support.EXACT if applied.orders is Support.EXACT and not query.orders else applied.start_after,
        limit=applied.limit if asked.limit == query.limit else Support.NONE,
        by_key=applied.by_key or applied.is_complete,
    )


def shim(datastore: Datastore, serializer: SerializerLike | None = None) -> SerializerShimDatastore:
    """A SerializerShimDatastore over `datastore`."""
    return SerializerShimDatastore(datastore, serializer)
