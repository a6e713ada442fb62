"""How a change of many entries proceeds: what it reads, which entries it takes, and its positions. Pure decisions.

Entries are processed in key order, whatever the orders of the query: each is visited once, and a position is just a
key. A limit and an offset are resolved first, to an interval of the query's order, so that a continued operation need
not count. The highest version among the selected entries at the start is recorded too: an entry with a later version
has been written since, possibly by this operation itself before its answer was lost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from datastore.engine import parts
from datastore.model.aggregates import Aggregate, Count, Max
from datastore.model.entries import Batch, Position
from datastore.model.errors import (
    ConditionFailedError,
    CorruptDataError,
    InvalidError,
    InvalidTokenError,
    LimitExceededError,
    UnsupportedError,
)
from datastore.model.fields import BESIDE_VALUES, KEY_FIELD, VALUE_FIELD, Filter
from datastore.model.key import Key
from datastore.model.matching import MatchingFailure, MatchingStep, MatchingWrite
from datastore.model.operations import WriteResult, refusal_of
from datastore.model.query import Query

__all__ = [
    "Outcome",
    "Place",
    "Selection",
    "WorkState",
    "combined",
    "joined",
    "outcome",
    "parted",
    "selecting",
    "sized",
    "taken",
    "work_query",
]

_HORIZON = struct.Struct(">iq")
#: The errors that concern a single entry. All others end the operation.
_OF_ONE = (InvalidError, TypeError, ValueError, LimitExceededError, CorruptDataError, UnsupportedError)

#: A place in the order of a query: the sort key and the text of the key.
Place = tuple[bytes, bytes]


class WorkState(NamedTuple):
    """How far an operation has come: the entries up to the key `after` are done; b"" if none are.

    `horizons` has the highest version among the selected entries at the start, by group: the shard, where versions of
    different shards are not comparable. None if the store keeps no versions. With `interval`, only entries after its
    first place and up to its second are selected.
    """

    after: bytes = b""
    is_done: bool = False
    horizons: Mapping[int, int] | None = None
    interval: tuple[Place, Place] | None = None

    def packed(self) -> bytes:
        """As a position."""
        flags = bytes([self.is_done, self.horizons is not None])
        horizons = b"".join(_HORIZON.pack(*each) for each in sorted((self.horizons or {}).items()))
        ends = [] if self.interval is None else [part for place in self.interval for part in place]
        return parts.packed([flags, horizons, self.after, *ends])

    @classmethod
    def unpacked(cls, position: bytes) -> WorkState:
        """The state of a position. Raises InvalidTokenError if it is not one."""
        try:
            (is_done, has_horizons), horizons, after, *ends = parts.unpacked(position)
            found = dict(_HORIZON.iter_unpack(horizons)) if has_horizons else None
            interval = None
            if ends:
                first_sort_key, first_key, last_sort_key, last_key = ends
                interval = ((first_sort_key, first_key), (last_sort_key, last_key))
            after.decode()
        except (ValueError, struct.error) as error:
            raise InvalidTokenError(
                "the resume token is not one of this store: its shards differ", field="resume_token"
            ) from error
        return cls(after, bool(is_done), found, interval)

    def is_old(self, group: int, version: int) -> bool:
        """Whether an entry with this version has not been written since the operation began."""
        return self.horizons is None or version <= self.horizons.get(group, 0)


def sized(query: Query, *, versions: bool) -> Aggregate:
    """How many entries a query selects and, with `versions`, their latest version."""
    named = {"total": Count(), "latest": Max("__version__")} if versions else {"total": Count()}
    return Aggregate(query, named)


def _order_fields(query: Query) -> list[str] | None:
    """The fields of values that the orders read; None for whole values."""
    read = [order.field for order in query.orders if order.field not in BESIDE_VALUES]
    return None if read and (query.has_custom_code or VALUE_FIELD in read) else list(dict.fromkeys(read))


def selecting(query: Query, *, versions: bool) -> Query:
    """The query that resolves a limit and an offset: in the order asked for, reading only what that order needs."""
    fields = _order_fields(query)
    if query.last_place and query.offset:
        # The interval begins after the entry before the first one, so read that too.
        query = query.replaced(offset=query.offset - 1, limit=None if query.limit is None else query.limit + 1)
    return _reading(query, fields, versions=versions or query.sorts_by_metadata)


def work_query(asked: MatchingWrite, state: WorkState) -> Query:
    """The query for the remaining entries, in key order."""
    query, after = asked.query, state.after
    fields: list[str] | None = []
    filters = list(query.filters)
    if state.interval is not None and query.orders:
        fields = _order_fields(query)
    elif state.interval is not None:
        first, last = state.interval
        after = after or first[1]
        filters.append(Filter(KEY_FIELD, "<=", Key(last[1].decode())))
    elif query.start_after is not None:
        after = after or str(query.start_after.key).encode()
    position = Position(b"", Key(after.decode())) if after else None
    metadata = state.horizons is not None or (state.interval is not None and query.sorts_by_metadata)
    bare = query.replaced(filters=filters, orders=(), limit=None, offset=0, start_after=position)
    return _reading(bare, fields, versions=metadata)


def _reading(query: Query, fields: Sequence[str] | None, *, versions: bool) -> Query:
    query = query.replaced(metadata=versions)
    return query if fields is None else query.replaced(fields=fields) if fields else query.replaced(keys_only=True)


class Selection:
    """What a limit and an offset select, resolved from the batches of the query of `selecting`."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._first: Place = (b"", b"")
        if query.start_after is not None:
            self._first = (query.start_after.sort_key, str(query.start_after.key).encode())
        self._skips_one = query.offset > 0
        self._last: Place | None = None
        self._horizons: dict[int, int] = {}
        self.total = 0

    def add(self, batch: Batch, groups: Sequence[int], *, versions: bool) -> None:
        """Add the next batch; `groups` are the groups of its entries."""
        if not len(batch):
            return
        begin = 0
        places = places_of(self._query, batch)
        if self._skips_one:
            self._first, self._skips_one, begin = places[0], False, 1
        if versions:
            for group, stamp in zip(groups[begin:], batch.required_metadata()[begin:], strict=True):
                self._horizons[group] = max(self._horizons.get(group, 0), stamp[0])
        self.total += len(batch) - begin
        self._last = places[-1]

    def state(self, *, versions: bool) -> WorkState:
        """The state in which the operation begins."""
        horizons = self._horizons if versions else None
        if not self.total or self._last is None:
            return WorkState(is_done=True, horizons=horizons)
        return WorkState(horizons=horizons, interval=(self._first, self._last))


