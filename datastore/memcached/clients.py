"""One interface to the memcached clients pymemcache, pylibmc and python-memcached.

Each distinguishes bytes and text by an item's flags, with the same flag for text, so that each can read what another
wrote. Knows no keys, only names that are valid in the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    DeadlineExceededError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from datastore.model.extras import require

__all__ = ["TEXT_FLAG", "Connection", "connection_of"]

T = TypeVar("T")

#: The flag of pylibmc and python-memcached for text.
TEXT_FLAG = 16


class Connection(Protocol):
    """One client. Its errors are classes of `datastore.model.errors`, and name the server."""

    @property
    def server(self) -> str:
        """The server for an error message: `memcached at HOST:PORT`."""

    def get(self, name: str) -> bytes | str | None:
        """The value of `name`, or None."""

    def set(self, name: str, value: bytes | str, expiry: int) -> bool:
        """Store a value for `expiry` seconds (0: no limit), and wait for the server. Returns whether it was stored."""

    def delete(self, name: str) -> None:
        """Delete an item, and wait for the server."""

    def close(self) -> None:
        """Disconnect."""


def connection_of(client: Any) -> Connection:
    """The interface to a client. Raises ImportError for any other client if pymemcache is not installed."""
    packages = {base.__module__.partition(".")[0] for base in type(client).__mro__}
    if "pylibmc" in packages:
        return _Pylibmc(client)
    if "memcache" in packages:
        return _PythonMemcached(client)
    require("pymemcache", "memcached")
    return _Pymemcache(client)


def _named(addresses: Iterable[Any]) -> str:
    """The servers of a client for an error message. An address is a text, or a host and a port."""
    texts = [address if isinstance(address, str) else ":".join(map(str, address)) for address in addresses]
    return f"memcached at {', '.join(texts)}" if texts else "memcached"


class KeepsText:
    """The default serde for pymemcache clients, for bytes and text."""

    def serialize(self, name: str, value: bytes | str) -> tuple[bytes, int]:
        """The item's bytes and flags."""
        return (value.encode(), TEXT_FLAG) if isinstance(value, str) else (value, 0)

    def deserialize(self, name: str, data: bytes, flags: int) -> bytes | str:
        """The value of an item."""
        return data.decode() if flags == TEXT_FLAG else data


class _Pymemcache:
    def __init__(self, client: Any) -> None:
        self._client = client
        _keep_text(client)

    @property
    def server(self) -> str:
        server = getattr(self._client, "server", None)
        return _named(getattr(self._client, "clients", ()) if server is None else [server])

    def get(self, name: str) -> bytes | str | None:
        from pymemcache.exceptions import MemcacheUnexpectedCloseError

        with _pymemcache_errors(self.server):
            value: bytes | str | None
            try:
                value = self._client.get(name)
            except MemcacheUnexpectedCloseError:
                # A restarted server has closed the pooled connections.
                value = self._client.get(name)
        return value if value is not None else self._absent(value)

    def set(self, name: str, value: bytes | str, expiry: int) -> bool:
        with _pymemcache_errors(self.server):
            stored = bool(self._client.set(name, value, expire=expiry, noreply=False))
        return stored or self._absent(stored)

    def delete(self, name: str) -> None:
        with _pymemcache_errors(self.server):
            deleted = self._client.delete(name, noreply=False)
        self._absent(deleted)

    def _absent(self, answer: T) -> T:
        """Check an empty answer, which a HashClient also gives for a while instead of asking a failed server."""
        if not answer and getattr(self._client, "_failed_clients", None):
            raise UnavailableError(f"{self.server}: a server of the HashClient failed and is not retried yet")
        return answer

    def close(self) -> None:
        self._client.close()


