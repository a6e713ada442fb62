"""What a store ordered by the bytes of key text has to scan for a query. Pure decisions; knows no storage.

In that order the entries of the collection `/a` lie scattered: `/a/x` among `/a/x/deeper` and `/a/T:x`, and `/a:x`
apart. A plan gives where to start and judges each key met: take it, or seek on to where the next one can be.
"""

from __future__ import annotations

import re

from datastore.model.fields import KEY_FIELD
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["END", "ScanPlan"]

#: The answer of `judge` where the scan is over. No key is sought at the empty text: all begin with "/".
END = b""

# The bytes just after "/" and ":" end what begins with them: nothing sorts between b"/a/..." and b"/a0".
_AFTER_SLASH = b"0"
_AFTER_COLON = b";"


class ScanPlan:
    """The part of the key space that a query looks at: its scope, bounded by its filters on keys and `start_after`.

    A collection's scan costs its entries and one seek for each subtree, or foreign type, between them, not what is in
    these. Filters on keys only bound the scan: they are to be checked again.
    """

    def __init__(self, query: Query) -> None:
        text = str(query.key).encode()
        top = text == b"/"
        self._recursive = query.recursive
        #: What the entries below the key, and its instances, begin with.
        self._below = text if top else text + b"/"
        # `/a:b:c` is an instance of `/a`: no collection whose own last part has a colon has any.
        named = b":" not in text.rpartition(b"/")[2]
        self._instances = None if top or not (named or query.recursive) else text + b":"
        lower, self._upper = _key_bounds(query)
        self.start = max(lower, self._below)
        #: Whether a key can quickly be taken; if not, `judge` decides.
        self.plainly_takes = self._pattern().fullmatch

    def _pattern(self) -> re.Pattern[bytes]:
        """What matches the keys of the scope; where they have an upper bound, which no pattern can say, nothing."""
        if self._upper is not None:
            return re.compile(b"(?!)")
        # What begins with a colon has no type, and is below.
        below, beside = (b".*", b".*") if self._recursive else (b"(?::[^/]*|[^/:]*)", b"[^/]*")
        scopes = [re.escape(self._below) + below]
        if self._instances is not None:
            scopes.insert(0, re.escape(self._instances) + beside)
        return re.compile(b"|".join(scopes), re.DOTALL)

    def judge(self, key: bytes) -> bytes | None:
        """None to take an entry; otherwise where to seek next, a text greater than `key`, or END."""
        if self._upper is not None and key >= self._upper:
            return END
        if key.startswith(self._below):
            return None if self._recursive else self._judge_below(key)
        if self._instances is None:
            return self._below if key < self._below else END
        if key.startswith(self._instances):
            return None if self._recursive else _judge_instance(key, len(self._instances))
        if key < self._below:
            return self._below
        return self._instances if key < self._instances else END

    def _judge_below(self, key: bytes) -> bytes | None:
        start = len(self._below)
        colon = key.find(b":", start)
        slash = key.find(b"/", start)
        # What begins with a colon has no type.
        if colon > start and (slash < 0 or colon < slash):
            return key[:colon] + _AFTER_COLON
        return None if slash < 0 else key[:slash] + _AFTER_SLASH


def _judge_instance(key: bytes, start: int) -> bytes | None:
    slash = key.find(b"/", start)
    return None if slash < 0 else key[:slash] + _AFTER_SLASH


def _key_bounds(query: Query) -> tuple[bytes, bytes | None]:
    """The least key to look at, and the least that is too great (None: no end)."""
    lower, upper = b"/", None
    for part in query.filters:
        if part.field != KEY_FIELD or not part.is_plain or not isinstance(part.value, Key):
            continue
        text = str(part.value).encode()
        if part.op in (">", ">=", "="):
            lower = max(lower, _after(text) if part.op == ">" else text)
        if part.op in ("<", "<=", "="):
            end = text if part.op == "<" else _after(text)
            upper = end if upper is None else min(upper, end)
    if query.start_after is not None and not query.orders:
        lower = max(lower, _after(str(query.start_after.key).encode()))
    return lower, upper


def _after(text: bytes) -> bytes:
    """The least text greater than `text`; no key has a NUL."""
    return text + b"\x00"
