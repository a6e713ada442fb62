"""`import` and `export`: entries from and to files, in batches, with progress, resumable."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click

from datastore.core.base import Datastore
from datastore.core.batch import Outcome, Position, Write
from datastore.core.errors import ConfigError, DatastoreError, InvalidError
from datastore.core.key import Key
from datastore.core.query import Query
from datastore_server.cli.connection import connected
from datastore_server.cli.output import print_json, say
from datastore_server.cli.progress import Progress, progress
from datastore_server.cli.rows import (
    FORMATS,
    MEMBER_TYPES,
    CsvWriter,
    JsonLinesWriter,
    KeyTemplate,
    Row,
    read_rows,
)
from datastore_server.cli.settings import KEY, Settings, server_options

__all__ = ["Importer", "export_command", "import_command"]

#: One batch holds at most so many rows, and about so many bytes: half of what servers take, at least.
BATCH_ROWS = 500
BATCH_BYTES = 256 * 1024
#: How many batches are under way at once. More do not make two cores faster.
BATCHES_IN_FLIGHT = 4
#: After an interruption: how long batches under way may take to be answered.
LAST_ANSWERS_S = 5.0


class _Batch(NamedTuple):
    rows: list[Row]
    #: How far the file had been read when the batch was whole.
    done: int


class Importer:
    """Writes rows in batches, several under way at once, and knows which are acknowledged without a gap.

    `acknowledged` counts the rows from the first on that are stored, all of them: what a resumed import may
    skip. Rows of one key are written in their order.
    """

    def __init__(self, store: Datastore, told: Progress, source: str) -> None:
        self.acknowledged = 0
        self._store = store
        self._told = told
        self._source = source
        self._pending: deque[tuple[_Batch, Future[list[Outcome]]]] = deque()
        self._keys_under_way: dict[Key, int] = {}
        self._has_gap = False

    def run(self, batches: Iterator[_Batch]) -> None:
        """Write all batches. Raises the first error, after waiting for what was under way."""
        pool = ThreadPoolExecutor(BATCHES_IN_FLIGHT)
        try:
            for batch in batches:
                self._make_room(batch)
                self._submit(pool, batch)
            while self._pending:
                self._settle()
        except BaseException:
            self._count_last_answers()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _make_room(self, batch: _Batch) -> None:
        while len(self._pending) >= BATCHES_IN_FLIGHT or (
            self._pending and any(row.key in self._keys_under_way for row in batch.rows)
        ):
            self._settle()

    def _submit(self, pool: ThreadPoolExecutor, batch: _Batch) -> None:
        for row in batch.rows:
            self._keys_under_way[row.key] = self._keys_under_way.get(row.key, 0) + 1
        writes = [Write(row.key, row.value) for row in batch.rows]
        self._pending.append((batch, pool.submit(self._store.batch_write, writes)))

    def _settle(self) -> None:
        """Take the answer of the oldest batch. Raises the error of its first row that failed."""
        batch, answer = self._pending[0]
        try:
            outcomes = answer.result()
        except DatastoreError:
            self._has_gap = True
            raise
        self._pending.popleft()
        for row in batch.rows:
            self._keys_under_way[row.key] -= 1
            if not self._keys_under_way[row.key]:
                del self._keys_under_way[row.key]
        self._count(batch, outcomes)

    def _count(self, batch: _Batch, outcomes: Sequence[Outcome]) -> None:
        failed = next((index for index, outcome in enumerate(outcomes) if outcome.error is not None), None)
        error = None if failed is None else outcomes[failed].error
        if failed is None or error is None:
            self.acknowledged += len(batch.rows)
            self._told.advance(len(batch.rows), batch.done)
            return
        self._has_gap = True
        self.acknowledged += failed
        self._told.advance(failed)
        row = batch.rows[failed]
        raise _located(error, f"{self._source}, line {row.line} ({row.key})")

    def _count_last_answers(self) -> None:
        wait([answer for _, answer in self._pending], timeout=LAST_ANSWERS_S)
        # The first error is on its way already; here only the count matters, which ends at the first gap.
        with suppress(DatastoreError):
            while not self._has_gap and self._pending and self._pending[0][1].done():
                self._settle()


def _located(error: DatastoreError, where: str) -> DatastoreError:
    """The error with its place in the file in front, else as it is."""
    error.args = (f"{where}: {error}",)
    return error


def cut_batches(rows: Iterator[Row], position: Any) -> Iterator[_Batch]:
    """Rows in batches, each as large as one call should be. An error comes after the rows before it."""
    held: list[Row] = []
    size = 0
    try:
        for row in rows:
            if held and (len(held) >= BATCH_ROWS or size + row.size > BATCH_BYTES):
                yield _Batch(held, position())
                held, size = [], 0
            held.append(row)
            size += row.size
    except DatastoreError:
        if held:
            yield _Batch(held, position())
        raise
    if held:
        yield _Batch(held, position())


def _types(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    types = {}
    for value in values:
        name, equals, kind = value.rpartition("=")
        if not equals or not name or kind not in MEMBER_TYPES:
            raise click.BadParameter(
                f"{value!r}: expected MEMBER=TYPE with one of the types {', '.join(MEMBER_TYPES)}",
                context,
                option,
            )
        types[name] = kind
    return types


_format_option = click.option(
    "--format", "file_format", type=click.Choice(FORMATS), help="Format; by default as the file's name ends."
)


@click.command("import", short_help="Store the rows of a JSON Lines or CSV file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--key", "template", metavar="TEMPLATE", help="How to make keys, as '/Airport:{icao}'.")
@click.option(
    "--type",
    "types",
    multiple=True,
    callback=_types,
    metavar="MEMBER=TYPE",
    help=f"What a column of CSV holds: {', '.join(MEMBER_TYPES)}. Repeatable.  [default: str]",
)
@click.option("--skip", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out the first N rows.")
@_format_option
@server_options()
@click.pass_obj
def import_command(
    settings: Settings,
    *,
    file: str,
    template: str | None,
    types: dict[str, str],
    skip: int,
    file_format: str | None,
) -> None:
    """Store the rows of FILE, JSON Lines or CSV; '-' reads standard input.

    \b
    JSON Lines: without --key, each line is {"key": "/...", "value": ...}, as export writes it;
                with --key, each line is an object to store, whose members make the key.
    CSV:        each row is stored as a map of the header's names. Cells are text unless --type says
                otherwise; "number" is int for whole numbers, else float; an empty cell that is not
                str is left out. Without --key, the column named key is the key.

    \b
    Examples:
      datastore import people.jsonl
      datastore import airports.csv --key '/Airport:{icao}' --type elevation=number --type lat=float

    A row that cannot be read or stored ends the import (exit code 3) and is named; so does Ctrl-C. What was
    acknowledged until then is told, with the command that goes on from there. Rows may be imported twice.
    """
    key_template = KeyTemplate(template) if template else None
    chosen = file_format or _format_of(file)
    if types and chosen != "csv":
        raise click.UsageError("--type is for CSV; JSON has types of its own")
    with _opened(file) as (lines, raw), connected(settings) as store:
        rows = read_rows(lines, chosen, source=_shown(file), template=key_template, types=types, skip=skip)
        with progress(Path(_shown(file)).name, _size_of(raw)) as told:
            importer = Importer(store, told, _shown(file))
            try:
                importer.run(cut_batches(rows, raw.tell if raw.seekable() else lambda: None))
            except (KeyboardInterrupt, DatastoreError, UnicodeDecodeError) as error:
                failure: BaseException | None = error
            else:
                failure = None
        # Outside of the progress bar, which would draw over it.
        if failure is not None:
            if skip + importer.acknowledged:
                _tell_how_to_go_on(skip + importer.acknowledged)
            if isinstance(failure, UnicodeDecodeError):
                raise InvalidError(f"{_shown(file)} is not in UTF-8: {failure.reason}") from failure
            raise failure
        say(f"Imported {told.summary()}.")
        if settings.json:
            print_json({"rows": told.rows, "seconds": round(told.seconds, 3)})


def _tell_how_to_go_on(acknowledged: int) -> None:
    say(
        f"Acknowledged: the first {acknowledged:,} rows, without a gap; later ones may be stored too. "
        "To go on:\n"
        f"  {_same_command(['--skip', str(acknowledged)], without='--skip')}"
    )


def _same_command(more: Sequence[str], *, without: str) -> str:
    """The command line that is running, for a shell, with other options at its end."""
    kept, words = [], iter(sys.argv[1:])
    for word in words:
        if word == without:
            next(words, None)
        elif not word.startswith(f"{without}="):
            kept.append(word)
    return shlex.join(["datastore", *kept, *more])


def _format_of(file: str) -> str:
    if file.endswith(".csv"):
        return "csv"
    if file == "-" or file.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    raise click.UsageError(f"{file}: give --format jsonl or --format csv, as the name does not tell")


def _shown(file: str) -> str:
    return "standard input" if file == "-" else file


@contextmanager
def _opened(file: str) -> Iterator[tuple[TextIO, Any]]:
    """A file as text, and the bytes below it, whose position says how far it was read."""
    with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as raw:
        # CSV demands newline=''; JSON does not mind. A byte order mark is what spreadsheets write.
        yield TextIOWrapper(raw, encoding="utf-8-sig", newline=""), raw


def _size_of(raw: BufferedReader) -> int | None:
    return os.fstat(raw.fileno()).st_size or None if raw.seekable() else None


# Export


def _key_and_file(context: click.Context, argument: click.Parameter, words: tuple[str, ...]) -> tuple[Key, str]:
    """What to export, and where to; click itself cannot leave out the first of two arguments."""
    if not 1 <= len(words) <= 2:
        raise click.UsageError("export takes a FILE, or a KEY and a FILE", context)
    path = click.Path(dir_okay=False, allow_dash=True)
    file = str(path.convert(words[-1], argument, context))
    return (KEY.convert(words[0], argument, context) if len(words) == 2 else Key("/")), file


@click.command("export", short_help="Write entries to a JSON Lines or CSV file.")
@click.argument("target", nargs=-1, metavar="[KEY] FILE", callback=_key_and_file)
@click.option("--collection", is_flag=True, help="Only the collection of KEY, not all that lies below it.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted export left (JSON Lines).")
@_format_option
@server_options()
@click.pass_obj
def export_command(
    settings: Settings, target: tuple[Key, str], collection: bool, resume: bool, file_format: str | None
) -> None:
    """Write all entries, or those below KEY, to FILE in the order of their keys; '-' writes standard output.

    \b
    JSON Lines: each line is {"key": "/...", "value": ...}, which import reads back to equal entries.
    CSV:        values must be maps, with the members of the first; types are not kept.

    \b
    Examples:
      datastore export all.jsonl
      datastore export /Airport airports.csv
      datastore export / - | gzip > all.jsonl.gz

    The file appears when it is whole. Until then it is FILE.partial, which --resume goes on with.
    """
    key, file = target
    chosen = file_format or _format_of(file)
    query = Query(key, recursive=not collection)
    if file == "-":
        if resume:
            raise click.UsageError("--resume needs a file to go on with")
        with connected(settings) as store, progress("export") as told:
            _write(store, query, chosen, sys.stdout, told)
        return
    if resume and chosen != "jsonl":
        raise click.UsageError("--resume is for JSON Lines; begin a CSV anew")
    _export_to(settings, query, Path(file), chosen, resume)


def _export_to(settings: Settings, query: Query, path: Path, chosen: str, resume: bool) -> None:
    partial = path.with_name(path.name + ".partial")
    if resume:
        query.start_after = _last_position(partial)
    try:
        with (
            connected(settings) as store,
            progress(path.name) as told,
            partial.open("a" if resume else "w", encoding="utf-8") as out,
        ):
            _write(store, query, chosen, out, told)
            out.flush()
            os.fsync(out.fileno())
    except (KeyboardInterrupt, DatastoreError):
        if partial.exists() and chosen == "jsonl":
            say(f"{partial} holds what came so far. To go on:\n  {_same_command(['--resume'], without='--resume')}")
        raise
    partial.replace(path)
    say(f"Exported {told.summary()} to {path}.")
    if settings.json:
        print_json({"rows": told.rows, "seconds": round(told.seconds, 3)})


def _write(store: Datastore, query: Query, chosen: str, out: TextIO, told: Progress) -> None:
    writer = CsvWriter() if chosen == "csv" else JsonLinesWriter()
    with store.query(query) as cursor:
        for batch in cursor.batches():
            out.write(writer.text(zip(batch.keys, batch.values, strict=True)))
            told.advance(len(batch))


def _last_position(partial: Path) -> Position | None:
    """The position after the last whole line of a partial file, which is cut there."""
    try:
        file = partial.open("r+b")
    except FileNotFoundError:
        raise ConfigError(f"there is no {partial} to go on with; run the command without --resume") from None
    with file:
        last, end = b"", 0
        for line in file:
            if line.endswith(b"\n"):
                last, end = line, end + len(line)
        file.truncate(end)
    if not last:
        return None
    try:
        return Position(b"", Key(json.loads(last)["key"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidError(f"{partial} was not written by an export to JSON Lines: {error}") from error
