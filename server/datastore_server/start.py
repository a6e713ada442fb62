"""The script `datastore`: loads the command line and runs it.

Imports little of the standard library and nothing else, so that Ctrl-C ends the script without a traceback from its
first line on, even while the command line is loading.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code, or with 2 if its packages are not installed."""
    # Python's own handler would raise in the middle of an import. The command line installs it again once it can
    # print a message. A process started in the background ignores SIGINT, and must continue to ignore it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        command = import_module("datastore_server.cli")
    except ImportError as error:
        print(f"datastore: {error}", file=sys.stderr)  # noqa: T201 - `cli.output` is not loaded
        sys.exit(2)
    command.main()
