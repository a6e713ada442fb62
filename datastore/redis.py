"""A Redis server as a Datastore: a string for each entry, under the key's text.

Only this module knows Redis and its driver, redis-py, which is loaded when a store is created.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from types import NoneType
from typing import Any, Self

from datastore.model.capability import Capability
from datastore.model.config import Config
from datastore.model.description import Description
from datastore.model.durations import check_seconds
from datastore.model.errors import (
    CorruptDataError,
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InvalidError,
    InvalidKeyError,
    QueryNotSupportedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.extras import require
from datastore.model.key import Key
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.options import ANY_TEXT, DURATION, SERVER, ServerUrl, option
from datastore.model.query import Query
from datastore.model.urls import because, shown, split
from datastore.sync.base import Datastore
from datastore.sync.scan import Scan
from datastore.sync.serialize import Serializer, SerializerLike, SerializerShimDatastore
from datastore.sync.verbs import read_attempt, write_attempt

__all__ = ["TIMEOUT_S", "RedisConfig", "RedisDatastore"]

#: Timeout of connections and responses, unless the URL sets one. The driver has no limit.
TIMEOUT_S = 10
#: How many names a server examines in one step of listing them, which takes it some hundred microseconds.
SCAN_NAMES = 1000


class RedisDatastore(SerializerShimDatastore):
    """Stores serialized values, by default JSON, in the database of a `redis.Redis` client. The caller closes it.

    With `expire_s`, a cache: the server deletes an entry so long after its last put, to the millisecond.
    The name of an entry is `prefix` and the key's text after its first slash: `/user:1` with the default, `user:1` with
    `prefix=""`, `app:user:1` with `prefix="app:"`.
    It accepts any client, including a cluster client and, if the serializer returns text, one that decodes responses.
    The serializer must return str or bytes, otherwise UnsupportedTypeError; it gets bytes back, or text from a client
    that decodes. Without a serializer, bytes are stored unchanged after a marker line, unless the client decodes.
    Threads may share the store if they may share the client. Durability depends on the server's configuration. No
    queries.
    Raises InvalidError for a prefix with `//`, ImportError if redis-py is missing, UnavailableError if the server
    cannot be reached, DeadlineExceededError after the client's timeout, StoreFullError if the server is out of memory,
    StoreFormatError for a name that is not a string but a list or the like, and StoreError for other refusals, e.g. a
    wrong password. Also raises the serializer's errors.
    """

    def __init__(
        self, client: Any, serializer: SerializerLike | None = None, *, prefix: str = "/", expire_s: float | None = None
    ) -> None:
        require("redis", "redis")
        if expire_s is not None:
            check_seconds("expire_s", expire_s)
        if "//" in prefix:
            raise InvalidError(f"prefix={prefix!r}: a prefix has no //, which reserved names have", field="prefix")
        self._strings = _Strings(client, prefix, expire_s)
        super().__init__(self._strings, serializer)
        if self.serializer is json and not _decodes(client):
            self.serializer = JsonOrBytes

    def scan(self, query: Query) -> Scan:
        """Not supported: QueryNotSupportedError."""
        return self.child_datastore.scan(query)

    def list_keys(self) -> Iterator[list[Key]]:
        """The keys of all entries, some at a time, unordered, some perhaps twice. The server scans all its names."""
        return self._strings.list_keys()

    def is_empty(self) -> bool:
        """Whether there are no entries."""
        return not any(self.list_keys())

    # System records, which no read, write or listing of entries sees

    def read_system(self, name: str) -> bytes | None:
        """The system record of a name, or None."""
        return self._strings.read_system(name)

    def write_system(self, name: str, content: bytes) -> None:
        """Replace a system record; its durability is that of the server."""
        self._strings.write_system(name, content)

    def describe(self) -> Description:
        """Kind `redis`, with the serializer's name."""
        return Description("redis", super().describe().text, self.capability)


class JsonOrBytes(Serializer):
    """JSON; bytes, which JSON cannot represent, are stored unchanged after MARK, with which no JSON begins."""

    MARK = b"%datastore 1 bytes\n"

    @classmethod
    def dumps(cls, value: Any) -> str | bytes:
        """The stored form of the value."""
        return cls.MARK + value if isinstance(value, bytes) else json.dumps(value)

    @classmethod
    def loads(cls, value: bytes) -> Any:
        """The value of its stored form."""
        return value[len(cls.MARK) :] if value.startswith(cls.MARK) else json.loads(value)


def _decodes(client: Any) -> bool:
    """Whether a client returns text for the stored bytes."""
    pool = getattr(client, "connection_pool", None)
    return bool(getattr(pool, "connection_kwargs", {}).get("decode_responses")) or bool(
        getattr(getattr(client, "encoder", None), "decode_responses", False)
    )


