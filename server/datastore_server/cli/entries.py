"""`get`, `put` and `contains`: single entries by key."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import click

from datastore.model.key import Key
from datastore.sync.base import Datastore
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_absent
from datastore_server.cli.output import ExitCode, print_json
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.cli.values import from_json, json_line, to_json

__all__ = ["contains_command", "get_command", "put_command"]

#: How many values are read at once; an entry can have 3 MiB.
KEYS_AT_ONCE = 32


@click.command("get", short_help="Print the value of a key.")
@click.argument("keys", nargs=-1, required=True, type=KEY, metavar="KEY...")
@server_options()
@click.pass_obj
def get_command(settings: Settings, keys: Sequence[Key]) -> int:
    """Print the value of KEY as JSON. With several keys, print a line {"key": ..., "value": ...} for each.

    \b
    Examples:
      datastore get /Person:ada
      datastore get /Person:ada /Person:alan

    On a terminal a single value is indented; elsewhere, or with --json, it is one line. A key that does not exist
    prints nothing on stdout, and the exit code is 1.
    """
    with connected(settings) as store:
        absent = _print_value(store, keys[0], settings) if len(keys) == 1 else _print_lines(store, keys)
        for key in absent:
            hint_at_absent(store, key, collection="datastore query {}", recursive="datastore query {} --recursive")
    return ExitCode.ABSENT if absent else ExitCode.OK


def _print_value(store: Datastore, key: Key, settings: Settings) -> list[Key]:
    """Print only the value. Returns the key if it is absent."""
    value = store.get(key)
    if value is None:
        return [key]
    indent = None if settings.json or not sys.stdout.isatty() else 2
    click.echo(to_json(value, indent=indent, sort_keys=True))
    return []


def _print_lines(store: Datastore, keys: Sequence[Key]) -> list[Key]:
    """Print each key with its value. Returns the absent keys."""
    absent = []
    for start in range(0, len(keys), KEYS_AT_ONCE):
        part = keys[start : start + KEYS_AT_ONCE]
        for key, outcome in zip(part, store.batch_get(part), strict=True):
            if outcome.error is not None:
                raise outcome.error
            if outcome.value is None:
                absent.append(key)
            else:
                click.echo(json_line(key, outcome.value), nl=False)
    return absent


@click.command("put", short_help="Store a value under a key.", context_settings={"ignore_unknown_options": True})
@click.argument("key", type=KEY)
@click.argument("value", metavar="JSON")
@server_options()
@click.pass_obj
def put_command(settings: Settings, key: Key, value: str) -> None:
    """Store JSON as the value of KEY, replacing any old value. '-' reads the JSON from standard input.

    \b
    Examples:
      datastore put /Person:ada '{"name": "Ada", "born": 1815}'
      datastore put /greeting '"hello"'
      echo 3.5 | datastore put /number -

    Text needs double quotes. Types that JSON lacks have a notation: {"$bytes": "aGk="}, {"$datetime":
    "2026-01-31T12:00:00Z"}, {"$key": "/a/b"}, {"$float": "NaN"}. An entry cannot be null: null is refused.
    """
    text = sys.stdin.read() if value == "-" else value
    read = from_json(text)
    if read is None:
        # The library would delete the entry, but null may be an unset variable of a script.
        raise click.UsageError(f"an entry cannot be null; to delete it: datastore delete {shlex.quote(str(key))}")
    with connected(settings) as store:
        store.put(key, read)


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
