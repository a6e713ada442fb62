"""Changes of entries, as a watch returns them, and what a watch asks for. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from datastore.model.arguments import check_key, check_query
from datastore.model.errors import InvalidQueryError, UnsupportedTypeError
from datastore.model.fields import KEY_FIELD
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["Change", "ChangeBatch", "ChangeKind", "Watch"]

#: The parts of a query that a watch does not have, with their defaults.
_NOT_WATCHED = {
    "limit": None,
    "offset": 0,
    "orders": (),
    "keys_only": False,
    "fields": None,
    "metadata": False,
    "start_after": None,
    "allow_partial": False,
}


class ChangeKind(Enum):
    """What happened to an entry."""

    #: It was created or replaced, also by a patch.
    PUT = "put"
    #: It was deleted.
    DELETE = "delete"
    #: It expired.
    EXPIRE = "expire"


class Change(NamedTuple):
    """One change of an entry. `version` is that of the change: later changes of a key have greater ones.

    `value` is the new value of a PUT, or None if the watch does not ask for values.
    """

    kind: ChangeKind
    key: Key
    version: int
    value: Any = None


class ChangeBatch(NamedTuple):
    """Consecutive changes, and the position after them, from which a watch continues. Without changes: a heartbeat.

    Between stores `token` is a position of the store, bare bytes; from a Watcher it is a resume token. `caught_up`
    marks the end of the initial listing. `stage` grows when entries move between stores: where feeds are merged, the
    changes of a stage come after all changes of earlier ones. `is_last`: the store has no entries any more.
    """

    changes: Sequence[Change]
    token: bytes
    caught_up: bool = False
    stage: int = 0
    is_last: bool = False


class Watch(NamedTuple):
    """What to watch: the scope and filters of `query`, which is frozen and has no other parts.

    With `values`, puts have their values. `position` is where to begin: None for now. With `initial` and no position,
    the entries that exist come first, as puts.
    """

    query: Query
    values: bool = True
    initial: bool = False
    position: bytes | None = None

    @classmethod
    def checked(cls, watched: Query | Key, *, values: bool, initial: bool) -> Watch:
        """The watch of the entries that a query selects, or of the one entry of a key.

        Raises InvalidQueryError (a ValueError) for a query with orders, limits or anything else but filters, and
        UnsupportedTypeError (a TypeError) for neither a Query nor a Key.
        """
        if not isinstance(watched, Query):
            try:
                key = check_key(watched)
            except UnsupportedTypeError:
                raise UnsupportedTypeError(
                    f"watch takes a Query or, for one entry, a Key, got {type(watched).__name__}", path="query"
                ) from None
            return cls(Query(key.path).filter(KEY_FIELD, "=", key).frozen(), values, initial)
        check_query(watched)
        query = watched.frozen()
        for name, default in _NOT_WATCHED.items():
            if getattr(query, name) != default:
                raise InvalidQueryError(
                    f"a watch has a key, recursive and filters; it cannot have {name}", field=f"query.{name}"
                )
        if query.needs_metadata:
            raise InvalidQueryError(
                "a watch shows the version of every change, but its filters cannot read metadata", field="query.filters"
            )
        return cls(query, values, initial)

    @property
    def reads_values(self) -> bool:
        """Whether the values of changes are needed, to be returned or for the filters."""
        return self.values or any(part.field != KEY_FIELD for part in self.query.comparisons)

    def within(self, query: Query, *, values: bool) -> Watch:
        """The same of another store, with the scope and filters of `query`."""
        return self._replace(query=query, values=values)