def _keep_text(client: Any) -> None:
    """Give a client without a serde, which would ignore flags, one that distinguishes text and bytes."""
    # A HashClient creates further clients with these settings, and already has some.
    settings = getattr(client, "default_kwargs", None)
    if isinstance(settings, dict) and not any(settings.get(name) for name in ("serde", "serializer", "deserializer")):
        settings["serde"] = KeepsText()
    for each in (client, *getattr(client, "clients", {}).values()):
        if _is_raw(getattr(each, "serde", None)):
            each.serde = KeepsText()


def _is_raw(serde: Any) -> bool:
    from pymemcache.serde import LegacyWrappingSerde

    if type(serde) is not LegacyWrappingSerde:
        return False
    return (serde.serialize.__name__, serde.deserialize.__name__) == ("_default_serialize", "_default_deserialize")


@contextmanager
def _pymemcache_errors(server: str) -> Iterator[None]:
    from pymemcache.exceptions import MemcacheError, MemcacheUnexpectedCloseError

    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceededError(f"{server}: {error}") from error
    except MemcacheUnexpectedCloseError as error:
        raise UnavailableError(f"{server} closed the connection") from error
    except MemcacheError as error:
        if "seem to be down" in str(error):
            raise UnavailableError(f"{server}: {error}") from error
        raise _refusal(server, error) from error
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"{server}: an item marked as text is not UTF-8") from error
    except OSError as error:
        raise UnavailableError(f"{server}: {error}") from error


class _Pylibmc:
    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def server(self) -> str:
        return _named(getattr(self._client, "addresses", ()))

    def get(self, name: str) -> bytes | str | None:
        with _pylibmc_errors(self.server):
            value: bytes | str | None = self._client.get(name)
            return value

    def set(self, name: str, value: bytes | str, expiry: int) -> bool:
        with _pylibmc_errors(self.server):
            return bool(self._client.set(name, value, time=expiry))

    def delete(self, name: str) -> None:
        with _pylibmc_errors(self.server):
            self._client.delete(name)

    def close(self) -> None:
        self._client.disconnect_all()


#: The errors of pylibmc that concern the connection rather than the request.
_CONNECTION_ERRORS = (
    *("ConnectionBindError", "ConnectionError", "HostLookupError", "NoServers", "ReadError", "ServerDead"),
    *("ServerDown", "SocketCreateError", "SomeErrors", "UnixSocketError", "UnknownReadFailure", "WriteError"),
)


def _pylibmc_kinds(*names: str) -> tuple[type[Exception], ...]:
    import pylibmc

    return tuple(getattr(pylibmc, name) for name in names)


@contextmanager
def _pylibmc_errors(server: str) -> Iterator[None]:
    try:
        yield
    except _pylibmc_kinds("Error") as error:
        if "TIMEOUT" in str(error).upper():
            raise DeadlineExceededError(f"{server}: {error}") from error
        if isinstance(error, _pylibmc_kinds(*_CONNECTION_ERRORS)):
            raise UnavailableError(f"{server}: {error}") from error
        raise _refusal(server, error) from error
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"{server}: an item marked as text is not UTF-8") from error


class _PythonMemcached:
    """A client whose methods return the same for failures and absent items; its server objects show which."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def server(self) -> str:
        return _named(server.address for server in self._client.servers)

    def get(self, name: str) -> bytes | str | None:
        return self._asked(self._client.get, name)  # type: ignore[no-any-return]

    def set(self, name: str, value: bytes | str, expiry: int) -> bool:
        return bool(self._asked(self._client.set, name, value, expiry))

    def delete(self, name: str) -> None:
        self._asked(self._client.delete, name)

    def _asked(self, call: Callable[..., Any], *arguments: Any) -> Any:
        answer = call(*arguments)
        if not answer:
            for server in self._client.servers:
                if not server.connect():
                    raise UnavailableError(f"{_named([server.address])}: no connection")
        return answer

    def close(self) -> None:
        self._client.disconnect_all()


def _refusal(server: str, error: Exception) -> DatastoreError:
    kind = StoreFullError if "out of memory" in str(error).lower() else StoreError
    return kind(f"{server}: {error or type(error).__name__}")
