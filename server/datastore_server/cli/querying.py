"""`query` and `count`: many entries, streamed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import click

from datastore.model.entries import Batch, Entry, Reason, Summary
from datastore.model.errors import InvalidQueryError
from datastore.model.explanation import Explanation
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore_server.cli.conditions import is_direction, parse_order, query_of
from datastore_server.cli.connection import connected
from datastore_server.cli.fields import fields_option
from datastore_server.cli.hints import hint_at_fields, hint_at_nothing
from datastore_server.cli.output import print_json, say, shown_error
from datastore_server.cli.preconditions import metadata_members
from datastore_server.cli.settings import KEY, Settings, all_options, server_options
from datastore_server.cli.values import json_line, to_json, to_tree
from datastore_server.counting import counted

__all__ = ["OrderedCommand", "cell_text", "count_command", "query_command", "scope_options"]

#: A table on a terminal takes its columns and their widths from its first rows, and streams the rest.
TABLE_SAMPLE_ROWS = 50
#: No column of a table is wider, in characters.
CELL_CHARACTERS = 40


#: What all commands over a query share, as `query_of` takes it: the key, and which entries below it.
scope_options = all_options(
    click.argument("key", type=KEY),
    click.option("--recursive", "-r", is_flag=True, help="Select everything below KEY, not only its collection."),
    click.option(
        "--where",
        "conditions",
        multiple=True,
        metavar="CONDITION",
        help="Select only entries that match, e.g. 'country = CH'. Repeatable: all must match.",
    ),
)
#: What `query` and `count` share: the key and the options that select.
_selection = all_options(
    scope_options,
    click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Stop after N entries."),
    click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Skip the first N entries."),
    click.option("--allow-partial", is_flag=True, help="Leave out shards that cannot be reached."),
)


class OrderedCommand(click.Command):
    """A command that takes orders, and says what to write for `--order name desc` without quotes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--order=") else [arg])]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            for option, field, direction in zip(words, words[1:], words[2:], strict=False):
                if option == "--order" and is_direction(direction):
                    _refuse_order(ctx, f"{field} {direction}")
            raise


def _refuse_order(ctx: click.Context, text: str) -> None:
    try:
        parse_order(text)
    except InvalidQueryError as error:
        raise click.UsageError(str(error), ctx) from error


@click.command("query", cls=OrderedCommand, short_help="Print the entries that a query selects.")
@_selection
@click.option(
    "--order", "orders", multiple=True, metavar="FIELD", help="Sort by FIELD; -FIELD sorts descending. Repeatable."
)
@click.option("--keys-only", is_flag=True, help="Print keys without values.")
@click.option("--metadata", is_flag=True, help="Also print the version of each entry and its times.")
@click.option("--explain", is_flag=True, help="Run the query, and print how it was evaluated instead of its results.")
@fields_option
@server_options()
@click.pass_obj
def query_command(
    settings: Settings, /, *, keys_only: bool, fields: list[str] | None, explain: bool, **selected: Any
) -> None:
    """Print the entries in the collection of KEY, sorted by --order and then by key.

    The collection of /Person has the keys /Person:NAME and /Person/NAME; that of / has keys like
    /greeting. --recursive selects everything below KEY.

    \b
    Examples:
      datastore query /Airport --where 'country = CH' --order -elevation --limit 5
      datastore query / --recursive --keys-only
      datastore query /Airport --fields name,geo.lat
      datastore query /Airport --metadata --where '__update_time__ >= 2026-11-29T08:00:00Z' --order __update_time__
      datastore query /Person --where 'born >= 1800 and born < 1900' --json
      datastore query /Airport --where 'country in ["CH", "AT"] and not (iata = "" or elevation < 0)'

    A condition is a field, an operator (< <= = != >= > in "not in" starts_with contains exists) and a value: JSON,
    otherwise plain text. Join conditions with and, or, not and parentheses. a.b is the field b of the map a; __key__
    is the key, __value__ the whole value; __version__, __create_time__ and __update_time__ are those of the entry.
    On a terminal this prints a table; elsewhere, or with --json, one line for
    each entry: {"key": ..., "value": ...}. --explain runs the query, drops its results, and shows what
    each store and shard applied, examined and returned, and how long that took.
    """
    if keys_only and fields is not None:
        raise click.UsageError("--keys-only and --fields exclude each other")
    query = query_of(keys_only=keys_only, fields=fields, **selected)
    if explain:
        with connected(settings) as store:
            _print_explanation(store.explain(query), as_json=settings.json)
        return
    with connected(settings) as store, store.query(query) as cursor:
        if settings.json or not sys.stdout.isatty():
            for batch in cursor.batches():
                _print_lines(batch, keys_only)
        else:
            _print_table(cursor.entries(), keys_only)
            say(counted(cursor.returned, "entries"))
        _tell_missing_shards(cursor.summary)
        cursor.close()
        _hint(store, query, cursor.returned)


