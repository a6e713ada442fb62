"""Explains what is wrong with the files of a certificate and its private key."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from datastore.model.errors import ConfigError
from datastore_client.tls import read_file
from datastore_server.certificates.inspection import Report, described, expiring, problems_of

__all__ = ["look_at_files"]


def look_at_files(
    cert: Path, key: Path | None = None, *, ca: Path | None = None, host: str | None = None, is_client: bool = False
) -> Report:
    """What the files say of the certificate of a server at `host`, or of a client."""
    try:
        chain, authorities = _certificates(cert), None if ca is None else _certificates(ca)
    except ConfigError as error:
        return Report(None, (str(error),))
    problems = list(problems_of(chain, authorities=authorities, host=host, is_client=is_client))
    if key is not None:
        problems += _problems_of_key(key, chain[0])
    return Report(described(chain[0]), tuple(problems), tuple(expiring(chain)))


def _certificates(path: Path) -> list[x509.Certificate]:
    pem = read_file(path)
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(f"{path}: there is no certificate in PEM in this file") from error


def _problems_of_key(path: Path, cert: x509.Certificate) -> list[str]:
    try:
        pem = read_file(path)
    except ConfigError as error:
        return [str(error)]
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        return [f"{path}: the private key is encrypted; servers read it without a password"]
    except ValueError:
        return [f"{path}: there is no private key in PEM in this file"]
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    problems = []
    if key.public_key().public_bytes(*form) != cert.public_key().public_bytes(*form):
        problems.append(f"{path} is not the key of this certificate")
    if path.stat().st_mode & 0o077:
        problems.append(f"{path} can be read by other users: chmod 600 {path}")
    return problems
