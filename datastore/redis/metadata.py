"""The metadata of an entry as it is stored beside it, and the terms of a write as its script takes them. Pure."""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple

from datastore.model.expiry import Expiry
from datastore.model.metadata import Metadata, Precondition
from datastore.model.operations import Delete, Operation, Put

__all__ = ["FAILING", "VERSIONS_RAISED_TO", "Known", "check_of", "digest_of", "foreign", "terms_of"]

#: How far versions can be raised: a time in the year 2112. Those above 2^53 would not be exact in Lua.
VERSIONS_RAISED_TO = 2**52
#: The characters of a digest: 48 bits, which Lua's numbers hold exactly.
_DIGEST_CHARACTERS = 12
_MICROSECONDS = 1_000_000
#: The digest of a write that changes only the expiry.
_SAME_VALUE = b"="
#: That of a write that changes nothing, and only checks its condition.
_CHECK = b"?"
#: The terms of a write whose condition never holds.
FAILING = b"|".join((_CHECK, b"never", b""))


class Known(NamedTuple):
    """The metadata of an entry as stored: its text, cut at the spaces, and the digest of the value it belongs to."""

    metadata: Metadata
    digest: bytes

    @classmethod
    def read(cls, text: bytes) -> Known:
        """The metadata of its text."""
        *numbers, digest = text.split()
        return cls(Metadata(*map(int, numbers)), digest)


def foreign(digest: bytes) -> Metadata:
    """The metadata of a value with this digest that another program stored.

    The version depends on the value, and is below every version that is given: these are times since 1970.
    """
    return Metadata(1 + int(digest, 16), 0, 0)


def digest_of(value: bytes) -> bytes:
    """The digest of a stored value, which is not meant to withstand attacks."""
    return sha1(value, usedforsecurity=False).hexdigest()[:_DIGEST_CHARACTERS].encode()


def terms_of(operation: Operation, value: bytes) -> bytes:
    """For scripts: the digest of the value to store, empty for a delete; then the condition and expiry, if any."""
    digest = b"" if isinstance(operation, Delete) else digest_of(value) if isinstance(operation, Put) else _SAME_VALUE
    if operation.condition is None and operation.expiry is None:
        return digest
    return b"|".join((digest, _condition(operation.condition), _expiry(operation.expiry)))


def check_of(condition: Precondition | None) -> bytes:
    """For ATOMIC: the terms of a write that only checks a condition."""
    return b"|".join((_CHECK, _condition(condition), b""))


def _condition(condition: Precondition | None) -> bytes:
    if condition is None:
        return b""
    if condition.exists is None:
        return b"%d" % (condition.version or 0)
    return b"+" if condition.exists else b"-"


def _expiry(expiry: Expiry | None) -> bytes:
    """In seconds and microseconds, since 1970 or from the write on: as one number, some are beyond those of Lua."""
    if expiry is None or (expiry.in_us is None and expiry.at_us is None):
        return b""
    if expiry.in_us is not None:
        return b"w%d %d" % divmod(expiry.in_us, _MICROSECONDS)
    return b"a%d %d" % divmod(expiry.at_us or 0, _MICROSECONDS)
