"""`aggregate`: counts, sums, means, minima and maxima, computed where the entries are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from datastore.model.aggregates import Aggregation, Avg, Count, Max, Min, Sum
from datastore.model.fields import Order
from datastore_server.cli.conditions import parse_order, query_of
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_nothing
from datastore_server.cli.output import print_table, say
from datastore_server.cli.querying import OrderedCommand, cell_text, scope_options
from datastore_server.cli.settings import Settings, server_options
from datastore_server.cli.values import to_json
from datastore_server.counting import counted

__all__ = ["aggregate_command"]


@click.command("aggregate", cls=OrderedCommand, short_help="Count, sum and average the entries that a query selects.")
@scope_options
@click.option("--group-by", multiple=True, metavar="FIELD", help="A row for each value of FIELD. Repeatable.")
@click.option("--count", is_flag=True, help="How many entries: column count.")
@click.option("--sum", "sums", multiple=True, metavar="FIELD", help="The sum of the numbers: column sum_FIELD.")
@click.option("--avg", "means", multiple=True, metavar="FIELD", help="The mean of the numbers: column avg_FIELD.")
@click.option("--min", "minima", multiple=True, metavar="FIELD", help="The first value in order: column min_FIELD.")
@click.option("--max", "maxima", multiple=True, metavar="FIELD", help="The last value in order: column max_FIELD.")
@click.option("--order", "orders", multiple=True, metavar="COLUMN", help="Sort by COLUMN; -COLUMN sorts descending.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Print only the first N rows.")
@server_options()
@click.pass_obj
def aggregate_command(
    settings: Settings,
    /,
    *,
    group_by: Sequence[str],
    count: bool,
    sums: Sequence[str],
    means: Sequence[str],
    minima: Sequence[str],
    maxima: Sequence[str],
    orders: Sequence[str],
    limit: int | None,
    **selected: Any,
) -> None:
    """Count, sum and average the entries in the collection of KEY, for each group of them.

    \b
    Examples:
      datastore aggregate /Airport --group-by country --count --avg elevation --order -count --limit 10
      datastore aggregate /Airport --where 'country = CH' --min elevation --max elevation

    Rows are sorted by --order, then by their groups. Without --group-by there is exactly one. Results are exact: the
    same on one server and on any number of shards. Entries are selected as by query. On a terminal this prints a table;
    elsewhere, or with --json, one line for each row: {"country": ..., "count": ..., "avg_elevation": ...}.
    """
    aggregations: dict[str, Aggregation] = {"count": Count()} if count else {}
    for kind, fields in ((Sum, sums), (Avg, means), (Min, minima), (Max, maxima)):
        aggregations |= {f"{kind.__name__.lower()}_{field}": kind(field) for field in fields}
    if not aggregations:
        raise click.UsageError("say what to compute: at least one of --count, --sum, --avg, --min and --max")
    query = query_of(**selected)
    with connected(settings) as store:
        rows = store.aggregate(
            query, aggregations, group_by=group_by, orders=list(map(parse_order, orders)), limit=limit
        )
        if settings.json or not sys.stdout.isatty():
            sys.stdout.write("".join(f"{to_json(row)}\n" for row in rows))
        else:
            columns = [*group_by, *aggregations]
            print_table(columns, [[cell_text(row[column]) for column in columns] for row in rows])
            say(counted(len(rows), "rows"))
        named = {field: field for field in group_by} | {name: each.field for name, each in aggregations.items()}
        unseen = {field for column, field in named.items() if field and all(row[column] is None for row in rows)}
        if unseen and limit != 0:
            hint_at_nothing(store, query.replaced(orders=[Order(f"+{field}") for field in sorted(unseen)]))
