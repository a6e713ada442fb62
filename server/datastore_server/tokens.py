"""Resume tokens: a position in the results of a query, as verifiable bytes.

Pure. Knows positions and the order of a query, but no messages or gRPC. A token consists of a version byte, the length
of its content, the content in msgpack, and a CRC-32C of everything before. It is neither secret nor authenticated: a
forged token cannot select anything that the query does not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from enum import IntEnum

import google_crc32c
import msgspec
from xxhash import xxh3_64_intdigest

from datastore.model.entries import Entry, Position, ShardReport
from datastore.model.errors import DatastoreError, InvalidKeyError, InvalidTokenError, UnavailableError
from datastore.model.key import Key
from datastore.model.limits import LONG_SORT_KEY_BYTES
from datastore.model.query import Query

__all__ = ["End", "Token", "decode_page_token", "decode_token", "encode_page_token", "encode_token", "query_hash"]

VERSION = 1
#: The version of tokens that need the last entry; servers that do not support them must refuse them.
ENTRY_VERSION = 2
_HEAD_BYTES = 5
_CHECKSUM_BYTES = 4


class End(IntEnum):
    """Whether a token's results have ended, and why."""

    OPEN = 0
    EXHAUSTED = 1
    LIMIT = 2
    PARTIAL = 3


class Token(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The state needed to resume a query.

    `key` is None at the start of the results. `limit` and `offset` are the remaining ones; a `limit` of None means no
    limit. A token whose `end` is not OPEN has no further results. `epoch` is that of the placement under which it was
    created; it is informative only, because positions mean the same under every placement. `missing` names the shards
    that are missing from the results so far. Of a sort key over LONG_SORT_KEY_BYTES only the hash is stored, and the
    client must send the entry that it was computed from.
    """

    query_hash: int
    key: str | None = None
    sort_key: bytes = b""
    limit: int | None = None
    offset: int = 0
    end: End = End.OPEN
    epoch: str = ""
    missing: tuple[str, ...] = ()
    sort_key_hash: int | None = None

    def at(self, position: Position, *, limit: int | None, offset: int) -> Token:
        """The token of a later position in the same results, with the remaining limit and offset."""
        is_long = len(position.sort_key) > LONG_SORT_KEY_BYTES
        return msgspec.structs.replace(
            self,
            key=str(position.key),
            sort_key=b"" if is_long else position.sort_key,
            sort_key_hash=xxh3_64_intdigest(position.sort_key) if is_long else None,
            limit=limit,
            offset=offset,
        )

    @property
    def needs_last_entry(self) -> bool:
        """Whether resuming requires the entry that the token follows."""
        return self.sort_key_hash is not None and self.end is End.OPEN

    def without(self, shards: Iterable[ShardReport]) -> Token:
        """The same token, with these shards recorded as missing if they could not be reached."""
        lost = {report.shard for report in shards if report.error is not None}
        if lost <= set(self.missing):
            return self
        return msgspec.structs.replace(self, missing=tuple(sorted(lost.union(self.missing))))

    def missing_before(self, shards: Iterable[ShardReport]) -> list[ShardReport]:
        """Reports for shards that an earlier call could not reach and that `shards` does not mention."""
        reported = {report.shard for report in shards if report.error is not None}
        return [
            ShardReport(name, 0, 0, UnavailableError("could not be reached earlier in these results", shard=name))
            for name in self.missing
            if name not in reported
        ]

    def position(self, query: Query, last_entry: Entry | None) -> Position | None:
        """The position after the last entry returned; None at the start.

        Raises InvalidTokenError if the token needs that entry and it is missing or has changed.
        """
        if self.key is None or self.end is not End.OPEN:
            return None
        if self.sort_key_hash is None:
            return Position(self.sort_key, Key(self.key))
        key = Key(self.key)
        if last_entry is None or last_entry.key != key:
            raise _needs_entry(self.key)
        try:
            sort_key = query.sort_key_of(key, last_entry.value, last_entry.metadata)
        except DatastoreError as error:
            raise _needs_entry(self.key) from error
        if xxh3_64_intdigest(sort_key) != self.sort_key_hash:
            raise _needs_entry(self.key)
        return Position(sort_key, key, last_entry.value, last_entry.metadata)


def _needs_entry(key: str) -> InvalidTokenError:
    return InvalidTokenError(
        f"the sort key at this place is too long for a token: send the entry of {key}, unchanged, as last_entry",
        field="last_entry",
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Token)


def query_hash(query: bytes) -> int:
    """The hash of the serialized query, which binds a token to its query."""
    return xxh3_64_intdigest(query)


def encode_token(token: Token) -> bytes:
    """Serialize a token."""
    content = _encoder.encode(token)
    version = VERSION if token.sort_key_hash is None else ENTRY_VERSION
    framed = bytes([version]) + len(content).to_bytes(4, "big") + content
    return framed + _checksum(framed)


def decode_token(data: bytes, query_hash: int, *, field: str = "resume_token") -> Token:
    """Parse a token of the query with this hash.

    Raises InvalidTokenError, which says whether the token was truncated, altered, created by another version, or
    belongs to another query. `field` is named in the error.
    """
    token = _decode(data, field)
    if token.query_hash != query_hash:
        raise InvalidTokenError(
            f"{field} belongs to another query; send it with the query it came from, unchanged, or send none",
            field=field,
        )
    return token


def _decode(data: bytes, field: str) -> Token:
    if data[0] not in (VERSION, ENTRY_VERSION):
        raise InvalidTokenError(
            f"{field} is of version {data[0]}, and this server knows {VERSION} and {ENTRY_VERSION}; start without it",
            field=field,
        )
    content_bytes = int.from_bytes(data[1:_HEAD_BYTES], "big")
    expected = _HEAD_BYTES + content_bytes + _CHECKSUM_BYTES
    if len(data) < _HEAD_BYTES or len(data) != expected:
        raise InvalidTokenError(
            f"{field} was cut or lengthened: it has {len(data):,} bytes; send it whole and unchanged", field=field
        )
    framed, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if _checksum(framed) != checksum:
        raise InvalidTokenError(f"{field} was altered; send it unchanged", field=field)
    try:
        token = _decoder.decode(framed[_HEAD_BYTES:])
        if token.key is not None:
            Key(token.key)
    except (msgspec.MsgspecError, InvalidKeyError) as error:
        raise InvalidTokenError(f"{field} was not made by a server; start without it", field=field) from error
    return token


def _checksum(framed: bytes) -> bytes:
    number: int = google_crc32c.value(framed)
    return number.to_bytes(_CHECKSUM_BYTES, "big")


def encode_page_token(token: Token) -> str:
    """A token as text, for pages: base64url without padding."""
    return base64.urlsafe_b64encode(encode_token(token)).rstrip(b"=").decode("ascii")


def decode_page_token(text: str, query_hash: int) -> Token:
    """Parse a page token. Raises InvalidTokenError like `decode_token`."""
    field = "page_token"
    padded = text + "=" * (-len(text) % 4)
    try:
        data = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidTokenError(f"{field} was cut or altered; send it whole and unchanged", field=field) from error
    # The last character has unused bits: reject other spellings of the same bytes.
    if not data or base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise InvalidTokenError(f"{field} was cut or altered; send it whole and unchanged", field=field)
    return decode_token(data, query_hash, field=field)
