"""The option `--rate`, and the type of options that are sizes per second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from datastore.model.errors import InvalidError
from datastore.model.options import SIZE

__all__ = ["BYTES_PER_S", "rate_option"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _RateType(click.ParamType[int]):
    """A size, which is moved each second."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes; a usage error, with what is valid, for anything else."""
        try:
            return int(SIZE.read(value))
        except InvalidError as error:
            self.fail(str(error), param, ctx)


BYTES_PER_S = _RateType()


def rate_option(function: _Function) -> _Function:
    """Add `--rate`, a number of bytes per second or None."""
    text = "Move at most this many bytes per second, e.g. 10MiB."
    return click.option("--rate", type=BYTES_PER_S, metavar="SIZE", help=text)(function)
