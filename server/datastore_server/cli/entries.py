"""`get`, `put`, `delete`, `contains`: one entry at a time."""

from __future__ import annotations

import sys

import click

from datastore.core.key import Key
from datastore_server.cli.connection import connected
from datastore_server.cli.output import ExitCode, print_json, say
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.cli.values import from_json, to_json

__all__ = ["contains_command", "delete_command", "get_command", "put_command"]


@click.command("get", short_help="Print the value of a key.")
@click.argument("key", type=KEY)
@server_options()
@click.pass_obj
def get_command(settings: Settings, key: Key) -> int:
    """Print the value of KEY as JSON.

    \b
    Example:
      datastore get /Person:ada

    On a terminal the JSON is indented, elsewhere or with --json it is one line. An absent key prints nothing
    on stdout and ends with exit code 1.
    """
    with connected(settings) as store:
        value = store.get(key)
    if value is None:
        say(f"There is no {key}.")
        return ExitCode.ABSENT
    indent = None if settings.json or not sys.stdout.isatty() else 2
    click.echo(to_json(value, indent=indent, sort_keys=True))
    return ExitCode.OK


@click.command("put", short_help="Store a value under a key.", context_settings={"ignore_unknown_options": True})
@click.argument("key", type=KEY)
@click.argument("value", metavar="JSON")
@server_options()
@click.pass_obj
def put_command(settings: Settings, key: Key, value: str) -> None:
    """Store JSON as the value of KEY, in place of what was there. '-' reads the JSON from standard input.

    \b
    Examples:
      datastore put /Person:ada '{"name": "Ada", "born": 1815}'
      datastore put /greeting '"hello"'
      echo 3.5 | datastore put /number -

    Text needs its double quotes. What JSON lacks has a notation: {"$bytes": "aGk="}, {"$datetime":
    "2026-01-31T12:00:00Z"}, {"$key": "/a/b"}, {"$float": "NaN"}. Putting null deletes the entry.
    """
    text = sys.stdin.read() if value == "-" else value
    read = from_json(text)
    with connected(settings) as store:
        store.put(key, read)


@click.command("delete", short_help="Remove the entry of a key.")
@click.argument("key", type=KEY)
@server_options()
@click.pass_obj
def delete_command(settings: Settings, key: Key) -> None:
    """Remove the entry of KEY. To delete what is absent succeeds.

    \b
    Example:
      datastore delete /Person:ada
    """
    with connected(settings) as store:
        store.delete(key)


@click.command("contains", short_help="Tell whether a key has a value.")
@click.argument("key", type=KEY)
@server_options()
@click.pass_obj
def contains_command(settings: Settings, key: Key) -> int:
    """Print true or false: whether KEY has a value. False ends with exit code 1, for use in scripts.

    \b
    Example:
      datastore contains /Person:ada && echo known
    """
    with connected(settings) as store:
        found = store.contains(key)
    print_json(found)
    return ExitCode.OK if found else ExitCode.ABSENT
