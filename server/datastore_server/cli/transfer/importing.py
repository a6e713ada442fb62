"""The command `import`: entries from a file, in batches, with progress, resumable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from datastore.model.errors import DatastoreError
from datastore.model.expiry import Expiry, expiry_of
from datastore_server.cli.connection import connected
from datastore_server.cli.expiring import expires_in_option
from datastore_server.cli.output import Terminated, print_json, say
from datastore_server.cli.progress import progress
from datastore_server.cli.settings import Settings, server_options
from datastore_server.cli.transfer import options
from datastore_server.cli.transfer.cells import TYPES
from datastore_server.cli.transfer.formats import DELIMITERS, format_of
from datastore_server.cli.transfer.importer import Importer
from datastore_server.cli.transfer.interruption import same_command, terminable
from datastore_server.cli.transfer.reading import AUTO, Layout, Reader, Row
from datastore_server.cli.transfer.refusals import Refusals, refusals_in
from datastore_server.cli.transfer.sources import Source, opened
from datastore_server.cli.transfer.templates import KeyTemplate
from datastore_server.counting import counted

__all__ = ["import_command"]

_NOTHING_STORED = "Nothing was stored. To try again, run the same command."


@click.command("import", short_help="Store the rows of a JSON Lines, JSON or CSV file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--key", "template", metavar="TEMPLATE", help="Template for keys, e.g. '/Airport:{icao}' or '/Row:{#}'.")
@click.option("--key-escape", is_flag=True, help="Percent-encode slashes and colons in members used in keys.")
@click.option(
    "--type",
    "types",
    multiple=True,
    callback=options.types,
    metavar="MEMBER=TYPE",
    help=f"CSV: type of a column: {', '.join(TYPES)}; '{AUTO}' infers all types. Repeatable.  [default: str]",
)
@click.option("--null", "nulls", multiple=True, metavar="TEXT", help="CSV: leave out cells with this text. Repeatable.")
@options.delimiter_option
@click.option("--encoding", callback=options.encoding, metavar="NAME", help="The file's encoding.  [default: utf-8]")
@click.option("--metadata", is_flag=True, help="JSON: keep when entries expire, as exported with --metadata.")
@click.option("--plain", is_flag=True, help='JSON: import objects unchanged, even {"$oid": ...}.')
@click.option("--skip", type=click.IntRange(min=0), default=0, metavar="N", help="Skip the first N rows.")
@click.option(
    "--skip-errors",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write refused rows to FILE, with the reason, and continue.",
)
@expires_in_option("Entries expire so long after they are stored, e.g. 15m, 1h, 7d.  [default: never]")
@options.format_option
@server_options(has_own_key=True)
@click.pass_obj
def import_command(
    settings: Settings,
    *,
    file: str,
    template: str | None,
    key_escape: bool,
    types: dict[str, str],
    nulls: tuple[str, ...],
    delimiter: str | None,
    encoding: str,
    metadata: bool,
    plain: bool,
    skip: int,
    skip_errors: str | None,
    expires_in: float | None,
    file_format: str | None,
) -> None:
    """Store the rows of FILE: JSON Lines, a JSON array, CSV or TSV. '-' reads standard input.

    Files compressed with gzip or Zstandard are decompressed.

    \b
    JSON: without --key, each row is {"key": "/...", "value": ...}, as export writes it;
          with --key, each row is an object to store, and the key is built from its members.
    CSV:  each row is stored as a map with the names in the header. Cells are text unless --type
          says otherwise; empty cells without quotes are left out. Without --key, the column
          named key is the key.

    \b
    Examples:
      datastore import people.jsonl
      datastore import airports.csv --key '/Airport:{icao}' --type auto --type iata=str
      datastore import prices.csv.gz --key '/Price:{#}' --delimiter ';' --encoding cp1252
      tail -f log.jsonl | datastore import - --key '/Event:{id}' --skip-errors refused.jsonl

    A row that cannot be read or stored ends the import (exit code 3), and the error names its line, unless
    --skip-errors is given. If the import ends early, also by Ctrl-C, SIGTERM or SIGHUP, it prints how many rows
    are acknowledged and the command that continues from there. Importing a row twice does no harm.
    """
    layout = Layout(
        file_format or format_of(file),
        template=KeyTemplate(template, key_escape) if template is not None else None,
        types={name: kind for name, kind in types.items() if name != AUTO},
        infer=AUTO in types,
        delimiter=delimiter,
        nulls=nulls,
        plain=plain,
        metadata=metadata,
    )
    _check_options(layout, key_escape)
    if metadata and expires_in is not None:
        raise click.UsageError("--metadata and --expires-in both say when entries expire; give one of them")
    with (
        terminable(),
        _opened(file, encoding, twice=layout.infer) as source,
        refusals_in(skip_errors, source=file, goes_on=skip > 0) as refusals,
    ):
        _import(settings, source, layout, skip, refusals, expiry_of(expires_in_s=expires_in))
        if refusals is not None and refusals.count:
            rows = "1 row was" if refusals.count == 1 else f"{refusals.count:,} rows were"
            say(f"Warning: {rows} refused and written to {skip_errors}, with the reason.")


@contextmanager
def _opened(file: str, encoding: str, *, twice: bool) -> Iterator[Source]:
    """Like `opened`, with advice if a signal arrives while a pipe is being copied."""
    with ExitStack() as stack:
        try:
            source = stack.enter_context(opened(file, encoding=encoding, twice=twice))
        except (KeyboardInterrupt, Terminated):
            say(_NOTHING_STORED)
            raise
        yield source


def _check_options(layout: Layout, key_escape: bool) -> None:
    if layout.file_format in DELIMITERS:
        if layout.plain:
            raise click.UsageError("--plain is for JSON")
        if layout.metadata:
            raise click.UsageError("--metadata is for JSON")
    elif layout.types or layout.infer:
        raise click.UsageError("--type is for CSV; JSON values already have types")
    elif layout.nulls or layout.delimiter is not None:
        raise click.UsageError("--null and --delimiter are for CSV")
    if layout.metadata and layout.template is not None:
        raise click.UsageError("--metadata is for files that export has written; --key builds other keys")
    if key_escape and layout.template is None:
        raise click.UsageError("--key-escape needs --key")


def _import(
    settings: Settings, source: Source, layout: Layout, skip: int, refusals: Refusals | None, expiry: Expiry | None
) -> None:
    refuse = None if refusals is None else refusals.add
    reader = Reader(source, layout, refuse=refuse, note=say)
    with connected(settings) as store:
        with progress(Path(source.name).name, source.size) as reported:
            importer = Importer(
                store, reported, source.name, skipped=skip, position=source.position, refuse=refuse, expiry=expiry
            )
            source.send_before_waiting(importer.batches)
            failure = _failure_of(importer, reader.rows(skip))
        # Outside of the progress bar, which would draw over it.
        if failure is not None:
            _say_how_to_go_on(importer)
            raise failure
        _say_what_was_done(importer, reported.seconds, refusals, settings)


def _failure_of(importer: Importer, rows: Iterable[Row]) -> BaseException | None:
    try:
        importer.run(rows)
    except (KeyboardInterrupt, Terminated, DatastoreError, OSError) as error:
        return error
    return None


def _say_how_to_go_on(importer: Importer) -> None:
    if importer.acknowledged:
        say(
            f"Acknowledged: the first {counted(importer.acknowledged, 'rows')}; later ones may be stored too. "
            f"To continue:\n  {same_command(['--skip', str(importer.acknowledged)], without='--skip')}"
        )
    elif importer.has_sent:
        say("Acknowledged: not even the first row; later ones may be stored. To try again, run the same command.")
    else:
        say(_NOTHING_STORED)


def _say_what_was_done(importer: Importer, seconds: float, refusals: Refusals | None, settings: Settings) -> None:
    keys = importer.keys.count()
    stored = (
        f"{counted(importer.stored, 'rows')} of {'' if importer.keys.is_exact else 'about '}{counted(keys, 'keys')}"
    )
    rate = importer.stored / max(seconds, 1e-9)
    say(f"Imported {stored} in {seconds:.1f} s ({rate:,.0f} rows/s).")
    replaced = importer.stored - keys
    if importer.keys.is_exact and replaced:
        rows = "1 row has" if replaced == 1 else f"{replaced:,} rows have"
        say(f"Warning: {rows} the key of an earlier row, and replaced its value.")
    if settings.json:
        report = {"rows": importer.stored, "keys": keys, "seconds": round(seconds, 3)}
        print_json(report if refusals is None else report | {"refused": refusals.count})
