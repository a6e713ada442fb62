"""`python -m datastore_server.cli` is the command `datastore`."""

from __future__ import annotations

from datastore_server.cli import main

main()
