"""Tokens as text, and the salted hashes by which they are recognized. Knows no files and no calls.

A token is `dst_NAME.SECRET`: the name selects the hash that the secret is compared with, and the prefix lets scanners
find tokens that were published by mistake. The secret has 256 random bits.
"""

from __future__ import annotations

import os
import re
import secrets
from functools import cache

from datastore.engine.placement import NAME

__all__ = ["hash_of", "is_hash", "new_token", "parts_of", "verify"]

_PREFIX = "dst_"
_SECRET_BYTES = 32
#: A secret of 256 bits, in base64url without padding.
_SECRET = re.compile("[A-Za-z0-9_-]{43}")

#: The parameters of Argon2id, the smallest that OWASP recommends for passwords. All
#: hashes have the same, so that every token takes equally long to verify, about 40 ms.
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_HASH_BYTES = 32
_SALT_BYTES = 16
_HASH = re.compile(
    rf"\$argon2id\$v=19\$m={_MEMORY_KIB},t={_PASSES},p={_LANES}\$[A-Za-z0-9+/]{{22}}\$[A-Za-z0-9+/]{{43}}"
)


def new_token(name: str) -> str:
    """A new token for the caller `name`."""
    return f"{_PREFIX}{name}.{secrets.token_urlsafe(_SECRET_BYTES)}"


def parts_of(token: str) -> tuple[str, str] | None:
    """The name and the secret of a token; None if it does not have the form of one."""
    name, _, secret = token.removeprefix(_PREFIX).rpartition(".")
    is_token = token.startswith(_PREFIX) and NAME.fullmatch(name) and _SECRET.fullmatch(secret)
    return (name, secret) if is_token else None


def hash_of(token: str) -> str:
    """The salted hash of a token, in the PHC string format."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    salt = os.urandom(_SALT_BYTES)
    argon = Argon2id(salt=salt, length=_HASH_BYTES, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return argon.derive_phc_encoded(token.encode())


def is_hash(text: str) -> bool:
    """Whether a text has the form of `hash_of`, with its parameters."""
    return _HASH.fullmatch(text) is not None


def verify(token: str, hashed: str | None) -> bool:
    """Whether a token has this hash. Takes equally long if there is none to compare with, or another one."""
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    # Made for the first token of a process, whichever that is.
    nothing = _hash_of_nothing()
    try:
        Argon2id.verify_phc_encoded(token.encode(), hashed or nothing)
    except InvalidKey:
        return False
    return hashed is not None


@cache
def _hash_of_nothing() -> str:
    """The hash of a token that nobody has."""
    return hash_of(new_token("nobody"))
