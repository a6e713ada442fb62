"""A Redis server as a Datastore: a string for each entry, under the key's text.

This module alone knows Redis and its driver, redis-py, which is loaded where a store is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datastore.core.base import InterfaceMappingDatastore, batch_of, check_key
from datastore.core.batch import Outcome
from datastore.core.composition import Description, Durability
from datastore.core.cursor import Cursor
from datastore.core.errors import (
    DeadlineExceededError,
    InvalidError,
    QueryNotSupportedError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.core.serialize import SerializerLike, SerializerShimDatastore
from datastore.core.util.extras import require

__all__ = ["RedisDatastore", "open_url"]


class RedisDatastore(SerializerShimDatastore):
    """Keeps serialized values, by default JSON, in the database of a `redis.Redis` client, which stays the caller's.

    Any client will do, also one that decodes responses if the serializer makes text. Threads may share the store
    as they may share the client. What a put promises is what the server's configuration does. No queries.
    Raises ImportError where redis-py is missing, UnavailableError where the server cannot be reached,
    DeadlineExceededError where the client's own timeout ends, StoreFullError where the server has no memory
    left, and StoreError for what else it refuses. Also raises what the serializer does.
    """

    def __init__(self, client: Any, serializer: SerializerLike | None = None) -> None:
        require("redis", "redis")
        super().__init__(_Strings(client), serializer)

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """False: it has no queries."""
        return False

    def describe(self) -> Description:
        """Kind `redis`, with the serializer's name."""
        return Description("redis", super().describe().text, Durability.UNKNOWN)


class _Strings(InterfaceMappingDatastore):
    """The strings of the server."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, put="set")
        self._client = client
        self.owned = False

    def get(self, key: Key) -> Any:
        with _faults():
            return super().get(key)

    def put(self, key: Key, value: Any) -> None:
        with _faults():
            super().put(key, value)

    def delete(self, key: Key) -> None:
        with _faults():
            super().delete(key)

    def contains(self, key: Key) -> bool:
        check_key(key)
        with _faults():
            return bool(self._client.exists(str(key)))

    def query(self, query: Query) -> Cursor:
        raise QueryNotSupportedError("RedisDatastore does not support queries")

    def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        return batch_of(keys, self._values)

    def _values(self, keys: list[Key]) -> list[Any]:
        with _faults():
            values: list[Any] = self._client.mget([str(key) for key in keys])
            return values

    def close(self) -> None:
        if self.owned:
            self._client.close()


@contextmanager
def _faults() -> Iterator[None]:
    """The driver's errors as the library's."""
    import redis

    try:
        yield
    except redis.exceptions.TimeoutError as error:
        raise DeadlineExceededError(f"Redis: {error}") from error
    except redis.exceptions.ConnectionError as error:
        raise UnavailableError(f"Redis: {error}") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise StoreFullError(f"Redis: {error}") from error
    except redis.exceptions.RedisError as error:
        raise StoreError(f"Redis: {error}") from error


def open_url(url: str) -> RedisDatastore:
    """The store of `redis://host:port/database`; the options after `?` are the driver's. Closing it disconnects.

    Raises InvalidError (a ValueError) for a URL that the driver does not take.
    """
    require("redis", "redis")
    import redis

    try:
        client = redis.Redis.from_url(url)
    except ValueError as error:
        raise InvalidError(f"{url!r}: expected redis://HOST:PORT/DATABASE; {error}", field="url") from error
    store = RedisDatastore(client)
    store.child_datastore.owned = True  # type: ignore[attr-defined]
    return store
