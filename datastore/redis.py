"""A Redis server as a Datastore: a string for each entry, under the key's text.

This module alone knows Redis and its driver, redis-py, which is loaded where a store is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Self

from datastore.model.config import Config
from datastore.model.description import Description, Durability
from datastore.model.entries import Outcome
from datastore.model.errors import (
    DatastoreClosedError,
    DeadlineExceededError,
    InvalidError,
    QueryNotSupportedError,
    StoreError,
    StoreFullError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.extras import require
from datastore.model.key import Key
from datastore.model.options import SERVER, ServerUrl, option
from datastore.model.query import Query
from datastore.model.urls import because, shown, split
from datastore.sync.base import InterfaceMappingDatastore, batch_of, check_key, check_query
from datastore.sync.cursor import Cursor
from datastore.sync.serialize import Serializer, SerializerLike, SerializerShimDatastore

__all__ = ["RedisConfig", "RedisDatastore"]


class RedisDatastore(SerializerShimDatastore):
    """Stores serialized values, by default JSON, in the database of a `redis.Redis` client. The caller closes it.

    It accepts any client, including a cluster client and, if the serializer returns text, one that decodes responses.
    The serializer must return str or bytes, otherwise UnsupportedTypeError; it gets bytes back, or text from a client
    that decodes. Without a serializer, bytes are stored unchanged after a marker line, unless the client decodes.
    Threads may share the store if they may share the client. Durability depends on the server's configuration. No
    queries.
    Raises ImportError if redis-py is missing, UnavailableError if the server cannot be reached,
    DeadlineExceededError after the client's own timeout, StoreFullError if the server is out of memory,
    and StoreError for other refusals, e.g. a wrong password. Also raises the serializer's errors.
    """

    def __init__(self, client: Any, serializer: SerializerLike | None = None) -> None:
        require("redis", "redis")
        super().__init__(_Strings(client), serializer)
        if self.serializer is json and not _decodes(client):
            self.serializer = JsonOrBytes

    def query(self, query: Query) -> Cursor:
        """Not supported: QueryNotSupportedError."""
        return self.child_datastore.query(query)

    def describe(self) -> Description:
        """Kind `redis`, with the serializer's name."""
        return Description("redis", super().describe().text, Durability.UNKNOWN)


class JsonOrBytes(Serializer):
    """JSON; bytes, which JSON cannot say, are kept as they are behind MARK, which begins no JSON."""

    MARK = b"%datastore 1 bytes\n"

    @classmethod
    def dumps(cls, value: Any) -> str | bytes:
        """The value as it is stored."""
        return cls.MARK + value if isinstance(value, bytes) else json.dumps(value)

    @classmethod
    def loads(cls, value: bytes) -> Any:
        """The value of what is stored."""
        return value[len(cls.MARK) :] if value.startswith(cls.MARK) else json.loads(value)


def _decodes(client: Any) -> bool:
    """Whether a client gives text for the bytes that are stored."""
    pool = getattr(client, "connection_pool", None)
    return bool(getattr(pool, "connection_kwargs", {}).get("decode_responses")) or bool(
        getattr(getattr(client, "encoder", None), "decode_responses", False)
    )


class _Strings(InterfaceMappingDatastore):
    """The strings of the server."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, put="set")
        self._client = client
        self._closed = False
        self.owned = False

    def get(self, key: Key) -> Any:
        with self._faults():
            return super().get(key)

    def put(self, key: Key, value: Any) -> None:
        if not isinstance(value, (str, bytes, NoneType)):
            raise UnsupportedTypeError(
                f"Redis keeps str and bytes, and the serializer made a {type(value).__name__} of the value of {key}",
                path="value",
            )
        with self._faults():
            super().put(key, value)

    def delete(self, key: Key) -> None:
        with self._faults():
            super().delete(key)

    def contains(self, key: Key) -> bool:
        key = check_key(key)
        with self._faults():
            return bool(self._client.exists(str(key)))

    def query(self, query: Query) -> Cursor:
        check_query(query)
        raise QueryNotSupportedError(
            "RedisDatastore does not support queries: a Redis server would have to look at all its keys"
        )

    def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        return batch_of(keys, self._values)

    def _values(self, keys: list[Key]) -> list[Any]:
        # A cluster has the keys on many servers.
        read = getattr(self._client, "mget_nonatomic", self._client.mget)
        with self._faults():
            values: list[Any] = read([str(key) for key in keys])
            return values

    def close(self) -> None:
        self._closed = True
        if self.owned:
            self._client.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        if self._closed:
            # The driver would connect again.
            raise DatastoreClosedError("this RedisDatastore was closed")
        with _translated(_server_of(self._client)):
            yield


def _server_of(client: Any) -> str:
    """The server of a client for an error message: `Redis at HOST:PORT`. A cluster's client names no single one."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    address = options.get("path") or ":".join(str(options[name]) for name in ("host", "port") if name in options)
    return f"Redis at {address}" if address else "Redis"


@contextmanager
def _translated(server: str) -> Iterator[None]:
    """The driver's errors as the library's."""
    import redis

    try:
        yield
    except (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        raise StoreError(f"{server}: {error}") from error
    except (redis.exceptions.RedisClusterException, redis.exceptions.ClusterDownError) as error:
        raise UnavailableError(f"{server}: {error}") from error
    except redis.exceptions.TimeoutError as error:
        raise DeadlineExceededError(f"{server}: {error}") from error
    except redis.exceptions.ConnectionError as error:
        raise UnavailableError(f"{server}: {error}") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise StoreFullError(f"{server}: {error}") from error
    except redis.exceptions.RedisError as error:
        raise StoreError(f"{server}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class RedisConfig(Config):
    """Stores what JSON can represent, and bytes, on a Redis server. Durability is the server's. No queries.

    A URL with `rediss:` encrypts the connection; the options after its `?` are redis-py's, e.g. `socket_timeout`.
    """

    kind = "redis"
    url_form = "redis://HOST:PORT/DATABASE"
    driver = ("redis", "redis")
    url: ServerUrl = field(metadata=option("`redis://HOST:PORT/DATABASE`, or `rediss:` for TLS", SERVER))

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of the URL, whose options are the driver's."""
        return cls(url=ServerUrl(url))

    def check(self) -> None:
        """Raise InvalidError for a URL that the driver does not take."""
        scheme = self.url.partition(":")[0]
        form = f"{scheme if scheme in ('redis', 'rediss') else 'redis'}://HOST:PORT/DATABASE"
        parts = split(self.url, form)
        is_database = re.fullmatch("/?[0-9]*/?", parts.path) is not None
        if (
            parts.scheme not in ("redis", "rediss")
            or not (parts.netloc or parts.path)
            or not is_database
            or parts.fragment
        ):
            raise InvalidError(f"{shown(self.url)}: expected {form}, DATABASE a number", field="url")
        import redis

        reason = None
        try:
            pool = redis.Redis.from_url(self.url).connection_pool
            # Made of its options, which the driver looks at only when it connects.
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, redis.RedisError) as error:
            reason = because(self.url, error)
        # Outside of the handler: the driver's error may quote the password.
        if reason is not None:
            raise InvalidError(f"{shown(self.url)}: expected {form}{reason}", field="url")

    def can_query(self) -> bool:
        """False: a server would have to look at all its keys."""
        return False

    def open(self) -> RedisDatastore:
        """A store with its own client, which it closes. Connects at the first call."""
        import redis

        store = RedisDatastore(redis.Redis.from_url(self.url))
        store.child_datastore.owned = True  # type: ignore[attr-defined]
        return store
