"""The certificate files and tokens of clients and servers: read, checked, and read again when they change.

Opens no connections.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import grpc

from datastore.model.errors import ConfigError
from datastore.model.urls import shown
from datastore_client.channel import Target, parse_targets
from datastore_client.reloading import Reloading
from datastore_client.token_file import TokenFile, check_encrypted

if TYPE_CHECKING:
    import ssl

__all__ = ["Credentials", "FilePath", "Pem", "TlsFiles", "check_use", "read_file", "system_ca"]

FilePath: TypeAlias = str | os.PathLike[str]


class Pem(NamedTuple):
    """The contents of certificate files, in PEM; None for a file that is not given."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None


class TlsFiles:
    """The files `ca`, `cert` and `key` in PEM, read when this is created, and again when they change.

    `ca` has the certificates of the authorities that are trusted, `cert` a certificate with those that lead from it to
    its authority, and `key` its private key. Raises ConfigError, which says what is wrong, for files that cannot be
    read or are not valid, and for a certificate without its key. Later, files that are not valid are ignored.
    """

    def __init__(
        self,
        *,
        ca: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
    ) -> None:
        if (cert is None) != (key is None):
            raise ConfigError(f"{cert or key}: a certificate and its private key must be given together")
        self._ca, self._cert, self._key = (None if path is None else Path(path) for path in (ca, cert, key))
        self._pem = Reloading(
            [path for path in (self._ca, self._cert, self._key) if path is not None],
            lambda: _read(self._ca, self._cert, self._key),
        )

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a context of the standard library listen with the certificate. Raises OSError if it is not valid."""
        if self._cert is not None:
            context.load_cert_chain(self._cert, self._key)

    def current(self) -> Pem:
        """Their contents; the same object until they change. Looks at the files about once a second."""
        return self._pem.current()

    def reload(self) -> Pem:
        """Their contents. Looks at the files now."""
        return self._pem.reload()


class Credentials:
    """What a client trusts, and how it identifies itself to servers.

    `ca` has the certificates of the authorities that are trusted to sign those of servers, by default the system's.
    `cert` and `key` are the client's, for a server that demands one. `token_file` has the token that is
    sent with every call: encrypted or to this machine, unless `insecure` is set. Raises ConfigError like `TlsFiles` and
    `TokenFile`.
    """

    def __init__(
        self,
        *,
        ca: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        token_file: FilePath | None = None,
        insecure: bool = False,
    ) -> None:
        self._files = TlsFiles(ca=ca, cert=cert, key=key)
        self._token = None if token_file is None else TokenFile(Path(token_file))
        self._insecure = insecure
        self._pem: Pem | None = None
        self._for_channels: grpc.ChannelCredentials | None = None

    def for_channels(self) -> grpc.ChannelCredentials:
        """What gRPC needs to connect over TLS; another object when the files have changed."""
        pem = self._files.current()
        if pem is not self._pem or self._for_channels is None:
            roots = pem.ca if pem.ca is not None or (path := system_ca()) is None else read_file(path)
            self._for_channels = grpc.ssl_channel_credentials(roots, pem.key, pem.cert)
            self._pem = pem
        return self._for_channels

    def check_target(self, target: Target) -> None:
        """Raise ConfigError if a token would be sent unencrypted to another machine."""
        if self._token is not None and not self._insecure:
            check_encrypted(target)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that every call has."""
        return () if self._token is None else (self._token.metadata(),)


def check_use(
    url: str, *, token_file: FilePath | None = None, insecure: bool = False, **files: FilePath | None
) -> None:
    """Raise ConfigError for certificate `files` that would be ignored because `url` does not use TLS.

    Also for a token that would be sent unencrypted to another machine.
    """
    targets = parse_targets(url)
    if token_file is not None and not insecure:
        for target in targets:
            check_encrypted(target)
    given = ", ".join(name for name, path in files.items() if path is not None)
    if given and not targets[0].is_secure:
        raise ConfigError(f"{shown(url)} does not use TLS and would ignore {given}: write grpcs://")


def _read(ca: Path | None, cert: Path | None, key: Path | None) -> Pem:
    """The contents of the files. Raises ConfigError if they are not valid, or change meanwhile."""
    pem = Pem(*(None if path is None else read_file(path) for path in (ca, cert, key)))
    if pem.ca is not None:
        _check_ca(ca, pem.ca)
    if cert is not None and key is not None:
        _check_pair(cert, key)
        # The check has read the files, too.
        if (read_file(cert), read_file(key)) != (pem.cert, pem.key):
            raise ConfigError(f"{cert} and {key} changed while they were read")
    return pem


def read_file(path: Path) -> bytes:
    """The contents of a file. Raises ConfigError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this file: {error.strerror}") from error


def _check_ca(path: Path | None, pem: bytes) -> None:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        raise ConfigError(f"{path}: not certificates in PEM{_because(error)}") from error


def _check_pair(cert: Path, key: Path) -> None:
    import ssl

    def refuse() -> bytes:
        raise ConfigError(f"{key}: the private key is encrypted; write it without a password, for its user alone")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{key} is not the key of the certificate {cert}") from error
        raise ConfigError(f"{cert} and {key}: not a certificate and a key in PEM{_because(error)}") from error
    except OSError as error:
        raise ConfigError(f"{cert} and {key}: cannot read these files: {error.strerror}") from error


def _because(error: Exception) -> str:
    """OpenSSL's reason in words, if it has one."""
    reason = getattr(error, "reason", None)
    return f" ({str(reason).lower().replace('_', ' ')})" if reason else ""


def system_ca() -> Path | None:
    """The file of the authorities that the system trusts; None if it has no such file: gRPC has its own list."""
    import ssl

    path = ssl.get_default_verify_paths().cafile
    return None if path is None else Path(path)
