"""Hints for commands that found nothing, e.g. about a mistyped collection or field.

Hints are printed on stderr. They change no result and no exit code; one that fails or takes too long is omitted. Knows
queries, but no commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from math import inf
from typing import Any

from datastore.model.config import closest
from datastore.model.deadline import set_time_left
from datastore.model.errors import DatastoreError
from datastore.model.fields import BESIDE_VALUES, KEY_FIELD, Filter, object_getattr
from datastore.model.key import Key
from datastore.model.ordering import rank
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore_server.cli.output import say
from datastore_server.cli.values import to_json

__all__ = ["HINT_TIME_S", "hint_at_absent", "hint_at_fields", "hint_at_nothing"]

#: The time limit of finding hints, in seconds.
HINT_TIME_S = 2.0
#: How many names of sibling collections, and of fields, are searched for a similar one.
NAMES = 50
#: How many entries are read for the names of their fields. An entry can have 3 MiB.
SAMPLE_ENTRIES = 3
#: How many field names a hint lists.
LISTED_NAMES = 8
#: How much of a value a hint shows, in characters.
SHOWN_CHARACTERS = 40

#: A text in quotes as in SQL.
_QUOTED = re.compile(r"'.*'", re.DOTALL)
#: The operators whose value may have another type than the field.
_OF_OTHER_KINDS = ("in", "not in", "contains", "exists")
#: The types of values with their lowest values: `>=` the lowest value matches all values of the type, and no others.
_KINDS = {
    rank(lowest): (name, lowest)
    for name, lowest in (
        ("true or false", False),
        ("a number", -inf),
        ("a time", datetime.min.replace(tzinfo=UTC)),
        ("a text", ""),
        ("bytes", b""),
        ("a key", Key("/")),
    )
}


def hint_at_absent(store: Datastore, key: Key, *, collection: str, recursive: str) -> None:
    """Say that `key` has no entry and, if there are entries below it, which command to use.

    `collection` and `recursive` are these commands, with {} in place of the key.
    """
    said = f"There is no entry {key}."
    with _limited():
        if "*" in str(key):
            said += f" Keys are not patterns; for a whole collection:\n  {_command(collection, key.path)}"
        elif _first(store, Query(key)) is not None:
            said += f" {key} is a collection; for its entries:\n  {_command(collection, key)}"
        elif _first(store, Query(key, recursive=True)) is not None:
            said += f" There are entries below it:\n  {_command(recursive, key)}"
    say(said)


def hint_at_nothing(store: Datastore, query: Query) -> None:
    """Say why a query may have found nothing, e.g. an empty collection, or a field that no entry has."""
    if query.limit == 0 or query.offset:
        return
    with _limited():
        if _first(store, _scope(query)) is None:
            say(f"Hint: {_empty_text(store, query)}")
        else:
            _hint_at_names(store, query, found=0)
            _hint_at_quotes(store, query)
            _hint_at_kinds(store, query)


def hint_at_fields(store: Datastore, query: Query, *, found: int) -> None:
    """Say which parts of a query name a field that no entry has, or a text in single quotes.

    `found` is the number of results, which prove that some fields exist.
    """
    with _limited():
        _hint_at_names(store, query, found)
        _hint_at_quotes(store, query)


def _hint_at_names(store: Datastore, query: Query, found: int) -> None:
    for field in _doubtful_fields(query, found):
        if _first(store, _scope(query).filter(field, "!=", None)) is None:
            say(f"Hint: no entry {_where(query)} has a field {field!r}{_likely_field(store, query, field)}")


def _hint_at_quotes(store: Datastore, query: Query) -> None:
    """Say that single quotes in a condition are part of the text, unless an entry has exactly that text."""
    for each in query.comparisons:
        if not isinstance(each.value, str) or not _QUOTED.fullmatch(each.value):
            continue
        if _first(store, _scope(query).filter(each.field, "=", each.value)) is None:
            meant = shlex.quote(f"{each.field} {each.op} {to_json(each.value[1:-1])}")
            say(f"Hint: the single quotes of {each.value} are part of the text; you may mean --where {meant}")


def _hint_at_kinds(store: Datastore, query: Query) -> None:
    """Say which conditions compare with a type that no value of their field has, e.g. a number with text."""
    for each in query.comparisons:
        kind = _KINDS.get(rank(each.value))
        if each.field in BESIDE_VALUES or kind is None or each.op in _OF_OTHER_KINDS:
            continue
        name, lowest = kind
        if _first(store, _scope(query).filter(each.field, ">=", lowest)) is not None:
            continue
        sample = _scope(query).filter(each.field, "!=", None)
        with store.query(sample.replaced(limit=1)) as cursor:
            held = [object_getattr(value, each.field) for value in cursor]
        for value in held:
            text = to_json(value)
            shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
            say(f"Hint: no entry {_where(query)} has {name} in the field {each.field!r}, which holds, e.g., {shown}")


@contextmanager
def _limited() -> Iterator[None]:
    set_time_left(HINT_TIME_S)
    try:
        with suppress(DatastoreError):
            yield
    finally:
        set_time_left(None)


def _command(template: str, key: Key) -> str:
    return template.format(shlex.quote(str(key)))


def _scope(query: Query) -> Query:
    return Query(query.key, recursive=query.recursive)


def _first(store: Datastore, query: Query) -> Key | None:
    """The key of the first entry that a query finds."""
    with store.query(query.replaced(fields=None, keys_only=True, limit=1)) as cursor:
        return next((entry.key for entry in cursor.entries()), None)


def _where(query: Query) -> str:
    return f"below {query.key}" if query.recursive else f"of the collection {query.key}"


def _empty_text(store: Datastore, query: Query) -> str:
    key = query.key
    if not query.recursive and _first(store, Query(key, recursive=True)) is not None:
        return f"the collection {key} has no entries itself; there are some below it: --recursive"
    if store.contains(key):
        return f"nothing is below {key}, which is an entry: {_command('datastore get {}', key)}"
    if key == Key("/"):
        return "the store is empty"
    if "*" in str(key):
        return f"keys are not patterns; for a whole collection: {_command('datastore query {}', key.path)}"
    near = closest(key.name, _children(store, key.parent))
    meant = f"; did you mean {key.parent.child(near)}?" if near else ""
    return f"there is no entry {_where(query)}{meant}"


def _children(store: Datastore, parent: Key) -> Iterator[str]:
    """The names of the collections directly below `parent`, found by skipping the entries of each."""
    prefix = "/" if parent == Key("/") else f"{parent}/"
    at: Filter | None = None
    for _ in range(NAMES):
        query = Query(parent, recursive=True)
        key = _first(store, query if at is None else query.filter(at.field, at.op, at.value))
        if key is None or not str(key).startswith(prefix):
            return
        text = str(key)
        end = next((index for index in range(len(prefix), len(text)) if text[index] in "/:"), None)
        if end is None:
            at = Filter(KEY_FIELD, ">", key)
            continue
        yield text[len(prefix) : end]
        # After all keys that begin with this name and separator: "0" follows "/", and ";" follows ":".
        at = Filter(KEY_FIELD, ">=", Key(text[:end] + chr(ord(text[end]) + 1)))


def _doubtful_fields(query: Query, found: int) -> list[str]:
    """The fields of a query that its results do not prove to exist, without duplicates."""
    asked = [each for each in query.comparisons if each.op != "exists" and not (each.op == "=" and each.value is None)]
    # A tree may match entries without the field.
    alone = [each for each in asked if each in query.filters]
    proven = {each.field for each in alone if found and each.op not in ("!=", "not in")}
    fields = [*(each.field for each in asked), *(order.field for order in query.orders), *(query.fields or ())]
    return [field for field in dict.fromkeys(fields) if field not in proven and field not in BESIDE_VALUES]


def _likely_field(store: Datastore, query: Query, field: str) -> str:
    with store.query(_scope(query).replaced(limit=SAMPLE_ENTRIES)) as cursor:
        names = list(islice(dict.fromkeys(_names(list(cursor))), NAMES))
    if near := closest(field, names):
        return f"; did you mean {near}?"
    listed = ", ".join(names[:LISTED_NAMES]) + (", ..." if len(names) > LISTED_NAMES else "")
    return f"; there are {listed}" if names else ""


def _names(values: Iterable[Any], within: str = "") -> Iterator[str]:
    """The names of the fields of values; dotted for nested maps."""
    for value in values:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield within + name
                yield from _names([inner], f"{within}{name}.")
