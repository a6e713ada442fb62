"""The names of entries, and of what is kept beside them. Pure."""

from __future__ import annotations

import re
from contextlib import suppress

from datastore.model.errors import InvalidKeyError
from datastore.model.key import Key

__all__ = ["Names"]

#: Names with a hash tag: all of a prefix with one are on one server of a cluster.
_TAGGED = re.compile(r"[^{]*\{[^}]+\}")


class Names:
    """The names that begin with a prefix. Those with a double slash, which no key has, are reserved."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        #: The hash of system records.
        self.system = f"{prefix}//datastore"
        #: The latest version given to an entry.
        self.version = f"{prefix}//version"
        #: The state of the log of changes, a hash; the log itself, a stream; and the entries that expire, a sorted set.
        self.log_state = f"{prefix}//log"
        self.log = f"{prefix}//changes"
        self.expiring = f"{prefix}//expiring"
        #: The requests of writes that are remembered, a hash.
        self.requests = f"{prefix}//requests"
        self._metadata = f"{prefix}//metadata/"

    @property
    def are_together(self) -> bool:
        """Whether they are all on one server of a cluster."""
        return _TAGGED.match(self.prefix) is not None

    @property
    def pattern(self) -> str:
        """The pattern of all of them."""
        return _matching(self.prefix)

    @property
    def metadata_pattern(self) -> str:
        """The pattern of those of the metadata."""
        return _matching(self._metadata)

    @property
    def for_changes(self) -> list[str]:
        """What scripts that make changes need besides the names of entries."""
        return [self.version, self.log_state, self.log, self.expiring]

    @property
    def for_writes(self) -> list[str]:
        """What scripts that make writes need besides the names of entries."""
        return [*self.for_changes, self.requests]

    def of(self, key: Key) -> str:
        """The name of an entry."""
        return self.prefix + str(key)[1:]

    def metadata_of(self, key: Key) -> str:
        """The name of the metadata of an entry."""
        return self._metadata + str(key)[1:]

    def beside(self, metadata: bytes) -> bytes:
        """The name of the entry that the metadata of this name belongs to."""
        return self.prefix.encode() + metadata[len(self._metadata.encode()) :]

    def key_of(self, name: bytes | str) -> Key | None:
        """The key of an entry's name; None for a name that no key has."""
        with suppress(UnicodeDecodeError, InvalidKeyError):
            text = "/" + (name if isinstance(name, str) else name.decode())[len(self.prefix) :]
            key = Key(text)
            return key if str(key) == text else None
        return None


def _matching(prefix: str) -> str:
    """The pattern of all names with a prefix."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
