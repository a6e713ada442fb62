"""The cache in memory under its documented path; `datastore.aio` has the one for asyncio."""

from __future__ import annotations

from datastore.sync.lru import LRUCacheDatastore

__all__ = ["LRUCacheDatastore"]
