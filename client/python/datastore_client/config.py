"""A server's store as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datastore.model.config import Config
from datastore.model.errors import ConfigError
from datastore.model.options import BOOLEAN, DURATION, FILE, SERVER, ServerUrl, option
from datastore_client.channel import DEFAULT_PORT
from datastore_client.remote import QUERY_TIMEOUT_S, TIMEOUT_S, RemoteDatastore
from datastore_client.tls import Credentials, check_use

if TYPE_CHECKING:
    from datastore_client.aio.remote import RemoteDatastore as AsyncRemoteDatastore

__all__ = ["GrpcConfig"]

_FORM = "grpc://HOST:PORT"


@dataclass(frozen=True, kw_only=True)
class GrpcConfig(Config):
    """The store that a datastore server serves: a node, a proxy, or several behind one address. Stores plain values.

    A URL with `grpcs:` is for a server with TLS.
    """

    kind = "grpc"
    url_form = _FORM
    driver = ("grpc", "client")
    url: ServerUrl = field(
        metadata=option(
            f"`{_FORM}`, or `grpcs:` for TLS; without a port it is {DEFAULT_PORT}. Of several addresses, separated by"
            " commas, the first that can be reached is used",
            SERVER,
        )
    )
    timeout: float = field(default=TIMEOUT_S, metadata=option("the limit of a call with its retries", DURATION))
    query_timeout: float = field(
        default=QUERY_TIMEOUT_S, metadata=option("the limit of a query from its first entry to its last", DURATION)
    )
    retry: bool = field(
        default=True, metadata=option("false: errors are raised at once, for a store whose callers retry", BOOLEAN)
    )
    retry_writes: bool = field(
        default=False,
        metadata=option("repeat writes whose outcome is unknown; each is still made only once", BOOLEAN),
    )
    coalesce: bool = field(
        default=False, metadata=option("concurrent gets share messages, and so do concurrent writes", BOOLEAN)
    )
    ca: str | None = field(
        default=None,
        metadata=option("the authorities to trust; by default the system's", FILE),
    )
    cert: str | None = field(default=None, metadata=option("a certificate for a server that demands one", FILE))
    key: str | None = field(default=None, metadata=option("the private key of `cert`", FILE))
    token_file: str | None = field(
        default=None, metadata=option("a token for a server that wants one, by `datastore token create`", FILE)
    )
    insecure: bool = field(
        default=False, metadata=option("send the token to another machine without encryption", BOOLEAN)
    )

    def check(self) -> None:
        """Raise ConfigError for a URL that is not the address of a server, and for files that it would ignore."""
        check_use(
            self.url, ca=self.ca, cert=self.cert, key=self.key, token_file=self.token_file, insecure=self.insecure
        )
        if self.retry_writes and not self.retry:
            raise ConfigError("retry_writes needs retry")

    def open(self) -> RemoteDatastore:
        """Connects at the first call."""
        return RemoteDatastore(self.url, **self._options())

    def open_async(self) -> AsyncRemoteDatastore:
        """Connects at the first call, and belongs to its event loop."""
        from datastore_client.aio.remote import RemoteDatastore as AsyncRemoteDatastore

        return AsyncRemoteDatastore(self.url, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "timeout_s": self.timeout,
            "query_timeout_s": self.query_timeout,
            "retry": self.retry,
            "retry_writes": self.retry_writes,
            "coalesce": self.coalesce,
            "credentials": self.credentials(),
        }

    def credentials(self) -> Credentials:
        """What the server is reached with. Raises ConfigError for files that are not valid."""
        return Credentials(ca=self.ca, cert=self.cert, key=self.key, token_file=self.token_file, insecure=self.insecure)
