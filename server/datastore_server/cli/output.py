"""How commands report: exit codes, errors, tables, JSON. Knows nothing about the contents."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any

import click

from datastore.model.errors import (
    ConditionFailedError,
    ConfigError,
    DatastoreError,
    DeadlineExceededError,
    InvalidError,
    LimitExceededError,
    PlacementError,
    TruncatedStreamError,
    UnavailableError,
    UnsupportedTypeError,
    WrongShardError,
)
from datastore_server.cli import streams

__all__ = [
    "EXIT_CODES",
    "ExitCode",
    "NoReaderError",
    "Terminated",
    "print_json",
    "print_table",
    "run",
    "say",
    "shown_error",
    "table_of",
]


class NoReaderError(Exception):
    """The reader of the output closed it."""


class Terminated(BaseException):
    """A signal ends the command. Not an Exception, so that nothing handles it as a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class ExitCode(IntEnum):
    """The exit codes. docs/cli.md has the same table; the numbers never change."""

    OK = 0
    ABSENT = 1
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4
    FAILED = 5
    CONDITION = 6
    HUNG_UP = 129
    INTERRUPTED = 130
    NO_READER = 141
    TERMINATED = 143


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.ABSENT: "get, touch, delete, copy, move: no such key; contains: false",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.REFUSED: "bad input: a key, value, query, file or configuration was refused",
    ExitCode.UNAVAILABLE: "a server or shard could not be reached, did not answer in time, or does not serve",
    ExitCode.FAILED: "anything else failed",
    ExitCode.CONDITION: "put, patch, delete: the condition did not hold, nothing was changed; copy, move: some left",
    ExitCode.HUNG_UP: "import, export, delete, patch, copy, move, placement, backup and others: ended by SIGHUP",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C, or a confirmation was declined",
    ExitCode.NO_READER: "the reader of the output closed it, e.g. head",
    ExitCode.TERMINATED: "import, export, delete, patch, copy, move, placement, backup and others: ended by SIGTERM",
}

#: The exit codes as lines of `--help`.
EXIT_CODES = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in _MEANINGS.items())


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit code. Every failure is one clear message on stderr."""
    code = _run(command)
    failure = streams.finish()
    # An earlier error is more important.
    if failure is None or code != ExitCode.OK:
        return code
    if isinstance(failure, BrokenPipeError):
        return ExitCode.NO_READER
    say(f"Error: {_shown_os_error(failure)}")
    return ExitCode.FAILED


def _run(command: Callable[[], int]) -> int:
    try:
        return command()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("Interrupted.")
        return ExitCode.INTERRUPTED
    except Terminated as error:
        say(f"Ended by {error.signal.name}.")
        return 128 + error.signal
    except (BrokenPipeError, NoReaderError):
        streams.drop_output()
        return ExitCode.NO_READER
    except DatastoreError as error:
        say(f"Error: {shown_error(error)}")
        return exit_code_of(error)
    except ImportError as error:
        # The driver of a store is not installed; the text says which.
        say(f"Error: CONFIG: {error}")
        return ExitCode.REFUSED
    except UnicodeDecodeError as error:
        say(f"Error: the input is not in UTF-8: {error.reason} at byte {error.start + 1:,}")
        return ExitCode.REFUSED
    except OSError as error:
        say(f"Error: {_shown_os_error(error)}")
        return ExitCode.FAILED


def _shown_os_error(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


#: Errors that a different input, configuration or placement would avoid.
_REFUSALS = (InvalidError, UnsupportedTypeError, LimitExceededError, ConfigError, PlacementError)


def exit_code_of(error: DatastoreError) -> ExitCode:
    """The exit code for an error of the library."""
    if isinstance(error, (UnavailableError, DeadlineExceededError, TruncatedStreamError)):
        return ExitCode.UNAVAILABLE
    if isinstance(error, WrongShardError):
        # With an owner, this key is refused here. Without one, the server refuses every key.
        return ExitCode.REFUSED if error.owner else ExitCode.UNAVAILABLE
    if isinstance(error, ConditionFailedError):
        return ExitCode.CONDITION
    if isinstance(error, _REFUSALS):
        return ExitCode.REFUSED
    return ExitCode.FAILED


def shown_error(error: DatastoreError) -> str:
    """An error for people: its reason, its text, and its shard if the text does not name it."""
    text = str(error)
    shard = f" (shard {error.shard})" if error.shard and error.shard not in text else ""
    # The log of the server says more about what is not the caller's fault.
    has_more = error.request_id is not None and exit_code_of(error) in (ExitCode.FAILED, ExitCode.UNAVAILABLE)
    return f"{reason_of(error)}: {text}{shard}" + (f" (request {error.request_id})" if has_more else "")


def reason_of(error: DatastoreError) -> str:
    """The reason of an error as on the wire, e.g. UNAVAILABLE or INVALID_KEY."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).upper()


def say(text: str) -> None:
    """Print a message to stderr."""
    # The terminal may be gone, or the disk behind stderr full; that must not fail the command.
    with suppress(OSError):
        click.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print a JSON value as one line on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a small table on stdout. Wide cells wrap on a terminal, but not in a file."""
    from rich.console import Console

    console = Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=1000)
    console.print(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A small table, as rich prints it."""
    # Imported here, because most commands print no table, and importing rich takes longer than they run.
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return table
