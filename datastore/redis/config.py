"""The store as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from datastore.model.config import Config
from datastore.model.errors import InvalidError
from datastore.model.limits import CHANGES_AGE_S, CHANGES_BYTES, REQUESTS_KEPT
from datastore.model.options import ANY_TEXT, BOOLEAN, COUNT, DURATION, SERVER, SIZE, ServerUrl, option
from datastore.model.urls import because, shown, split
from datastore.redis.store import RedisDatastore

__all__ = ["TIMEOUT_S", "RedisConfig"]

#: Timeout of connections and responses, unless the URL sets one. The driver has no limit.
TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True)
class RedisConfig(Config):
    """Stores what JSON can represent, and bytes, on a Redis server. Durability is the server's. No queries.

    Entries have versions and can expire, unless `versions=false` or `expire` is given.
    With `expire`, e.g. `redis://HOST:PORT/0?expire=30s`, it is a cache before a complete store.
    A URL with `rediss:` encrypts the connection; the other options after its `?` are redis-py's, e.g. `socket_timeout`,
    which is 10 seconds by default.
    """

    kind = "redis"
    url_form = "redis://HOST:PORT/DATABASE"
    driver = ("redis", "redis")
    driver_options = True
    url: ServerUrl = field(metadata=option("`redis://HOST:PORT/DATABASE`, or `rediss:` for TLS", SERVER))
    prefix: str = field(
        default="/", metadata=option("the prefix of names, followed by the key without its first slash", ANY_TEXT)
    )
    expire: float | None = field(
        default=None, metadata=option("how long after its last put the server deletes an entry", DURATION)
    )
    versions: bool = field(
        default=True,
        metadata=option("keep the version and the times of each entry beside it, which needs scripts", BOOLEAN),
    )
    changes: bool = field(
        default=False, metadata=option("keep a log of changes on the server, so that the store can be watched", BOOLEAN)
    )
    change_bytes: int = field(default=CHANGES_BYTES, metadata=option("how large the log may become", SIZE))
    change_age: float = field(default=CHANGES_AGE_S, metadata=option("for how long changes are kept", DURATION))
    requests: int = field(
        default=REQUESTS_KEPT, metadata=option("how many writes it remembers, so that none is repeated", COUNT)
    )

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
        if self.changes and (self.expire is not None or not self.versions):
            raise InvalidError("changes are kept only with versions, and not by a cache with expire", field="changes")
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
            names = ", ".join(name for name in self.options() if name != "url")
            valid = f"; valid options are {names} and those of redis-py" if parts.query else ""
            raise InvalidError(f"{shown(self.url)}: expected {form}{valid}{reason}", field="url")

    def can_query(self) -> bool:
        """False: a server would have to scan all its keys."""
        return False

    def open(self) -> RedisDatastore:
        """A store with its own client, which it closes. Connects at the first call."""
        import redis

        client = redis.Redis.from_url(self.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        store = RedisDatastore(
            client,
            prefix=self.prefix,
            expire_s=self.expire,
            versions=self.versions,
            keep_changes=self.changes,
            most_requests=self.requests,
            most_change_bytes=self.change_bytes,
            most_change_age_s=self.change_age,
        )
        store.child_datastore.owned = True  # type: ignore[attr-defined]
        return store
