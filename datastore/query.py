"""The documented short path of `datastore.core.query`: the same objects."""

from __future__ import annotations

from datastore.core.query import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.core.query import __all__ as __all__  # noqa: PLC0414 - said to type checkers
from datastore.core.query import _object_getattr as _object_getattr  # noqa: PLC0414 - a documented name
