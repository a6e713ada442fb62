"""`patch`: changes parts of a value, or of all values that match a selection."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from datastore.model.errors import InvalidValueError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.sync.matching import MatchingRun
from datastore_server.cli.conditions import query_of
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_nothing
from datastore_server.cli.matching import (
    Job,
    confirmed,
    count_of,
    named_failures,
    reported,
    selected,
    selection_options,
    yes_option,
)
from datastore_server.cli.output import ExitCode, print_json, say
from datastore_server.cli.preconditions import condition_options
from datastore_server.cli.settings import KEY, Settings, server_options
from datastore_server.cli.token_files import TOKEN_FILE, token_in, write_token
from datastore_server.cli.values import from_json, to_json
from datastore_server.counting import counted

__all__ = ["patch_command"]

_PATCHING = Job("Patch", "Patching", "Patched")


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
@selection_options("Patch")
@click.option("--create", is_flag=True, help="If there is no entry, begin with an empty map. Default: fail.")
@condition_options("if_version")
@click.option(
    "--resume",
    type=TOKEN_FILE,
    metavar="FILE",
    help="Keep in FILE how far a patch of many has come, and continue there. It is removed at the end.",
)
@yes_option("Patch many")
@server_options()
@click.pass_obj
def patch_command(
    settings: Settings,
    key: Key,
    set_: Sequence[tuple[str, Any]],
    increment: Sequence[tuple[str, Any]],
    append: Sequence[tuple[str, Any]],
    remove: Sequence[str],
    collection: bool,
    recursive: bool,
    conditions: Sequence[str],
    create: bool,
    if_version: int | None,
    resume: Path | None,
    yes: bool,
) -> int:
    """Change parts of the value of KEY, a map, in one atomic step, and print the new value.

    \b
    Examples:
      datastore patch /Airport:GVA --set elevation=430 --set 'city.name="Geneva"'
      datastore patch /Page:home --increment views=1 --create
      datastore patch /Person:ada --append 'tags="poet"' --remove draft
      datastore patch /Airport --where 'country = CH' --set 'continent="EU"' --resume patch.token

    All options may be repeated, each for another member, except that --append appends to one list in order. Values are
    JSON: text needs double quotes. If a change does not fit the value, none is made.

    With --collection, --recursive or --where it patches what `datastore query` prints with the same KEY and options,
    each entry at most once, and prints the numbers. It counts first and asks; without a terminal it patches only with
    --yes. Entries that are written meanwhile are passed over. If it is interrupted, the same command with the same
    --resume FILE patches the rest; without FILE it would patch all again. The exit code is 3 if the patch did not fit
    some entries.
    """
    appended: dict[str, list[Any]] = {}
    for path, element in append:
        appended.setdefault(path, []).append(element)
    changes: dict[str, Any] = {
        "set": _once(set_, "--set"),
        "increment": _once(increment, "--increment"),
        "append": appended,
        "remove": remove,
    }
    if not any(changes.values()):
        raise click.UsageError("say what to change: at least one of --set, --increment, --append and --remove")
    if collection or recursive or conditions:
        if collection and recursive:
            raise click.UsageError("--collection and --recursive exclude each other; --recursive includes it")
        if create or if_version is not None:
            raise click.UsageError("--create and --if-version are for one KEY, without options that select")
        query = query_of(key=key, conditions=conditions, recursive=recursive)
        return _patch_selected(settings, query, changes, resume, yes=yes)
    if resume is not None:
        raise click.UsageError("--resume is for many entries: add --collection, --recursive or --where")
    with connected(settings, retry_writes=True) as store:
        value = store.patch(key, create=create, if_version=if_version, **changes)
    indent = None if settings.json or not sys.stdout.isatty() else 2
    click.echo(to_json(value, indent=indent, sort_keys=True))
    return ExitCode.OK


def _patch_selected(
    settings: Settings, query: Query, changes: dict[str, Any], resume: Path | None, *, yes: bool
) -> int:
    token = token_in(resume, "patch")
    with connected(settings) as store:
        run = store.patch_matching(query, resume_token=token, **changes)
        total = count_of(store, query)
        if not total and token is None:
            say("Nothing to patch.")
            hint_at_nothing(store, query)
        elif not confirmed(_PATCHING, f"{counted(total, 'entries')} {selected([query])}", yes=yes):
            say("Nothing was patched.")
            return ExitCode.INTERRUPTED
        else:
            _patch_found(run, total, resume)
    done = run.progress
    if done.passed_over:
        # Entries that were patched by a call whose answer was lost are passed over, too.
        before = " or before the interruption" if token is not None else ""
        say(f"{counted(done.passed_over, 'entries')} written meanwhile{before} are passed over.")
    if settings.json:
        print_json({"patched": done.changed, "passed_over": done.passed_over, "failed": done.failed})
    return named_failures(done.failed, done.failures, "could not be patched")


def _patch_found(run: MatchingRun, total: int, resume: Path | None) -> None:
    """Patch the entries, and keep the token; the file is removed at the end."""
    again = "Run the same command again" if resume else "Run it with --resume FILE next time"
    with reported(_PATCHING, total, f"{again} to patch the rest.") as counts:
        for step in run:
            if resume is not None and step.token is not None:
                write_token(resume, step.token)
            counts.advance(step.changed - counts.rows, step.changed + step.passed_over + step.failed)
        if resume is not None:
            resume.unlink(missing_ok=True)


def _once(assignments: Sequence[tuple[str, Any]], option: str) -> dict[str, Any]:
    """The value of each path. A usage error if a path is given twice."""
    found: dict[str, Any] = {}
    for path, value in assignments:
        if path in found:
            raise click.UsageError(f"{option} changes {path!r} twice")
        found[path] = value
    return found
