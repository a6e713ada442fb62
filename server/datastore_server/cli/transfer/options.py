"""The values of the options of `import` and `export`, checked as click reads them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, TypeVar

import click

from datastore_server.cli.fields import listed_names
from datastore_server.cli.transfer.cells import TYPES
from datastore_server.cli.transfer.formats import FORMATS
from datastore_server.cli.transfer.reading import AUTO
from datastore_server.cli.transfer.sources import DEFAULT_ENCODING

__all__ = ["columns", "delimiter_option", "encoding", "format_option", "types"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t"}


def types(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`--type MEMBER=TYPE` and `--type auto`; the latter under the name AUTO."""
    found = {}
    for value in values:
        name, equals, kind = value.rpartition("=")
        if value == AUTO:
            found[AUTO] = AUTO
        elif not equals or not name or kind not in TYPES:
            raise click.BadParameter(
                f"{value!r}: expected {AUTO}, or MEMBER=TYPE with one of the types {', '.join(TYPES)}", context, option
            )
        else:
            found[name] = kind
    return found


def encoding(context: click.Context, option: click.Parameter, value: str | None) -> str:
    """`--encoding`: a text encoding that Python supports."""
    if value is None:
        return DEFAULT_ENCODING
    try:
        name = codecs.lookup(value).name
        # Some codecs convert bytes to bytes.
        "".encode(name)
    except (LookupError, UnicodeError) as error:
        raise click.BadParameter(
            f"{value!r} is not a text encoding; known are e.g. utf-8, utf-16, latin-1, cp1252, shift_jis",
            context,
            option,
        ) from error
    return DEFAULT_ENCODING if name == "utf-8" else name


def delimiter(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """`--delimiter`: one character, which may be written `tab`."""
    if value is None:
        return None
    character = _NAMED_DELIMITERS.get(value, value)
    if len(character) != 1 or character in '"\r\n':
        raise click.BadParameter(f"{value!r}: expected one character, e.g. ';', or tab", context, option)
    return character


def columns(context: click.Context, option: click.Parameter, value: str | None) -> list[str] | None:
    """`--columns`: names as a record of CSV."""
    if value is None:
        return None
    names = listed_names(value, context, option)
    if len(set(names)) < len(names) or "key" in names:
        raise click.BadParameter(f"{value!r}: each member once, and without key, which comes first", context, option)
    return names


def format_option(function: _Function) -> _Function:
    """Add `--format`."""
    return click.option(
        "--format", "file_format", type=click.Choice(FORMATS), help="File format.  [default: from the file name]"
    )(function)


def delimiter_option(function: _Function) -> _Function:
    """Add `--delimiter`."""
    return click.option(
        "--delimiter", callback=delimiter, metavar="CHARACTER", help="CSV: cell separator, e.g. ';' or tab."
    )(function)
