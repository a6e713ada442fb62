"""Whether a server may listen at an address, and how its connections are protected there. Opens no ports."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from datastore.model.errors import ConfigError
from datastore.v1 import service_pb2
from datastore_client.tls import TlsFiles
from datastore_server.config import Address

__all__ = ["Protection", "protection_of"]

_log = logging.getLogger("datastore.server")


@dataclass(frozen=True)
class Protection:
    """How the connections of clients are protected; with TLS, by which files."""

    security: service_pb2.TransportSecurity.ValueType = service_pb2.TRANSPORT_SECURITY_UNSPECIFIED
    tls: TlsFiles | None = None

    def warnings(self) -> list[str]:
        """What an operator should know about it, each as a sentence."""
        if self.security == service_pb2.TRANSPORT_SECURITY_INSECURE:
            return ["other machines can connect, and connections are not encrypted (--insecure)"]
        return self.expiring()

    def expiring(self) -> list[str]:
        """Which certificates of the server expire soon, each as a sentence."""
        cert = None if self.tls is None else self.tls.current().cert
        if cert is None:
            return []
        # Loaded when it is needed: a server without TLS starts faster.
        from cryptography.x509 import load_pem_x509_certificates

        from datastore_server.certificates.inspection import expiring

        return list(expiring(load_pem_x509_certificates(cert)))


def protection_of(address: Address, resolved: Iterable[Address], *, tls: TlsFiles | None, insecure: bool) -> Protection:
    """How connections to the `resolved` addresses of `address` are protected.

    Raises ConfigError if other machines could connect without encryption, unless that is allowed by `insecure`: then a
    warning is logged.
    """
    if tls is not None:
        is_mutual = tls.current().ca is not None
        return Protection(
            service_pb2.TRANSPORT_SECURITY_MUTUAL_TLS if is_mutual else service_pb2.TRANSPORT_SECURITY_TLS, tls
        )
    if all(one.is_loopback for one in resolved):
        return Protection(service_pb2.TRANSPORT_SECURITY_LOOPBACK)
    if not insecure:
        raise ConfigError(
            f"{address} can be reached from other machines, and connections are not encrypted; listen with TLS"
            f" (--tls-cert and --tls-key; `datastore tls init` makes certificates), listen on 127.0.0.1:{address.port},"
            " or say --insecure if the network is safe"
        )
    _log.warning("%s can be reached from other machines, and connections are not encrypted (--insecure)", address)
    return Protection(service_pb2.TRANSPORT_SECURITY_INSECURE)
