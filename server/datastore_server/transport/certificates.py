"""Certificates for gRPC's servers: the server's, replaced when its files change, and those of clients."""

from __future__ import annotations

import time
from collections.abc import Iterable

import grpc

from datastore_client.tls import Pem, TlsFiles

__all__ = ["names_of", "server_credentials"]

#: How long to delay a replacement of certificates, in seconds. gRPC asks for them under a lock, but begins handshakes
#: with them outside of it, and frees the previous ones immediately: a handshake about to begin in another thread would
#: crash the process (grpc/grpc#36693). Waiting under the lock lets it begin.
EXCHANGE_S = 0.1


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """The credentials of a server with these files. Connections that begin after a change use the new ones."""
    given = files.current()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        # Called by gRPC's threads before each handshake. Anything but None makes gRPC parse the certificates again.
        nonlocal given
        pem = files.reload()
        if pem is given:
            return None
        time.sleep(EXCHANGE_S)
        given = pem
        return _configuration(pem)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        changed,  # type: ignore[arg-type]  # the stubs forget None
        require_client_authentication=given.ca is not None,
    )


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    pair = (pem.key or b"", pem.cert or b"")
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=pem.ca)


def names_of(identities: Iterable[bytes] | None) -> tuple[str, ...]:
    """The identities that gRPC found in a client's certificate, as text."""
    return tuple(name.decode(errors="backslashreplace") for name in identities or ())
