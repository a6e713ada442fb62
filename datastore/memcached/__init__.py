"""A memcached server as a Datastore: a cache that may forget any entry at any time.

Only this package knows memcached and its drivers: pymemcache, which `config` uses, pylibmc and python-memcached. They
are imported when a store is created. `clients` gives them one interface, `store` is the Datastore over it, and `config`
the store as data.
"""

from __future__ import annotations

from datastore.memcached.config import DEFAULT_PORT, MemcachedConfig
from datastore.memcached.store import EXPIRE_S, NAME_BYTES, VALUE_BYTES, MemcachedDatastore, name_of

__all__ = ["DEFAULT_PORT", "EXPIRE_S", "NAME_BYTES", "VALUE_BYTES", "MemcachedConfig", "MemcachedDatastore", "name_of"]
