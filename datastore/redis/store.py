"""The store: serialized values over the strings of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from datastore.model.arguments import check_count
from datastore.model.description import Description
from datastore.model.durations import check_seconds
from datastore.model.errors import InvalidError
from datastore.model.extras import require
from datastore.model.key import Key
from datastore.model.limits import CHANGES_AGE_S, CHANGES_BYTES, REQUESTS_KEPT
from datastore.redis.changes import LogLimits
from datastore.redis.names import Names
from datastore.redis.strings import Strings
from datastore.redis.versioned import VersionedStrings
from datastore.sync.serialize import Serializer, SerializerLike, SerializerShimDatastore

__all__ = ["JsonOrBytes", "RedisDatastore"]


class RedisDatastore(SerializerShimDatastore):
    """Stores serialized values, by default JSON, in the database of a `redis.Redis` client. The caller closes it.

    Entries have versions and can expire, by the clock of the server. Their metadata is kept beside them, by scripts
    that the server must allow; without `versions` they have none, and a put is a plain SET. The same goes for the
    client of a cluster, unless the prefix has a hash tag, e.g. `{app}:`. A value that another program has stored has a
    version that depends on it alone, and below all others.
    With `keep_changes` it can be watched: each change is also kept in a log on the server, for `most_change_age_s`
    seconds and up to `most_change_bytes`; later writes drop what is older. Once begun, the log has the changes of all
    clients that keep versions, but not those of other programs. A watch with `initial` is refused, as are queries.
    The requests of writes that have an attempt are remembered in the same step, the latest `most_requests`: a later
    attempt of one that was made is answered, and not made again, by any client of the server with this prefix.
    With `expire_s`, a cache: the server deletes an entry so long after its last put, to the millisecond. A cache keeps
    no versions.
    The name of an entry is `prefix` and the key's text after its first slash: `/user:1` with the default, `user:1` with
    `prefix=""`, `app:user:1` with `prefix="app:"`.
    It accepts any client, including a cluster client and, if the serializer returns text, one that decodes responses.
    The serializer must return str or bytes, otherwise UnsupportedTypeError; it gets bytes back, or text from a client
    that decodes. Without a serializer, bytes are stored unchanged after a marker line, unless the client decodes.
    Threads may share the store if they may share the client. Durability depends on the server's configuration. No
    queries.
    Raises InvalidError for a prefix with `//` or changes without versions, ImportError if redis-py is missing,
    UnavailableError if the server cannot be reached, DeadlineExceededError after the client's timeout, StoreFullError
    if the server is out of memory, StoreFormatError for a name that is not a string but a list or the like,
    UnsupportedError for writes with versions if the server runs no scripts, and StoreError for other refusals, e.g. a
    wrong password. Also raises the serializer's errors.
    """

    def __init__(
        self,
        client: Any,
        serializer: SerializerLike | None = None,
        *,
        prefix: str = "/",
        expire_s: float | None = None,
        versions: bool = True,
        keep_changes: bool = False,
        most_change_bytes: int = CHANGES_BYTES,
        most_change_age_s: float = CHANGES_AGE_S,
        most_requests: int = REQUESTS_KEPT,
    ) -> None:
        require("redis", "redis")
        if expire_s is not None:
            check_seconds("expire_s", expire_s)
        if "//" in prefix:
            raise InvalidError(f"prefix={prefix!r}: a prefix has no //, which reserved names have", field="prefix")
        check_count("most_change_bytes", most_change_bytes)
        check_seconds("most_change_age_s", most_change_age_s)
        check_count("most_requests", most_requests)
        names = Names(prefix)
        if versions and expire_s is None and (names.are_together or not _is_cluster(client)):
            limits = LogLimits(most_change_bytes, most_change_age_s) if keep_changes else None
            self._strings: Strings = VersionedStrings(client, names, limits, most_requests=most_requests)
        elif keep_changes:
            raise InvalidError("changes are kept only with versions, which this store does not keep", field="changes")
        else:
            self._strings = Strings(client, names, expire_s)
        super().__init__(self._strings, serializer)
        if self.serializer is json and not _decodes(client):
            self.serializer = JsonOrBytes

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

    @property
    def latest_version(self) -> int:
        """The latest version given to an entry, also to one that was deleted since; 0 if none are kept."""
        return self._strings.latest_version

    def raise_versions(self, version: int) -> None:
        """Give only versions above this one from now on, e.g. because entries come from a store that gave it.

        Raises InvalidError (a ValueError) for one that is after the year 2112 as a time.
        """
        self._strings.raise_versions(version)

    def forget_requests(self) -> None:
        """Refuse repetitions of writes from before now that were not made here, because another store made some."""
        self._strings.forget_requests()

    def describe(self) -> Description:
        return Description("redis", super().describe().text, self.capability)


class JsonOrBytes(Serializer):
    """JSON; bytes, which JSON cannot represent, are stored unchanged after MARK, with which no JSON begins."""

    MARK = b"%datastore 1 bytes\n"

    @classmethod
    def dumps(cls, value: Any) -> str | bytes:
        return cls.MARK + value if isinstance(value, bytes) else json.dumps(value)

    @classmethod
    def loads(cls, value: bytes) -> Any:
        return value[len(cls.MARK) :] if value.startswith(cls.MARK) else json.loads(value)


def _decodes(client: Any) -> bool:
    """Whether a client returns text for the stored bytes."""
    pool = getattr(client, "connection_pool", None)
    return bool(getattr(pool, "connection_kwargs", {}).get("decode_responses")) or bool(
        getattr(getattr(client, "encoder", None), "decode_responses", False)
    )


def _is_cluster(client: Any) -> bool:
    """Whether a client may have the names on several servers."""
    import redis

    return isinstance(client, redis.RedisCluster)