def places_of(query: Query, batch: Batch) -> list[Place]:
    """The places of the entries of a batch in the order of a query."""
    texts = batch.texts
    if not query.orders:
        return [(b"", text) for text in texts]
    sort_keys = batch.sort_keys
    if sort_keys is None:
        sort_keys = query.sort_keys_of(query.order_columns(batch.keys, batch.values, batch.metadata))
    return list(zip(sort_keys, texts, strict=True))


def taken(query: Query, state: WorkState, batch: Batch) -> list[bool] | None:
    """Which entries of a batch are in the interval; None for all."""
    if state.interval is None or not query.orders:
        return None
    first, last = state.interval
    return [first < place <= last for place in places_of(query, batch)]


class Outcome(NamedTuple):
    """How many writes of a batch succeeded, how many entries others had written in the meantime, and which ones failed.

    `fatal` is the error that stops the operation. The batch is then repeated later, so only its changes are counted.
    """

    changed: int
    passed_over: int
    failures: tuple[MatchingFailure, ...]
    fatal: Exception | None


def outcome(results: Sequence[WriteResult], keys: Iterable[Key]) -> Outcome:
    """The outcome of the writes of these keys."""
    changed = passed_over = 0
    failures: list[MatchingFailure] = []
    fatal: Exception | None = None
    for key, result in zip(keys, results, strict=True):
        error = result.error
        if error is None:
            changed += 1
        elif isinstance(error, ConditionFailedError):
            passed_over += 1
        elif isinstance(error, _OF_ONE):
            failures.append(MatchingFailure(key, refusal_of(error)))
        else:
            fatal = fatal or error
    return Outcome(changed, passed_over, tuple(failures), None) if fatal is None else Outcome(changed, 0, (), fatal)


def combined(steps: Sequence[MatchingStep], position: bytes) -> MatchingStep:
    """The steps of several stores as one, after which the operation is at `position`."""
    totals = [step.total for step in steps if step.total is not None]
    return MatchingStep(
        position,
        sum(totals) if totals else None,
        sum(step.changed for step in steps),
        sum(step.passed_over for step in steps),
        sum(step.failed for step in steps),
        tuple(failure for step in steps for failure in step.failures),
    )


def joined(places: Mapping[str, bytes | None]) -> bytes:
    """One position for several stores, from their positions by name; None for a store that has not begun."""
    return parts.packed(part for name, place in places.items() for part in (name.encode(), place or b""))


def parted(position: bytes, names: Sequence[str]) -> dict[str, bytes | None]:
    """The positions of the stores with these names. Raises InvalidTokenError if it belongs to other stores."""
    try:
        found_parts = parts.unpacked(position)
        found = {name.decode(): place or None for name, place in zip(found_parts[::2], found_parts[1::2], strict=True)}
    except ValueError:
        found = {}
    if found.keys() != set(names):
        raise InvalidTokenError(
            f"the resume token is one of other shards than {', '.join(names)}: begin again without it",
            field="resume_token",
        )
    return found
