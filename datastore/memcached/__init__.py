"""A memcached server as a Datastore: a cache that may forget any entry at any time.

Only this package knows memcached and its drivers: pymemcache, which `open_url` uses, pylibmc and python-memcached.
They are imported when a store is created. `clients` gives them one interface, `store` is the Datastore over it.
"""

from __future__ import annotations

from datastore.memcached.store import DEFAULT_PORT, NAME_BYTES, VALUE_BYTES, MemcachedDatastore, name_of, open_url

__all__ = ["DEFAULT_PORT", "NAME_BYTES", "VALUE_BYTES", "MemcachedDatastore", "name_of", "open_url"]
