"""The groups of an aggregate with their partial states. Pure; knows batches and states, but no stores."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from datastore.engine.states import State, chosen, held_bytes, result_of, state_of, whole
from datastore.model.aggregates import Aggregate
from datastore.model.encoded import views
from datastore.model.entries import Batch
from datastore.model.errors import LimitExceededError
from datastore.model.fields import BESIDE_VALUES, KEY_FIELD, column_of, is_member, object_getattr
from datastore.model.ordering import order_key

__all__ = ["Group", "Tally"]

#: What a group and each of its states take in memory, beside the values that they hold, in bytes.
_OBJECT_BYTES = 200


class Group:
    """One group: its value of each field, and the state of each aggregation, in the order of the aggregate."""

    __slots__ = ("states", "values")

    def __init__(self, values: list[Any], states: list[State]) -> None:
        self.values = values
        self.states = states


class Tally:
    """What an aggregate has found so far: of batches, or of other tallies, in any order.

    Raises LimitExceededError for more than `most_groups` groups, whose number is then not known.
    """

    def __init__(self, asked: Aggregate) -> None:
        self._asked = asked
        self._groups: dict[Hashable, Group] = {}
        self._fields = list(dict.fromkeys(part.field for part in asked.aggregations.values()))
        #: For each aggregation, the index of its field.
        self._inputs = [self._fields.index(part.field) for part in asked.aggregations.values()]
        getter = asked.query.own_getter or object_getattr
        self._columns = {name: column_of(getter, name) for name in (*asked.group_by, *self._fields) if name is not None}
        #: The fields, if all are the keys or plain members of maps.
        self._members = [name for name in self._columns if name not in BESIDE_VALUES]
        if not all(is_member(getter, name) for name in self._members):
            self._members = []
        #: About how much memory the groups take.
        self.held_bytes = 0
        if not asked.group_by:
            self._group_of((), [])

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, batch: Batch) -> None:
        """Take the entries of a batch. Serialized values are read once, and only the members that are needed."""
        if not len(batch):
            return
        columns = self._read(batch)
        grouping = [columns[path] for path in self._asked.group_by]
        inputs = [columns[field] if field is not None else [True] * len(batch) for field in self._fields]
        if not grouping:
            self._add_to(self._groups[()], inputs)
            return
        are_texts = [set(map(type, column)) == {str} for column in grouping]
        for key, places in _rows_by_key(grouping).items():
            # Texts are equal only if they are the same.
            values = [
                column[places[0]] if is_text else chosen([column[place] for place in places])
                for column, is_text in zip(grouping, are_texts, strict=True)
            ]
            self._add_to(self._group_of(key, values), [[column[place] for place in places] for column in inputs])

    def _read(self, batch: Batch) -> dict[str, list[Any]]:
        """The fields that are needed of all entries."""
        # Only the field `__key__` reads the keys, which may not have been made yet.
        keys = batch.keys if KEY_FIELD in self._columns else []
        serialized = batch.serialized() if self._members else None
        found = None if serialized is None else serialized[0].members(serialized[1], self._members)
        if found is not None:
            columns = dict(zip(self._members, found, strict=True))
            beside = self._columns.keys() - columns.keys()
            return columns | {name: self._columns[name](keys, batch.values, batch.metadata) for name in beside}
        looked = batch.values if self._asked.query.own_getter else views(batch.values)
        return {name: column(keys, looked, batch.metadata) for name, column in self._columns.items()}

    def _add_to(self, group: Group, inputs: Sequence[Sequence[Any]]) -> None:
        for place, state in zip(self._inputs, group.states, strict=True):
            self.held_bytes += state.add(inputs[place])

    def merge(self, other: Tally) -> None:
        """Take what another tally of the same aggregate has found. The other must not be used any more."""
        for key, group in other._groups.items():
            self._merge(key, group)

    def take(self, group: Group) -> None:
        """Take a group of another tally of the same aggregate."""
        self._merge(_rows_by_key([[value] for value in group.values]).popitem()[0] if group.values else (), group)

    def _merge(self, key: Hashable, group: Group) -> None:
        mine = self._group_of(key, group.values)
        for state, other in zip(mine.states, group.states, strict=True):
            self.held_bytes += state.merge(other)  # type: ignore[arg-type]

    def _group_of(self, key: Hashable, values: Sequence[Any]) -> Group:
        """The group of a key, made if it is new; `values` are values of its fields."""
        group = self._groups.get(key)
        if group is None:
            most = self._asked.most_groups
            if len(self._groups) >= most:
                raise LimitExceededError(
                    f"an aggregate has at most {most:,} groups here, and this one has more: group by fewer fields, or"
                    " give the query filters",
                    limit="groups",
                    maximum=most,
                )
            states = [state_of(part) for part in self._asked.aggregations.values()]
            group = self._groups[key] = Group(list(map(whole, values)), states)
            self.held_bytes += _OBJECT_BYTES * (1 + len(states)) + sum(map(held_bytes, group.values))
        else:
            group.values = [
                mine if mine is value or type(mine) is type(value) is str else whole(chosen([mine, value]))
                for mine, value in zip(group.values, values, strict=True)
            ]
        return group

    def groups(self) -> Iterator[Group]:
        """The groups, in no particular order."""
        return iter(self._groups.values())

    def rows(self) -> list[dict[str, Any]]:
        """The results: a dict of fields and names for each group, sorted and limited as asked."""
        asked = self._asked
        groups = sorted(self._groups.values(), key=lambda group: [order_key(value) for value in group.values])
        rows = [
            dict(zip(asked.group_by, group.values, strict=True))
            | {
                name: result_of(part, state)
                for (name, part), state in zip(asked.aggregations.items(), group.states, strict=True)
            }
            for group in groups
        ]
        # Sorting is stable, so sort by the last order first.
        for order in reversed(asked.orders):
            rows.sort(key=lambda row: order_key(row[order.field], descending=order.descends))
        return rows[: asked.limit]


def _rows_by_key(columns: Sequence[Sequence[Any]]) -> dict[Hashable, list[int]]:
    """The indexes of the rows with equal values in all columns, under a key that stands for those values."""
    parts = [_keys(column) for column in columns]
    found: dict[Hashable, list[int]] = {}
    for place, key in enumerate(parts[0] if len(parts) == 1 else zip(*parts, strict=True)):
        try:
            found[key].append(place)
        except KeyError:
            found[key] = [place]
    return found


def _keys(column: Sequence[Any]) -> Sequence[Hashable]:
    """Values that are equal in the total order as equal keys. A text, never equal to another kind, is its own."""
    if set(map(type, column)) == {str}:
        return column
    return [value if type(value) is str else order_key(value) for value in column]
