"""Resume tokens: where a query's results stood, as bytes that cannot be mistaken.

Pure. Knows positions and how a query sorts; knows no message and no gRPC. A token is a version byte, the length of its
content, the content in msgpack, and the CRC-32C of all before. It is no secret and no proof: a client that
makes one by itself can ask for nothing that the query did not select.
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

__all__ = [
    "End",
    "Token",
    "decode_page_token",
    "decode_token",
    "encode_page_token",
    "encode_token",
    "query_hash",
]

VERSION = 1
#: Of tokens that need the last entry: a server that does not know these must refuse them.
ENTRY_VERSION = 2
_HEAD_BYTES = 5
_CHECKSUM_BYTES = 4


class End(IntEnum):
    """Whether the results of a token have ended, and why."""

    OPEN = 0
    EXHAUSTED = 1
    LIMIT = 2
    PARTIAL = 3


class Token(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What continues a query.

    `key` is None at the beginning of the results; `limit` and `offset` are what is left of the query's,
    `limit` None for none. A token whose `end` is not OPEN continues with nothing. `epoch` names the placement
    under which it was made; a position means the same under every placement, so the epoch is only
    informative and never refused. `missing` names the shards that the results lack so far, which no later call can
    make good.
    A sort key over LONG_SORT_KEY_BYTES is not held, but its hash: the client sends the entry that it is made from.
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
        """The token of a later place in the same results, with what is left of limit and offset there."""
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
        """Whether it continues only together with the entry that it stands behind."""
        return self.sort_key_hash is not None and self.end is End.OPEN

    def without(self, shards: Iterable[ShardReport]) -> Token:
        """The same token where some of these shards could not be reached."""
        lost = {report.shard for report in shards if report.error is not None}
        if lost <= set(self.missing):
            return self
        return msgspec.structs.replace(self, missing=tuple(sorted(lost.union(self.missing))))

    def missing_before(self, shards: Iterable[ShardReport]) -> list[ShardReport]:
        """Reports of the shards that an earlier call could not reach, and these do not tell of."""
        reported = {report.shard for report in shards if report.error is not None}
        return [
            ShardReport(name, 0, 0, UnavailableError("could not be reached earlier in these results", shard=name))
            for name in self.missing
            if name not in reported
        ]

    def position(self, query: Query, last_entry: Entry | None) -> Position | None:
        """The place after the last entry seen; None at the beginning.

        Raises InvalidTokenError where the token needs that entry, and it is not there as it was.
        """
        if self.key is None or self.end is not End.OPEN:
            return None
        if self.sort_key_hash is None:
            return Position(self.sort_key, Key(self.key))
        key = Key(self.key)
        if last_entry is None or last_entry.key != key:
            raise _needs_entry(self.key)
        try:
            sort_key = query.order_sort_key(key, last_entry.value)
        except DatastoreError as error:
            raise _needs_entry(self.key) from error
        if xxh3_64_intdigest(sort_key) != self.sort_key_hash:
            raise _needs_entry(self.key)
        return Position(sort_key, key, last_entry.value)


def _needs_entry(key: str) -> InvalidTokenError:
    return InvalidTokenError(
        f"the sort key at this place is too long for a token: send the entry of {key}, unchanged, as last_entry",
        field="last_entry",
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Token)


def query_hash(query: bytes) -> int:
    """The hash that binds a token to its query, of the query's serialized form."""
    return xxh3_64_intdigest(query)


def encode_token(token: Token) -> bytes:
    """The bytes of a token."""
    content = _encoder.encode(token)
    version = VERSION if token.sort_key_hash is None else ENTRY_VERSION
    framed = bytes([version]) + len(content).to_bytes(4, "big") + content
    return framed + _checksum(framed)


def decode_token(data: bytes, query_hash: int, *, field: str = "resume_token") -> Token:
    """Read a token of the query with that hash.

    Raises InvalidTokenError, which tells whether the token was cut, altered, made by another version, or
    belongs to another query. `field` is what the error names.
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
            f"{field} was cut or lengthened: it has {len(data):,} bytes; send it whole and unchanged",
            field=field,
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
    """The same token as text, for pages: base64url without padding."""
    return base64.urlsafe_b64encode(encode_token(token)).rstrip(b"=").decode("ascii")


def decode_page_token(text: str, query_hash: int) -> Token:
    """Read a page token. Raises InvalidTokenError as `decode_token` does."""
    field = "page_token"
    padded = text + "=" * (-len(text) % 4)
    try:
        data = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidTokenError(f"{field} was cut or altered; send it whole and unchanged", field=field) from error
    # The last character has bits to spare, which a second spelling of the same bytes would use.
    if not data or base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise InvalidTokenError(f"{field} was cut or altered; send it whole and unchanged", field=field)
    return decode_token(data, query_hash, field=field)
