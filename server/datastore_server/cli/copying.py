"""`copy` and `move`: entries under other keys.

Entries are read in batches, written under their new keys and, for `move`, deleted under the old ones, each on condition
that it is unchanged. So an interrupted command can be run again: an entry that is already at its new key, with the same
value, counts as copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import click

from datastore.model.entries import Batch
from datastore.model.errors import ConditionFailedError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.matching import FAILURES, MatchingFailure
from datastore.model.metadata import ABSENT, Metadata, Precondition
from datastore.model.operations import Delete, Put, WriteResult, attempt, raise_error, refusal_of, value_of
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_absent
from datastore_server.cli.matching import Job, confirmed, count_of, named_failures, reported, yes_option
from datastore_server.cli.output import ExitCode, print_json, say
from datastore_server.cli.settings import KEY, Settings, all_options, server_options
from datastore_server.cli.transfer.importer import BATCHES_IN_FLIGHT
from datastore_server.counting import counted

__all__ = ["copy_command", "move_command"]

#: How many entries are read before they are written.
_BATCH = 500

_COPYING = Job("Copy", "Copying", "Copied")
_MOVING = Job("Move", "Moving", "Moved")


def _options(job: Job) -> Callable[[Any], Any]:
    return all_options(
        click.argument("source", type=KEY),
        click.argument("target", type=KEY),
        click.option("--recursive", "-r", is_flag=True, help="Also everything below SOURCE."),
        click.option("--overwrite", is_flag=True, help="Replace entries that exist. Default: leave them."),
        yes_option(job.verb),
        server_options(),
        click.pass_obj,
    )


@click.command("copy", short_help="Copy entries to other keys.")
@_options(_COPYING)
def copy_command(settings: Settings, /, *, yes: bool, **asked: Any) -> int:
    """Copy the entry SOURCE to TARGET, with --recursive also those below SOURCE to the same places below TARGET.

    \b
    Examples:
      datastore copy /Person:ada /Person:lovelace
      datastore copy /Airport /Backup/Airport --recursive

    Values and expiries are kept. An entry whose new key has another value is left out unless --overwrite is given, and
    the exit code is 6. With --recursive it counts first and asks; without a terminal it copies only with --yes. If it
    is interrupted, run it again to copy the rest.
    """
    return _run(settings, _Copies(_COPYING, deletes=False, **asked), yes=yes)


@click.command("move", short_help="Move entries to other keys.")
@_options(_MOVING)
def move_command(settings: Settings, /, *, yes: bool, **asked: Any) -> int:
    """Move the entry SOURCE to TARGET, with --recursive also those below SOURCE to the same places below TARGET.

    \b
    Examples:
      datastore move /Person:ada /Person:lovelace
      datastore move /Airport /Archive/Airport --recursive

    Each entry is copied, and then deleted if it is unchanged; so for a moment it is at both keys. Values and expiries
    are kept. An entry whose new key has another value stays where it is unless --overwrite is given, and so does one
    that is written meanwhile; then the exit code is 6. With --recursive it counts first and asks; without a terminal it
    moves only with --yes. If it is interrupted, run it again to move the rest.
    """
    return _run(settings, _Copies(_MOVING, deletes=True, **asked), yes=yes)


class _Copies(NamedTuple):
    """What to copy, and whether to delete what was copied."""

    job: Job
    source: Key
    target: Key
    recursive: bool
    overwrite: bool
    deletes: bool

    def new_key(self, key: Key) -> Key:
        """The new key of an entry. Raises InvalidKeyError if it is too long."""
        below = str(key)[len(str(self.source).rstrip("/")) :]
        return Key(f"{str(self.target).rstrip('/')}{below}")

    def put(self, new_key: Key, value: Any, metadata: Sequence[int]) -> Put:
        """The write of a copy."""
        expires_us = Metadata(*metadata).expires_us
        expiry = Expiry(at_us=expires_us) if expires_us else None
        return Put(new_key, value, None if self.overwrite else ABSENT, expiry)


class _Counts:
    """What has been done."""

    def __init__(self) -> None:
        self.copied = 0
        #: How many new keys have other values, and how many entries to move were written meanwhile; and one of each.
        self.taken = self.written = self.failed = 0
        self.a_taken: Key | None = None
        self.a_written: Key | None = None
        self.failures: list[MatchingFailure] = []

    def fail(self, key: Key, error: Exception) -> None:
        """Note an entry that could not be copied."""
        self.failed += 1
        if len(self.failures) < FAILURES:
            self.failures.append(MatchingFailure(key, error))

    def add(self, other: _Counts) -> None:
        """Add what was done to another batch."""
        self.copied += other.copied
        self.taken, self.a_taken = self.taken + other.taken, self.a_taken or other.a_taken
        self.written, self.a_written = self.written + other.written, self.a_written or other.a_written
        self.failed += other.failed
        self.failures = (self.failures + other.failures)[:FAILURES]

    @property
    def seen(self) -> int:
        """How many entries have been looked at."""
        return self.copied + self.taken + self.written + self.failed


def _run(settings: Settings, copies: _Copies, *, yes: bool) -> int:
    _check(copies)
    below = Query(copies.source, recursive=True, metadata=True)
    done = _Counts()
    with connected(settings, lazy=True) as store:
        first = store.entry(copies.source)
        total = (first is not None) + (count_of(store, below.replaced(metadata=False)) if copies.recursive else 0)
        if not total:
            more = f"datastore {copies.job.verb.lower()} {{}} {copies.target} --recursive"
            hint_at_absent(store, copies.source, collection=more, recursive=more)
            return ExitCode.ABSENT
        what = f"{counted(total, 'entries')} from {copies.source} to {copies.target}"
        if copies.recursive and not confirmed(copies.job, what, yes=yes):
            say(f"Nothing was {copies.job.verb_ed.lower()}.")
            return ExitCode.INTERRUPTED
        with reported(copies.job, total, "Run the same command again for the rest.") as counts:
            if first is not None:
                done.add(_copied(store, copies, Batch([first.key], [first.value], metadata=[first.metadata])))
            for part in _copied_below(store, copies, below) if copies.recursive else ():
                done.add(part)
                counts.advance(part.copied, done.seen)
            counts.advance(done.copied - counts.rows, done.seen)
    return _report(settings, copies, done)


def _check(copies: _Copies) -> None:
    source, target = copies.source, copies.target
    if source == target:
        raise click.UsageError("SOURCE and TARGET are the same key")
    scopes = ((source, target), (target, source))
    if copies.recursive and any(Query(one, recursive=True).covers(other) for one, other in scopes):
        raise click.UsageError(
            "SOURCE and TARGET are one below the other, so copies would mix with what is copied; go by a third key"
        )


def _copied_below(store: Datastore, copies: _Copies, below: Query) -> Iterator[_Counts]:
    """Copy what a query selects, some batches at once; yields what was done, batch by batch."""
    pending: deque[Future[_Counts]] = deque()
    # Leaving the block waits for the batches in flight, even after a failure.
    with ThreadPoolExecutor(BATCHES_IN_FLIGHT) as pool, store.query(below) as cursor:
        for batch in cursor.batches():
            for part in batch.parts(_BATCH):
                if len(pending) == BATCHES_IN_FLIGHT:
                    yield pending.popleft().result()
                pending.append(pool.submit(_copied, store, copies, part))
        while pending:
            yield pending.popleft().result()


def _copied(store: Datastore, copies: _Copies, batch: Batch) -> _Counts:
    """Copy the entries of a batch."""
    done = _Counts()
    puts: list[tuple[Key, int, Put]] = []
    for key, value, metadata in zip(batch.keys, batch.values, batch.required_metadata(), strict=True):
        new_key = attempt(copies.new_key, key)
        if new_key.error is None:
            puts.append((key, metadata[0], copies.put(new_key.value, value, metadata)))
        else:
            done.fail(key, refusal_of(new_key.error))
    if not puts:
        return done
    results = store.batch_write([put for *_, put in puts])
    exist = [put.key for (*_, put), result in zip(puts, results, strict=True) if _is_refused(result)]
    found = dict(zip(exist, store.batch_get(exist), strict=True)) if exist else {}
    copied: list[tuple[Key, int]] = []
    for (key, version, put), result in zip(puts, results, strict=True):
        if result.error is None or (put.key in found and value_of(found[put.key]) == put.value):
            copied.append((key, version))
        elif put.key in found:
            done.taken, done.a_taken = done.taken + 1, key
        elif isinstance(result.error, ValueError):
            done.fail(key, result.error)
        else:
            raise_error(result)
    if copies.deletes and copied:
        _delete(store, copied, done)
    else:
        done.copied += len(copied)
    return done


def _delete(store: Datastore, copied: Sequence[tuple[Key, int]], done: _Counts) -> None:
    """Delete what was copied, unless it has been written since it was read."""
    deletes = [Delete(key, Precondition(version=version)) for key, version in copied]
    for (key, _), result in zip(copied, store.batch_write(deletes), strict=True):
        if _is_refused(result):
            done.written, done.a_written = done.written + 1, key
        else:
            raise_error(result)
            done.copied += 1


def _is_refused(result: WriteResult) -> bool:
    return isinstance(result.error, ConditionFailedError)


def _report(settings: Settings, copies: _Copies, done: _Counts) -> int:
    verb = copies.job.verb_ed.lower()
    if done.taken:
        say(
            f"{counted(done.taken, 'entries')} not {verb}, because there are others at their new keys, e.g."
            f" {done.a_taken}; --overwrite replaces those."
        )
    if done.written:
        say(
            f"{counted(done.written, 'entries')} written meanwhile, e.g. {done.a_written}, and now at both keys, at the"
            " new one with the earlier value. Run the same command again with --overwrite."
        )
    if settings.json:
        print_json({verb: done.copied, "kept": done.taken + done.written, "failed": done.failed})
    refused = named_failures(done.failed, done.failures, f"could not be {verb}")
    return refused or (ExitCode.CONDITION if done.taken or done.written else ExitCode.OK)
