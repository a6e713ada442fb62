"""`get`, `put` and `contains`: single entries by key."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence

import click

from datastore.model.errors import UnsupportedError
from datastore.model.expiry import expiry_of
from datastore.model.key import Key
from datastore.model.operations import ENTRIES, VALUES, Put, ReadOptions, ReadResult, raise_error
from datastore.sync.base import Datastore
from datastore_server.cli.connection import connected
from datastore_server.cli.expiring import expires_in_option
from datastore_server.cli.hints import hint_at_absent
from datastore_server.cli.output import ExitCode, print_json
from datastore_server.cli.preconditions import condition, condition_options, entry_members, metadata_members
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.cli.values import from_json, json_line, to_json

__all__ = ["contains_command", "get_command", "put_command"]

#: How many values are read at once; an entry can have 3 MiB.
KEYS_AT_ONCE = 32


@click.command("get", short_help="Print the value of a key.")
@click.argument("keys", nargs=-1, required=True, type=KEY, metavar="KEY...")
@click.option("--metadata", is_flag=True, help="Also print the version of the entry and its times.")
@server_options()
@click.pass_obj
def get_command(settings: Settings, keys: Sequence[Key], *, metadata: bool) -> int:
    """Print the value of KEY as JSON. With several keys, print a line {"key": ..., "value": ...} for each.

    \b
    Examples:
      datastore get /Person:ada
      datastore get /Person:ada /Person:alan
      datastore get /Person:ada --metadata

    With --metadata, it prints {"key": ..., "value": ..., "version": ..., "create_time": ..., "update_time": ...} for
    one key as well. On a terminal a single value is indented; elsewhere, or with --json, it is one line. A key that
    does not exist prints nothing on stdout, and the exit code is 1.
    """
    is_indented = len(keys) == 1 and not settings.json and sys.stdout.isatty()
    absent = []
    with connected(settings) as store:
        for key, found in _read(store, keys, ENTRIES if metadata else VALUES):
            if found.value is None:
                absent.append(key)
            else:
                click.echo(_shown(key, found, only_value=len(keys) == 1, indent=2 if is_indented else None))
        for key in absent:
            hint_at_absent(store, key, collection="datastore query {}", recursive="datastore query {} --recursive")
    return ExitCode.ABSENT if absent else ExitCode.OK


def _read(store: Datastore, keys: Sequence[Key], options: ReadOptions) -> Iterator[tuple[Key, ReadResult]]:
    """Each key with what it has. Raises the first error."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        part = keys[start : start + KEYS_AT_ONCE]
        for key, found in zip(part, store.read(part, options), strict=True):
            raise_error(found)
            yield key, found


def _shown(key: Key, found: ReadResult, *, only_value: bool, indent: int | None) -> str:
    if found.metadata is not None:
        members = entry_members(key, found.value, found.metadata)
        return json.dumps(members, ensure_ascii=False, indent=indent, separators=(",", ":") if indent is None else None)
    return (
        to_json(found.value, indent=indent, sort_keys=True) if only_value else json_line(key, found.value).rstrip("\n")
    )


@click.command("put", short_help="Store a value under a key.", context_settings={"ignore_unknown_options": True})
@click.argument("key", type=KEY)
@click.argument("value", metavar="JSON")
@condition_options("if_absent", "if_exists", "if_version")
@expires_in_option("The entry expires so long after now, e.g. 90s, 15m, 1h, 7d.  [default: never]")
@click.option("--metadata", is_flag=True, help="Print the new version of the entry and its times.")
@server_options()
@click.pass_obj
def put_command(
    settings: Settings,
    key: Key,
    value: str,
    *,
    if_absent: bool,
    if_exists: bool,
    if_version: int | None,
    expires_in: float | None,
    metadata: bool,
) -> None:
    """Store JSON as the value of KEY, replacing any old value. '-' reads the JSON from standard input.

    \b
    Examples:
      datastore put /Person:ada '{"name": "Ada", "born": 1815}'
      datastore put /greeting '"hello"'
      echo 3.5 | datastore put /number -
      datastore put /lock '"me"' --if-absent --expires-in 30s

    With --if-absent, --if-exists or --if-version, the server decides the condition in one step with the write. If it
    does not hold, nothing is stored and the exit code is 6.
    With --expires-in, the entry is absent from then on, by the server's clock.
    Text needs double quotes. Types that JSON lacks have a notation: {"$bytes": "aGk="}, {"$datetime":
    "2026-01-31T12:00:00Z"}, {"$key": "/a/b"}, {"$float": "NaN"}. An entry cannot be null: null is refused.
    """
    text = sys.stdin.read() if value == "-" else value
    read = from_json(text)
    if read is None:
        # The library would delete the entry, but null may be an unset variable of a script.
        raise click.UsageError(f"an entry cannot be null; to delete it: datastore delete {shlex.quote(str(key))}")
    required = condition(if_absent=if_absent, if_exists=if_exists, if_version=if_version)
    put = Put(key, read, required, expiry_of(expires_in_s=expires_in))
    with connected(settings, retry_writes=True) as store:
        (written,) = store.batch_write([put])
        raise_error(written)
    if not metadata:
        return
    if written.metadata is None:
        raise UnsupportedError(f"{key} is stored, but the server's store keeps no versions that could be printed")
    print_json({"key": str(key), **metadata_members(written.metadata)})


@click.command("contains", short_help="Check whether a key has a value.")
@click.argument("key", type=KEY)
@server_options()
@click.pass_obj
def contains_command(settings: Settings, key: Key) -> int:
    """Print true or false: whether KEY has a value. The exit code is 1 for false, for use in scripts.

    \b
    Example:
      datastore contains /Person:ada && echo known
    """
    with connected(settings) as store:
        found = store.contains(key)
    print_json(found)
    return ExitCode.OK if found else ExitCode.ABSENT
