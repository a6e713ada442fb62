"""The command `datastore`: command lines become calls of the library, and results become text.

Each group of commands has a file. This one knows only their names, so that a command loads only what it needs.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

from datastore import __version__
from datastore.model.extras import require

require("click", "server")
# Our errors say more clearly what gRPC would log to stderr. It reads this when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import click
from click.exceptions import NoSuchCommand

from datastore_server.cli import streams
from datastore_server.cli.output import EXIT_CODES, ExitCode, NoReaderError, run
from datastore_server.cli.settings import server_options

__all__ = ["main"]

#: The module of each command, in the order of `--help`.
_COMMANDS = {
    "serve": "serving",
    "proxy": "serving",
    "cluster": "serving",
    "get": "entries",
    "put": "entries",
    "patch": "patching",
    "touch": "expiring",
    "delete": "deleting",
    "copy": "copying",
    "move": "copying",
    "contains": "entries",
    "query": "querying",
    "count": "querying",
    "aggregate": "aggregating",
    "watch": "watching",
    "list": "listing",
    "import": "transfer.importing",
    "export": "transfer.exporting",
    "status": "status",
    "bench": "bench",
    "placement": "placement",
    "backup": "backup",
    "restore": "restore",
    "verify": "verify",
    "compact": "compact",
    "tls": "tls",
    "config": "config",
    "token": "token",
}

_EPILOG = f"""
\b
A first look:
  datastore serve lmdb:///tmp/data             a server; leave it running
  datastore put /Person:ada '{{"born": 1815}}'   in another terminal
  datastore get /Person:ada
  datastore query /Person --where 'born < 1900'

\b
Keys are paths: /Person:ada is the entry ada of the collection /Person.
Values are JSON; docs/cli.md describes how bytes, times and keys are written.

\b
Exit codes:
{EXIT_CODES}

\b
Tab completion, for bash (also zsh, fish), in ~/.bashrc:
  eval "$(_DATASTORE_COMPLETE=bash_source datastore)"
"""


class _LazyGroup(click.Group):
    """A group that imports a command's module only for that command.

    `datastore get` must start fast, and loading the modules of the servers alone would take longer than that.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command of this name; None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"datastore_server.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. If its output is closed, raise NoReaderError, where Click would exit with code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise NoReaderError from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command named by the arguments. The error for an unknown one suggests similar names."""
        name = args[0]
        if name not in _COMMANDS and "://" in name:
            ctx.fail(f"{name} is not a command; to serve that store: datastore serve {name}")
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(name, possibilities=_COMMANDS, ctx=ctx) from error


@click.group(
    cls=_LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@server_options(outermost=True)
@click.version_option(__version__, prog_name="datastore")
def cli() -> None:
    """Store, read and query entries over gRPC, on one server or on shards behind a proxy."""


def main() -> None:
    """Run the command line and exit with its code."""
    streams.prepare()
    code = run(_command)
    # From here on Ctrl-C must not print a traceback either.
    _exchange_sigint(signal.default_int_handler, signal.SIG_DFL)
    sys.exit(code)


def _command() -> int:
    _exchange_sigint(signal.SIG_DFL, signal.default_int_handler)
    return cli.main(prog_name="datastore", standalone_mode=False) or ExitCode.OK


def _exchange_sigint(old: Any, new: Any) -> None:
    """Replace the `old` handler of SIGINT by the `new` one; a process that ignores it continues to do so."""
    if signal.getsignal(signal.SIGINT) is old:
        signal.signal(signal.SIGINT, new)
