"""The command `export`: entries to a file, with progress, resumable."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from datastore.model.entries import Position
from datastore.model.errors import DatastoreError, InvalidError, LimitExceededError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore_server.cli.connection import connected
from datastore_server.cli.fields import fields_option
from datastore_server.cli.hints import hint_at_nothing
from datastore_server.cli.output import Terminated, print_json, say
from datastore_server.cli.progress import Progress, progress
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.cli.transfer import options
from datastore_server.cli.transfer.csv_rows import csv_lines, member_names
from datastore_server.cli.transfer.formats import DELIMITERS, compression_of, format_of
from datastore_server.cli.transfer.interruption import same_command, terminable
from datastore_server.cli.transfer.json_rows import json_array, json_lines
from datastore_server.cli.transfer.targets import Partial, is_stream, stream

__all__ = ["export_command"]

#: The maximum number of columns of a CSV export, besides the key's; `--columns` selects from more.
MAX_COLUMNS = 10_000


def _key_and_file(context: click.Context, argument: click.Parameter, words: tuple[str, ...]) -> tuple[Key, str]:
    """What to export, and where; click itself does not support an optional first argument."""
    if not 1 <= len(words) <= 2:
        raise click.UsageError("export takes a FILE, or a KEY and a FILE", context)
    path = click.Path(dir_okay=False, readable=False, allow_dash=True)
    file = str(path.convert(words[-1], argument, context))
    return (KEY.convert(words[0], argument, context) if len(words) == 2 else Key("/")), file


@dataclass(frozen=True)
class _Export:
    """What to export, and how to write it."""

    key: Key
    collection: bool
    file_format: str
    delimiter: str | None
    columns: list[str] | None
    fields: list[str] | None
    metadata: bool

    def query(self, start_after: Position | None = None) -> Query:
        return Query(
            self.key,
            recursive=not self.collection,
            fields=self.fields,
            metadata=self.metadata,
            start_after=start_after,
        )

    def content(self, server: str) -> dict[str, Any]:
        """The export to which a partial file belongs."""
        scope = "the collection only" if self.collection else "all below"
        fields = {} if self.fields is None else {"fields": self.fields}
        metadata = {"metadata": True} if self.metadata else {}
        return {"key": str(self.key), "scope": scope, "format": self.file_format, "server": server} | fields | metadata


@click.command("export", short_help="Write entries to a JSON Lines, JSON or CSV file.")
@click.argument("target", nargs=-1, metavar="[KEY] FILE", callback=_key_and_file)
@click.option("--collection", is_flag=True, help="Export only the collection of KEY, not everything below it.")
@click.option("--resume", is_flag=True, help="Continue an interrupted export (JSON Lines only).")
@click.option(
    "--columns", callback=options.columns, metavar="A,B,...", help="CSV: write only these members.  [default: all]"
)
@fields_option
@click.option("--metadata", is_flag=True, help="JSON: also write the version of each entry and its times.")
@options.delimiter_option
@options.format_option
@server_options()
@click.pass_obj
def export_command(
    settings: Settings,
    *,
    target: tuple[Key, str],
    collection: bool,
    resume: bool,
    columns: list[str] | None,
    fields: list[str] | None,
    metadata: bool,
    delimiter: str | None,
    file_format: str | None,
) -> None:
    """Write all entries, or those below KEY, to FILE, sorted by key. '-' writes to standard output.

    \b
    JSON Lines: each line is {"key": "/...", "value": ...}; import restores equal entries.
    JSON:       the same in one array.
    CSV, TSV:   values must be maps; each of their members is a column. Types are lost.

    \b
    Examples:
      datastore export all.jsonl
      datastore export /Airport airports.csv.gz
      datastore export /Airport airports.csv --columns icao,name --delimiter ';'
      datastore export /Airport names.jsonl --fields name,geo.lat
      datastore export /sessions sessions.jsonl --metadata
      datastore export / - | gzip > all.jsonl.gz

    FILE appears when it is complete. Until then it is FILE.partial, which --resume continues. Devices and
    FIFOs are written to directly, links are followed, and a file that is replaced keeps its mode.
    """
    key, file = target
    export = _Export(key, collection, file_format or format_of(file), delimiter, columns, fields, metadata)
    if export.file_format not in DELIMITERS and (columns is not None or delimiter is not None):
        raise click.UsageError("--columns and --delimiter are for CSV")
    if export.file_format in DELIMITERS and metadata:
        raise click.UsageError("--metadata is for JSON Lines and JSON")
    is_direct = file == "-" or is_stream(file)
    if resume and is_direct:
        raise click.UsageError("--resume needs a file to continue")
    if resume and not _is_resumable(export, file):
        raise click.UsageError("--resume is for uncompressed JSON Lines; start other exports again")
    with terminable():
        if file == "-":
            with connected(settings) as store, progress("export") as reported:
                _write(store, export, export.query(), lambda text: sys.stdout.buffer.write(text.encode()), reported)
        elif is_direct:
            with connected(settings) as store, progress(file) as reported, stream(file) as write:
                _write(store, export, export.query(), write, reported)
            _say_what_was_done(reported, file, settings)
        else:
            _export_to_file(settings, export, file, resume)


def _is_resumable(export: _Export, file: str) -> bool:
    return export.file_format == "jsonl" and compression_of(file) is None


def _export_to_file(settings: Settings, export: _Export, file: str, resume: bool) -> None:
    partial = Partial(file, export.content(settings.server))
    query = export.query(_position(partial) if resume else None)
    try:
        with (
            connected(settings) as store,
            progress(Path(file).name) as reported,
            partial.resumed() if resume else partial.begun() as write,
        ):
            _write(store, export, query, write, reported)
        partial.complete()
    except (KeyboardInterrupt, Terminated, DatastoreError, OSError):
        if resume or (partial.has_begun and _is_resumable(export, file) and partial.is_worth_resuming()):
            say(
                f"{partial.path} has the entries exported so far. To continue:\n"
                f"  {same_command(['--resume'], without='--resume')}"
            )
        elif partial.has_begun:
            partial.discard()
        raise
    _say_what_was_done(reported, file, settings)


def _say_what_was_done(reported: Progress, file: str, settings: Settings) -> None:
    say(f"Exported {reported.summary()} to {file}.")
    if settings.json:
        print_json({"rows": reported.rows, "seconds": round(reported.seconds, 3)})


def _write(store: Datastore, export: _Export, query: Query, write: Callable[[str], object], reported: Progress) -> None:
    with closing(_read(store, query, reported)) as batches:
        for text in _texts(store, export, batches):
            write(text)
    if not reported.rows:
        hint_at_nothing(store, query)


def _read(store: Datastore, query: Query, reported: Progress) -> Generator[Iterable[tuple[Key, Any]]]:
    """The entries, batch by batch; each is reported when the next is read, that is, once it is written."""
    with store.query(query) as cursor:
        for batch in cursor.batches():
            yield batch.pairs()
            reported.advance(len(batch))


def _texts(store: Datastore, export: _Export, batches: Iterable[Iterable[tuple[Key, Any]]]) -> Iterator[str]:
    if export.file_format == "jsonl":
        return json_lines(batches)
    if export.file_format == "json":
        return json_array(batches)
    delimiter = export.delimiter or DELIMITERS[export.file_format]
    if export.columns is not None:
        return csv_lines(batches, export.columns, delimiter, drop_others=True)
    return csv_lines(batches, _all_columns(store, export.query()), delimiter)


def _all_columns(store: Datastore, query: Query) -> list[str]:
    """All members of the query's entries, sorted: CSV needs them before the first row."""
    names: set[str] = set()
    with store.query(query) as cursor:
        for batch in cursor.batches():
            names |= member_names(zip(batch.keys, batch.values, strict=True))
            if len(names) > MAX_COLUMNS:
                raise LimitExceededError(
                    f"the entries have more than {MAX_COLUMNS:,} different members; select some with --columns",
                    limit="columns",
                    maximum=MAX_COLUMNS,
                )
    return sorted(names)


def _position(partial: Partial) -> Position | None:
    """The position after the last complete line of a partial file."""
    last = partial.last_line()
    try:
        return Position(b"", Key(json.loads(last)["key"])) if last else None
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidError(f"{partial.path} was not written by an export to JSON Lines: {error}") from error
