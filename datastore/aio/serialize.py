"""A shim that stores values in serialized form.

Knows serializers by their two calls, `dumps` and `loads`, and the Datastore contract.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, ClassVar

from datastore.aio.base import Datastore, check_query, exact_query, refusal, scope_of
from datastore.aio.cursor import Cursor, refine
from datastore.aio.shims import ShimDatastore
from datastore.engine.serializers import (
    NonSerializer,
    Serializer,
    SerializerLike,
    Stack,
    default_serializer,
    deserialized_gen,
    implements_serializer_interface,
    keeps_mappings,
    map_serializer,
    monkey_patch_bson,
    never_loads_none,
    prettyjson,
    require_serializer,
    sentinels,
    serialized_gen,
)
from datastore.model.description import Description
from datastore.model.entries import Batch, Outcome, Write
from datastore.model.errors import CorruptDataError
from datastore.model.key import Key
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
    `never_loads_none`. If a subclass overrides `serialized_value` or `deserialized_value`, every value goes through
    it, and filters on fields are evaluated here. What cannot be deserialized raises, with the key as a note.
    """

    serializer: SerializerLike = default_serializer
    ordered_queries = True
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

    async def get(self, key: Key) -> Any:
        """The deserialized value of `key`, or None."""
        return self._value(key, await self.child_datastore.get(key))

    def _value(self, key: Key, stored: Any) -> Any:
        try:
            return self.deserialized_value(stored)
        except Exception as error:
            _name(error, key)
            raise

    async def put(self, key: Key, value: Any) -> None:
        """Store the serialized value. What cannot be serialized raises, and the old value stays. None is a `delete`."""
        if value is None:
            await self.delete(key)
        else:
            await self.child_datastore.put(key, self._stored(key, value))

    def _stored(self, key: Key, value: Any) -> Any:
        try:
            return self.serialized_value(value)
        except Exception as error:
            _name(error, key)
            raise

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries in one batch of the child's."""
        outcomes = await self.child_datastore.batch_get(keys)
        return [self._loaded(key, outcome) for key, outcome in zip(keys, outcomes, strict=True)]

    def _loaded(self, key: Key, outcome: Outcome) -> Outcome:
        if outcome.value is None:
            return outcome
        try:
            return Outcome(self._value(key, outcome.value))
        except Exception as error:  # noqa: BLE001 - a serializer may raise anything, and fails this item alone
            return refusal(error)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes in one batch of the child's; what cannot be serialized fails by itself."""
        outcomes: list[Outcome | None] = []
        inner: list[Write] = []
        for key, value in writes:
            try:
                inner.append(Write(key, None if value is None else self._stored(key, value)))
                outcomes.append(None)
            except Exception as error:  # noqa: BLE001 - likewise
                outcomes.append(refusal(error))
        rest = iter(await self.child_datastore.batch_write(inner))
        return [next(rest) if outcome is None else outcome for outcome in outcomes]

    def query(self, query: Query) -> Cursor:
        """What the query selects among the deserialized values."""
        check_query(query)
        if self._goes_down(query):
            child = exact_query(self.child_datastore, query)
            counted = query.limit is not None or query.offset > 0
            return Cursor.from_batches(query, self._deserialized(child, counted=counted), shards=child.shards)
        asked = _by_key_alone(query)
        if not query.has_custom_code and self._keeps_fields(query):
            asked.filters = list(query.filters)
        child = exact_query(self.child_datastore, asked)
        loaded = self._deserialized(child, query.entries_needed())
        return Cursor.from_batches(query, refine(query, loaded), shards=child.shards)

    def _goes_down(self, query: Query) -> bool:
        # Entries that turn out to be None are absent: what may drop them has to count for itself.
        counts = self._declares(never_loads_none) and not query.has_custom_code
        return counts and (not _by_fields(query) or self._keeps_fields(query))

    def _keeps_fields(self, query: Query) -> bool:
        """Whether the query finds in serialized values what it would find in the caller's."""
        marks = tuple(sentinels(self.serializer))
        parts = (*query.filters, *query.orders)
        return self._declares(keeps_mappings) and not any(part.field.startswith(marks) for part in parts)

    def _declares(self, property_of: Callable[[SerializerLike], bool]) -> bool:
        """Whether the serializer declares a property, and no subclass overrides how values are formed."""
        forms = ("serialized_value", "deserialized_value")
        own = any(is_overridden(self, SerializerShimDatastore, form) for form in forms)
        return not own and property_of(self.serializer)

    async def _deserialized(
        self, child: Cursor, needed: int = sys.maxsize, *, counted: bool = False
    ) -> AsyncGenerator[Batch]:
        """The child's batches with values loaded, up to so many; what cannot be loaded raises when it is reached.

        Where the child has `counted` its entries already, for a limit or an offset, none of them may be dropped.
        """
        try:
            async for batch in child.batches():
                failure = None if child.query.keys_only else self._load_values(batch, needed, counted=counted)
                needed -= len(batch)
                yield batch
                if failure is not None:
                    raise failure
                if needed <= 0:
                    return
        finally:
            await child.aclose()

    def _load_values(self, batch: Batch, needed: int, *, counted: bool) -> Exception | None:
        """Load values until so many are there, and cut the batch to those; why it ended early, if one failed."""
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
            if batch.sort_keys is not None:
                batch.sort_keys = [batch.sort_keys[place] for place in held]
        batch.values = values
        return failure

    def describe(self) -> Description:
        """Kind `serializer`, with the serializer's name."""
        child = self.child_datastore.describe()
        name = getattr(self.serializer, "__name__", type(self.serializer).__name__)
        return Description("serializer", name, child.durability, child.push_down, (child,))


def _name(error: Exception, key: Key) -> None:
    """Add the key of the value to the error."""
    error.add_note(f"this is the value of {key}")


def _by_fields(query: Query) -> bool:
    """Whether the query looks inside values."""
    return any(part.field != "__key__" for part in (*query.filters, *query.orders))


def _by_key_alone(query: Query) -> Query:
    """The part of the query that a store of serialized values can answer: scope, and bounds on keys."""
    asked = scope_of(query)
    asked.filters = [part for part in query.filters if part.field == "__key__" and part.is_plain]
    if not query.orders:
        asked.start_after = query.start_after
    return asked


def shim(datastore: Datastore, serializer: SerializerLike | None = None) -> SerializerShimDatastore:
    """A SerializerShimDatastore over `datastore`."""
    return SerializerShimDatastore(datastore, serializer)
