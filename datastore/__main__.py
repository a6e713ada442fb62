"""The command `datastore`, also as `python -m datastore`: the command line, where it is installed.

Imports nothing of it: without its packages it says how to get them.
"""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code; 2 where it is not installed."""
    try:
        command = import_module("datastore_server.cli")
    except ImportError as error:
        print(f"datastore: {error}", file=sys.stderr)  # noqa: T201 - all that there is to speak with
        sys.exit(2)
    command.main()


if __name__ == "__main__":
    main()