class _Strings(Datastore):
    """The strings of the server whose names begin with a prefix."""

    capability = Capability(queries=False)

    def __init__(self, client: Any, prefix: str, expire_s: float | None) -> None:
        self._client = client
        self._prefix = prefix
        #: For SET: the expiry in whole milliseconds, at least one.
        self._expiry = {} if expire_s is None else {"px": max(1, round(expire_s * 1000))}
        #: The hash of system records. No key has a double slash.
        self._system = f"{prefix}//datastore"
        self._closed = False
        self.owned = False

    def _name_of(self, key: Key) -> str:
        return self._prefix + str(key)[1:]

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        if not options.values:
            return [read_attempt(self._is_there, key) for key in keys]
        if len(keys) == 1:
            return [read_attempt(self._value, keys[0])]
        # A cluster has the keys on many servers.
        read_all = getattr(self._client, "mget_nonatomic", self._client.mget)
        with self._faults():
            return [ReadResult(value) for value in read_all([self._name_of(key) for key in keys])]

    def _value(self, key: Key) -> Any:
        with self._faults():
            return self._client.get(self._name_of(key))

    def _is_there(self, key: Key) -> bool | None:
        with self._faults():
            return bool(self._client.exists(self._name_of(key))) or None

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Several writes in one request, in order."""
        if len(operations) == 1:
            return [write_attempt(self._do, operations[0])]
        results = [write_attempt(_check_value, operation.key, operation.value) for operation in operations]
        sent = [place for place, result in enumerate(results) if result.error is None]
        requests = self._client.pipeline(transaction=False)
        for place in sent:
            name, value = self._name_of(operations[place].key), operations[place].value
            requests = requests.delete(name) if value is None else requests.set(name, value, **self._expiry)
        try:
            with self._faults():
                answers = requests.execute(raise_on_error=False)
        except DatastoreError as error:
            # How many writes were done is unknown.
            answers = [error] * len(sent)
        for place, answer in zip(sent, answers, strict=True):
            if isinstance(answer, Exception):
                results[place] = write_attempt(self._raise, answer)
        return results

    def _raise(self, error: Exception) -> None:
        with self._faults():
            raise error

    def _do(self, operation: Operation) -> None:
        key, value = operation.key, operation.value
        _check_value(key, value)
        with self._faults():
            if value is None:
                self._client.delete(self._name_of(key))
            else:
                self._client.set(self._name_of(key), value, **self._expiry)

    def scan(self, query: Query) -> Scan:
        raise QueryNotSupportedError(
            "RedisDatastore does not support queries: a Redis server would have to scan all its keys"
        )

    def list_keys(self) -> Iterator[list[Key]]:
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"
        with self._faults():
            names = self._client.scan_iter(match=pattern, count=SCAN_NAMES, _type="STRING")
            while some := list(islice(names, SCAN_NAMES)):
                yield [key for name in some if (key := self._key_of(name)) is not None]

    def _key_of(self, name: bytes | str) -> Key | None:
        """The key of an entry's name; None for a name that no key has."""
        with suppress(UnicodeDecodeError, InvalidKeyError):
            text = "/" + (name if isinstance(name, str) else name.decode())[len(self._prefix) :]
            key = Key(text)
            return key if str(key) == text else None
        return None

    def read_system(self, name: str) -> bytes | None:
        with self._faults():
            # As text: some clients decode every response.
            content = self._client.hget(self._system, name)
            return None if content is None else b64decode(content)

    def write_system(self, name: str, content: bytes) -> None:
        with self._faults():
            self._client.hset(self._system, name, b64encode(content))

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


def _check_value(key: Key, value: Any) -> None:
    """Raise UnsupportedTypeError for anything but str, bytes or None."""
    if not isinstance(value, (str, bytes, NoneType)):
        raise UnsupportedTypeError(
            f"Redis stores str and bytes, but the serializer returned a {type(value).__name__} for the value of {key}",
            path="value",
        )


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
    except redis.exceptions.ResponseError as error:
        # A hash, a list or another type, which another program stored under the name of an entry.
        kind = StoreFormatError if str(error).startswith("WRONGTYPE") else StoreError
        raise kind(f"{server}: {error}") from error
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"{server}: bytes that are not UTF-8, but the client decodes responses") from error
    except redis.exceptions.RedisError as error:
        raise StoreError(f"{server}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class RedisConfig(Config):
    """Stores what JSON can represent, and bytes, on a Redis server. Durability is the server's. No queries.

    With `expire`, e.g. `redis://HOST:PORT/0?expire=30s`, it is a cache before a complete store.
    A URL with `rediss:` encrypts the connection; the other options after its `?` are redis-py's, e.g. `socket_timeout`,
    which is 10 seconds by default.
    """

    kind = "redis"
    url_form = "redis://HOST:PORT/DATABASE"
    driver = ("redis", "redis")
    url: ServerUrl = field(metadata=option("`redis://HOST:PORT/DATABASE`, or `rediss:` for TLS", SERVER))
    prefix: str = field(
        default="/", metadata=option("the prefix of names, followed by the key without its first slash", ANY_TEXT)
    )
    expire: float | None = field(
        default=None, metadata=option("how long after its last put the server deletes an entry", DURATION)
    )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of the URL, whose options are those of this kind and of the driver."""
        return cls._of_server(url)

    def check(self) -> None:
        """Raise InvalidError for a URL that the driver rejects."""
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
        if "//" in self.prefix:
            raise InvalidError(
                f"prefix is text without //, which reserved names have, not {self.prefix!r}", field="prefix"
            )
        import redis

        reason = None
        try:
            pool = redis.Redis.from_url(self.url).connection_pool
            # Created from its options, which the driver checks only when it connects.
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, redis.RedisError) as error:
            reason = because(self.url, error)
        # Outside the handler: the driver's error may quote the password.
        if reason is not None:
            valid = "; valid options are prefix, expire and those of redis-py" if parts.query else ""
            raise InvalidError(f"{shown(self.url)}: expected {form}{valid}{reason}", field="url")

    def can_query(self) -> bool:
        """False: a server would have to scan all its keys."""
        return False

    def open(self) -> RedisDatastore:
        """A store with its own client, which it closes. Connects at the first call."""
        import redis

        client = redis.Redis.from_url(self.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        store = RedisDatastore(client, prefix=self.prefix, expire_s=self.expire)
        store.child_datastore.owned = True  # type: ignore[attr-defined]
        return store
