"""The stable hash under its documented path: the same function as `datastore.model.fasthash.hash`."""

from __future__ import annotations

from datastore.model.fasthash import hash  # noqa: A004 - the documented name

__all__ = ["hash"]
