"""The model machine: random operations on a store and on a dict, with equal results.

    class MyStoreMachine(DatastoreMachine):
        def open_store(self):
            return MyStore()

    TestMyStoreMachine = MyStoreMachine.TestCase

Knows only the Datastore contract.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from datastore.model.attempts import Attempt
from datastore.model.entries import Entry, Write
from datastore.model.errors import (
    BatchAbortedError,
    ConditionFailedError,
    RequestForgottenError,
    UnsupportedError,
)
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS
from datastore.model.operations import Delete, Operation, Put, WriteResult
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore.sync.cursor import Cursor
from datastore.testing import cases, model

__all__ = ["DatastoreMachine"]

#: How far from now something expires.
_SECONDS = st.integers(-3, 20)
#: Mostly none, so that whole batches are made too.
_CONDITIONS = st.sampled_from([None, None, None, ABSENT, EXISTS])


class DatastoreMachine(RuleBasedStateMachine):
    """Random operations on the store that `open_store` gives, compared with a dict.

    Cursors stay open across writes, and are read in steps. Subclasses declare `values`, the strategy for generated
    values, `keeps_tuples`, `queries` (False for a store that supports none), and `reopen_store` if entries outlive the
    object. With `moves_clock`, entries expire by `clock`, which the store must use.
    """

    values: st.SearchStrategy[Any] = cases.wire_values()
    keeps_tuples = False
    queries = True
    moves_clock = False

    def __init__(self) -> None:
        super().__init__()
        #: By `clock`, in seconds since 1970.
        self.now = 1_700_000_000
        #: When the entries that expire do.
        self.expires: dict[Key, int] = {}
        #: The writes that have an attempt, with their results.
        self.attempted: list[tuple[Put | Delete, WriteResult]] = []

    def clock(self) -> float:
        """The time, which only the machine moves."""
        return self.now

    def open_store(self) -> Datastore:
        """A new, empty store."""
        raise NotImplementedError("a subclass of DatastoreMachine opens a store")

    def reopen_store(self, store: Datastore) -> Datastore:
        """The store, closed and opened again; stores that keep nothing are returned unchanged."""
        return store

    @initialize()
    def open(self) -> None:
        self.store = self.open_store()
        self.contents: dict[Key, Any] = {}
        self.cursors: list[_Running] = []

    @rule(writes=st.deferred(lambda: cases.writes(st.integers(-3, 3), max_size=4)), data=st.data())
    def write_some(self, writes: list[tuple[Key, Any]], data: st.DataObject) -> None:
        """Single writes of generated values."""
        for key, value in writes:
            new = None if value is None else data.draw(self.values)
            if new is None:
                self.store.delete(key)
            else:
                self.store.put(key, new)
            self._wrote(key, new)

    @rule(writes=cases.writes(cases.json_values(), max_size=12))
    def write_a_batch(self, writes: list[tuple[Key, Any]]) -> None:
        """One batch of writes, some of them to the same key."""
        outcomes = self.store.batch_write([Write(*write) for write in writes])
        assert [outcome.error for outcome in outcomes] == [None] * len(writes)
        for key, value in writes:
            self._wrote(key, value)

    @precondition(lambda self: self.store.capability.atomic)
    @rule(writes=cases.writes(cases.json_values(), max_size=6), data=st.data())
    def write_an_atomic_batch(self, writes: list[tuple[Key, Any]], data: st.DataObject) -> None:
        """One atomic batch, whose writes may have conditions. Shards may refuse it."""
        held, operations, fails_at = dict(self.contents), list[Operation](), None
        for place, (key, value) in enumerate(writes):
            condition = data.draw(_CONDITIONS)
            operations.append(Delete(key, condition) if value is None else Put(key, value, condition))
            if fails_at is None and condition is not None and condition.exists is not (key in held):
                fails_at = place
            held.pop(key, None)
            if value is not None:
                held[key] = value
        try:
            outcomes = self.store.batch_write(operations, atomic=True)
        except UnsupportedError as error:
            assert "on one shard" in str(error)
            return
        errors: list[type] = [type(outcome.error) for outcome in outcomes]
        if fails_at is None:
            assert errors == [type(None)] * len(writes)
            for key, value in writes:
                self._wrote(key, value)
        else:
            aborted: list[type] = [BatchAbortedError] * len(writes)
            assert errors == [*aborted[:fails_at], ConditionFailedError, *aborted[fails_at + 1 :]]

    @rule(writes=cases.writes(st.integers(-3, 3), max_size=4))
    def write_what_may_be_repeated(self, writes: list[tuple[Key, Any]]) -> None:
        """A batch of first attempts."""
        operations: list[Put | Delete] = [
            Delete(key, attempt=Attempt.new()) if value is None else Put(key, value, attempt=Attempt.new())
            for key, value in writes
        ]
        for operation, result in zip(operations, self.store.batch_write(operations), strict=True):
            assert result.error is None
            self._wrote(operation.key, operation.value)
            self.attempted.append((operation, result))

    @precondition(lambda self: self.attempted)
    @rule(data=st.data(), is_repeat=st.booleans())
    def repeat(self, data: st.DataObject, is_repeat: bool) -> None:
        """Another attempt of a write that was made: it is answered as before, or refused, and changes nothing."""
        operation, before = data.draw(st.sampled_from(self.attempted))
        if not self.store.capability.retries and not is_repeat:
            return
        [result] = self.store.batch_write([cases.repeated(operation) if is_repeat else operation])
        if self.store.capability.retries:
            assert (result.error, result.metadata) == (None, before.metadata)
        else:
            assert isinstance(result.error, RequestForgottenError)

    @precondition(lambda self: self.moves_clock)
    @rule(writes=cases.writes(st.integers(-3, 3), max_size=4), seconds=_SECONDS)
    def write_what_expires(self, writes: list[tuple[Key, Any]], seconds: int) -> None:
        """Writes of entries that expire, some at once, alone and in a batch."""
        # Half a second before or after a time of the clock, because versions may be some microseconds ahead of it.
        puts = [(key, value) for key, value in writes if value is not None]
        for key, value in puts[:1]:
            self.store.put(key, value, expires_in_s=abs(seconds) + 0.5)
            self._wrote(key, value, self.now + abs(seconds))
        expiry = Expiry(at_us=(self.now + seconds) * 1_000_000 + 500_000)
        for result in self.store.batch_write([Put(key, value, expiry=expiry) for key, value in puts[1:]]):
            assert result.error is None
        for key, value in puts[1:]:
            self._wrote(key, value, self.now + seconds)

    @precondition(lambda self: self.moves_clock)
    @rule(key=cases.keys(), seconds=_SECONDS)
    def touch(self, key: Key, seconds: int) -> None:
        """A touch, which makes an entry permanent if the time is in the past."""
        expires_in_s = seconds + 0.5 if seconds >= 0 else None
        assert self.store.touch(key, expires_in_s=expires_in_s) is (key in self.contents)
        if key in self.contents:
            self._wrote(key, self.contents[key], None if expires_in_s is None else self.now + seconds)

    @precondition(lambda self: self.moves_clock)
    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        """The clock is moved."""
        self.now += seconds
        for key in [key for key, last in self.expires.items() if last < self.now]:
            self._wrote(key, None)

    def _wrote(self, key: Key, value: Any, last: int | None = None) -> None:
        """The key now has this value, for ever or until half a second after `last`."""
        for running in self.cursors:
            running.touched.add(key)
        self.contents.pop(key, None)
        self.expires.pop(key, None)
        if value is not None and (last is None or last >= self.now):
            self.contents[key] = value
            if last is not None:
                self.expires[key] = last

    @rule(key=cases.keys())
    def read_one(self, key: Key) -> None:
        """One get, one contains."""
        assert self._same(self.store.get(key), self.contents.get(key)), key
        assert self.store.contains(key) is (key in self.contents)

    @rule(keys=st.lists(cases.keys(), max_size=8))
    def read_a_batch(self, keys: list[Key]) -> None:
        """One batch of reads, in its order."""
        outcomes = self.store.batch_get(keys)
        assert len(outcomes) == len(keys)
        for key, outcome in zip(keys, outcomes, strict=True):
            assert outcome.error is None
            assert self._same(outcome.value, self.contents.get(key)), key

    @precondition(lambda self: self.queries)
    @rule(query=cases.queries(cases.json_values()))
    def ask(self, query: Query) -> None:
        """A query that is read to its end."""
        expected = model.answer(query, self.contents)
        cursor = self.store.query(query)
        found = list(cursor.entries())
        problem = model.difference(found, expected.entries, keeps_tuples=self.keeps_tuples)
        assert problem is None, f"{query!r}: {problem}"
        assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)

    @precondition(lambda self: self.queries)
    @rule(query=cases.queries(cases.json_values()))
    def delete_what_matches(self, query: Query) -> None:
        """A deletion of what a query selects."""
        query = query.replaced(keys_only=False, fields=None)
        selected = model.answer(query, self.contents).keys
        done = self.store.delete_matching(query).finish()
        assert (done.total, done.changed, done.passed_over, done.failed) == (len(selected), len(selected), 0, 0)
        for key in selected:
            assert key is not None
            self._wrote(key, None)

    @precondition(lambda self: self.queries)
    @rule(recursive=st.booleans(), orders=st.sampled_from([[], ["n"], ["-s"]]))
    def begin_to_read(self, recursive: bool, orders: list[str]) -> None:
        """A query that is read later, in steps."""
        query = Query(Key("/a"), recursive=recursive)
        for order in orders:
            query.order(order)
        self.cursors.append(_Running(self.store.query(query), query, keeps_tuples=self.keeps_tuples))

    @precondition(lambda self: self.cursors)
    @rule(data=st.data(), count=st.integers(1, 5))
    def read_on(self, data: st.DataObject, count: int) -> None:
        """The next results of a running query."""
        running = data.draw(st.sampled_from(self.cursors))
        running.read(count, self.contents)
        if running.ended:
            self.cursors.remove(running)

    @precondition(lambda self: self.cursors)
    @rule(data=st.data())
    def stop_reading(self, data: st.DataObject) -> None:
        """A running query is abandoned."""
        running = data.draw(st.sampled_from(self.cursors))
        running.cursor.close()
        self.cursors.remove(running)

    @rule()
    def close_and_open(self) -> None:
        """The store is closed and opened again."""
        self._close_cursors()
        self.store = self.reopen_store(self.store)

    @rule()
    def read_everything(self) -> None:
        """The store holds exactly what the dict holds, at the end too."""
        if not self.queries:
            keys = list(self.contents)
            found = [outcome.value for outcome in self.store.batch_get(keys)]
            assert all(self._same(value, self.contents[key]) for key, value in zip(keys, found, strict=True))
            return
        query = Query(Key("/"), recursive=True)
        found = list(self.store.query(query).entries())
        problem = model.difference(found, model.answer(query, self.contents).entries, keeps_tuples=self.keeps_tuples)
        assert problem is None, problem

    def teardown(self) -> None:
        if hasattr(self, "store"):
            try:
                self.read_everything()
            finally:
                self._close_cursors()
                self.store.close()

    def _close_cursors(self) -> None:
        for running in self.cursors:
            running.cursor.close()
        self.cursors.clear()

    def _same(self, found: Any, expected: Any) -> bool:
        return model.same(found, expected, keeps_tuples=self.keeps_tuples)


class _Running:
    """A query that is read while entries change.

    Invariants: no key twice; every selected key that was not written to since the start is in the answer by its end;
    nothing appears that was never stored.
    """

    def __init__(self, cursor: Cursor, query: Query, *, keeps_tuples: bool) -> None:
        self.cursor = cursor
        self.query = query
        self._keeps_tuples = keeps_tuples
        #: Keys written to since the query was made.
        self.touched: set[Key] = set()
        self.seen: list[Entry] = []
        self.ended = False
        self._entries = cursor.entries()

    def read(self, count: int, contents: dict[Key, Any]) -> None:
        for _ in range(count):
            entry = next(self._entries, None)
            if entry is None:
                self.ended = True
                self._check_end(contents)
                return
            assert entry.key is not None
            assert entry.key not in {seen.key for seen in self.seen}
            assert entry.key in self.touched or entry.key in contents
            self.seen.append(entry)

    def _check_end(self, contents: dict[Key, Any]) -> None:
        untouched = {key: value for key, value in contents.items() if key not in self.touched}
        seen = [entry for entry in self.seen if entry.key not in self.touched]
        expected = model.answer(self.query, untouched).entries
        problem = model.difference(seen, expected, keeps_tuples=self._keeps_tuples)
        assert problem is None, problem
