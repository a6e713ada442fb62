"""`delete`: deletes entries by key, or all entries that match a selection."""

from __future__ import annotations

from collections.abc import Sequence

import click

from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.operations import Delete, raise_error
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore_server.cli.conditions import query_of
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_absent, hint_at_nothing
from datastore_server.cli.matching import Job, confirmed, count_of, reported, selected, selection_options, yes_option
from datastore_server.cli.output import ExitCode, print_json, say
from datastore_server.cli.preconditions import condition, condition_options
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.counting import counted

__all__ = ["delete_command"]

_DELETING = Job("Delete", "Deleting", "Deleted")


@click.command("delete", short_help="Delete entries, by key or in bulk.")
@click.argument("keys", nargs=-1, required=True, type=KEY, metavar="KEY...")
@selection_options("Delete")
@condition_options("if_exists", "if_version")
@yes_option("Delete")
@server_options()
@click.pass_obj
def delete_command(
    settings: Settings,
    *,
    keys: Sequence[Key],
    collection: bool,
    recursive: bool,
    conditions: Sequence[str],
    if_exists: bool,
    if_version: int | None,
    yes: bool,
) -> int:
    """Delete the entry of each KEY. If one does not exist, the exit code is 1; the others are deleted.

    \b
    Examples:
      datastore delete /Person:ada /Person:alan
      datastore delete /Person --collection
      datastore delete /Airport --where 'country = CH' --yes
      datastore delete / --recursive
      datastore delete /Person:ada --if-version 1790000000123456

    With --collection, --recursive or --where it deletes what `datastore query` prints with the same KEY and
    options, and not the entry KEY itself. It counts first and asks before deleting; without a terminal it deletes
    only with --yes. Entries that are written meanwhile are kept. If it is interrupted, run it again to delete the rest.

    With --if-exists or --if-version, the server decides the condition in one step with the deletion. If it does not
    hold, nothing is deleted and the exit code is 6.
    """
    required = condition(if_exists=if_exists, if_version=if_version)
    if collection and recursive:
        raise click.UsageError("--collection and --recursive exclude each other; --recursive includes the collection")
    if required is not None:
        if collection or recursive or conditions or len(keys) > 1:
            raise click.UsageError("--if-exists and --if-version are for one KEY, without other options that select")
        return _delete_if(settings, Delete(keys[0], required))
    if not (collection or recursive or conditions):
        return _delete_named(settings, keys)
    queries = [query_of(key=key, conditions=conditions, recursive=recursive) for key in keys]
    return _delete_selected(settings, queries, yes=yes)


# By key


def _delete_named(settings: Settings, keys: Sequence[Key]) -> int:
    with connected(settings, retry_writes=True) as store:
        present = {key: store.contains(key) for key in keys}
        deleted = _delete(store, [key for key in present if present[key]])
        absent = [key for key in present if not present[key]]
        for key in absent:
            hint_at_absent(
                store, key, collection="datastore delete {} --collection", recursive="datastore delete {} --recursive"
            )
    if settings.json:
        print_json({"deleted": deleted, "absent": [str(key) for key in absent]})
    return ExitCode.ABSENT if absent else ExitCode.OK


def _delete_if(settings: Settings, delete: Delete) -> int:
    """Make a deletion that depends on a condition."""
    with connected(settings, retry_writes=True) as store:
        (result,) = store.batch_write([delete])
        raise_error(result)
    if settings.json:
        print_json({"deleted": 1, "absent": []})
    return ExitCode.OK


def _delete(store: Datastore, keys: Sequence[Key]) -> int:
    """Delete entries and return their number. Raises the first error, with its key."""
    outcomes = store.batch_write([Write(key, None) for key in keys])
    for key, outcome in zip(keys, outcomes, strict=True):
        if outcome.error is not None:
            outcome.error.args = (f"{key}: {outcome.error}",)
            raise outcome.error
    return len(keys)


# By selection


def _delete_selected(settings: Settings, queries: Sequence[Query], *, yes: bool) -> int:
    deleted = passed_over = 0
    with connected(settings) as store:
        total = sum(count_of(store, query) for query in queries)
        if not total:
            say("Nothing to delete.")
            for query in queries:
                hint_at_nothing(store, query)
        elif confirmed(_DELETING, f"{counted(total, 'entries')} {selected(queries)}", yes=yes):
            with reported(_DELETING, total, "Run the same command again to delete the rest.") as counts:
                for query in queries:
                    run = store.delete_matching(query)
                    for step in run:
                        counts.advance(deleted + step.changed - counts.rows, deleted + step.changed)
                    deleted += run.progress.changed
                    passed_over += run.progress.passed_over
        else:
            say("Nothing was deleted.")
            return ExitCode.INTERRUPTED
        if passed_over:
            say(
                f"{counted(passed_over, 'entries')} written meanwhile are kept. Run the same command again to delete"
                " what still matches."
            )
        for query in queries:
            if not query.filters and store.contains(query.key):
                say(f"The entry {query.key} itself is kept.")
    if settings.json:
        print_json({"deleted": deleted, "passed_over": passed_over})
    return ExitCode.OK