@click.command("count", short_help="Count the entries that a query selects.")
@_selection
@server_options()
@click.pass_obj
def count_command(settings: Settings, /, **selected: Any) -> None:
    """Print how many entries a query selects. Values are not transferred.

    \b
    Example:
      datastore count /Airport --where 'country = IS'
    """
    query = query_of(keys_only=True, **selected)
    with connected(settings) as store, store.query(query) as cursor:
        count = sum(len(batch) for batch in cursor.batches())
        _tell_missing_shards(cursor.summary)
        cursor.close()
        _hint(store, query, count)
    if settings.json:
        print_json({"count": count})
    else:
        click.echo(count)


def _print_explanation(explanation: Explanation, *, as_json: bool) -> None:
    if as_json:
        print_json(_explanation_data(explanation))
    else:
        click.echo(str(explanation))
        say(counted(explanation.returned, "entries"))


def _explanation_data(explanation: Explanation) -> dict[str, Any]:
    return {
        "kind": explanation.kind,
        "description": explanation.text,
        "shard": explanation.shard,
        "parts": [{"text": part.text, "support": part.support.value} for part in explanation.parts],
        "scanned": explanation.scanned,
        "returned": explanation.returned,
        "remaining": explanation.remaining,
        "time_ms": round(explanation.time_s * 1000, 3),
        "note": explanation.note,
        "children": list(map(_explanation_data, explanation.children)),
    }


def _hint(store: Datastore, query: Query, found: int) -> None:
    if found:
        hint_at_fields(store, query, found=found)
    else:
        hint_at_nothing(store, query)


def _tell_missing_shards(summary: Summary | None) -> None:
    if summary is None or summary.reason is not Reason.PARTIAL:
        return
    for report in summary.shards:
        if report.error is not None:
            say(f"Incomplete: shard {report.shard} is missing: {shown_error(report.error)}")


def _print_lines(batch: Batch, keys_only: bool) -> None:
    if batch.metadata is not None:
        lines = [f"{_stored_line(entry, keys_only)}\n" for entry in batch.entries()]
    elif keys_only:
        lines = [f'{{"key":{to_json(str(key))}}}\n' for key in batch.keys]
    else:
        lines = [json_line(key, value) for key, value in zip(batch.keys, batch.values, strict=True)]
    sys.stdout.write("".join(lines))
    # A reader may be waiting for the first results of a long query.
    sys.stdout.flush()


def _stored_line(entry: Entry, keys_only: bool) -> str:
    """An entry with its metadata as a line of JSON."""
    members = {"key": str(entry.key)} if keys_only else {"key": str(entry.key), "value": to_tree(entry.value)}
    members |= {} if entry.metadata is None else metadata_members(entry.metadata)
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def _print_table(entries: Iterator[Entry], keys_only: bool) -> None:
    """A table of any length: columns and widths come from the first rows, and the rest streams."""
    sample = list(islice(entries, TABLE_SAMPLE_ROWS))
    if not sample:
        return
    columns = [] if keys_only else _columns([entry.value for entry in sample])
    head = ["key", *(column or "value" for column in columns), *_metadata_cells(sample[0])]
    rows = (_row(entry, columns) for entry in chain(sample, entries))
    first = list(islice(rows, len(sample)))
    widths = [min(max(map(_width, cells)), CELL_CHARACTERS) for cells in zip(head, *first, strict=True)]
    # A key that is cut cannot be used in another command.
    widths[0] = max(_width(row[0]) for row in first)
    screen = max(shutil.get_terminal_size().columns, widths[0])
    click.secho(_cut(_line(head, widths), screen), bold=True)
    for row in chain(first, rows):
        click.echo(_cut(_line(row, widths), screen))


def _columns(values: list[Any]) -> list[str | None]:
    """The members that the values have, sorted; None, at the end, stands for values that are not maps."""
    names = {name for value in values if isinstance(value, dict) for name in value}
    bare: list[str | None] = [None] if any(not isinstance(value, dict) for value in values) else []
    return [*sorted(names), *bare]


def _row(entry: Entry, columns: list[str | None]) -> list[str]:
    members = entry.value if isinstance(entry.value, dict) else {None: entry.value}
    cells = [cell_text(members[column]) if column in members else "" for column in columns]
    return [str(entry.key), *cells, *_metadata_cells(entry).values()]


def _metadata_cells(entry: Entry) -> dict[str, str]:
    """The version and times of an entry by their columns; empty if they were not asked for."""
    if entry.metadata is None:
        return {}
    members = metadata_members(entry.metadata)
    return {name: str(members.get(name, "")) for name in ("version", "create_time", "update_time", "expire_time")}


def cell_text(value: Any) -> str:
    """A value as a cell of a table: plain text as it is, anything else as JSON."""
    if isinstance(value, str) and value.isprintable():
        return value
    return to_json(value, sort_keys=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_padded(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _padded(cell: str, width: int) -> str:
    if width == CELL_CHARACTERS:
        cell = _cut(cell, width)
    return cell + " " * (width - _width(cell))


def _cut(text: str, width: int) -> str:
    """The text if it fits this width, otherwise its beginning and an ellipsis."""
    if _width(text) <= width:
        return text
    while _width(text) >= width:
        text = text[:-1]
    return text + "…"


def _width(text: str) -> int:
    # Loaded here: only tables need rich, and JSON lines should not wait for it.
    from rich.cells import cell_len

    return cell_len(text)
