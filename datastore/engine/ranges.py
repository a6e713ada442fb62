"""The scan of a query in a store ordered by the bytes of key text. Pure decisions; knows no storage.

In that order the entries of the collection `/a` are scattered: `/a/x` is among `/a/x/deeper` and `/a/T:x`, and `/a:x`
is elsewhere. A plan says where to start, and for each key found whether to take it or where to seek next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property

from datastore.model.fields import KEY_FIELD, Filter
from datastore.model.operators import OPERATORS, KeyRange, after, hull
from datastore.model.query import Query
from datastore.model.trees import Condition, Tree

__all__ = ["END", "ScanPlan", "bounds"]

#: What `seek_after` returns at the end of the scan. It is not a place to seek: every key begins with "/".
END = b""

# The bytes just after "/" and ":" end these prefixes: nothing sorts between b"/a/..." and b"/a0".
_AFTER_SLASH = b"0"
_AFTER_COLON = b";"


class ScanPlan:
    """The part of the key space that a query scans: its scope, bounded by its filters on keys and `start_after`.

    Scanning a collection costs its entries and one seek for each subtree or foreign type between them, however large
    those are. Filters on keys only bound the scan: the caller must still apply them.
    """

    def __init__(self, query: Query) -> None:
        text = str(query.key).encode()
        top = text == b"/"
        self._recursive = query.recursive
        #: The prefixes of the entries below the key, and of its instances.
        self._below = text if top else text + b"/"
        # `/a:b:c` is an instance of `/a`: no collection whose own last part has a colon has any.
        named = b":" not in text.rpartition(b"/")[2]
        self._instances = None if top or not (named or query.recursive) else text + b":"
        lower, self._upper = _key_bounds(query)
        self.start = max(lower, self._below)

    @cached_property
    def matches_fast(self) -> Callable[[bytes], object]:
        """Matches keys that are certainly in scope; for all others `seek_after` decides.

        Matches nothing if there is an upper bound, which a pattern cannot express. Few scans need it, and it takes
        longer to compile than the first entries to read.
        """
        if self._upper is not None:
            return re.compile(b"(?!)").fullmatch
        # A part that begins with a colon has no type, and is below.
        below, beside = (b".*", b".*") if self._recursive else (b"(?::[^/]*|[^/:]*)", b"[^/]*")
        scopes = [re.escape(self._below) + below]
        if self._instances is not None:
            scopes.insert(0, re.escape(self._instances) + beside)
        return re.compile(b"|".join(scopes), re.DOTALL).fullmatch

    def covers(self, keys: Sequence[bytes]) -> bool:
        """Whether all of some keys, which ascend, are in scope; False also if that takes a look at each of them.

        Costs a fraction of `matches_fast` of each key.
        """
        first, last = keys[0], keys[-1]
        if self._upper is not None and last >= self._upper:
            return False
        prefix = next((each for each in (self._below, self._instances) if each and first.startswith(each)), None)
        # What is sorted between two keys with a prefix has it too.
        if prefix is None or not last.startswith(prefix):
            return False
        if self._recursive:
            return True
        text = b"".join(keys)
        if text.count(b"/") > len(keys) * prefix.count(b"/"):
            return False
        return prefix is self._instances or text.count(b":") == len(keys) * prefix.count(b":")

    def seek_after(self, key: bytes) -> bytes | None:
        """Where to seek after `key`, a text greater than it, or END; None if `key` is in scope."""
        if self._upper is not None and key >= self._upper:
            return END
        if key.startswith(self._below):
            return None if self._recursive else self._seek_below(key)
        if self._instances is None:
            return self._below if key < self._below else END
        if key.startswith(self._instances):
            return None if self._recursive else _seek_instance(key, len(self._instances))
        if key < self._below:
            return self._below
        return self._instances if key < self._instances else END

    def _seek_below(self, key: bytes) -> bytes | None:
        start = len(self._below)
        colon = key.find(b":", start)
        slash = key.find(b"/", start)
        # A part that begins with a colon has no type.
        if colon > start and (slash < 0 or colon < slash):
            return key[:colon] + _AFTER_COLON
        return None if slash < 0 else key[:slash] + _AFTER_SLASH


def _seek_instance(key: bytes, start: int) -> bytes | None:
    slash = key.find(b"/", start)
    return None if slash < 0 else key[:slash] + _AFTER_SLASH


def bounds(part: Condition) -> bool:
    """Whether a filter bounds the scan of a plan."""
    return _range_of(part) is not None


def _key_bounds(query: Query) -> KeyRange:
    """The lowest key to look at, and the lowest that is too high (None: unbounded)."""
    found = [range_ for part in query.filters if (range_ := _range_of(part)) is not None]
    if query.start_after is not None and not query.orders:
        found.append((after(str(query.start_after.key).encode()), None))
    return _shared(found)


def _range_of(part: Condition) -> KeyRange | None:
    """The part of the key space with every key that may pass; None if that is not known."""
    if isinstance(part, Tree):
        ranges = [_range_of(each) for each in part.parts]
        known = [range_ for range_ in ranges if range_ is not None]
        if part.op == "and":
            return _shared(known)
        return hull(known) if part.op == "or" and len(known) == len(ranges) else None
    if isinstance(part, Filter) and part.field == KEY_FIELD and part.is_plain:
        return OPERATORS[part.op].range_of(part.value)
    return None


def _shared(ranges: list[KeyRange]) -> KeyRange:
    """The intersection of some ranges."""
    ends = [end for _, end in ranges if end is not None]
    return max([b"/", *(start for start, _ in ranges)]), min(ends) if ends else None
