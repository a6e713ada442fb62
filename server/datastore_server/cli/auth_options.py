"""The options that say who may call a server, and with which token it calls its nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["token_file_option", "tokens_option"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _absolute(context: click.Context, option: click.Parameter, path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _file(name: str, text: str) -> Callable[[_Function], _Function]:
    return click.option(
        name, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", callback=_absolute, help=text
    )


def tokens_option(function: _Function) -> _Function:
    """Add `--tokens`."""
    return _file("--tokens", "Serve only callers that this file names, within their rights: see `datastore token`.")(
        function
    )


def token_file_option(function: _Function) -> _Function:
    """Add `--token-file`."""
    return _file("--token-file", "Token with which the nodes are called; it needs the right admin on /.")(function)
