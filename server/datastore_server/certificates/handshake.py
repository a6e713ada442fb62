"""Finds out what prevents a client from connecting to a server over TLS, by connecting to it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from cryptography import x509

from datastore.model.errors import UnavailableError
from datastore_client.tls import system_ca
from datastore_server.certificates.inspection import Report, described, expiring, problems_of

__all__ = ["look_at_server"]

#: The first bytes of an HTTP/2 client: its preface, and empty settings. A server answers with settings.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def look_at_server(
    host: str, port: int, *, ca: Path | None, pair: tuple[Path, Path] | None, timeout_s: float
) -> Report:
    """What a client that trusts `ca`, or the system's authorities, and has this `pair` sees of a server.

    Raises UnavailableError if nothing answers there. The files must be valid.
    """
    try:
        cert, speaks_grpc = _exchange(host, port, _context(None, pair), timeout_s)
    except ssl.SSLError as error:
        return Report(None, (_without_tls(error),))
    problems = list(problems_of([cert], host=host))
    try:
        _exchange(host, port, _context(ca or system_ca(), pair), timeout_s)
    except ssl.SSLCertVerificationError as error:
        trusted = ca or "the system's authorities"
        problems.append(f"{trusted}: {error.verify_message}; {_signed_by(cert)}")
    if not speaks_grpc:
        problems.append(_refused(pair))
    return Report(described(cert), tuple(problems), tuple(expiring([cert])))


def _context(ca: Path | None, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    """The settings of a connection. Without `ca` any certificate is accepted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    # The host is compared with the certificate, with a better explanation, elsewhere.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE if ca is None else ssl.CERT_REQUIRED
    if ca is not None:
        context.load_verify_locations(ca)
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


def _exchange(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> tuple[x509.Certificate, bool]:
    """The server's certificate, and whether it then answers: it ends the connection if it refuses the client's."""
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            cert = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
            try:
                connection.sendall(_HELLO)
                return cert, bool(connection.recv(1))
            except OSError:
                return cert, False
    except ssl.SSLError:
        raise
    except OSError as error:
        raise UnavailableError(f"nothing answers at {host}:{port} ({error.strerror or error})") from error


def _without_tls(error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING"):
        return "it does not use TLS; without TLS its URL begins with grpc:"
    return f"the TLS handshake fails: {(error.reason or str(error)).lower().replace('_', ' ')}"


def _signed_by(cert: x509.Certificate) -> str:
    return f"the server's certificate is signed by {cert.issuer.rfc4514_string()!r}"


def _refused(pair: tuple[Path, Path] | None) -> str:
    if pair is None:
        return "it demands a certificate of its clients: say --cert and --key"
    return f"it does not accept the certificate {pair[0]}: it must be of an authority in the server's --tls-client-ca"
