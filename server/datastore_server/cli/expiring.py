"""`touch`, and the option --expires-in of the commands that write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from datastore.model.errors import InvalidError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.options import DURATION
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_absent
from datastore_server.cli.output import ExitCode
from datastore_server.cli.settings import KEY, Settings, server_options

__all__ = ["expires_in_option", "touch_command"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    """A duration, e.g. 90s, 15m, 1h or 7d, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; a usage error, which says how to write it, for anything else."""
        try:
            seconds: float = DURATION.read(value)
            Expiry.after(seconds)
        except InvalidError as error:
            self.fail(f"{error}", param, ctx)
        return seconds


def expires_in_option(text: str) -> Callable[[_Function], _Function]:
    """Add --expires-in, the argument `expires_in` in seconds, with this help."""
    return click.option("--expires-in", type=_Duration(), metavar="DURATION", help=text)


@click.command("touch", short_help="Change when an entry expires.")
@click.argument("key", type=KEY)
@expires_in_option("It expires so long after now, e.g. 90s, 15m, 1h, 7d.")
@click.option("--never", is_flag=True, help="It never expires.")
@server_options()
@click.pass_obj
def touch_command(settings: Settings, key: Key, *, expires_in: float | None, never: bool) -> int:
    """Change when the entry of KEY expires, and nothing else of it.

    \b
    Examples:
      datastore touch /session/4f2a --expires-in 30m
      datastore touch /session/4f2a --never

    The time is counted by the server's clock. If there is no such entry, nothing is stored and the exit code is 1.
    """
    if (expires_in is None) is not never:
        raise click.UsageError("say when it expires: either --expires-in DURATION or --never")
    with connected(settings, retry_writes=True) as store:
        found = store.touch(key, expires_in_s=expires_in)
        if not found:
            hint_at_absent(store, key, collection="datastore query {}", recursive="datastore query {} --recursive")
    return ExitCode.OK if found else ExitCode.ABSENT
