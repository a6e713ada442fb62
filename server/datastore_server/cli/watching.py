"""`watch`: the changes of many entries, as they happen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from datastore.model.changes import Change
from datastore_server.cli.conditions import query_of
from datastore_server.cli.connection import connected
from datastore_server.cli.output import say
from datastore_server.cli.querying import cell_text, scope_options
from datastore_server.cli.settings import Settings, server_options
from datastore_server.cli.token_files import TOKEN_FILE, token_in, write_token
from datastore_server.cli.values import to_json

__all__ = ["watch_command"]


@click.command("watch", short_help="Print the changes of the entries that a query selects, as they happen.")
@scope_options
@click.option("--initial", is_flag=True, help="Print the entries that exist first.")
@click.option("--keys-only", is_flag=True, help="Print keys without values.")
@click.option(
    "--resume",
    type=TOKEN_FILE,
    metavar="FILE",
    help="Continue where FILE says, and keep it up to date. If it does not exist, begin now.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N changes; with --resume, after their batch."
)
@server_options()
@click.pass_obj
def watch_command(
    settings: Settings, /, *, initial: bool, keys_only: bool, resume: Path | None, limit: int | None, **selected: Any
) -> None:
    """Print every change of the entries in the collection of KEY, until Ctrl-C.

    \b
    Examples:
      datastore watch /Person
      datastore watch / --recursive --json
      datastore watch /Airport --where 'country = CH' --initial
      datastore watch /Order --resume orders.token | ./process-orders

    A put is printed if its new value matches --where; deletions and expiries always are. On a terminal a change is a
    line such as "put /Person:ada {...}"; elsewhere, or with --json, {"kind": "put", "key": ..., "version": ...,
    "value": ...}. FILE is written once changes are printed: after an interruption the last ones may come again, and
    none is missing. If the server no longer keeps them, this fails: list the entries again, with --initial and
    without FILE.
    """
    query = query_of(**selected)
    token = token_in(resume, "watch")
    as_json = settings.json or not sys.stdout.isatty()
    left = limit
    with (
        connected(settings) as store,
        store.watch(query, values=not keys_only, initial=initial, resume_token=token) as watcher,
    ):
        if resume is not None and watcher.token is not None:
            # A watch that ends before its first batch continues where it began.
            write_token(resume, watcher.token)
        for batch in watcher.batches():
            # A token is that of a whole batch.
            changes = batch.changes if resume is not None else batch.changes[:left]
            sys.stdout.write("".join(_line(change, as_json=as_json) for change in changes))
            sys.stdout.flush()
            if resume is not None:
                write_token(resume, batch.token)
            if batch.caught_up and not as_json:
                say("These were the entries; their changes follow.")
            if left is not None:
                left -= len(changes)
                if left <= 0:
                    return


def _line(change: Change, *, as_json: bool) -> str:
    if as_json:
        data = {"kind": change.kind.value, "key": str(change.key), "version": change.version}
        return to_json(data if change.value is None else data | {"value": change.value}) + "\n"
    value = "" if change.value is None else f" {cell_text(change.value)}"
    return f"{change.kind.value} {change.key}{value}\n"
