"""Makes certificates: an authority, and certificates that it signs for servers and clients. Knows no files."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["AUTHORITY_DAYS", "CERTIFICATE_DAYS", "Authority", "Pair", "new_authority"]

#: How long certificates are valid, in days: the authority's, and those that it signs (the most that browsers accept).
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 398
#: Certificates are valid a little before they are made, because clocks differ.
CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, in PEM."""

    cert: bytes
    key: bytes


class Authority:
    """Signs certificates with the certificate and private key of an authority, in PEM.

    Raises ValueError for anything else.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._cert = x509.load_pem_x509_certificate(pair.cert)
        self._key = load_pem_private_key(pair.key, None)

    def server(self, name: str, hosts: Sequence[str], *, days: float = CERTIFICATE_DAYS) -> Pair:
        """A certificate for the server that is reached at `hosts`, which are DNS names and IP addresses.

        It may be shown as a client's, too, because a proxy is both.
        """
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._signed(name, [_general_name(host) for host in hosts], usages, days)

    def client(self, name: str, *, days: float = CERTIFICATE_DAYS) -> Pair:
        """A certificate for the client with this name, which servers know it by."""
        return self._signed(name, [x509.DNSName(name)], [ExtendedKeyUsageOID.CLIENT_AUTH], days)

    def _signed(
        self, name: str, names: Sequence[x509.GeneralName], usages: Sequence[x509.ObjectIdentifier], days: float
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(name, self._cert.subject, key, days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._cert.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
        )
        return _pair(builder.sign(self._key, SHA256()), key)  # type: ignore[arg-type]


def new_authority(name: str, *, days: float = AUTHORITY_DAYS) -> Authority:
    """An authority with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(name, _named(name), key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(_pair(builder.sign(key, SHA256()), key))


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    # One that is to have expired already began before.
    begins = min(now, now + timedelta(days=days)) - CLOCK_SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(now + timedelta(days=days))
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        cert.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
