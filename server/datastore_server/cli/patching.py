"""`patch`: changes parts of a value."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from datastore.model.errors import InvalidValueError
from datastore.model.key import Key
from datastore_server.cli.connection import connected
from datastore_server.cli.preconditions import condition_options
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.cli.values import from_json, to_json

__all__ = ["patch_command"]


class _Assignment(click.ParamType[tuple[str, Any]]):
    """A path and a value, `PATH=JSON`. A path that contains "=" cannot be given."""

    name = "PATH=JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The path, and the value of the JSON; a usage error, which says how to write it, for anything else."""
        path, equals, text = value.partition("=")
        if not equals or not path:
            self.fail(f"{value!r} is not PATH=JSON, e.g. elevation=5601", param, ctx)
        try:
            return path, from_json(text)
        except InvalidValueError as error:
            # An int beyond int64 is JSON, and no missing quotes.
            hint = f", e.g. {path}='\"text\"'" if isinstance(error.__cause__, ValueError) else ""
            self.fail(f"{value!r}: {error}{hint}", param, ctx)


_ASSIGNMENT = _Assignment()


@click.command("patch", short_help="Change parts of the value of a key.")
@click.argument("key", type=KEY)
@click.option("--set", "set_", type=_ASSIGNMENT, multiple=True, help="Store this value in a member.")
@click.option("--increment", type=_ASSIGNMENT, multiple=True, help="Add this number to a member; a missing one is 0.")
@click.option("--append", type=_ASSIGNMENT, multiple=True, help="Append this value to a list; a missing one is empty.")
@click.option("--remove", metavar="PATH", multiple=True, help="Remove a member, if there is one.")
@click.option("--create", is_flag=True, help="If there is no entry, begin with an empty map. Default: fail.")
@condition_options("if_version")
@server_options()
@click.pass_obj
def patch_command(
    settings: Settings,
    key: Key,
    set_: Sequence[tuple[str, Any]],
    increment: Sequence[tuple[str, Any]],
    append: Sequence[tuple[str, Any]],
    remove: Sequence[str],
    create: bool,
    if_version: int | None,
) -> None:
    """Change parts of the value of KEY, a map, in one atomic step, and print the new value.

    \b
    Examples:
      datastore patch /Airport:GVA --set elevation=430 --set 'city.name="Geneva"'
      datastore patch /Page:home --increment views=1 --create
      datastore patch /Person:ada --append 'tags="poet"' --remove draft

    All options may be repeated, each for another member, except that --append appends to one list in order. Values are
    JSON: text needs double quotes. If a change does not fit the value, none is made.
    """
    appended: dict[str, list[Any]] = {}
    for path, element in append:
        appended.setdefault(path, []).append(element)
    with connected(settings) as store:
        value = store.patch(
            key,
            _once(set_, "--set"),
            increment=_once(increment, "--increment"),
            append=appended,
            remove=remove,
            create=create,
            if_version=if_version,
        )
    indent = None if settings.json or not sys.stdout.isatty() else 2
    click.echo(to_json(value, indent=indent, sort_keys=True))


def _once(assignments: Sequence[tuple[str, Any]], option: str) -> dict[str, Any]:
    """The value of each path. A usage error if a path is given twice."""
    found: dict[str, Any] = {}
    for path, value in assignments:
        if path in found:
            raise click.UsageError(f"{option} changes {path!r} twice")
        found[path] = value
    return found
