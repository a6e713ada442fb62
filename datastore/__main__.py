"""`python -m datastore` is the command `datastore`.

Imports nothing of it: the library does not depend on the server.
"""

from __future__ import annotations

from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code; 2 if its packages are not installed."""
    import_module("datastore_server.start").main()


if __name__ == "__main__":
    main()
