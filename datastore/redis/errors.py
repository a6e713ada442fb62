"""The driver's errors as the library's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    DeadlineExceededError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    UnavailableError,
    UnsupportedError,
)

__all__ = ["script_error", "server_of", "translated"]

#: What servers say that do not run our scripts: no permission, no such command, or a release before 5.0.
_NO_SCRIPTS = re.compile(r"evalsha|script\|load|'script|non deterministic", re.IGNORECASE)


def server_of(client: Any) -> str:
    """The server of a client for an error message: `Redis at HOST:PORT`. A cluster's client names no single one."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    address = options.get("path") or ":".join(str(options[name]) for name in ("host", "port") if name in options)
    return f"Redis at {address}" if address else "Redis"


def script_error(server: str, text: str) -> DatastoreError:
    """The error for a command of a script that the server refused with this text."""
    # Releases before 7.0 begin it with the place in the script.
    said = re.sub(r"^.*?-?\b(?=[A-Z]{2,} )", "", text, count=1)
    return _refused(server, said)


@contextmanager
def translated(server: str) -> Iterator[None]:
    """The errors that the driver raises in the block."""
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
        raise _refused(server, str(error)) from error
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"{server}: bytes that are not UTF-8, but the client decodes responses") from error
    except redis.exceptions.RedisError as error:
        raise StoreError(f"{server}: {error}") from error


def _refused(server: str, said: str) -> DatastoreError:
    """The error for a command that the server refused."""
    if said.startswith("OOM"):
        return StoreFullError(f"{server}: {said}")
    if said.startswith("WRONGTYPE"):
        # A hash, a list or another type, which another program stored under the name of an entry.
        return StoreFormatError(f"{server}: {said}")
    if _NO_SCRIPTS.search(said):
        return UnsupportedError(
            f"{server} does not run the scripts that keep versions: {said}; allow evalsha and script|load there, or"
            " open the store with versions=false"
        )
    return StoreError(f"{server}: {said}")
