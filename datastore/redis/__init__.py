"""A Redis server as a Datastore: a string for each entry, under the key's text, and its metadata beside it.

Only this package knows Redis and its driver, redis-py, which is loaded when a store is created. `store` is the
Datastore of serialized values over the strings of `strings`, or of `versioned`, which makes every write with one of the
`scripts`. `metadata` is what they keep beside an entry, and `changes` the log that they add to. `names` says which
names all that has, `errors` translates the driver's errors, and `config` is the store as data.
"""

from __future__ import annotations

from datastore.redis.config import TIMEOUT_S, RedisConfig
from datastore.redis.store import JsonOrBytes, RedisDatastore

__all__ = ["TIMEOUT_S", "JsonOrBytes", "RedisConfig", "RedisDatastore"]
