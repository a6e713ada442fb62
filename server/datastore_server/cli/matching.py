"""What commands that change many entries share: which ones, the count and the question before, the progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from datastore.model.aggregates import Count
from datastore.model.errors import DatastoreError
from datastore.model.matching import MatchingFailure
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore_server.cli.output import ExitCode, Terminated, say, shown_error
from datastore_server.cli.progress import Progress, progress
from datastore_server.cli.settings import all_options
from datastore_server.cli.transfer.interruption import terminable
from datastore_server.counting import counted

__all__ = ["Job", "confirmed", "count_of", "named_failures", "reported", "selected", "selection_options", "yes_option"]

#: How many failures of single entries are shown.
_SHOWN_FAILURES = 5


class Job(NamedTuple):
    """What a command does, in three forms: to ask, while it runs, and when it is done."""

    verb: str
    verb_ing: str
    verb_ed: str


def selection_options(verb: str) -> Callable[[Any], Any]:
    """The options that select many entries."""
    return all_options(
        click.option("--collection", is_flag=True, help=f"{verb} the entries of the collection KEY."),
        click.option("--recursive", "-r", is_flag=True, help=f"{verb} everything below KEY."),
        click.option(
            "--where",
            "conditions",
            multiple=True,
            metavar="CONDITION",
            help=f"{verb} the entries of the collection KEY (or below, with --recursive) that match, e.g. 'country = "
            "CH'. Repeatable: all must match.",
        ),
    )


def yes_option(what: str) -> Callable[[Any], Any]:
    """`--yes`."""
    return click.option("--yes", "-y", is_flag=True, help=f"{what} without asking for confirmation.")


def selected(queries: Sequence[Query]) -> str:
    """What queries select, in words."""
    return " and ".join(map(_selected, queries))


def _selected(query: Query) -> str:
    scope = f"below {query.key}" if query.recursive else f"of the collection {query.key}"
    return f"{scope} (only those that match)" if query.filters else scope


def count_of(store: Datastore, query: Query) -> int:
    """How many entries a query selects."""
    [row] = store.aggregate(query, {"count": Count()})
    return int(row["count"])


def confirmed(job: Job, what: str, *, yes: bool) -> bool:
    """Ask for confirmation. Raises UsageError without a terminal."""
    if yes:
        say(f"{job.verb_ing} {what}.")
        return True
    if sys.stdin.isatty():
        return click.confirm(f"{job.verb} {what}?", err=True)
    done = job.verb_ed.lower()
    raise click.UsageError(
        f"this would {job.verb.lower()} {what}; to do so without a terminal, add --yes. Nothing was {done}."
    )


@contextmanager
def reported(job: Job, total: int, continues: str) -> Iterator[Progress]:
    """Report the progress of the block, and its end. `continues` says what to do if it ends early."""
    failure: BaseException | None = None
    with terminable(), progress(job.verb.lower(), total, unit="entries") as counts:
        try:
            yield counts
        except (KeyboardInterrupt, Terminated, DatastoreError) as error:
            failure = error
    # Outside of the progress bar, which would draw over it.
    if failure is not None:
        say(f"{job.verb_ed} {counts.rows:,} of {counted(total, 'entries')}. {continues}")
        raise failure
    say(f"{job.verb_ed} {counts.summary()}.")


def named_failures(failed: int, failures: Sequence[MatchingFailure], what: str) -> ExitCode:
    """Say which entries failed; returns the exit code."""
    if not failed:
        return ExitCode.OK
    say(f"{counted(failed, 'entries')} {what}:")
    for key, error in failures[:_SHOWN_FAILURES]:
        say(f"  {key}: {shown_error(error) if isinstance(error, DatastoreError) else error}")
    if failed > _SHOWN_FAILURES:
        say(f"  and {failed - _SHOWN_FAILURES:,} more")
    return ExitCode.REFUSED
