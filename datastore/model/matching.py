"""Changes of all entries that a query selects, and how far they have come. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from datastore.model.arguments import check_query
from datastore.model.errors import InvalidQueryError
from datastore.model.key import Key
from datastore.model.metadata import Precondition
from datastore.model.operations import Delete, Operation, Patch
from datastore.model.patches import FieldChange, PatchRoom
from datastore.model.query import Query

__all__ = ["FAILURES", "MatchingFailure", "MatchingProgress", "MatchingStep", "MatchingWrite"]

#: How many failures of single entries are named; the others are only counted.
FAILURES = 100


class MatchingFailure(NamedTuple):
    """An entry that could not be changed, and why."""

    key: Key
    error: Exception


class MatchingProgress(NamedTuple):
    """How far a change of many entries has come.

    `total` is how many entries matched when it began; None if it was continued by a token. Of those, so many have been
    `changed`, i.e. deleted or patched; so many were `passed_over`, because they had been written since it began; and so
    many `failed`, the first FAILURES of which are in `failures`. Entries that had been deleted meanwhile, or do not
    match any more, are not counted. `token` continues here.
    """

    total: int | None = None
    changed: int = 0
    passed_over: int = 0
    failed: int = 0
    failures: tuple[MatchingFailure, ...] = ()
    token: bytes | None = None

    def after(self, step: MatchingStep) -> MatchingProgress:
        """The progress after another step, whose position is a token."""
        return MatchingProgress(
            self.total if step.total is None else step.total,
            self.changed + step.changed,
            self.passed_over + step.passed_over,
            self.failed + step.failed,
            (self.failures + step.failures)[:FAILURES],
            step.position,
        )


class MatchingStep(NamedTuple):
    """What has been done since the previous step, and the position of the store after it.

    The first has only a position and, unless it continues an earlier one, the total.
    """

    position: bytes
    total: int | None = None
    changed: int = 0
    passed_over: int = 0
    failed: int = 0
    failures: tuple[MatchingFailure, ...] = ()


class MatchingWrite(NamedTuple):
    """What to do with all entries that `query`, which is frozen, selects: a patch of `changes`, or a deletion.

    `position` is where to continue: None to begin. `encode` is that of a Patch, and gets its key first.
    """

    query: Query
    changes: tuple[FieldChange, ...] | None = None
    position: bytes | None = None
    encode: Callable[[Key, Any], Any] | None = None

    @classmethod
    def checked(
        cls,
        query: Any,
        changes: tuple[FieldChange, ...] | None = None,
        encode: Callable[[Key, Any], Any] | None = None,
    ) -> MatchingWrite:
        """The write for this query. Raises InvalidQueryError (a ValueError) or UnsupportedTypeError (a TypeError)."""
        check_query(query)
        if query.keys_only or query.fields is not None or query.metadata:
            raise InvalidQueryError(
                "a change of many entries returns none: leave out keys_only, fields and metadata", field="query"
            )
        if query.allow_partial:
            raise InvalidQueryError(
                "a change of many entries is never partial: leave out allow_partial, and continue it by its token once"
                " all shards can be reached",
                field="allow_partial",
            )
        return cls(query.frozen(), changes, None, encode)

    @property
    def is_divisible(self) -> bool:
        """Whether several stores can each change their part: which entries it changes does not depend on an order."""
        query = self.query
        is_sorted = bool(query.orders) and query.start_after is not None
        return query.limit is None and not query.offset and not is_sorted

    def identity(self) -> str:
        """A text that only the same write has, to which its tokens are bound."""
        query = self.query
        content = repr(query) if query.has_custom_code else repr(query.dict())
        return f"{content} {_canonical(self.changes)!r}"

    def operation(self, key: Key, version: int | None, room: PatchRoom) -> Operation:
        """The write of one entry; with a version, on condition that the entry still has it."""
        condition = None if version is None else Precondition(version=version)
        if self.changes is None:
            return Delete(key, condition)
        encode = None if self.encode is None else partial(self.encode, key)
        return Patch(key, self.changes, condition, encode=encode, room=room)


def _canonical(value: Any) -> Any:
    """A value whose text does not depend on the order in which maps were made."""
    if isinstance(value, dict):
        return [(name, _canonical(value[name])) for name in sorted(value)]
    return [_canonical(part) for part in value] if isinstance(value, (list, tuple)) else value
