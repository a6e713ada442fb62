"""The option `--fields`: which fields of each value are returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from datastore.model.errors import DatastoreError
from datastore.model.fields import checked_fields
from datastore_server.cli.transfer.csv_dialect import read_records

__all__ = ["fields_option", "listed_names"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def listed_names(text: str, context: click.Context, option: click.Parameter) -> list[str]:
    """Names separated by commas, quoted as in CSV."""
    records = list(read_records([text], ","))
    if len(records) != 1 or records[0].fault is not None:
        raise click.BadParameter(f"{text!r}: expected names separated by commas, quoted as in CSV", context, option)
    return [cell or "" for cell in records[0].cells]


def _fields(context: click.Context, option: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    try:
        return list(checked_fields([name.strip() for name in listed_names(value, context, option)]))
    except DatastoreError as error:
        raise click.BadParameter(f"{value!r}: {error}", context, option) from error


def fields_option(function: _Function) -> _Function:
    """Add `--fields`."""
    return click.option(
        "--fields",
        callback=_fields,
        metavar="A,B.C,...",
        help="Return only these fields of each value; the server leaves out the others.",
    )(function)
