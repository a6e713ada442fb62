"""The file that names a server's callers: tokens, as salted hashes, and identities of certificates, with their rights.

Pure, except for `load_access`, which reads the file: text in, data out, and a ConfigError that names the file, the key
and what would be valid. No secret is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from datastore.engine.placement import NAME, NAME_FORM
from datastore.model.errors import ConfigError, InvalidError
from datastore.model.key import Key
from datastore.model.options import SIZE
from datastore_server.auth.rights import Right, Rights
from datastore_server.auth.secrets import is_hash
from datastore_server.documents import converted, parse_toml, read_text, valid, within

__all__ = ["Access", "Grant", "Quota", "check_prefix", "load_access", "parse_access"]

_Kind = TypeVar("_Kind", bound="_Caller")
_PREFIXES = 'a list of prefixes of keys, e.g. ["/shop"]'


@dataclass(frozen=True)
class Quota:
    """What a caller may use at most; None for no limit of its own."""

    #: How many of its calls may be in progress, streams included.
    calls_in_hand: int | None = None
    #: How many bytes of requests and responses, on average.
    bytes_per_s: int | None = None


@dataclass(frozen=True)
class Grant:
    """What one caller may do. `hash` is that of its token; '' for an identity."""

    name: str
    rights: Rights
    quota: Quota = Quota()
    hash: str = ""
    expires: datetime | None = None
    created: datetime | None = None


@dataclass(frozen=True)
class Access:
    """The callers of a server: by the names of their tokens, and by the identities of their certificates."""

    tokens: Mapping[str, Grant]
    identities: Mapping[str, Grant]


class _Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the tables of both kinds of callers have."""

    read: Annotated[list[str], valid(_PREFIXES)] = []
    write: Annotated[list[str], valid(_PREFIXES)] = []
    delete: Annotated[list[str], valid(_PREFIXES)] = []
    admin: Annotated[list[str], valid(_PREFIXES)] = []
    calls_in_hand: Annotated[Annotated[int, msgspec.Meta(ge=1)] | None, valid("a number of calls, at least 1")] = None
    bytes_per_s: Annotated[int | str | None, valid('a size, e.g. "10MiB"')] = None


class _Token(_Caller, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table `[token.NAME]`."""

    hash: Annotated[str, valid("what `datastore token create` wrote")]
    created: Annotated[datetime | None, valid("an instant, e.g. 2026-12-01T00:00:00Z")] = None
    expires: Annotated[datetime | None, valid("an instant with a time zone, e.g. 2027-01-01T00:00:00Z")] = None


class _Identity(_Caller, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table `[identity."NAME"]`."""


class _Document(msgspec.Struct, frozen=True):
    """The file. Its tables are checked one by one, because errors name them."""

    token: Annotated[Any, valid("tables, each beginning with [token.NAME]")] = {}
    identity: Annotated[Any, valid("tables, each beginning with [identity.NAME]")] = {}


def load_access(path: Path) -> Access:
    """Read the file. Raises ConfigError if it cannot be read or is invalid."""
    return parse_access(read_text(path), str(path))


def parse_access(text: str, source: str) -> Access:
    """Parse the file. `source` names it in errors. Raises ConfigError if anything is unknown or not valid."""
    document = converted(parse_toml(text, source), _Document, source)
    tokens = _tables(document.token, "token", _Token, source)
    identities = _tables(document.identity, "identity", _Identity, source)
    return Access(
        {name: _token_grant(name, table, at) for name, table, at in tokens},
        {name: _grant(name, table, at) for name, table, at in identities},
    )


def _tables(tables: Any, section: str, kind: type[_Kind], source: str) -> list[tuple[str, _Kind, str]]:
    """The tables of a section, each with its name and its place."""
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise ConfigError(f"{source}: {section}: expected tables, each beginning with [{section}.NAME]")
    places = {name: f"{source}: {section}.{name}" for name in tables}
    return [(name, converted(table, kind, places[name]), places[name]) for name, table in tables.items()]


def _token_grant(name: str, table: _Token, at: str) -> Grant:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{at}: {name!r} is not a valid name: expected {NAME_FORM}")
    if not is_hash(table.hash):
        # Not quoted: it may be a secret that was written in the wrong place.
        raise ConfigError(f"{at}.hash: not a hash by `datastore token create`; create the token again")
    if table.expires is not None and table.expires.tzinfo is None:
        raise ConfigError(f"{at}.expires: it needs a time zone, e.g. Z for UTC")
    grant = _grant(name, table, at)
    return Grant(name, grant.rights, grant.quota, table.hash, table.expires, table.created)


def _grant(name: str, table: _Caller, at: str) -> Grant:
    rights = Rights(
        *(tuple(within(f"{at}.{right}: ", check_prefix, each) for each in getattr(table, right)) for right in Right)
    )
    return Grant(name, rights, Quota(table.calls_in_hand, within(f"{at}.bytes_per_s: ", _bytes, table.bytes_per_s)))


def _bytes(given: int | str | None) -> int | None:
    try:
        return None if given is None else int(SIZE.read(given))
    except InvalidError as error:
        raise ConfigError(str(error)) from error


def check_prefix(text: str) -> str:
    """The prefix itself. Raises ConfigError unless it is the text of a key, written as servers write it."""
    try:
        key = str(Key(text))
    except InvalidError as error:
        raise ConfigError(str(error)) from error
    if key != text:
        raise ConfigError(f"{text!r} is not written like a key: write {key!r}, which covers it and all below it")
    return text
