"""The golden vectors, as tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datastore_server.cli.values import from_tree

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def vectors(name: str) -> Any:
    """The vectors of one file, unchanged."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def value_of(tree: Any) -> Any:
    """The value of a vector, which is in the notation of the command line."""
    return from_tree(tree)
