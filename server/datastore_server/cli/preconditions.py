"""The options that make a write depend on the current entry, and how metadata is printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack

import click

from datastore.model.key import Key
from datastore.model.metadata import MAX_VERSION, Metadata, Precondition, WriteOptions, condition_of
from datastore_server.cli.instants import instant_text
from datastore_server.cli.settings import all_options
from datastore_server.cli.values import to_tree

__all__ = ["condition", "condition_options", "entry_members", "metadata_members"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_OPTIONS = {
    "if_absent": click.option("--if-absent", is_flag=True, help="Only if KEY has no entry."),
    "if_exists": click.option("--if-exists", is_flag=True, help="Only if KEY has an entry."),
    "if_version": click.option(
        "--if-version",
        type=click.IntRange(1, MAX_VERSION),
        metavar="N",
        help="Only if the entry of KEY has version N, as printed by get --metadata.",
    ),
}


def condition_options(*names: str) -> Callable[[_Function], _Function]:
    """Add some of the options --if-absent, --if-exists and --if-version, by the names of their arguments."""
    return all_options(*(_OPTIONS[name] for name in names))


def condition(**options: Unpack[WriteOptions]) -> Precondition | None:
    """The condition that these options state, or None. Raises UsageError for more than one."""
    stated = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if len(stated) > 1:
        raise click.UsageError(f"{' and '.join(stated)} exclude each other")
    return condition_of(**options)


def entry_members(key: Key, value: Any, metadata: Metadata) -> dict[str, Any]:
    """An entry with its metadata as an object of JSON."""
    return {"key": str(key), "value": to_tree(value), **metadata_members(metadata)}


def metadata_members(metadata: Metadata) -> dict[str, Any]:
    """The version and times of an entry as members of an object of JSON; `expire_time` only if it expires."""
    times = {"create_time": metadata.create_time, "update_time": metadata.update_time}
    if metadata.expire_time is not None:
        times["expire_time"] = metadata.expire_time
    return {"version": metadata.version, **{name: instant_text(time) for name, time in times.items()}}
