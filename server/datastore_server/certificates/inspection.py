"""Explains what a certificate says, and what is wrong with it. Pure: certificates in, sentences out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["SOON_DAYS", "Report", "described", "expiring", "problems_of"]

#: How many days before it expires a certificate should be replaced.
SOON_DAYS = 14

_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_USES = {_SERVER: "a server", _CLIENT: "a client"}


class Report(NamedTuple):
    """What a certificate says, None if there is none; what is wrong with it; and which of its chain expire soon."""

    certificate: str | None
    problems: tuple[str, ...] = ()
    expiring: tuple[str, ...] = ()


def described(cert: x509.Certificate, now: datetime | None = None) -> str:
    """What a certificate says: its name, its hosts, who signed it, until when it is valid."""
    hosts = ", ".join(_names(cert)) or "no host"
    until = cert.not_valid_after_utc
    days = (until - (now or datetime.now(UTC))).days
    left = "expired" if days < 0 else f"{days} days"
    return f"{_name(cert.subject)}, for {hosts}; signed by {_name(cert.issuer)}; valid until {until:%Y-%m-%d} ({left})"


def expiring(chain: Sequence[x509.Certificate], now: datetime | None = None) -> Iterator[str]:
    """Which certificates of a chain expire soon, each as a sentence."""
    now = now or datetime.now(UTC)
    for cert in chain:
        if 0 <= (cert.not_valid_after_utc - now).days < SOON_DAYS:
            yield f"the certificate of {_name(cert.subject)} expires on {cert.not_valid_after_utc:%Y-%m-%d}"


def problems_of(
    chain: Sequence[x509.Certificate],
    *,
    authorities: Sequence[x509.Certificate] | None = None,
    host: str | None = None,
    is_client: bool = False,
    now: datetime | None = None,
) -> Iterator[str]:
    """What is wrong with a certificate, the first of `chain`, that is shown by a server at `host` or by a client.

    The others of the chain lead to its authority, which must be one of `authorities`; None if these are not known.
    """
    now = now or datetime.now(UTC)
    for cert in chain:
        yield from _problems_of_time(cert, now)
    yield from _problems_of_use(chain[0], _CLIENT if is_client else _SERVER)
    if not is_client and host is not None:
        yield from _problems_of_host(chain[0], host)
    if authorities is not None:
        yield from _problems_of_signature(chain, authorities, now)


def _problems_of_time(cert: x509.Certificate, now: datetime) -> Iterator[str]:
    name, begins, ends = _name(cert.subject), cert.not_valid_before_utc, cert.not_valid_after_utc
    if now > ends:
        yield f"the certificate of {name} expired on {ends:%Y-%m-%d}"
    elif now < begins:
        yield f"the certificate of {name} is not valid before {begins:%Y-%m-%d %H:%M} UTC; do the clocks agree?"


def _problems_of_use(cert: x509.Certificate, use: x509.ObjectIdentifier) -> Iterator[str]:
    uses = _extension(cert, x509.ExtendedKeyUsage)
    if uses is not None and use not in uses and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in uses:
        wanted = "serverAuth" if use == _SERVER else "clientAuth"
        yield f"it is not for {_USES[use]}: its extended key usage lacks {wanted}"
    constraints = _extension(cert, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield "it is the certificate of an authority, not of a server or client"


def _problems_of_host(cert: x509.Certificate, host: str) -> Iterator[str]:
    names = list(_names(cert))
    if not names:
        yield "it names no host: it has no subject alternative names, and the common name does not count"
    elif not any(_is_for(name, host) for name in names):
        yield f"it is not for {host}: its subject alternative names are {', '.join(names)}"


def _problems_of_signature(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], now: datetime
) -> Iterator[str]:
    cert, others = chain[0], list(chain[1:])
    while (above := _signer_of(cert, authorities)) is None:
        above = _signer_of(cert, others)
        if above is None:
            yield _unknown(cert.issuer, authorities)
            return
        yield from _problems_of_signer(above)
        others.remove(above)
        cert = above
    yield from _problems_of_time(above, now)
    if above != cert:
        yield from _problems_of_signer(above)


def _signer_of(cert: x509.Certificate, candidates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    return next((one for one in candidates if _has_signed(one, cert)), None)


def _problems_of_signer(cert: x509.Certificate) -> Iterator[str]:
    constraints = _extension(cert, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield f"{_name(cert.subject)} has signed it, but is not an authority (basic constraints: CA)"


def _unknown(issuer: x509.Name, authorities: Sequence[x509.Certificate]) -> str:
    if any(authority.subject == issuer for authority in authorities):
        return f"{_name(issuer)}, which has signed it, is not the trusted authority of that name"
    known = ", ".join(_name(authority.subject) for authority in authorities)
    return f"it is signed by {_name(issuer)}, which is not trusted; the authorities are {known}"


def _has_signed(authority: x509.Certificate, cert: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(cert: x509.Certificate) -> Iterator[str]:
    """The subject alternative names of a certificate."""
    for name in _extension(cert, x509.SubjectAlternativeName) or ():
        yield str(name.value)


def _is_for(name: str, host: str) -> bool:
    """Whether gRPC finds a host in a subject alternative name.

    `*.example.org` includes one label; `*.org`, or `*.nodes` of a private network, includes nothing.
    """
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(name)
    except ValueError:
        first, _, rest = host.lower().partition(".")
        return name.lower() == host.lower() or (name.lower() == f"*.{rest}" and bool(first) and "." in rest)


def _extension(cert: x509.Certificate, kind: type[Any]) -> Any:
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _name(name: x509.Name) -> str:
    """The common name, or all of it."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"{str(common[0].value)!r}" if common else f"{name.rfc4514_string()!r}"
