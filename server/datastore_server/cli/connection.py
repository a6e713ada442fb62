"""Connects to the server named on the command line, with a helpful error if that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datastore.model.errors import OverloadedError, UnauthenticatedError, UnavailableError
from datastore_client.remote import QUERY_TIMEOUT_S, RemoteDatastore
from datastore_server.cli.settings import CALL_TIMEOUT_S, Settings

__all__ = ["call_timeout_s", "connected", "reaching"]


@contextmanager
def connected(settings: Settings, *, lazy: bool = False, retry_writes: bool = False) -> Iterator[RemoteDatastore]:
    """The server's store, open while the block runs; `lazy` leaves values as bytes. Errors are those of `reaching`.

    With `retry_writes` a write whose answer is lost is repeated. Not for writes of many entries: the store would have
    to remember each of them.
    """
    call_s = call_timeout_s(settings)
    query_s = settings.timeout_s or QUERY_TIMEOUT_S
    with (
        RemoteDatastore(
            settings.server,
            lazy=lazy,
            timeout_s=call_s,
            query_timeout_s=query_s,
            retry_writes=retry_writes,
            credentials=settings.credentials(),
        ) as store,
        reaching(settings),
    ):
        yield store


def call_timeout_s(settings: Settings) -> float:
    """The timeout of a call."""
    return settings.timeout_s or CALL_TIMEOUT_S


@contextmanager
def reaching(settings: Settings) -> Iterator[None]:
    """Add what to do to the errors for a server that is unreachable, or that requires a token."""
    try:
        yield
    except UnauthenticatedError as error:
        if settings.token_file is not None:
            raise
        raise UnauthenticatedError(
            f"{error}\nName the file of a token with --token-file or DATASTORE_TOKEN_FILE,"
            " or a certificate with --cert and --key."
        ) from error
    except UnavailableError as error:
        if error.shard is not None or isinstance(error, OverloadedError):
            raise
        if str(error).startswith("cannot connect"):
            check = f"datastore tls check {settings.server}"
            raise UnavailableError(f"{error}\nTo see what is wrong:\n  {check}") from error
        raise UnavailableError(
            f"{error}\nIs a server running at {settings.server}? Start one with\n"
            f"  datastore serve lmdb:///DIRECTORY\nor name another with --server or DATASTORE_SERVER."
        ) from error
